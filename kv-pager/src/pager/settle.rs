//! Taking in what has ended: parts become resident, slots become free, faults become misses.
//! Layer 9. Known by: `pager`.
//!
//! Moves end root to leaf, so what a poll brings is gone through twice: forwards to settle targets, so that a parent is there
//! before its child; backwards to give up sources and to enter the order, so that a child leaves before its parent and a
//! parent is warmer than its child.

use super::core::Core;
use super::deliveries::Delivery;
use super::loads::Way;
use crate::clock::Time;
use crate::ids::{BlockId, Fence, GroupId, SlotId, TierId};
use crate::pool::SlotState;
use crate::tier::{LaneEnds, MoveFault};
use crate::transfer::{Ended, Flight, Outcome, Purpose};

impl Core {
    /// Takes in what has ended, as far as this hold of the lock goes. Returns whether that was all.
    pub(super) fn take_in(&mut self, now: Time) -> bool {
        let mut ended = std::mem::take(&mut self.ended);
        let is_all = self.engine.poll(now, self.left as usize, &mut ended);
        self.handle(ended.len());
        self.costs.learn(&mut self.engine);
        self.moves_ended += ended.len() as u64;
        let deadline_ns = self.config.limits.move_deadline.as_u64();
        for end in ended.iter().filter(|end| end.outcome == Outcome::Done) {
            self.moves_done += 1;
            let asked = Time::from_ns(end.flight.deadline.as_ns().saturating_sub(deadline_ns));
            self.spans.record_move(LaneEnds { source: end.source, target: end.target }, now.since(asked));
        }
        for end in &ended {
            self.settle(end);
        }
        for end in ended.iter().rev() {
            self.give_up_source(end);
        }
        ended.clear();
        self.ended = ended;
        is_all
    }

    /// The target's side of an end.
    fn settle(&mut self, end: &Ended) {
        let Ended { source: from, target: to, flight, outcome } = *end;
        let Flight { part, block, purpose, .. } = flight;
        let group = part.group;
        match outcome {
            Outcome::Over => {
                self.pools.pool_mut(from, group).end_move(part.source);
                self.pools.pool_mut(to, group).end_move(part.target);
            }
            // Both ends stay counted as moving until the move is known to be over (I2).
            Outcome::Failed(fault) if fault.may_go_on() => self.spoil(to, &flight, true),
            Outcome::Failed(_) => {
                self.pools.pool_mut(from, group).end_move(part.source);
                self.spoil(to, &flight, false);
            }
            Outcome::Done => {
                self.pools.pool_mut(from, group).end_move(part.source);
                if purpose.is_nameless() {
                    self.pools.pool_mut(to, group).end_move(part.target);
                } else if self.is_orphan(block, group, to) && !self.may_fly_on(&flight) {
                    self.spoil(to, &flight, false);
                } else {
                    self.count_promoted(&flight);
                    self.arrive(to, &flight);
                }
            }
        }
        if outcome == Outcome::Failed(MoveFault::Damaged) && block.is_some() {
            self.counters.damaged += 1;
            self.lose_copy(block, group, from);
        }
        // What an engine owns it may try again.
        if outcome == Outcome::Failed(MoveFault::Unwritable) && to != TierId::Device {
            self.retire_target(group, to, part.target);
        }
    }

    /// Whether a copy of `block` in `tier` must not stay (I6): the block was detached, a file would hold it without its parent, or
    /// its parent is farther and nobody is about to compute it.
    fn is_orphan(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        let parent = self.index.parent(block);
        if self.index.is_detached(block) {
            return true;
        }
        // What an engine asks into its own slots it can place.
        let is_engines = tier == TierId::Device && self.is_engines();
        if !parent.is_some() || is_engines || self.model.anchor() != Some(group) {
            return false;
        }
        let is_planned = self.index.view(parent).references > 0;
        let is_farther = self.index.nearest(parent).is_none_or(|nearest| nearest > tier);
        is_farther && !is_planned
            || tier == TierId::File && !self.index.location(parent, group, tier).is_some()
    }

    /// Whether what has landed goes on into an engine's slot, though it can't stay where it has landed: the engine may have the
    /// blocks before it. Its copy there goes when the move that reads it has ended.
    fn may_fly_on(&self, flight: &Flight) -> bool {
        self.is_engines()
            && matches!(flight.purpose, Purpose::Land { .. })
            && !self.index.is_detached(flight.block)
    }

    fn arrive(&mut self, tier: TierId, flight: &Flight) {
        let Flight { part, block, purpose, .. } = *flight;
        if tier == TierId::Device && self.is_engines() {
            self.device(part.group).end_move(part.target);
            self.hand_back(block, part.target, Delivery::Done);
            return;
        }
        let pool = self.pools.pool_mut(tier, part.group);
        pool.end_move(part.target);
        pool.settle(part.target, block, Fence::OVER);
        self.announce_stored(block, part.group, tier);
        if let Purpose::Land { device } = purpose {
            if self.device(part.group).holds(device) > 0 && self.engine.room(tier, TierId::Device) > 0 {
                self.pools.pool_mut(tier, part.group).begin_move(part.target);
                let way = Way { block, group: part.group, from: tier, to: TierId::Device, target: device };
                self.enqueue(way, Purpose::Onboard, flight.priority);
            } else {
                self.fail_load(block, part.group, device);
                self.sweep_source(block, part.group, tier, part.target);
            }
        }
    }

    /// The target of a move has nothing of worth. A late one is set aside, for it may still be written.
    fn spoil(&mut self, tier: TierId, flight: &Flight, is_late: bool) {
        let slot = flight.part.target;
        let group = flight.part.group;
        self.keepers.note_failure();
        if flight.purpose.is_nameless() {
            if is_late {
                self.pools.pool_mut(tier, group).quarantine(slot);
            } else {
                if self.pools.pool(tier, group).holds(slot) > 0 {
                    self.spoiled.push((group, slot));
                }
                self.pools.pool_mut(tier, group).end_move(slot);
            }
            return;
        }
        if let Purpose::Land { device } = flight.purpose {
            self.fail_load(flight.block, group, device);
        } else if flight.purpose == Purpose::Onboard {
            self.counters.failed_loads += 1;
        }
        if tier == TierId::Device && self.is_engines() {
            if is_late {
                self.device(group).quarantine(slot);
            } else {
                self.device(group).end_move(slot);
            }
            let outcome = if is_late { Delivery::Lost } else { Delivery::Failed };
            self.hand_back(flight.block, slot, outcome);
            return;
        }
        self.index.clear_location(flight.block, group, tier);
        self.void(group, tier, slot);
        let pool = self.pools.pool_mut(tier, group);
        if is_late {
            pool.quarantine(slot);
        } else {
            pool.unreserve(slot);
            pool.end_move(slot);
        }
        if tier == TierId::File {
            self.drop_children(flight.block, tier);
        }
        self.drop_strays(flight.block);
        self.prune(flight.block);
    }

    /// The source's side of an end.
    fn give_up_source(&mut self, end: &Ended) {
        let Ended { source: from, target: to, flight, outcome } = *end;
        let Flight { part, block, purpose, .. } = flight;
        let group = part.group;
        if purpose == Purpose::CopyOnWrite {
            // The slot that was copied may be an erased block's, kept for the copy alone.
            let copied = self.pools.pool(from, group).block(part.source);
            self.sweep_detached(copied);
            return;
        }
        if from == TierId::Device && self.is_engines() {
            self.end_offload(end);
            return;
        }
        if purpose == Purpose::Demote && outcome != Outcome::Over {
            self.note_demotion(from, outcome == Outcome::Done);
        }
        if matches!(purpose, Purpose::Demote | Purpose::Replicate) {
            let waited_for =
                self.vain_moves[..=from.index()].iter_mut().filter_map(|tier| tier[group.index()].as_mut());
            waited_for.for_each(|moves| *moves += 1);
        }
        let is_leaving = self.is_at(block, group, from, part.source)
            && self.pools.pool(from, group).state(part.source) == SlotState::Leaving;
        if is_leaving && matches!(outcome, Outcome::Failed(fault) if fault.may_go_on()) {
            // It can't go while it may be read, and nobody knows how long that is.
            self.pools.pool_mut(from, group).stay(part.source);
            self.call_back(self.index.parent(block), group, from);
        }
        if self.sweep_detached(block) {
            return;
        }
        if self.is_at(block, group, to, part.target) {
            self.pools.pool_mut(to, group).settle_idle(part.target);
        }
        if self.sweep_source(block, group, from, part.source) || !is_leaving {
            return;
        }
        if self.is_at(block, group, from, part.source) && !self.pools.pool(from, group).is_moving(part.source)
        {
            self.finish_leaving(block, group, from);
        }
    }

    /// An engine's slot has been copied out, or has not.
    fn end_offload(&mut self, end: &Ended) {
        let Flight { part, block, .. } = end.flight;
        let has_arrived = self.is_at(block, part.group, end.target, part.target);
        let delivery = match end.outcome {
            Outcome::Done if has_arrived => Delivery::Done,
            Outcome::Failed(fault) if fault.may_go_on() => Delivery::Lost,
            Outcome::Done | Outcome::Failed(_) => Delivery::Failed,
            Outcome::Over => return,
        };
        if has_arrived {
            self.pools.pool_mut(end.target, part.group).settle_idle(part.target);
        }
        self.hand_back(block, part.source, delivery);
        self.prune(block);
    }

    /// Frees a source that could not go while it was being read. Returns whether it went.
    pub(super) fn sweep_source(
        &mut self,
        block: BlockId,
        group: GroupId,
        tier: TierId,
        slot: SlotId,
    ) -> bool {
        let must_go = self.is_at(block, group, tier, slot)
            && self.whole(block, group, tier).is_some()
            && self.is_orphan(block, group, tier)
            && self.is_unused(group, tier, slot);
        if must_go {
            self.remove_copy(block, group, tier, slot);
            if tier == TierId::File {
                self.drop_children(block, tier);
            }
            self.drop_strays(block);
            self.prune(block);
        }
        must_go
    }

    /// A load that kept `slot` does not read it after all.
    pub(super) fn let_go_source(&mut self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        self.pools.pool_mut(tier, group).end_move(slot);
        if !self.sweep_detached(block) {
            self.sweep_source(block, group, tier, slot);
        }
    }

    /// Whether `block`'s part is, or is about to be, in this very slot.
    fn is_at(&self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) -> bool {
        block.is_some()
            && self.pools.pool(tier, group).block(slot) == block
            && self.index.location(block, group, tier) == slot
    }

    /// Frees a leaving slot whose copy has arrived, and then those of its ancestors that waited for it. One with a child that is
    /// about to leave waits for that; one with a child that stays, or without a copy, stays.
    pub(super) fn finish_leaving(&mut self, mut block: BlockId, group: GroupId, tier: TierId) {
        while block.is_some() {
            if !self.pools.has(tier) {
                return;
            }
            let slot = self.index.location(block, group, tier);
            let is_ready = slot.is_some() && {
                let pool = self.pools.pool(tier, group);
                pool.state(slot) == SlotState::Leaving && !pool.is_moving(slot)
            };
            if !is_ready {
                return;
            }
            let has_copy = self.has_farther(block, group, tier);
            if !has_copy || !self.index.may_evict(block, group, tier) {
                if !has_copy || !self.has_leaving_child(block, group, tier) {
                    self.call_back(block, group, tier);
                }
                return;
            }
            let parent = self.index.parent(block);
            self.free_copy(block, group, tier, slot);
            block = parent;
        }
    }

    /// Whether a child of `block` is about to leave `tier`. `O(children)`.
    pub(super) fn has_leaving_child(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        let pool = self.pools.pool(tier, group);
        self.index.children(block).any(|child| {
            let slot = self.index.location(child, group, tier);
            slot.is_some() && pool.state(slot) == SlotState::Leaving
        })
    }

    /// A leaving part stays, for its copy failed; so do the ancestors that waited for it to go.
    fn call_back(&mut self, mut block: BlockId, group: GroupId, tier: TierId) {
        while block.is_some() {
            let slot = self.index.location(block, group, tier);
            if !slot.is_some() {
                return;
            }
            let pool = self.pools.pool_mut(tier, group);
            if pool.state(slot) != SlotState::Leaving || pool.is_moving(slot) {
                return;
            }
            pool.stay(slot);
            block = self.index.parent(block);
        }
    }
}
