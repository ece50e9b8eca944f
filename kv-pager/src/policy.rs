//! x

pub mod plan;
