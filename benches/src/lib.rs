//! What the benchmarks of this folder share.

pub mod cuda;
pub mod two_front;
