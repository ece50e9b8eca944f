//! Probes: a lane that nothing has come over for long is tried, so that what is believed of it stays true.
//! Layer 9. Uses `ids`, `cost`, `transfer`. Known by: `pager`.
//!
//! - **PB1** no request waits for a probe, or for what it takes: it starts only while nothing waits for the lane or is under way on it and
//!   no load waits for room, takes only slots that are free beyond the low watermark, and moves a chunk of the lane at most, or less where
//!   that is believed to take long; an engine's slots are not for it;
//! - **PB2** what it copies is nobody's: it can't be matched or shared, and the slots are free when it has ended (I3);
//! - **PB3** a lane that is believed too slow to be asked is tried when [`PLANS`] plans have been made since anything came over it and,
//!   while it is found faster than believed, once a plan, until the belief has changed. Another is not: plans ask
//!   it, and a try would only keep them waiting.
//!
//! Whoever believes that a lane is slow does not ask it, and nothing would ever tell that it is fast again: neither requests, which compute
//! instead, nor what is given up on the device because it would come back too slowly. A lane that is believed fast is asked, and tells.

use super::core::Core;
use super::costs::{Costs, WAYS_UP};
use crate::clock::Time;
use crate::cost::{LaneCost, Load};
use crate::ids::{GroupId, MoveId, SlotId, TierId};
use crate::tier::{LaneEnds, Move};
use crate::transfer::{Flight, Priority, Purpose};
use crate::units::{Bytes, Nanos};

/// After so many plans a lane that nothing has come over is tried. A chunk takes some milliseconds of the lane, and so many requests seconds
/// of the device: a drive that is not asked spends less than a hundredth of its time on being tried.
const PLANS: u32 = 64;

/// What a probe is believed to take at most, as a share of what a batch may: it must not time out, nor keep others from the lane.
const DEADLINE_SHARE: u64 = 16;

/// How many of the coldest slots are looked at for parts to copy, for each that is wanted.
const LOOKS_A_PART: u32 = 4;

/// What is known of a lane since something came over it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// Plans made since.
    plans: u32,
    /// Whether that took clearly less time than believed, and was not believed.
    is_doubted: bool,
}

impl Silence {
    /// Something has come over the lane.
    pub(super) fn broken(is_doubted: bool) -> Self {
        Self { plans: 0, is_doubted }
    }

    /// A plan was made.
    pub(super) fn note_plan(&mut self) {
        self.plans = self.plans.saturating_add(1);
    }

    /// A probe has been started.
    pub(super) fn note_probe(&mut self) {
        self.plans = 0;
    }

    /// Whether the lane is to be tried (PB3).
    fn is_too_long(self) -> bool {
        self.plans >= if self.is_doubted { 1 } else { PLANS }
    }
}

impl Costs {
    /// How many parts of `part_bytes`, as the device has them, a probe moves over a lane: one at least. `None` if it was never measured.
    fn probe_parts(&self, ends: LaneEnds, part_bytes: Bytes, longest: Nanos) -> Option<u32> {
        let lane = self.model.as_ref()?.lane(ends)?;
        let part_bytes = self.scaled(ends, part_bytes);
        let chunk = u32::try_from(lane.chunk_bytes().div_down(part_bytes)).unwrap_or(u32::MAX);
        Some(parts_within(lane, chunk, part_bytes, longest))
    }
}

/// As many parts of a chunk of `chunk` parts as take no more than `longest`, in halves of the chunk; one at least.
fn parts_within(lane: &LaneCost, chunk: u32, part_bytes: Bytes, longest: Nanos) -> u32 {
    let fits = |parts: &u32| {
        let bytes = Bytes::new(part_bytes.as_u64().saturating_mul(u64::from(*parts)));
        lane.busy(Load { bytes, copies: *parts }) <= longest
    };
    let halves = std::iter::successors(Some(chunk), |parts| (*parts > 1).then_some(parts / 2));
    halves.filter(|parts| *parts > 0).find(fits).unwrap_or(1)
}

impl Core {
    /// Whether a lane is to be tried. `O(1)`.
    pub(super) fn wants_probe(&self) -> bool {
        WAYS_UP.into_iter().any(|ends| self.is_wanted(ends))
    }

    fn is_wanted(&self, ends: LaneEnds) -> bool {
        let is_silent = self.costs.silence(ends).is_too_long() && self.may_be_tried(ends);
        is_silent && self.costs.is_left_out(ends, self.model.block_bytes(), self.model.tokens_per_block())
    }

    /// Tries the lanes that nothing has come over for long, if nobody wants them (PB1), as far as this hold of the lock goes. `O(1)` while
    /// there are none.
    pub(super) fn probe(&mut self) {
        for ends in WAYS_UP {
            if self.is_wanted(ends) {
                let has_started = self.groups().any(|group| self.start_probe(ends, group));
                if has_started {
                    self.costs.note_probe(ends);
                }
            }
        }
    }

    /// Whether nobody wants this lane or the slots at its ends.
    fn may_be_tried(&self, LaneEnds { source, target }: LaneEnds) -> bool {
        let is_there = |tier: TierId| self.pools.has(tier) && !self.lost[tier.index()];
        let is_engines = target == TierId::Device && self.is_engines();
        self.pending.is_empty()
            && !is_engines
            && is_there(source)
            && is_there(target)
            && self.engine.has_lane(source, target)
            && self.engine.is_idle(source, target)
    }

    /// Slots of a class that are free beyond the low watermark.
    fn spare_slots(&self, tier: TierId, group: GroupId) -> u32 {
        let (low, _) = self.config.watermarks.slots(self.pools.pool(tier, group).capacity());
        self.free_slots(tier, group).saturating_sub(low)
    }

    /// Starts to copy some parts of a class. False if there are no parts or no slots for them.
    fn start_probe(&mut self, ends: LaneEnds, group: GroupId) -> bool {
        let LaneEnds { source, target } = ends;
        let longest = Nanos::new(self.config.limits.move_deadline.as_u64() / DEADLINE_SHARE);
        let Some(parts) = self.costs.probe_parts(ends, self.model.part_bytes(group), longest) else {
            return false;
        };
        let wanted = parts.min(self.config.limits.batch_moves).min(self.spare_slots(target, group));
        let wanted = wanted.min(self.left / LOOKS_A_PART);
        let mut sources = std::mem::take(&mut self.slots);
        sources.clear();
        self.handle((wanted * LOOKS_A_PART) as usize);
        self.choose_sources(source, group, wanted, &mut sources);
        for from in &sources {
            let mut to = SlotId::NONE;
            let is_taken = self.pools.pool_mut(target, group).take(1, |slot| to = slot);
            assert!(is_taken, "a slot of {target} was free, and could not be taken");
            self.start_probing(ends, group, *from, to);
        }
        let has_started = !sources.is_empty();
        self.slots = sources;
        has_started
    }

    /// The coldest parts of a class that nothing moves; of host memory that has none a free slot, for bytes that mean nothing
    /// take as long.
    fn choose_sources(&mut self, tier: TierId, group: GroupId, wanted: u32, sources: &mut Vec<SlotId>) {
        let wanted = wanted as usize;
        let pool = self.pools.pool(tier, group);
        let coldest =
            pool.coldest().take(wanted * LOOKS_A_PART as usize).filter(|slot| !pool.is_moving(*slot));
        sources.extend(coldest.take(wanted));
        let is_empty = pool.coldest().next().is_none();
        if tier == TierId::Host && is_empty && wanted > 0 && self.spare_slots(tier, group) > 0 {
            self.pools.pool_mut(tier, group).take(1, |slot| sources.push(slot));
        }
    }

    /// Copies what is in one slot to another, which is filling and has no name.
    fn start_probing(&mut self, ends: LaneEnds, group: GroupId, source: SlotId, target: SlotId) {
        let from = self.pools.pool_mut(ends.source, group);
        from.begin_move(source);
        let (block, source_fence) = (from.block(source), from.fence(source));
        let to = self.pools.pool_mut(ends.target, group);
        to.begin_move(target);
        let target_fence = to.fence(target);
        let part = Move { id: MoveId(0), group, source, target, source_fence, target_fence };
        let (purpose, priority) = (Purpose::Probe, Priority::Offload);
        let flight = Flight { part, block, purpose, priority, deadline: Time::NEVER };
        self.engine.enqueue(ends.source, ends.target, flight, self.now);
    }
}
