//! What the benchmarks of this folder share.

pub mod cuda;
mod ending;
pub mod two_front;

pub use ending::end;
