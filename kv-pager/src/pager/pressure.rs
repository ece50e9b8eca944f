//! Making room: the policy's decisions, as far as the invariants allow them.
//! Layer 9. Known by: `pager`.
//!
//! What has a copy farther away is freed at once. What has none is copied first, in [`demote`](super::demote).

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

/// How many copies may end while somebody waits for a class of slots and hardly any of it becomes free: as many as a batch has, and some
/// for each block of the chain that is to leave.
const VAIN_MOVES: u32 = 256;
const VAIN_MOVES_A_BLOCK: u32 = 4;
/// How many of them a slot that becomes free makes good: a chain goes down by a few copies a slot. Where each takes a turn round the
/// whole file, waiting that long for one slot after the other is in vain too.
const MOVES_A_SLOT: u32 = 16;

/// Slots in which what stands on a block is looked for in one hold: of each up to some 24 ancestors are looked at.
const SLOTS_THINNED: usize = 8;

/// Whether a block may be given up above what stands on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Above {
    Goes,
    Stays,
    /// More stands on it than one hold looks at.
    Unknown,
}

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
    passed: u32,
    /// How many slots nearer than what is left of a block have been looked at without finding any that could go.
    thinned: u32,
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

    /// Whether so many copies have ended while somebody waits for a class that what leaves it must be going round in a file that is too
    /// small for it, and would for ever. Who waits for a nearer class in vain waits for this one, too.
    fn waits_in_vain(&self, tier: TierId, group: GroupId) -> bool {
        TierId::ALL[..=tier.index()].iter().any(|near| {
            let moves = self.vain_moves[near.index()][group.index()];
            moves.is_some_and(|moves| moves > self.vain_moves_max(*near, group))
        })
    }

    /// How many copies the coldest chain of a class takes to leave it, and then some.
    fn vain_moves_max(&self, tier: TierId, group: GroupId) -> u32 {
        let pool = self.pools.pool(tier, group);
        let depth = pool.coldest().next().map_or(0, |coldest| self.index.view(pool.block(coldest)).depth);
        VAIN_MOVES.saturating_add(depth.saturating_mul(VAIN_MOVES_A_BLOCK))
    }

    /// The last resort, when nothing is under way that will make room: gives up what is coldest, copies or no copies, and with it
    /// what stands on it nearer than what is left of it, so that no request is ever stuck. Goes on in the next hold after as many looks
    /// as this one has left, until all has been looked at: what can't be given up is warm again.
    fn drop_coldest(&mut self, tier: TierId, group: GroupId, slots: u32) {
        let mut victims = std::mem::take(&mut self.victims[tier.index()]);
        let mut passed = std::mem::take(&mut self.passed);
        let mut parents = std::mem::take(&mut self.missing);
        let capacity = self.pools.pool(tier, group).capacity();
        while self.search(tier, group).passed < capacity {
            victims.clear();
            passed.clear();
            let free = self.free_slots(tier, group);
            let wanted = slots.saturating_sub(free) as usize;
            let need = Need { tier, group, slots, demotions: 0 };
            let pool = self.pools.pool(tier, group);
            // Of what this hold has left half goes to these, a quarter to what stands on them, and a quarter to thinning that out.
            let (mut looks, mut rooted) = (self.left / 4, None);
            let most = self.left.div_ceil(2) as usize;
            for slot in pool.coldest().filter(|slot| !pool.is_moving(*slot)).take(most) {
                let block = pool.block(slot);
                let is_idle = self.may_drop_for(need, block) && self.idle_slot(block, group, tier).is_some();
                let fate = if is_idle {
                    self.may_be_last(block, group, tier, &mut looks, &mut parents)
                } else {
                    Above::Stays
                };
                match fate {
                    Above::Goes => victims.push(block),
                    Above::Stays => passed.push(slot),
                    Above::Unknown => {
                        rooted = Some((slot, block));
                        break;
                    }
                }
                if victims.len() >= wanted {
                    break;
                }
            }
            let is_all = victims.len() + passed.len() < most;
            self.handle(if is_all { victims.len() + passed.len() } else { self.left as usize });
            for victim in &victims {
                let Some(slot) = self.idle_slot(*victim, group, tier) else { continue };
                if self.index.may_evict(*victim, group, tier) {
                    self.free_copy(*victim, group, tier, slot);
                } else {
                    self.drop_above(*victim, group, tier, slot);
                }
            }
            if let Some((slot, block)) = rooted.filter(|_| victims.is_empty()) {
                if !self.thin_out(block, group, tier) {
                    // Others have their turn first.
                    self.pools.pool_mut(tier, group).touch(slot);
                }
                self.left = 0;
            }
            if self.free_slots(tier, group) >= slots {
                break;
            }
            if self.left == 0 {
                for slot in &passed {
                    self.pools.pool_mut(tier, group).touch(*slot);
                }
                self.search(tier, group).passed += u32::try_from(passed.len()).unwrap_or(u32::MAX);
                self.goes_on = true;
                break;
            }
            if self.free_slots(tier, group) == free {
                break;
            }
        }
        self.victims[tier.index()] = victims;
        self.passed = passed;
        self.missing = parents;
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

    /// Whether all descendants of a block lie farther: they can be given up before it, for they are of no use without it, and none
    /// of them is in use where it is not.
    fn is_last_leaf(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        self.model.anchor() == Some(group) && !self.index.has_child_up_to(block, tier)
    }

    /// Whether a block can be given up in `tier`, if need be with what lies nearer of its descendants than what is left of it: none of
    /// them is in use. Looks at `looks` of those at most, which are counted off. `parents` is a buffer.
    fn may_be_last(
        &self,
        block: BlockId,
        group: GroupId,
        tier: TierId,
        looks: &mut u32,
        parents: &mut Vec<BlockId>,
    ) -> Above {
        if self.index.may_evict(block, group, tier) {
            return Above::Goes;
        }
        if !self.is_last_leaf(block, group, tier) {
            return Above::Stays;
        }
        let Some(left) = self.index.nearest_except(block, tier) else { return Above::Goes };
        if self.index.references(block) > 0 {
            return Above::Stays;
        }
        for place in &TierId::ALL[tier.index() + 1..left.index()] {
            parents.clear();
            parents.push(block);
            while let Some(parent) = parents.pop() {
                if self.index.children_in(parent, group, *place) == 0 {
                    continue;
                }
                for child in self.index.children(parent) {
                    let Some(fewer) = looks.checked_sub(1) else { return Above::Unknown };
                    *looks = fewer;
                    if !self.index.location(child, group, *place).is_some() {
                        continue;
                    }
                    if self.idle_slot(child, group, *place).is_none() {
                        return Above::Stays;
                    }
                    parents.push(child);
                }
            }
        }
        Above::Goes
    }

    /// So much stands on `block` nearer than what would be left of it that one hold can't tell whether all of that may go. Gives up
    /// some of it, leaf first, that is among the coldest; the next holds find less. What is not of it is warm again, so that all that lies
    /// there is looked at in the end; after that the block counts as passed over. Returns whether any was given up.
    fn thin_out(&mut self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        let depth = self.index.view(block).depth;
        let left = self.index.nearest_except(block, tier).map_or(TierId::COUNT, TierId::index);
        let mut slots = std::mem::take(&mut self.slots);
        let (mut has_any, mut capacity) = (false, 0);
        for place in &TierId::ALL[tier.index() + 1..left] {
            slots.clear();
            slots.extend(self.pools.pool(*place, group).coldest().take(SLOTS_THINNED));
            capacity += self.pools.pool(*place, group).capacity();
            for slot in &slots {
                let leaf = self.pools.pool(*place, group).block(*slot);
                let stands_on =
                    self.index.view(leaf).depth > depth && self.index.ancestor_at(leaf, depth) == block;
                let may_go = stands_on
                    && self.idle_slot(leaf, group, *place) == Some(*slot)
                    && self.index.may_evict(leaf, group, *place);
                if may_go {
                    self.free_copy(leaf, group, *place, *slot);
                    has_any = true;
                } else {
                    self.pools.pool_mut(*place, group).touch(*slot);
                }
            }
        }
        let looked = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        slots.clear();
        self.slots = slots;
        let search = self.search(tier, group);
        search.thinned = if has_any { 0 } else { search.thinned.saturating_add(looked.max(1)) };
        search.passed += u32::from(search.thinned >= capacity);
        has_any
    }

    /// Frees a copy under which descendants lie farther, and what of those is nearer than what is left of the block.
    fn drop_above(&mut self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        if self.index.nearest_except(block, tier).is_none() {
            self.detach_descendants(block);
            self.free_copy(block, group, tier, slot);
            return;
        }
        self.free_copy(block, group, tier, slot);
        self.drop_strays(block);
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
