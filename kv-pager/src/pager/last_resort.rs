//! The last resort: what is given up where the policy finds no room, or what it moves goes round in vain.
//! Layer 9. Uses `pager::core`. Known by: `pager::pressure`.
//!
//! - **LR1** no request waits for ever for a class: when nothing is under way that will make room, or so many copies have ended since it
//!   waits that what leaves the class must be going round in a file that is too small for it, the coldest is given up, copy or no copy;
//! - **LR2** a block goes with what stands on it nearer than what is left of it, so that I6 holds, and only if none of that is in use;
//! - **LR3** of what a hold has left half goes to candidates, a quarter to what stands on them, a quarter to thinning that out where it is
//!   more; the next hold goes on, until all of the class has been looked at.

use super::core::Core;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::policy::Need;

/// How many copies may end while somebody waits for a class of slots and hardly any of it becomes free: as many as a batch has, and some
/// for each block of the chain that is to leave.
const VAIN_MOVES: u32 = 256;
const VAIN_MOVES_A_BLOCK: u32 = 4;

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

impl Core {
    /// Whether so many copies have ended while somebody waits for a class that what leaves it must be going round in a file that is too
    /// small for it, and would for ever. Who waits for a nearer class in vain waits for this one, too.
    pub(super) fn waits_in_vain(&self, tier: TierId, group: GroupId) -> bool {
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

    /// Gives up what is coldest (LR1), by one hold; [`Core::goes_on`] tells whether the next is to go on. What can't be given up is warm
    /// again.
    pub(super) fn drop_coldest(&mut self, tier: TierId, group: GroupId, slots: u32) {
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
            // LR3.
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

    /// Whether all descendants of a block lie farther: they can be given up before it, for they are of no use without it.
    pub(super) fn is_last_leaf(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
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
    pub(super) fn drop_above(&mut self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        if self.index.nearest_except(block, tier).is_none() {
            self.detach_descendants(block);
            self.free_copy(block, group, tier, slot);
            return;
        }
        self.free_copy(block, group, tier, slot);
        self.drop_strays(block);
    }
}
