//! The file tier under everything that happens to drives and processes; one claim a test.

mod answered_late;
mod bad_places;
mod churn;
mod crash;
mod erased;
mod faults;
mod hung;
mod inspect;
mod power;
mod power_at_start;
mod refused;
mod resize;
mod restart;
mod rig;
mod served;
mod shim;
mod shutdown;
mod space;
