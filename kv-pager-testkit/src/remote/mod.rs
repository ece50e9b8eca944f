//! Workers in processes of their own: a scheduler that has the pager, and one worker a rank that has tiers' memory and lanes.
//! Uses `tagged`, `ranks`. Known by: tests over processes, the binary `kv-pager-worker`.
//!
//! | module | holds |
//! |---|---|
//! | `message` | what passes between them: plain data, numbered, with the epoch of the pager that it belongs to |
//! | `frame` | messages as bytes of a pipe |
//! | `worker` | the worker's half |
//! | `link` | the scheduler's half of one worker |
//! | `lane`, `tier` | a lane and a tier whose other half is a worker |
//! | `process` | a worker's process, as a rank |
//!
//! - **RE1** a message of another epoch, which an earlier pager caused, is not heard; one that is missing, or cannot be read, is
//!   the loss of its worker;
//! - **RE2** when a worker is lost, every move that it had ends as [`DeviceLost`](kv_pager::tier::MoveFault::DeviceLost), every
//!   later one does at once, and its tiers are [`Lost`](kv_pager::tier::Health::Lost): misses, and nothing that is waited for;
//! - **RE3** the scheduler never waits for a worker in `submit`: what a pipe has no room for waits, bounded, beside it;
//! - **RE4** a worker whose scheduler is gone ends.
//!
//! The messages are those of any engine's channel; the pipe is the testkit's. Each rank is a lane of its own here, and
//! [`RankedLane`](crate::ranks::RankedLane) makes one of them.

mod frame;
mod lane;
mod link;
mod message;
mod process;
mod tier;
mod worker;

pub use lane::RemoteLane;
pub use link::{Link, WorkerLost};
pub use message::{FromWorker, Pace, Setup, ToWorker};
pub use process::WorkerProcess;
pub use tier::RemoteTier;
pub use worker::serve;
