//! Promotion: hot blocks come from the file to host memory while the lanes between them stand idle.
//! Layer 9. Uses `ids`, `config`, `policy`, `transfer`. Known by: `pager`.
//!
//! - **PM1** a promotion starts only while nothing waits for either lane or is under way on it, and no request waits for a load or for
//!   room; it moves at most [`CHUNKS_MAX`] of the lane's chunks, so that what a request
//!   wants next waits for no more than that;
//! - **PM2** it takes only slots that are free beyond the high watermark, and those of blocks that the file has too and that the policy
//!   names, just before the block that may come in their place: nothing is written for it, and what is held, or moves, stays (I2);
//! - **PM3** a block comes only where its parent is, or is about to be (I6), and within its tenant's quota (W1);
//! - **PM4** a request that wants a block on its way shares the move: it waits for the slot that the block has in host memory already.
//!
//! Which blocks are hot, and which may go for them, is the policy's to say (`Policy::promote`).

use super::core::Core;
use super::loads::Way;
use crate::clock::Time;
use crate::config::Promotion;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::policy::{Decision, Idle, View};
use crate::prefix::PrefixIndex;
use crate::tier::LaneEnds;
use crate::transfer::{Flight, Priority, Purpose};
use crate::units::Bytes;

/// The way that blocks take.
const WAY: LaneEnds = LaneEnds { source: TierId::File, target: TierId::Host };

/// How many chunks that saturate the lane one promotion may move: 16 MiB on most drives, some ten milliseconds.
const CHUNKS_MAX: u64 = 4;

impl Core {
    /// Starts to bring what the policy says is hot, if nobody else wants the lane (PM1).
    pub(super) fn promote(&mut self, now: Time) {
        if self.config.promotion == Promotion::Never || !self.stands_idle() {
            return;
        }
        let Some(bytes) = self.promoted_at_once() else { return };
        for group in self.groups() {
            let part = self.model.part_bytes(group);
            let most = u32::try_from(bytes.div_down(part)).unwrap_or(u32::MAX);
            self.promote_class(group, most.clamp(1, self.config.limits.batch_moves), now);
        }
    }

    /// Whether nobody wants the lanes between the file and the host, or may soon.
    pub(super) fn stands_idle(&self) -> bool {
        let LaneEnds { source, target } = WAY;
        let is_there = |tier: TierId| self.pools.has(tier) && !self.lost[tier.index()];
        let waits_for_room = || self.vain_moves.iter().flatten().any(Option::is_some);
        self.pending.is_empty()
            && is_there(source)
            && is_there(target)
            && self.engine.has_lane(source, target)
            && self.engine.is_idle(source, target)
            && self.engine.is_idle(target, source)
            && !waits_for_room()
    }

    /// How many bytes may be under way for it; `None` while the lane has not been measured.
    fn promoted_at_once(&self) -> Option<Bytes> {
        let lane = self.costs.prospects().costs?.lane(WAY)?;
        Some(Bytes::new(lane.chunk_bytes().as_u64().saturating_mul(CHUNKS_MAX)))
    }

    fn promote_class(&mut self, group: GroupId, most: u32, now: Time) {
        let tier = WAY.target;
        let (_, high) = self.config.watermarks.slots(self.pools.pool(tier, group).capacity());
        let mut room = self.free_for_copies(tier, group).saturating_sub(high);
        let mut decisions = std::mem::take(&mut self.decisions);
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), now);
        self.policy.promote(&view, &Idle { ends: WAY, group, free: room, most }, &mut decisions);
        let (mut started, mut victim) = (0, None);
        for decision in decisions.drain(..) {
            match decision {
                Decision::Evict { block, .. } if !self.is_passed_over(block, group, tier) => {
                    victim = Some(block);
                }
                Decision::Promote { block, .. } if started < most && self.may_come(block, group) => {
                    if let Some(victim) = victim.take_if(|_| room == 0) {
                        let before = self.free_slots(tier, group);
                        self.evict_clean(victim, group, tier);
                        room += self.free_slots(tier, group) - before;
                    }
                    let is_started = room > 0 && self.start_promotion(block, group);
                    room -= u32::from(is_started);
                    started += u32::from(is_started);
                }
                // Nothing is written, and nothing lost, for what nobody has asked for (PM2).
                _ => {}
            }
        }
        self.decisions = decisions;
    }

    /// Whether a part may be copied to the host (PM3).
    fn may_come(&self, block: BlockId, group: GroupId) -> bool {
        let LaneEnds { source: from, target: to } = WAY;
        self.whole(block, group, from).is_some()
            && !self.index.location(block, group, to).is_some()
            && !self.index.is_detached(block)
            && self.has_near_parent(block, group)
            && self.is_within_quota(block, group)
            && self.engine.room(from, to) > 0
    }

    /// Starts to copy a part that may come to the host. False if there is no slot for it, or room was made by what it stands on.
    fn start_promotion(&mut self, block: BlockId, group: GroupId) -> bool {
        let LaneEnds { source: from, target: to } = WAY;
        let Some(source) = self.whole(block, group, from).filter(|_| self.may_come(block, group)) else {
            return false;
        };
        let mut target = SlotId::NONE;
        let pool = self.pools.pool_mut(to, group);
        if !pool.take(1, |slot| target = slot) {
            return false;
        }
        pool.reserve(target, block);
        pool.begin_move(target);
        self.pools.pool_mut(from, group).begin_move(source);
        self.index.set_location(block, group, to, target);
        self.enqueue(Way { block, group, from, to, target }, Purpose::Promote, Priority::Prefetch);
        true
    }

    /// Whether the parent of `block`, if its group needs that, lies nearer than the file or is about to.
    fn has_near_parent(&self, block: BlockId, group: GroupId) -> bool {
        let parent = self.index.parent(block);
        let near = [TierId::Device, TierId::Host];
        let is_near = |tier: &TierId| self.index.location(parent, group, *tier).is_some();
        !parent.is_some() || !self.model.is_full(group) || near.iter().any(is_near)
    }

    /// Whether the tenant of `block` may have one slot more in the host.
    fn is_within_quota(&self, block: BlockId, group: GroupId) -> bool {
        let (tenants, class) = (self.index.tenants(), PrefixIndex::class(group, WAY.target));
        let tenant = self.index.tenant(block);
        !tenants.is_any_over(class) && tenants.slots(tenant, class) < tenants.quota(tenant, class)
    }

    /// Counts a part that has come by promotion.
    pub(super) fn count_promoted(&mut self, flight: &Flight) {
        if flight.purpose == Purpose::Promote {
            self.counters.promoted.parts += 1;
            self.counters.promoted.bytes += self.model.part_bytes(flight.part.group);
        }
    }
}
