//! Counters of what the pager did.
//! Layer 9. Uses `ids`, `transfer`. Known by: `pager`, engines.

use super::core::Core;
use crate::ids::TierId;
use crate::tier::LaneEnds;
use crate::transfer::LaneStats;

/// What is counted under the lock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) evictions: [u64; TierId::COUNT],
    pub(super) drops: u64,
    pub(super) damaged: u64,
    pub(super) failed_loads: u64,
    pub(super) recovered: u64,
}

/// What one lane did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneReport {
    /// The tiers it joins.
    pub ends: LaneEnds,
    /// What it did.
    pub stats: LaneStats,
}

/// Counters since the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Slots freed to make room, by tier.
    pub evictions: [u64; TierId::COUNT],
    /// Blocks whose last copy went.
    pub drops: u64,
    /// Parts that a checksum stopped.
    pub damaged: u64,
    /// Loads that did not end well, for whatever reason: their blocks were computed.
    pub failed_loads: u64,
    /// Blocks found in a tier that outlived an earlier process.
    pub recovered: u64,
    /// By lane.
    pub lanes: Vec<LaneReport>,
}

/// What became of one sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SequenceReport {
    /// Tokens of blocks that were cached, by the tier they came from.
    pub hit_tokens: [u64; TierId::COUNT],
    /// Tokens that the engine computed.
    pub computed_tokens: u64,
}

impl Core {
    pub(super) fn stats(&self) -> Stats {
        let counters = &self.counters;
        Stats {
            evictions: counters.evictions,
            drops: counters.drops,
            damaged: counters.damaged,
            failed_loads: counters.failed_loads,
            recovered: counters.recovered,
            lanes: self.engine.stats().map(|(ends, stats)| LaneReport { ends, stats }).collect(),
        }
    }
}
