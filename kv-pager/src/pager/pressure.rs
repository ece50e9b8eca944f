//! Making room: the policy's decisions, as far as the invariants allow them.
//! Layer 9. Known by: `pager`.
//!
//! What has a copy farther away is freed at once. What has none is copied first: victims go down together, root to leaf, at
//! ascending slots, with those ancestors that are missing there (I6).

use super::core::{Core, FIRST};
use crate::clock::Time;
use crate::error::Error;
use crate::event::BlockEvent;
use crate::ids::{BlockId, SlotId, TierId};
use crate::policy::{Decision, Need, View};
use crate::pool::SlotState;
use crate::tier::BlockLabel;
use crate::transfer::{Priority, Purpose};

/// How many slots one call makes room for at most, so that the lock stays short.
const SLOTS_A_CALL: u32 = 512;

/// What became of an ancestor walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All ancestors are there, or were added to the batch.
    Whole,
    /// One is on its way; try again later.
    Later,
    /// One can't be copied from here at all.
    Never,
}

impl Core {
    pub(super) fn free_slots(&self, tier: TierId) -> u32 {
        self.pools.pool(tier, FIRST).counts().of(SlotState::Free)
    }

    fn leaving_slots(&self, tier: TierId) -> u32 {
        if self.engine.is_busy() { self.pools.pool(tier, FIRST).counts().of(SlotState::Leaving) } else { 0 }
    }

    /// Makes `slots` of `tier` free at once, if that can be.
    ///
    /// # Errors
    /// [`Error::TierBusy`] if it takes transfers that are under way now; [`Error::TierFull`] if none will help.
    pub(super) fn ensure_free(&mut self, tier: TierId, slots: u32, now: Time) -> Result<(), Error> {
        let mut before = u32::MAX;
        loop {
            let free = self.free_slots(tier);
            if free >= slots {
                return Ok(());
            }
            let missing = slots - free;
            if missing == before || missing <= self.leaving_slots(tier) {
                break;
            }
            before = missing;
            self.make_room(tier, missing - self.leaving_slots(tier), now);
        }
        self.engine.pump(now);
        if self.is_busy() {
            return Err(Error::TierBusy { tier });
        }
        Err(Error::TierFull { tier, capacity: self.pools.pool(tier, FIRST).capacity() })
    }

    /// Keeps the free slots of the device and the host between the watermarks.
    pub(super) fn balance(&mut self, now: Time) {
        for tier in [TierId::Device, TierId::Host] {
            if !self.pools.has(tier) {
                continue;
            }
            let (low, high) = self.config.watermarks.slots(self.pools.pool(tier, FIRST).capacity());
            let coming = self.free_slots(tier) + self.leaving_slots(tier);
            if coming < low {
                self.make_room(tier, high - coming, now);
            }
        }
    }

    /// Asks the policy for room, and does what it says as far as it may be done.
    fn make_room(&mut self, tier: TierId, slots: u32, now: Time) {
        let mut decisions = std::mem::take(&mut self.decisions);
        let mut victims = Vec::new();
        let need = Need { tier, group: FIRST, slots: slots.min(SLOTS_A_CALL) };
        let view = View::new(&self.pools, &self.index, self.demotable(), now);
        self.policy.make_room(&view, need, &mut decisions);
        for decision in decisions.drain(..) {
            match decision {
                Decision::Evict { block, tier, .. } => self.evict_clean(block, tier),
                Decision::Drop { block, tier, .. } => {
                    self.drop_copy(block, tier);
                }
                Decision::Demote { block, tier: from, .. } if from == tier => victims.push(block),
                Decision::Demote { .. } => {}
            }
        }
        self.decisions = decisions;
        if !victims.is_empty() {
            self.demote(tier, &mut victims, now);
        }
    }

    /// The slot of `block` in `tier`, if it may be given up: resident, not held, not moving.
    fn idle_slot(&self, block: BlockId, tier: TierId) -> Option<SlotId> {
        let slot = self.whole(block, tier)?;
        let pool = self.pools.pool(tier, FIRST);
        (pool.state(slot) == SlotState::Resident && pool.holds(slot) == 0 && !pool.is_moving(slot))
            .then_some(slot)
    }

    /// Frees the slot of a block that has a copy farther away. If a child is about to leave, it follows the child; if a child
    /// stays, it is warmer than it looked.
    fn evict_clean(&mut self, block: BlockId, tier: TierId) {
        let Some(slot) = self.idle_slot(block, tier) else { return };
        let mut farther = TierId::ALL[tier.index() + 1..].iter();
        if !farther.any(|below| self.whole(block, *below).is_some()) {
            return;
        }
        if self.index.may_evict(block, tier) {
            self.free_copy(block, tier, slot);
            return;
        }
        let follows = self.has_leaving_child(block, tier);
        let pool = self.pools.pool_mut(tier, FIRST);
        if follows {
            pool.leave(slot);
        } else {
            pool.touch(slot);
        }
    }

    /// Frees the slot of a block, whether it has another copy or not. Returns whether it could.
    fn drop_copy(&mut self, block: BlockId, tier: TierId) -> bool {
        let Some(slot) = self.idle_slot(block, tier) else { return false };
        if !self.index.may_evict(block, tier) {
            self.pools.pool_mut(tier, FIRST).touch(slot);
            return false;
        }
        self.free_copy(block, tier, slot);
        true
    }

    /// Frees a copy by eviction, and forgets the block if it was the last.
    pub(super) fn free_copy(&mut self, block: BlockId, tier: TierId, slot: SlotId) {
        self.counters.evictions[tier.index()] += 1;
        self.remove_copy(block, tier, slot);
        if !self.index.has_location(block) {
            self.counters.drops += 1;
        }
        self.prune(block);
    }

    /// Frees a copy, for whatever reason.
    pub(super) fn remove_copy(&mut self, block: BlockId, tier: TierId, slot: SlotId) {
        self.forget_copy(block, tier, slot);
        self.pools.pool_mut(tier, FIRST).free(slot);
    }

    /// Sees to it that a copy is not found again, here or after a restart.
    pub(super) fn forget_copy(&mut self, block: BlockId, tier: TierId, slot: SlotId) {
        if let Some(persistence) = self.tiers[tier.index()].as_ref().and_then(|tier| tier.persistence()) {
            persistence.void(FIRST, slot);
        }
        self.index.clear_location(block, FIRST, tier);
        // Of a detached block it was told when it was detached.
        if !self.index.is_detached(block) {
            let hash = self.index.view(block).hash;
            self.events.push(BlockEvent::Removed { hash, tier });
        }
    }

    /// Copies `victims`, coldest first, to the next tier, as many as it has room for.
    fn demote(&mut self, from: TierId, victims: &mut Vec<BlockId>, now: Time) {
        let Some(to) = from.farther().filter(|to| self.pools.has(*to)) else { return };
        victims.retain(|block| {
            self.idle_slot(*block, from).is_some() && !self.index.location(*block, FIRST, to).is_some()
        });
        victims.truncate(self.engine.room(from, to));
        let wanted = u32::try_from(victims.len()).expect("at most 512 and what a policy added");
        let free = match self.ensure_free(to, wanted, now) {
            Ok(()) => wanted,
            Err(_busy) => self.free_slots(to).min(wanted),
        };
        victims.truncate(free as usize);
        let mut batch = self.with_ancestors(from, to, victims);
        // Ancestors come first, so a shorter batch is still whole.
        let available =
            self.free_slots(to).min(u32::try_from(self.engine.room(from, to)).unwrap_or(u32::MAX));
        batch.truncate(available as usize);
        let mut slots = Vec::with_capacity(batch.len());
        let count = u32::try_from(batch.len()).expect("no more than free slots");
        let is_taken = self.pools.pool_mut(to, FIRST).take(count, |slot| slots.push(slot));
        assert!(is_taken, "{count} slots of tier {to} were free, and could not be taken");
        for ((block, purpose), target) in batch.into_iter().zip(slots) {
            let source = self.index.location(block, FIRST, from);
            let pool = self.pools.pool_mut(from, FIRST);
            if purpose == Purpose::Demote {
                pool.leave(source);
            }
            pool.begin_move(source);
            let pool = self.pools.pool_mut(to, FIRST);
            pool.reserve(target, block);
            pool.begin_move(target);
            self.index.set_location(block, FIRST, to, target);
            self.label(block, to, target);
            self.enqueue(block, from, to, target, purpose, Priority::Offload);
        }
    }

    /// The victims, root to leaf, each after those of its ancestors that are not in `to`. A victim whose ancestors can't come
    /// along is dropped, or waits.
    fn with_ancestors(&mut self, from: TierId, to: TierId, victims: &[BlockId]) -> Vec<(BlockId, Purpose)> {
        let mut batch: Vec<(BlockId, Purpose)> = Vec::with_capacity(victims.len());
        let mut missing = Vec::new();
        for victim in victims.iter().rev() {
            match self.missing_ancestors(*victim, from, to, &batch, victims, &mut missing) {
                Reach::Whole => {
                    let replicas = missing.drain(..).rev().map(|block| (block, Purpose::Replicate));
                    batch.extend(replicas);
                    if let Some(copied) = batch.iter_mut().find(|(block, _)| block == victim) {
                        copied.1 = Purpose::Demote;
                    } else {
                        batch.push((*victim, Purpose::Demote));
                    }
                }
                Reach::Later => {}
                Reach::Never => {
                    self.drop_copy(*victim, from);
                }
            }
        }
        batch
    }

    /// Collects the ancestors of `block`, nearest first, that are neither in `to` nor in `batch`.
    fn missing_ancestors(
        &self,
        block: BlockId,
        from: TierId,
        to: TierId,
        batch: &[(BlockId, Purpose)],
        victims: &[BlockId],
        missing: &mut Vec<BlockId>,
    ) -> Reach {
        missing.clear();
        let mut ancestor = self.index.parent(block);
        while ancestor.is_some() && !self.index.location(ancestor, FIRST, to).is_some() {
            // In a chain the ancestor is the victim just before, so the search from the end is short.
            if batch.iter().rev().any(|(added, _)| *added == ancestor) {
                break;
            }
            match self.whole(ancestor, from) {
                Some(_) => missing.push(ancestor),
                None if self.index.location(ancestor, FIRST, from).is_some() => return Reach::Later,
                None => return Reach::Never,
            }
            ancestor = self.index.parent(ancestor);
        }
        if missing.len() + batch.len() > victims.len() + SLOTS_A_CALL as usize {
            Reach::Later
        } else {
            Reach::Whole
        }
    }

    /// Tells a tier that outlives the process what comes into `slot`.
    fn label(&self, block: BlockId, tier: TierId, slot: SlotId) {
        if let Some(persistence) = self.tiers[tier.index()].as_ref().and_then(|tier| tier.persistence()) {
            let view = self.index.view(block);
            let label = BlockLabel {
                hash: view.hash,
                parent: view.parent.is_some().then(|| self.index.view(view.parent).hash),
                salt: view.salt,
                depth: view.depth,
                tokens: view.tokens,
                extra_keys: view.extra_keys,
                uses: view.uses,
            };
            persistence.label(FIRST, slot, &label);
        }
    }
}
