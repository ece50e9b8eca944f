//! Fits: from measured samples to a lane's and a prefill's cost.
//! Layer 6. Uses `units`, `cost::{lane, prefill}`. Known by: `cost::calibrate`, backends that measure.
//!
//! Samples of a machine in use have outliers, all on one side: something else ran. So a fit minimises relative errors under
//! Huber's loss, then drops what lies beyond four typical errors, and is exact about nothing else.

mod lane;
mod prefill;
mod regression;

pub use lane::{LaneSample, fit_lane};
pub use prefill::{PrefillSample, fit_prefill};
