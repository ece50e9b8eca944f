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
        if group == GroupId::FIRST {
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
        if group == GroupId::FIRST {
            self.count_child(block, tier, false);
        }
    }

    /// Whether any part of `block` has a slot anywhere.
    pub fn has_location(&self, block: BlockId) -> bool {
        let start = self.location_index(block, GroupId::FIRST, TierId::Device);
        self.locations[start..start + self.groups * TierId::COUNT].iter().any(|slot| slot.is_some())
    }

    /// The nearest tier where the first group's part of `block` has a slot.
    pub fn nearest(&self, block: BlockId) -> Option<TierId> {
        TierId::ALL.into_iter().find(|tier| self.location(block, GroupId::FIRST, *tier).is_some())
    }

    /// The nearest tier, other than `except`, where the first group's part of `block` has a slot.
    fn nearest_except(&self, block: BlockId, except: TierId) -> Option<TierId> {
        TierId::ALL
            .into_iter()
            .find(|tier| *tier != except && self.location(block, GroupId::FIRST, *tier).is_some())
    }

    /// Whether `block` may lose its slot in `tier` by eviction (I6): no child has one there, and what is left of the block is
    /// no farther than any child's copy. `O(1)`.
    pub fn may_evict(&self, block: BlockId, tier: TierId) -> bool {
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
