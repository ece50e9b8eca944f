//! Counters of what the pager did.
//! Layer 9. Uses `ids`, `transfer`. Known by: `pager`, engines.

use super::core::Core;
use super::keepers::KeptSlots;
use crate::ids::TierId;
use crate::tier::LaneEnds;
use crate::transfer::LaneStats;
use crate::units::Nanos;

/// What is counted under the lock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) evictions: [u64; TierId::COUNT],
    pub(super) drops: u64,
    pub(super) damaged: u64,
    pub(super) failed_loads: u64,
    pub(super) recovered: u64,
    pub(super) expired: u64,
    pub(super) cut_loads: u64,
    pub(super) plans: PlanCounts,
}

/// What was planned, by what was done with what was cached below the device, and what it was worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PlanCounts {
    /// All of it loaded.
    pub loads: u64,
    /// All of it computed again.
    pub recomputes: u64,
    /// The front computed while the back was loaded.
    pub two_fronts: u64,
    /// The front loaded, the rest computed.
    pub loads_then_computes: u64,
    /// How much later requests finished than the better of loading all and computing all would have, of those whose computing the
    /// engine reported.
    pub regret: Nanos,
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
    /// Of the failed loads, those that were called off because computing was sooner.
    pub cut_loads: u64,
    /// Plans made with measured costs.
    pub plans: PlanCounts,
    /// Blocks given up for their time to live was over.
    pub expired: u64,
    /// By tier: slots held by prefetches and holds now.
    pub kept: [KeptSlots; TierId::COUNT],
    /// How often a hold has given way to a request that found no other room.
    pub holds_gave_way: u64,
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
            cut_loads: counters.cut_loads,
            plans: counters.plans,
            expired: counters.expired,
            kept: TierId::ALL.map(|tier| self.keepers.slots_in(tier)),
            holds_gave_way: self.keepers.gave_way(),
            lanes: self.engine.stats().map(|(ends, stats)| LaneReport { ends, stats }).collect(),
        }
    }
}
