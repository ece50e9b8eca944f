//! What happens when bytes are lost: copies retired, descendants dropped, records forgotten.
//! Layer 9. Known by: `pager`.
//!
//! A block without its ancestors is of no use, for nobody could resume from it. What is in use when it loses them is detached: no
//! match finds it, and it goes when its moves and holds have ended.
//!
//! Descendants go in [falls](super::falls).

use super::core::Core;
use super::falls::Falling;
use crate::ids::{BlockId, GroupId, SlotId, TierId};

impl Core {
    /// A copy is known to be bad. Its slot is never used again; what stands on it there, or nearer than what is left, goes too.
    pub(super) fn lose_copy(&mut self, block: BlockId, group: GroupId, tier: TierId) {
        self.stop_keeping(block);
        let slot = self.index.location(block, group, tier);
        if !slot.is_some() || !self.is_unused(group, tier, slot) {
            return;
        }
        self.forget_copy(block, group, tier, slot);
        self.pools.pool_mut(tier, group).retire(slot);
        if tier == TierId::File {
            self.drop_children(block, tier);
        }
        self.finish_leaving(self.index.parent(block), group, tier);
        self.drop_strays(block);
        self.prune(block);
    }

    /// A slot takes no bytes, and is free after it failed to: it is never used again.
    pub(super) fn retire_target(&mut self, group: GroupId, tier: TierId, slot: SlotId) {
        let pool = self.pools.pool_mut(tier, group);
        if pool.take_this(slot) {
            pool.retire(slot);
        }
    }

    /// Removes the anchor's copies in `tier` of all descendants of `block` that nobody uses; what is in use goes when it ends. The
    /// record of `block` stays: pruning it is the caller's, unless this goes on in the holds that follow.
    pub(super) fn drop_children(&mut self, block: BlockId, tier: TierId) {
        let Some(anchor) = self.model.anchor() else { return };
        // Below a block that is not there, none is found.
        if self.index.children_in(block, anchor, tier) > 0 {
            self.begin_fall(block, Falling::Copies(tier));
        }
    }

    /// Removes what is nearer than `block` of its descendants, unless a sequence is about to compute it (I6).
    pub(super) fn drop_strays(&mut self, block: BlockId) {
        if self.index.is_detached(block) || self.model.anchor().is_none() {
            return;
        }
        if self.index.references(block) > 0 {
            if !self.falls.is_empty() {
                self.index.add_reference(block);
                self.strays.push(block);
            }
            return;
        }
        let nearest = self.index.nearest(block).map_or(TierId::COUNT, TierId::index);
        for tier in &TierId::ALL[..nearest] {
            self.drop_children(block, *tier);
        }
    }

    /// Forgets `block` if nothing keeps it, then its ancestors likewise: as many as this hold of the lock may handle, and the others
    /// in those that follow. If its last copy went, what is left of other groups is of no use, nor are its descendants: they go first.
    pub(super) fn prune(&mut self, block: BlockId) {
        let mut at = block;
        while at.is_some() {
            let is_kept = match self.model.anchor() {
                Some(_) => self.index.nearest(at).is_some(),
                None => self.index.has_location(at) || self.index.children(at).next().is_some(),
            };
            if is_kept || self.index.references(at) > 0 {
                return;
            }
            // What stands on an erased block is erased, or will be.
            if self.index.is_detached(at) && self.index.children(at).next().is_some() {
                return;
            }
            if at != block && self.left == 0 {
                self.index.add_reference(at);
                self.unpruned.push(at);
                return;
            }
            self.handle(1);
            if let Some(parent) = self.forget_leaf(at) {
                at = parent;
                continue;
            }
            if self.index.children(at).next().is_some() {
                self.detach_descendants(at);
            }
            self.detach(at);
            match self.free_detached(at) {
                Some(parent) => at = parent,
                None => return,
            }
        }
    }

    /// Goes on with what was left to be forgotten, as far as this hold goes. Returns whether nothing is left.
    pub(super) fn prune_on(&mut self) -> bool {
        while self.left > 0 {
            let Some(block) = self.unpruned.pop() else { return true };
            self.index.drop_reference(block);
            self.prune(block);
        }
        self.unpruned.is_empty()
    }

    /// Forgets a block that nothing keeps, in one go, where no part of another group can hang on it. Returns its parent if it went.
    fn forget_leaf(&mut self, block: BlockId) -> Option<BlockId> {
        let parent = if self.is_uniform() { self.index.remove_unused(block) } else { None }?;
        self.counters.drops += 1;
        Some(parent)
    }

    /// Takes all descendants of `block` out of the index. Their slots are freed at once, or when nobody uses them any more.
    pub(super) fn detach_descendants(&mut self, block: BlockId) {
        self.begin_fall(block, Falling::Names);
    }

    /// Takes `block` out of the index: no match finds it again, nor does a process that comes after this one, whatever is being
    /// written or read meanwhile.
    pub(super) fn detach(&mut self, block: BlockId) {
        if self.index.is_detached(block) {
            return;
        }
        for group in self.groups() {
            for tier in TierId::ALL {
                let slot = self.index.location(block, group, tier);
                if !slot.is_some() {
                    continue;
                }
                if self.pools.is_whole(tier, group, slot, block) {
                    self.announce_removed(block, group, tier, slot);
                }
                self.void(group, tier, slot);
            }
        }
        self.index.detach(block);
        self.keepers.note_failure();
    }

    /// Forgets a block that was detached, as far as nobody uses it. Returns whether it was.
    pub(super) fn sweep_detached(&mut self, block: BlockId) -> bool {
        if !block.is_some() || !self.index.is_detached(block) {
            return false;
        }
        if let Some(parent) = self.free_detached(block) {
            self.prune(parent);
        }
        true
    }

    /// Frees the slots of a detached block that nobody uses, and its record when all are free. Returns its parent if it went.
    pub(super) fn free_detached(&mut self, block: BlockId) -> Option<BlockId> {
        for group in self.groups() {
            for tier in TierId::ALL {
                let Some(slot) = self.whole(block, group, tier) else { continue };
                if self.is_unused(group, tier, slot) {
                    self.remove_copy(block, group, tier, slot);
                }
            }
        }
        let parent = self.index.parent(block);
        // The anchor's parts leave leaf first by themselves; a parent's part of another group may have waited for this one.
        for group in self.full_groups().skip(1) {
            for tier in [TierId::Device, TierId::Host] {
                self.finish_leaving(parent, group, tier);
            }
        }
        let parent = self.index.remove_unused(block)?;
        self.counters.drops += 1;
        Some(parent)
    }
}
