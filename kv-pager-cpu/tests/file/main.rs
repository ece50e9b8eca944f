//! The file tier under everything that happens to drives and processes; one claim a test.

mod faults;
mod restart;
mod rig;
mod shim;
