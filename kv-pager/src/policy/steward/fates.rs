//! What becomes of a victim: it is evicted, demoted or dropped.
//! Layer 8. Uses `ids`, `cost`, `policy::{decision, plan, view}`. Known by: `steward`.
//!
//! - **FA1** what lies farther away too is evicted, at no cost; everything else is demoted where a tier below takes it, unless it
//!   is not worth it, has not earned it, or the day's writes are spent;
//! - **FA2** what a write costs counts only while the device would wait for it: not before it has computed what is queued, nor, where
//!   the host gives up a block, before what it computes meanwhile has taken the slots that are free there. What goes to host memory
//!   counts as asked for again, for its odds are those of staying where there is less room; then it comes back over the same link.

use super::prices;
use super::writes::{FileWrites, Writes};
use crate::cost::real;
use crate::ids::{BlockId, GroupId, TierId};
use crate::policy::plan::{Fate, Victim, judge};
use crate::policy::{Decision, Reason, View};
use crate::pool::SlotState;
use crate::tier::LaneEnds;
use crate::units::{Bytes, Nanos};

/// How often a block is asked for before it has earned its place in the file.
const EARNED_USES: u32 = 2;
/// How many blocks the device computes, about, until the host needs one more slot that only a write makes free. It is not always busy,
/// and neither is each block that it gives up written, nor each that the host gives up: many have a copy farther away.
const BLOCKS_A_FREE_SLOT: f64 = 4.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Fates {
    file_writes: FileWrites,
    writes: Writes,
    /// Whether what has been written was ever looked at.
    has_looked: bool,
    at: At,
}

/// Where victims are looked for, and what holds for all of them.
#[derive(Clone, Copy, Debug)]
struct At {
    tier: TierId,
    group: GroupId,
    /// The tier that takes them, if there is one that can be reached.
    below: Option<TierId>,
    write: Nanos,
    bring_back: Nanos,
    /// How long the lane to it can work on more before the device waits for that.
    spare_ns: f64,
    /// Slots of the host that are free, if that is where victims are looked for.
    free_slots: u32,
    part_bytes: Bytes,
}

impl Fates {
    pub(super) fn new(file_writes: FileWrites, writes: Writes) -> Self {
        let at = At {
            tier: TierId::Device,
            group: GroupId::FIRST,
            below: None,
            write: Nanos::ZERO,
            bring_back: Nanos::ZERO,
            spare_ns: 0.0,
            free_slots: 0,
            part_bytes: Bytes::ZERO,
        };
        Self { file_writes, writes, has_looked: false, at }
    }

    /// Notes what holds for all victims in `tier` now; a part has `part_bytes` by tier.
    pub(super) fn look_around(
        &mut self,
        view: &View<'_>,
        tier: TierId,
        group: GroupId,
        part_bytes: &[Bytes; TierId::COUNT],
    ) {
        let below = tier.farther().filter(|below| view.has(*below) && view.can_demote_from(tier));
        let far = below.unwrap_or(tier);
        let bytes = part_bytes[far.index()];
        let (mut write, mut bring_back, mut spare_ns) = (Nanos::ZERO, Nanos::ZERO, 0.0);
        if let Some(costs) = view.prospects().costs.filter(|_| far != tier) {
            write = prices::move_time(costs, LaneEnds { source: tier, target: far }, bytes);
            bring_back = prices::move_time(costs, LaneEnds { source: far, target: tier }, bytes);
            // Requests wait for room, and room for what is written. While the device has enough to compute it waits for neither.
            let queue = view.prospects().queues.get(LaneEnds { source: tier, target: far });
            spare_ns = real::from_nanos(view.prospects().compute_queue) - real::from_nanos(*queue);
        }
        self.look_at_writes(view, group);
        let free_slots =
            if tier == TierId::Host { view.occupancy(tier, group).of(SlotState::Free) } else { 0 };
        self.at = At { tier, group, below, write, bring_back, spare_ns, free_slots, part_bytes: bytes };
    }

    /// What becomes of `block`; `None` if it can't go now.
    pub(super) fn decide(&mut self, view: &View<'_>, block: BlockId, odds: Option<f64>) -> Option<Decision> {
        let At { tier, group, below, .. } = self.at;
        if Self::has_clean_copy(view, tier, group, block) {
            return Some(Decision::Evict { block, tier, reason: Reason::CleanCopy });
        }
        let Some(below) = below else {
            return Some(Decision::Drop { block, tier, reason: Reason::NoTierBelow });
        };
        if Self::is_kept(view, tier, group, block, below) {
            return None;
        }
        // The next copy is on its way, and what waits for it can't go yet.
        if view.slot_of(block, group, below).is_some() && !view.is_in(block, group, below) {
            return None;
        }
        if let Some(reason) = self.refuse(view, block, odds, below) {
            return Some(Decision::Drop { block, tier, reason });
        }
        // A request waits for all that is written to make room on the device; what makes room in the host it mostly does not need.
        if below == TierId::Host {
            self.at.spare_ns -= real::from_nanos(self.at.write);
        }
        Some(Decision::Demote { block, tier, reason: Reason::Coldest })
    }

    /// Whether `block`, whose part takes `part_bytes` in the file, may be written there though nothing has to make room for it: what it
    /// has not earned, or the day's writes don't allow, is not written at a shutdown either.
    pub(super) fn may_write_out(
        &mut self,
        view: &View<'_>,
        block: BlockId,
        group: GroupId,
        part_bytes: Bytes,
    ) -> bool {
        self.look_at_writes(view, group);
        self.has_earned(view, block) && self.writes.has(part_bytes)
    }

    /// Counts what has been written. What the file holds at the first look, before anything was decided, an earlier process has left (WR2).
    fn look_at_writes(&mut self, view: &View<'_>, group: GroupId) {
        let was_left =
            || view.has(TierId::File) && view.occupancy(TierId::File, group).of(SlotState::Resident) > 0;
        if !self.has_looked && was_left() {
            self.writes.start_empty(view.now());
        }
        self.has_looked = true;
        self.writes.look(view.prospects().written, view.now());
    }

    /// Whether `block` may be written to the file by what it was asked for.
    fn has_earned(&self, view: &View<'_>, block: BlockId) -> bool {
        self.file_writes == FileWrites::All || view.block(block).uses >= EARNED_USES
    }

    /// Whether `block` lies farther than `tier` too, and may go from there.
    pub(super) fn has_clean_copy(view: &View<'_>, tier: TierId, group: GroupId, block: BlockId) -> bool {
        let copy = TierId::ALL[tier.index() + 1..].iter().find(|far| view.is_in(block, group, **far));
        copy.is_some_and(|copy| !Self::is_kept(view, tier, group, block, *copy))
    }

    /// Whether children keep `block` from going from `tier` if its next copy is `copy`. What has a copy nearer stays there, and its
    /// children rest on that.
    fn is_kept(view: &View<'_>, tier: TierId, group: GroupId, block: BlockId, copy: TierId) -> bool {
        let nearer = TierId::ALL[..tier.index()].iter().find(|near| view.is_in(block, group, **near));
        view.is_kept_by_nearer(block, group, tier, nearer.copied().unwrap_or(copy))
    }

    /// Why the block is not to be written to `below`.
    fn refuse(
        &mut self,
        view: &View<'_>,
        block: BlockId,
        odds: Option<f64>,
        below: TierId,
    ) -> Option<Reason> {
        let seen = view.block(block);
        let is_filed = below == TierId::File;
        if is_filed && !self.has_earned(view, block) {
            return Some(Reason::NotEarned);
        }
        if let (Some(odds), Some(costs)) = (odds, view.prospects().costs) {
            let tokens = u32::try_from(seen.tokens.len()).unwrap_or(u32::MAX);
            let spare_ns = self.at.spare_ns
                + f64::from(self.at.free_slots)
                    * BLOCKS_A_FREE_SLOT
                    * real::from_nanos(prices::compute_time(costs, 0, tokens));
            let victim = Victim {
                asked: if is_filed { odds } else { 1.0 },
                recompute: prices::compute_time(costs, seen.depth, tokens),
                // Loads from a file run beside compute, and take no time of the device's: what they take is the lane's.
                bring_back: if is_filed { Nanos::ZERO } else { self.at.bring_back },
                write: self.at.write.max(Nanos::new(1)),
                lane_waiting: f64::from(spare_ns < 0.0),
                can_write: true,
            };
            if judge(&victim).fate == Fate::Drop {
                return Some(Reason::NotWorthKeeping);
            }
        }
        let is_allowed = !is_filed || self.writes.promise(self.at.part_bytes);
        (!is_allowed).then_some(Reason::WriteBudget)
    }
}
