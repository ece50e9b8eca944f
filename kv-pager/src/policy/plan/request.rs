//! What a plan is made from.
//! Layer 8. Uses `units`, `cost`, `policy::plan::prefix`. Known by: `policy::plan`, `pager`.

use super::Prefix;
use crate::cost::{ByLane, CostModel};
use crate::units::Nanos;

/// What the engine can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineAbility {
    /// Whether it can compute the front of a prompt while the back is loaded.
    pub can_overlap: bool,
    /// The most tokens that it computes in one step.
    pub step_tokens_max: u32,
}

/// What a plan makes small.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Aim {
    /// The time until this request's last token is computed.
    #[default]
    Latency,
    /// That, and what the others lose by it: each nanosecond of computing delays `compute_waiting` requests, each nanosecond
    /// of a lane `lanes_waiting`. A deadline that can be met comes first.
    Throughput {
        /// Requests that wait for the device.
        compute_waiting: u32,
        /// Requests that wait for a lane.
        lanes_waiting: u32,
    },
}

/// Which plans are allowed: what the arms of a comparison differ in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Loading {
    /// The best.
    #[default]
    Adaptive,
    /// Load all that is cached.
    AlwaysLoad,
    /// Compute all that is not ready.
    AlwaysRecompute,
}

/// All that a plan depends on (I9).
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// What moves and prefill take here.
    pub costs: &'a CostModel,
    /// Where the cached blocks lie.
    pub prefix: Prefix<'a>,
    /// Tokens of the whole request.
    pub tokens: u32,
    /// How long each lane is busy with what is before it.
    pub queues: &'a ByLane<Nanos>,
    /// How long the device is busy with what is before it.
    pub compute_queue: Nanos,
    /// What the engine can do.
    pub engine: EngineAbility,
    /// How long from now the last token may take.
    pub deadline: Option<Nanos>,
    /// What to make small.
    pub aim: Aim,
    /// Which plans are allowed.
    pub loading: Loading,
}
