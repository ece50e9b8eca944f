//! Calibration: measuring a machine's lanes and an engine's prefill through the seams alone.
//! Layer 6. Uses `ids`, `units`, `error`, `clock`, `tier`, `cost`. Known by: the command line, backends.
//!
//! - **M1** what is measured is what serves: the same lanes, the same engine;
//! - **M2** a measurement begins nothing after its budget of time is spent;
//! - **M3** a lane is idle when a batch is submitted, so that no waiting is measured.
//!
//! Sizes take turns, round after round, so that a machine which is slow for a second spoils a few samples of each size and
//! not all of one: outliers, which the fit drops.

mod batches;
mod both_ways;
mod lane;
mod lanes;
mod prefill;

pub use lane::{LaneProbe, wait_for_end};
pub use lanes::measure_lanes;
pub use prefill::{PrefillProbe, measure_prefill};

#[cfg(test)]
mod tests;
