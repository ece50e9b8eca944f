//! The CPU backend: tiers in host memory and in files, and the lanes between them.
//!
//! | module | knows |
//! |---|---|
//! | [`backend`] | builds all of it from one specification |
//! | [`memory`] | [`HostTier`]: slots in one anonymous mapping, each with readers or a writer |
//! | [`file`](mod@file) | [`FileTier`]: slots that outlive the process, each with a header and a checksum |
//! | `lane` | bounded queues, and the threads that copy |
//! | `borrow` | who is using a slot |
//!
//! A machine without a GPU uses a [`HostTier`] of limited size as its device. Unsafe code stands in two files, listed in
//! `docs/UNSAFE.md`.

pub mod backend;
mod borrow;
pub mod file;
mod file_lanes;
mod lane;
pub mod memory;

pub use backend::{CpuBackend, CpuSpec, FileSpec, slots_within};
pub use file::{FileTier, inspect};
pub use file_lanes::file_lanes;
pub use lane::LaneSpec;
pub use memory::{HostTier, Machine, PlanesAt, SlotBusy, SlotRead, SlotWrite, SlotsAt};
