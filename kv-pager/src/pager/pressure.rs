//! Making room: the policy's decisions, as far as the invariants allow them.
//! Layer 9. Known by: `pager`.
//!
//! What has a copy farther away is freed at once. What has none is copied first, in [`demote`](super::demote). Where none of that helps,
//! or only for ever, there is the [last resort](super::last_resort).

use super::core::Core;
use super::tenants::{Chooser, QuotaLook};
use crate::clock::Time;
use crate::error::Error;
use crate::event::BlockEvent;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::policy::{Decision, Need, View};
use crate::pool::SlotState;

/// How many rounds a call goes on that only warm, while moves are under way: what was warmed is not looked at again by the next.
const FRUITLESS_ROUNDS: u32 = 4;

/// How many copies that ended while somebody waited a slot that becomes free makes good: a chain goes down by a few copies a slot. Where
/// each takes a turn round the whole file, waiting that long for one slot after the other is in vain too.
const MOVES_A_SLOT: u32 = 16;

/// How far a call has come with looking for room in a class: in as many holds of the lock as it takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Search {
    /// What the count of what was freed or started was when a look found no room.
    vain: Option<u64>,
    rounds: u32,
    /// Rounds in a row that only warmed.
    fruitless: u32,
    /// Whether it has come to the last resort, and how many slots that has passed over.
    is_last: bool,
    pub(super) passed: u32,
    /// How many slots nearer than what is left of a block have been looked at without finding any that could go.
    pub(super) thinned: u32,
    pub(super) by_quota: QuotaLook,
}

impl Core {
    pub(super) fn free_slots(&self, tier: TierId, group: GroupId) -> u32 {
        self.pools.pool(tier, group).counts().of(SlotState::Free)
    }

    pub(super) fn leaving_slots(&self, tier: TierId, group: GroupId) -> u32 {
        if self.engine.is_busy() { self.pools.pool(tier, group).counts().of(SlotState::Leaving) } else { 0 }
    }

    /// Makes `slots` slots of a class free at once, if that can be.
    ///
    /// # Errors
    /// [`Error::TierBusy`] if it takes transfers that are under way now, or the next hold of the lock, which [`Core::goes_on`] tells;
    /// [`Error::TierFull`] if none will help.
    pub(super) fn ensure_free(
        &mut self,
        tier: TierId,
        group: GroupId,
        slots: u32,
        now: Time,
    ) -> Result<(), Error> {
        if self.free_slots(tier, group) >= slots && !self.has_searched {
            self.vain_moves[tier.index()][group.index()] = None;
            return Ok(());
        }
        let before = std::mem::replace(&mut self.room_slots, slots);
        let is_free = self.free_up(tier, group, slots, now);
        self.room_slots = before;
        is_free
    }

    fn free_up(&mut self, tier: TierId, group: GroupId, slots: u32, now: Time) -> Result<(), Error> {
        // Each round frees, starts or warms something, and there is only so much of that in a tier. Where it only warmed, looking
        // again in the same call is in vain.
        let rounds = 64 + self.pools.pool(tier, group).capacity() / 64;
        let room_made = self.room_made;
        let is_in_vain = self.search(tier, group).vain == Some(room_made);
        loop {
            let free = self.free_slots(tier, group);
            let leaving = self.leaving_slots(tier, group);
            if free >= slots {
                self.vain_moves[tier.index()][group.index()] = None;
                *self.search(tier, group) = Search::default();
                return Ok(());
            }
            if free + leaving >= slots || is_in_vain || self.search(tier, group).rounds >= rounds {
                break;
            }
            let need = self.need(tier, group, slots - free - leaving);
            if need.slots == 0 {
                self.goes_on = true;
                return Err(Error::TierBusy { tier });
            }
            let (before, passes) = (self.changes, self.passes_spent);
            if !self.make_room(need, now) {
                return Err(Error::TierBusy { tier });
            }
            let has_more = self.free_slots(tier, group) + self.leaving_slots(tier, group) > free + leaving;
            // To pass over a block is not in vain: that is spent then.
            let is_counted = self.passes_spent == passes;
            let search = self.search(tier, group);
            search.rounds += u32::from(is_counted);
            search.fruitless = if has_more { 0 } else { search.fruitless + u32::from(is_counted) };
            let is_fruitless = search.fruitless >= FRUITLESS_ROUNDS;
            let is_stuck = self.changes == before || is_fruitless && self.is_busy();
            if self.goes_on && !is_fruitless {
                return Err(Error::TierBusy { tier });
            }
            self.goes_on = false;
            if is_stuck && !self.prefetches_give_way(tier, group, slots - free) {
                break;
            }
        }
        if self.room_made == room_made
            && self.free_slots(tier, group) + self.leaving_slots(tier, group) < slots
        {
            self.search(tier, group).vain = Some(room_made);
        }
        self.engine.pump(now);
        self.vain_moves[tier.index()][group.index()].get_or_insert(0);
        if self.is_busy() && !self.waits_in_vain(tier, group) {
            return Err(Error::TierBusy { tier });
        }
        if !self.is_fresh() && !std::mem::replace(&mut self.search(tier, group).is_last, true) {
            // In a hold of its own, where nothing else is looked for any more.
            self.search(tier, group).vain = Some(self.room_made);
            self.goes_on = true;
            return Err(Error::TierBusy { tier });
        }
        self.drop_coldest(tier, group, slots);
        if self.goes_on && self.free_slots(tier, group) < slots {
            return Err(Error::TierBusy { tier });
        }
        let free = self.free_slots(tier, group);
        if free < slots && !self.is_busy() && self.holds_give_way(tier, group, slots - free) && !self.goes_on
        {
            self.search(tier, group).passed = 0;
            self.drop_coldest(tier, group, slots);
        }
        if self.free_slots(tier, group) >= slots {
            return Ok(());
        }
        if self.is_busy() {
            return Err(Error::TierBusy { tier });
        }
        Err(Error::TierFull { tier, capacity: self.pools.pool(tier, group).capacity() })
    }

    pub(super) fn search(&mut self, tier: TierId, group: GroupId) -> &mut Search {
        self.has_searched = true;
        &mut self.searches[tier.index()][group.index()]
    }

    /// What is asked of the policy: no more than half of what this hold has left, for a child or an ancestor of each may be looked at.
    pub(super) fn need(&self, tier: TierId, group: GroupId, slots: u32) -> Need {
        let demotions = tier.farther().map_or(0, |below| self.offload_room(tier, below));
        let demotions = u32::try_from(demotions).unwrap_or(u32::MAX);
        Need { tier, group, slots: slots.min(self.left.div_ceil(2)), demotions }
    }

    /// Asks the policy for room, and does what it says as far as it may be done. False if it is to be asked in the next hold, which
    /// [`Core::goes_on`] tells.
    pub(super) fn make_room(&mut self, need: Need, now: Time) -> bool {
        let mut decisions = std::mem::take(&mut self.decisions);
        let Need { tier, group, .. } = need;
        let mut victims = std::mem::take(&mut self.victims[tier.index()]);
        self.note_queues();
        let is_asked = match self.choose_by_quota(need, &mut decisions) {
            Chooser::Quota => true,
            Chooser::Policy => {
                let is_asked = self.ask_policy(need, &mut decisions, now);
                self.handle(decisions.len());
                is_asked
            }
            Chooser::NextHold => {
                self.goes_on = true;
                false
            }
        };
        self.named[tier.index()][group.index()] = decisions.len();
        for decision in decisions.drain(..) {
            if self.is_passed_over(decision.block(), group, tier) {
                continue;
            }
            match decision {
                Decision::Evict { block, .. } => self.evict_clean(block, group, tier),
                Decision::Drop { block, .. } => {
                    self.drop_copy(block, group, tier);
                }
                Decision::Demote { block, .. } => {
                    // What is before it is named with it, long before it has been copied.
                    if self.idle_slot(block, group, tier).is_some() {
                        self.pass_no_more(self.passed_with(block));
                    }
                    victims.push(block);
                }
                // Nothing comes where room is short.
                Decision::Promote { .. } => {}
            }
        }
        self.decisions = decisions;
        if !victims.is_empty() {
            self.demote(group, tier, &mut victims, now);
        }
        victims.clear();
        self.victims[tier.index()] = victims;
        is_asked
    }

    /// Whether eviction passes over a victim, which is warm again then.
    pub(super) fn is_passed_over(&mut self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        let is_passed_over = self.passes_over(block);
        if is_passed_over {
            let slot = self.index.location(block, group, tier);
            if slot.is_some() {
                self.pools.pool_mut(tier, group).touch(slot);
            }
            let view =
                View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), self.now);
            self.policy.pass_over(&view, block, tier, group);
            self.changes += 1;
            self.passes_spent += 1;
        }
        is_passed_over
    }

    /// Lets the policy choose, told of all that has changed. False if that takes all that this hold may handle: it chooses in the next.
    fn ask_policy(&mut self, need: Need, decisions: &mut Vec<Decision>, now: Time) -> bool {
        loop {
            // It looks once more at what it has named.
            let named = std::mem::take(&mut self.named[need.tier.index()][need.group.index()]);
            let told = self.tell_changes(need.tier, need.group);
            self.handle(if self.follows { named } else { 0 });
            if self.left == 0 {
                self.goes_on = true;
                return false;
            }
            let need = Need { slots: need.slots.min(self.left.div_ceil(2)), ..need };
            let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), now);
            self.policy.make_room(&view, need, decisions);
            // It may not have been told of what may go now.
            if !decisions.is_empty() || told == 0 {
                return true;
            }
        }
    }

    /// The slot of `block`'s part in `tier`, if it may be given up: resident, not held, not moving.
    pub(super) fn idle_slot(&self, block: BlockId, group: GroupId, tier: TierId) -> Option<SlotId> {
        if !self.pools.has(tier) || self.lost[tier.index()] {
            return None;
        }
        let slot = self.index.location(block, group, tier);
        (slot.is_some() && self.pools.pool(tier, group).is_idle(slot, block)).then_some(slot)
    }

    /// Frees the slot of a part that has a copy farther away. If a child is about to leave, it follows the child; if a child
    /// stays, it is warmer than it looked.
    pub(super) fn evict_clean(&mut self, block: BlockId, group: GroupId, tier: TierId) {
        let Some(slot) = self.idle_slot(block, group, tier) else { return };
        if !self.has_farther(block, group, tier) {
            return;
        }
        if self.index.may_evict(block, group, tier) {
            self.free_copy(block, group, tier, slot);
            return;
        }
        self.handle(1);
        let follows = self.has_leaving_child(block, group, tier);
        self.changes += 1;
        let pool = self.pools.pool_mut(tier, group);
        if follows {
            pool.leave(slot);
        } else {
            pool.touch(slot);
        }
    }

    /// Frees the slot of a part, whether there is another copy or not. Returns whether it could.
    pub(super) fn drop_copy(&mut self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        let Some(slot) = self.idle_slot(block, group, tier) else { return false };
        if self.drop_last(block, tier, slot) {
            return true;
        }
        if self.index.may_evict(block, group, tier) {
            self.free_copy(block, group, tier, slot);
            return true;
        }
        let is_last = self.index.nearest_except(block, tier).is_none();
        if is_last && self.is_last_leaf(block, group, tier) {
            self.drop_above(block, group, tier, slot);
            return true;
        }
        self.changes += 1;
        self.pools.pool_mut(tier, group).touch(slot);
        false
    }

    /// Drops a block that nothing keeps but the copy in `slot`, where the model has one group that needs every block: what most
    /// victims are. False, and nothing done, if it is not so.
    fn drop_last(&mut self, block: BlockId, tier: TierId, slot: SlotId) -> bool {
        if !self.is_uniform() || self.is_persistent(tier) || self.index.is_detached(block) {
            return false;
        }
        let (hash, passed) = (self.index.hash(block), self.passed_with(block));
        let Some(parent) = self.index.remove_last(block, tier) else { return false };
        self.pass_no_more(passed);
        self.events.push(BlockEvent::Removed { hash, tier });
        self.pools.pool_mut(tier, GroupId::FIRST).free(slot);
        self.note_room(tier, GroupId::FIRST);
        self.counters.count_eviction(tier, false, false);
        self.counters.drops += 1;
        self.changes += 1;
        if parent.is_some() && !self.index.has_location(parent) {
            self.prune(parent);
        }
        true
    }

    /// Frees a copy by eviction, and forgets the block if it was the last.
    pub(super) fn free_copy(&mut self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        self.pass_no_more(self.passed_with(block));
        let kept = self.nearest_farther(block, group, tier);
        let was_leaving = self.pools.pool(tier, group).state(slot) == SlotState::Leaving;
        self.counters.count_eviction(tier, kept.is_some(), was_leaving);
        self.changes += 1;
        self.void(group, tier, slot);
        self.index.clear_location(block, group, tier);
        match kept {
            _ if self.index.is_detached(block) => {}
            Some(target) => self.announce_moved(block, group, (tier, slot), target),
            None => self.announce_removed(block, group, tier, slot),
        }
        self.give_slot_back(group, tier, slot);
        self.prune(block);
    }

    /// Frees a copy, for whatever reason.
    pub(super) fn remove_copy(&mut self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        self.forget_copy(block, group, tier, slot);
        self.give_slot_back(group, tier, slot);
    }

    /// The slot is free: there is more room than there was.
    fn give_slot_back(&mut self, group: GroupId, tier: TierId, slot: SlotId) {
        self.pools.pool_mut(tier, group).free(slot);
        self.note_room(tier, group);
    }

    /// A slot of a class has become free.
    fn note_room(&mut self, tier: TierId, group: GroupId) {
        self.room_made += 1;
        let moves = &mut self.vain_moves[tier.index()][group.index()];
        *moves = moves.and_then(|moves| moves.checked_sub(MOVES_A_SLOT));
    }

    /// Sees to it that a copy is not found again, here or after a restart.
    pub(super) fn forget_copy(&mut self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        self.void(group, tier, slot);
        self.index.clear_location(block, group, tier);
        // Of a detached block it was told when it was detached.
        if !self.index.is_detached(block) {
            self.announce_removed(block, group, tier, slot);
        }
    }

    /// Tells a tier that outlives the process that a slot holds nothing of worth.
    pub(super) fn void(&self, group: GroupId, tier: TierId, slot: SlotId) {
        if !self.is_persistent(tier) {
            return;
        }
        if let Some(persistence) = self.tiers[tier.index()].as_ref().and_then(|tier| tier.persistence()) {
            persistence.void(group, slot);
        }
    }
}
