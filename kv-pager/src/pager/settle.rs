//! Taking in what has ended: parts become resident, slots become free, faults become misses.
//! Layer 9. Known by: `pager`.
//!
//! Moves end root to leaf, so what a poll brings is gone through twice: forwards to settle targets, so that a parent is there
//! before its child; backwards to give up sources and to enter the order, so that a child leaves before its parent and a
//! parent is warmer than its child.

use super::core::{Core, FIRST};
use crate::clock::Time;
use crate::event::BlockEvent;
use crate::ids::{BlockId, Fence, SlotId, TierId};
use crate::pool::SlotState;
use crate::tier::MoveFault;
use crate::transfer::{Ended, Flight, Outcome, Priority, Purpose};

impl Core {
    pub(super) fn take_in(&mut self, now: Time) {
        let mut ended = std::mem::take(&mut self.ended);
        self.engine.poll(now, &mut ended);
        for end in &ended {
            self.settle(end);
        }
        for end in ended.iter().rev() {
            self.give_up_source(end);
        }
        ended.clear();
        self.ended = ended;
    }

    /// The target's side of an end.
    fn settle(&mut self, end: &Ended) {
        let Ended { source: from, target: to, flight, outcome } = *end;
        let Flight { part, block, purpose, .. } = flight;
        match outcome {
            Outcome::Over => {
                self.pools.pool_mut(from, FIRST).end_move(part.source);
                self.pools.pool_mut(to, FIRST).end_move(part.target);
            }
            // Both ends stay counted as moving until the move is known to be over (I2).
            Outcome::Failed(MoveFault::TimedOut) => self.spoil(to, &flight, true),
            Outcome::Failed(_) => {
                self.pools.pool_mut(from, FIRST).end_move(part.source);
                self.spoil(to, &flight, false);
            }
            Outcome::Done => {
                self.pools.pool_mut(from, FIRST).end_move(part.source);
                if purpose == Purpose::CopyOnWrite {
                    self.pools.pool_mut(to, FIRST).end_move(part.target);
                } else if self.is_orphan(block, to) {
                    self.spoil(to, &flight, false);
                } else {
                    self.arrive(block, to, part.target, purpose);
                }
            }
        }
        if outcome == Outcome::Failed(MoveFault::Damaged) && block.is_some() {
            self.counters.damaged += 1;
            self.lose_copy(block, from);
        }
    }

    /// Whether a copy of `block` in `tier` must not stay (I6): the block was detached, a file would hold it without its parent, or
    /// its parent is farther and nobody is about to compute it.
    fn is_orphan(&self, block: BlockId, tier: TierId) -> bool {
        let parent = self.index.parent(block);
        if self.index.is_detached(block) || !parent.is_some() {
            return self.index.is_detached(block);
        }
        let is_planned = self.index.view(parent).references > 0;
        let is_farther = self.index.nearest(parent).is_none_or(|nearest| nearest > tier);
        is_farther && !is_planned
            || tier == TierId::File && !self.index.location(parent, FIRST, tier).is_some()
    }

    fn arrive(&mut self, block: BlockId, tier: TierId, slot: SlotId, purpose: Purpose) {
        let pool = self.pools.pool_mut(tier, FIRST);
        pool.end_move(slot);
        pool.settle(slot, block, Fence::OVER);
        self.announce_stored(block, tier);
        if let Purpose::Land { device } = purpose {
            if self.pools.pool(TierId::Device, FIRST).holds(device) > 0
                && self.engine.room(tier, TierId::Device) > 0
            {
                self.pools.pool_mut(tier, FIRST).begin_move(slot);
                self.enqueue(block, tier, TierId::Device, device, Purpose::Onboard, Priority::Demand);
            } else {
                self.fail_load(block, device);
            }
        }
    }

    /// The target of a move has nothing of worth. A late one is set aside, for it may still be written.
    fn spoil(&mut self, tier: TierId, flight: &Flight, is_late: bool) {
        let slot = flight.part.target;
        if flight.purpose == Purpose::CopyOnWrite {
            if is_late {
                self.pools.pool_mut(tier, FIRST).quarantine(slot);
            } else {
                self.spoiled.push(slot);
                self.pools.pool_mut(tier, FIRST).end_move(slot);
            }
            return;
        }
        if let Purpose::Land { device } = flight.purpose {
            self.fail_load(flight.block, device);
        } else if flight.purpose == Purpose::Onboard {
            self.counters.failed_loads += 1;
        }
        self.index.clear_location(flight.block, FIRST, tier);
        if let Some(persistence) = self.tiers[tier.index()].as_ref().and_then(|tier| tier.persistence()) {
            persistence.void(FIRST, slot);
        }
        let pool = self.pools.pool_mut(tier, FIRST);
        if is_late {
            pool.quarantine(slot);
        } else {
            pool.unreserve(slot);
            pool.end_move(slot);
        }
        if tier == TierId::File {
            self.drop_children(flight.block, tier);
        }
        self.prune(flight.block);
    }

    /// The source's side of an end.
    fn give_up_source(&mut self, end: &Ended) {
        let Ended { source: from, target: to, flight, .. } = *end;
        let Flight { part, block, purpose, .. } = flight;
        if purpose != Purpose::CopyOnWrite && self.sweep_detached(block) {
            return;
        }
        if purpose == Purpose::CopyOnWrite
            || !self.is_at(block, to, part.target) && !self.is_at(block, from, part.source)
        {
            return;
        }
        if self.is_at(block, to, part.target) {
            self.pools.pool_mut(to, FIRST).settle_idle(part.target);
        }
        // What could not go while it was moving.
        if self.is_at(block, from, part.source)
            && self.is_orphan(block, from)
            && self.is_unused(from, part.source)
        {
            self.remove_copy(block, from, part.source);
            self.prune(block);
            return;
        }
        let pool = self.pools.pool(from, FIRST);
        if self.is_at(block, from, part.source)
            && pool.state(part.source) == SlotState::Leaving
            && !pool.is_moving(part.source)
        {
            if to.index() > from.index() && self.whole(block, to).is_none() {
                self.call_back(block, from);
            } else {
                self.finish_leaving(block, from);
            }
        }
    }

    /// Whether `block` is, or is about to be, in this very slot.
    fn is_at(&self, block: BlockId, tier: TierId, slot: SlotId) -> bool {
        block.is_some()
            && self.pools.pool(tier, FIRST).block(slot) == block
            && self.index.location(block, FIRST, tier) == slot
    }

    /// Frees a leaving slot whose copy has arrived, and then those of its ancestors that waited for it. One with a child that is
    /// about to leave waits for that; one with a child that stays, stays.
    fn finish_leaving(&mut self, mut block: BlockId, tier: TierId) {
        while block.is_some() {
            let slot = self.index.location(block, FIRST, tier);
            let is_ready = slot.is_some() && {
                let pool = self.pools.pool(tier, FIRST);
                pool.state(slot) == SlotState::Leaving && !pool.is_moving(slot)
            };
            if !is_ready {
                return;
            }
            let has_copy =
                TierId::ALL[tier.index() + 1..].iter().any(|below| self.whole(block, *below).is_some());
            if !has_copy || !self.index.may_evict(block, tier) {
                if !self.has_leaving_child(block, tier) {
                    self.call_back(block, tier);
                }
                return;
            }
            let parent = self.index.parent(block);
            self.free_copy(block, tier, slot);
            block = parent;
        }
    }

    /// Whether a child of `block` is about to leave `tier`. `O(children)`.
    pub(super) fn has_leaving_child(&self, block: BlockId, tier: TierId) -> bool {
        let pool = self.pools.pool(tier, FIRST);
        self.index.children(block).any(|child| {
            let slot = self.index.location(child, FIRST, tier);
            slot.is_some() && pool.state(slot) == SlotState::Leaving
        })
    }

    /// A leaving part stays, for its copy failed; so do the ancestors that waited for it to go.
    fn call_back(&mut self, mut block: BlockId, tier: TierId) {
        while block.is_some() {
            let slot = self.index.location(block, FIRST, tier);
            if !slot.is_some() {
                return;
            }
            let pool = self.pools.pool_mut(tier, FIRST);
            if pool.state(slot) != SlotState::Leaving || pool.is_moving(slot) {
                return;
            }
            pool.stay(slot);
            block = self.index.parent(block);
        }
    }

    /// A copy is known to be bad. Its slot is never used again; what stands on it in a file goes too.
    fn lose_copy(&mut self, block: BlockId, tier: TierId) {
        let slot = self.index.location(block, FIRST, tier);
        if !slot.is_some() {
            return;
        }
        let pool = self.pools.pool_mut(tier, FIRST);
        if pool.is_moving(slot) || pool.holds(slot) > 0 {
            return;
        }
        self.forget_copy(block, tier, slot);
        self.pools.pool_mut(tier, FIRST).retire(slot);
        if tier == TierId::File {
            self.drop_children(block, tier);
        }
        self.finish_leaving(self.index.parent(block), tier);
        self.prune(block);
    }

    /// Removes the copies in `tier` of all descendants of `block` that nobody uses; what is in use goes when it ends. The record
    /// of `block` stays: pruning it is the caller's.
    pub(super) fn drop_children(&mut self, block: BlockId, tier: TierId) {
        self.index.add_reference(block);
        let mut stack: Vec<BlockId> = self.index.children(block).collect();
        let mut doomed = Vec::new();
        while let Some(child) = stack.pop() {
            if self.index.location(child, FIRST, tier).is_some() {
                doomed.push(child);
                stack.extend(self.index.children(child));
            }
        }
        for child in doomed.into_iter().rev() {
            let Some(slot) = self.whole(child, tier) else { continue };
            if self.is_unused(tier, slot) {
                self.remove_copy(child, tier, slot);
                self.prune(child);
            }
        }
        self.index.drop_reference(block);
    }

    fn is_unused(&self, tier: TierId, slot: SlotId) -> bool {
        let pool = self.pools.pool(tier, FIRST);
        pool.holds(slot) == 0 && !pool.is_moving(slot)
    }

    /// Forgets `block` if nothing keeps it, then its ancestors likewise. If its last copy went by a fault, its descendants are
    /// of no use, and go first.
    pub(super) fn prune(&mut self, block: BlockId) {
        let mut at = block;
        while at.is_some() {
            if self.index.has_location(at) || self.index.view(at).references > 0 {
                return;
            }
            if self.index.children(at).next().is_some() {
                self.detach_descendants(at);
            }
            match self.index.remove_unused(at) {
                Some(parent) => at = parent,
                None => return,
            }
        }
    }

    /// Takes all descendants of `block` out of the index: nobody could resume from them. Their slots are freed at once, or when
    /// the moves at them have ended.
    fn detach_descendants(&mut self, block: BlockId) {
        let mut stack: Vec<BlockId> = self.index.children(block).collect();
        let mut descendants = Vec::new();
        while let Some(child) = stack.pop() {
            descendants.push(child);
            stack.extend(self.index.children(child));
        }
        for child in descendants.into_iter().rev() {
            let hash = self.index.view(child).hash;
            for tier in TierId::ALL {
                if self.whole(child, tier).is_some() && !self.index.is_detached(child) {
                    self.events.push(BlockEvent::Removed { hash, tier });
                }
            }
            self.index.detach(child);
            self.free_detached(child);
        }
    }

    /// Forgets a block that was detached, as far as nobody uses it. Returns whether it was.
    pub(super) fn sweep_detached(&mut self, block: BlockId) -> bool {
        if !self.index.is_detached(block) {
            return false;
        }
        if let Some(parent) = self.free_detached(block) {
            self.prune(parent);
        }
        true
    }

    /// Frees the slots of a detached block that nobody uses, and its record when all are free. Returns its parent if it went.
    fn free_detached(&mut self, block: BlockId) -> Option<BlockId> {
        for tier in TierId::ALL {
            let Some(slot) = self.whole(block, tier) else { continue };
            if self.is_unused(tier, slot) {
                self.remove_copy(block, tier, slot);
            }
        }
        let parent = self.index.remove_unused(block)?;
        self.counters.drops += 1;
        Some(parent)
    }
}
