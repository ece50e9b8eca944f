//! What the benchmarks on a card share: the limit to compare with, a rig of tiers and lanes, rows of a table.

mod churn;
mod counting;
mod gemm;
mod plain_batch;
mod raw;
mod report;
mod rig;
mod timing;

pub use churn::{churned_slots, shuffled};
pub use counting::{CountingAllocator, allocations};
pub use gemm::Gemm;
pub use plain_batch::time_plain_batch;
pub use raw::{Contiguous, time_mem_host_alloc};
pub use report::{Report, Row};
pub use rig::{Inside, Rig, RigSpec};
pub use timing::{Timed, median, spin_until, time_batches};
