//! Counters of what the pager did.
//! Layer 9. Uses `ids`, `pool`, `sequence`, `tier`, `transfer`, `units`. Known by: `pager`, `telemetry`, engines.

use super::core::Core;
use super::keepers::KeptSlots;
use crate::ids::TierId;
use crate::pool::SlotState;
use crate::sequence::SequenceState;
use crate::tier::LaneEnds;
use crate::transfer::LaneStats;
use crate::units::{Bytes, Nanos};

/// What is counted under the lock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) query_tokens: u64,
    pub(super) hit_tokens: [u64; TierId::COUNT],
    pub(super) computed_tokens: u64,
    pub(super) evictions: [Evictions; TierId::COUNT],
    pub(super) drops: u64,
    pub(super) damaged: u64,
    pub(super) failed_loads: u64,
    pub(super) recovered: u64,
    pub(super) expired: u64,
    pub(super) cut_loads: u64,
    pub(super) promoted: Promoted,
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

/// What came nearer though no request had asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Promoted {
    /// Parts: of a model with one group of layers, blocks.
    pub parts: u64,
    /// Their bytes, as the device has them.
    pub bytes: Bytes,
}

/// Slots of one tier that were freed to make room, by why that was no loss, or one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Evictions {
    /// Their parts had been copied farther for it.
    pub demoted: u64,
    /// A copy was farther already.
    pub clean: u64,
    /// There was no other copy farther: the part is to be computed, should it be asked for again.
    pub dropped: u64,
}

impl Evictions {
    /// The sum.
    pub fn total(&self) -> u64 {
        self.demoted + self.clean + self.dropped
    }
}

impl Counters {
    /// Counts a slot that was freed to make room: whether a copy is farther, and whether the slot was leaving for it.
    pub(super) fn count_eviction(&mut self, tier: TierId, is_kept: bool, was_leaving: bool) {
        let evictions = &mut self.evictions[tier.index()];
        let counted = match (is_kept, was_leaving) {
            (true, true) => &mut evictions.demoted,
            (true, false) => &mut evictions.clean,
            (false, _) => &mut evictions.dropped,
        };
        *counted += 1;
    }
}

/// What one tier holds now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TierReport {
    /// Which.
    pub tier: TierId,
    /// Slots of all classes, by [`SlotState`].
    pub slots: [u64; SlotState::ALL.len()],
    /// Bytes of those that are not free, at their classes' sizes.
    pub used_bytes: Bytes,
    /// Bytes of all.
    pub capacity_bytes: Bytes,
}

/// What one lane did, and has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneReport {
    /// The tiers it joins.
    pub ends: LaneEnds,
    /// What it did.
    pub stats: LaneStats,
    /// Moves that wait for it.
    pub queued: usize,
    /// Bytes that it was given and that have not ended.
    pub bytes_in_flight: Bytes,
}

/// Counters since the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Requests that were opened.
    pub requests: u64,
    /// Tokens of their prompts.
    pub query_tokens: u64,
    /// Tokens of theirs whose blocks were cached, by the tier they came from; counted when a request is closed.
    pub hit_tokens: [u64; TierId::COUNT],
    /// The bytes of those tokens' blocks, as the device has them.
    pub hit_bytes: [Bytes; TierId::COUNT],
    /// Tokens that the engine computed for them; counted when a request is closed.
    pub computed_tokens: u64,
    /// Sequences that are open.
    pub open_sequences: u32,
    /// Slots freed to make room, by tier.
    pub evictions: [u64; TierId::COUNT],
    /// The same, by reason.
    pub evictions_by_reason: [Evictions; TierId::COUNT],
    /// Blocks whose last copy went.
    pub drops: u64,
    /// Parts that a checksum stopped.
    pub damaged: u64,
    /// Loads that did not end well, for whatever reason: their blocks were computed.
    pub failed_loads: u64,
    /// Blocks found in a tier that outlived an earlier process.
    pub recovered: u64,
    /// Loads that were given up because computing was sooner: called off, which is counted as failed too, or left to go on for others.
    pub cut_loads: u64,
    /// What was brought from the file to host memory while lanes stood idle.
    pub promoted: Promoted,
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
    /// By tier, those that there are.
    pub tiers: Vec<TierReport>,
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
        let block_bytes = self.model.block_bytes().as_u64();
        let tokens_per_block = u64::from(self.model.tokens_per_block());
        Stats {
            requests: counters.requests,
            query_tokens: counters.query_tokens,
            hit_tokens: counters.hit_tokens,
            hit_bytes: counters.hit_tokens.map(|tokens| Bytes::new(tokens / tokens_per_block * block_bytes)),
            computed_tokens: counters.computed_tokens,
            open_sequences: self.open_sequences,
            evictions: counters.evictions.map(|evictions| evictions.total()),
            evictions_by_reason: counters.evictions,
            drops: counters.drops,
            damaged: counters.damaged,
            failed_loads: counters.failed_loads,
            recovered: counters.recovered,
            cut_loads: counters.cut_loads,
            promoted: counters.promoted,
            plans: counters.plans,
            expired: counters.expired,
            kept: TierId::ALL.map(|tier| self.keepers.slots_in(tier)),
            holds_gave_way: self.keepers.gave_way(),
            lanes: self.engine.stats().map(|(ends, stats)| self.lane_report(ends, stats)).collect(),
            tiers: TierId::ALL.into_iter().filter_map(|tier| self.tier_report(tier)).collect(),
        }
    }

    fn lane_report(&self, ends: LaneEnds, stats: LaneStats) -> LaneReport {
        let LaneEnds { source, target } = ends;
        let queued = self.engine.queued(source, target);
        LaneReport { ends, stats, queued, bytes_in_flight: self.engine.bytes_in_flight(source, target) }
    }

    fn tier_report(&self, tier: TierId) -> Option<TierReport> {
        let classes = self.tiers[tier.index()].as_ref()?.classes();
        let mut report = TierReport {
            tier,
            slots: [0; SlotState::ALL.len()],
            used_bytes: Bytes::ZERO,
            capacity_bytes: Bytes::ZERO,
        };
        for (class, group) in classes.iter().zip(self.groups()) {
            let counts = self.pools.pool(tier, group).counts();
            for (sum, state) in report.slots.iter_mut().zip(SlotState::ALL) {
                *sum += u64::from(counts.of(state));
            }
            let bytes = |slots: u32| Bytes::new(class.slot_bytes.as_u64() * u64::from(slots));
            report.used_bytes += bytes(counts.total() - counts.of(SlotState::Free));
            report.capacity_bytes += bytes(counts.total());
        }
        Some(report)
    }

    /// Counts a request that was opened.
    pub(super) fn count_opened(&mut self, prompt_tokens: usize) {
        self.counters.requests += 1;
        self.counters.query_tokens += prompt_tokens as u64;
    }

    /// Counts what a request found, as its entries say, and computed; it is about to be closed. Of a fork nothing counts.
    pub(super) fn count_closed(&mut self, state: &SequenceState, hit_tokens: [u64; TierId::COUNT]) {
        if !self.course(state).is_request {
            return;
        }
        for (sum, tokens) in self.counters.hit_tokens.iter_mut().zip(hit_tokens) {
            *sum += tokens;
        }
        self.counters.computed_tokens += state.computed_tokens;
    }
}
