//! Where the parts of blocks are.
//! Layer 3. Uses `ids`. Known by: `pager`, `policy`.
//!
//! A location is set when its slot begins to fill, so that two requests share one transfer; whether the part is whole is
//! the slot's state, which the pool knows.

use super::PrefixIndex;
use crate::ids::{BlockId, GroupId, SlotId, TierId};

impl PrefixIndex {
    /// The slot that holds, or is being filled with, the part of `block` in `group` and `tier`; `NONE` if there is none.
    pub fn location(&self, block: BlockId, group: GroupId, tier: TierId) -> SlotId {
        self.locations[self.location_index(block, group, tier)]
    }

    /// Says that `slot` holds, or will, the part of `block`.
    ///
    /// # Panics
    /// If the part has a slot in the tier already.
    pub fn set_location(&mut self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        let index = self.location_index(block, group, tier);
        let before = self.locations[index];
        assert!(!before.is_some(), "block {block:?} is at {before:?} of tier {tier} already");
        self.locations[index] = slot;
        self.tenants.count_in(self.record(block).notes.tenant(), Self::class(group, tier));
        if self.anchor == Some(group) {
            self.count_child(block, tier, true);
        }
    }

    /// Says that the part of `block` has no slot in `tier` any more.
    ///
    /// # Panics
    /// If it had none.
    pub fn clear_location(&mut self, block: BlockId, group: GroupId, tier: TierId) {
        let index = self.location_index(block, group, tier);
        assert!(self.locations[index].is_some(), "block {block:?} is not in tier {tier}");
        self.locations[index] = SlotId::NONE;
        self.tenants.count_out(self.record(block).notes.tenant(), Self::class(group, tier));
        if self.anchor == Some(group) {
            self.count_child(block, tier, false);
        }
    }

    /// Whether any part of `block` has a slot anywhere.
    pub fn has_location(&self, block: BlockId) -> bool {
        let start = self.location_index(block, GroupId::FIRST, TierId::Device);
        self.locations[start..start + self.needs_all.len() * TierId::COUNT].iter().any(|slot| slot.is_some())
    }

    /// The nearest tier where the anchor's part of `block` has a slot; `None` also in a model without an anchor.
    pub fn nearest(&self, block: BlockId) -> Option<TierId> {
        let anchor = self.anchor?;
        TierId::ALL.into_iter().find(|tier| self.location(block, anchor, *tier).is_some())
    }

    /// The nearest tier other than `except` where the anchor's part of `block` has a slot.
    pub fn nearest_except(&self, block: BlockId, except: TierId) -> Option<TierId> {
        let anchor = self.anchor?;
        let is_left = |other: &TierId| *other != except && self.location(block, anchor, *other).is_some();
        TierId::ALL.into_iter().find(is_left)
    }

    /// Whether a child of `block` has its anchor's part in `tier` or nearer. `O(1)`.
    pub fn has_child_up_to(&self, block: BlockId, tier: TierId) -> bool {
        self.record(block).children_in[..=tier.index()].iter().any(|count| *count > 0)
    }

    /// How many children of `block` have a slot for their part in this tier. `O(1)` for the anchor, `O(children)` for other groups.
    pub fn children_in(&self, block: BlockId, group: GroupId, tier: TierId) -> u32 {
        if self.anchor == Some(group) {
            return self.record(block).children_in[tier.index()];
        }
        let is_there = |child: &BlockId| self.location(*child, group, tier).is_some();
        u32::try_from(self.children(block).filter(is_there).count()).unwrap_or(u32::MAX)
    }

    /// Whether children of `block` in other tiers would keep its copy in `tier` from being evicted, if the nearest of its other
    /// copies were in `after` (I6). `O(1)`.
    pub fn is_kept_by_nearer(&self, block: BlockId, group: GroupId, tier: TierId, after: TierId) -> bool {
        let nearer = &self.record(block).children_in[..after.index()];
        self.anchor == Some(group)
            && nearer.iter().enumerate().any(|(place, count)| place != tier.index() && *count > 0)
    }

    /// Whether eviction may take the part of `block` in `group` from `tier` (I6). The anchor's goes leaf first: no child has one
    /// there, and what is left of the block is no farther than any child's copy. Parts of other groups that need every block go
    /// leaf first within their tier; those that look through a window may go any time. `O(1)`, but for a second group that
    /// needs every block: `O(children)`.
    pub fn may_evict(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        if !self.needs_all[group.index()] {
            return true;
        }
        if self.anchor != Some(group) {
            return !self.children(block).any(|child| self.location(child, group, tier).is_some());
        }
        if self.record(block).children_in == [0; TierId::COUNT] {
            return true;
        }
        let after = self.nearest_except(block, tier).map_or(TierId::COUNT, TierId::index);
        let children_in = &self.record(block).children_in;
        children_in[tier.index()] == 0 && children_in[..after].iter().all(|count| *count == 0)
    }

    fn count_child(&mut self, block: BlockId, tier: TierId, is_new: bool) {
        let parent = self.record(block).parent;
        if parent.is_some() {
            let count = &mut self.record_mut(parent).children_in[tier.index()];
            *count = if is_new { *count + 1 } else { count.checked_sub(1).expect("X2: a child was counted") };
        }
    }
}
