//! The file tier under everything that happens to drives and processes; one claim a test.

mod bad_places;
mod churn;
mod crash;
mod erased;
mod faults;
mod hang;
mod inspect;
mod power;
mod power_at_start;
mod resize;
mod restart;
mod rig;
mod served;
mod shim;
mod shutdown;
mod space;
