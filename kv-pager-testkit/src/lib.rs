//! What tests of kv-pager are made of.

pub mod conformance;
pub mod faulty;
pub mod late;
mod relay;
pub mod throttled;
