//! The tree of blocks: each knows its parent, its first child and its siblings.
//! Layer 3. Uses `ids`. Known by: `prefix`, `pager`.
//!
//! - **X6** a block but the first of a chain knows one ancestor more to jump to, such that any ancestor is found in `O(log depth)` steps.
//!
//! Chains are thousands of blocks long, and who has the lock may not go up all of one. The jumps are those of a skew-binary list: one
//! goes over as many blocks as two jumps before it, or over none.

use super::PrefixIndex;
use super::block::Record;
use crate::ids::{BlockId, TierId};

impl PrefixIndex {
    /// The children of `block`, newest first.
    pub fn children(&self, block: BlockId) -> impl Iterator<Item = BlockId> + '_ {
        let first = self.record(block).first_child;
        std::iter::successors(first.is_some().then_some(first), |child| {
            let next = self.record(*child).sibling_next;
            next.is_some().then_some(next)
        })
    }

    /// The child of the same parent that comes after `block`, the older ones last.
    pub fn sibling(&self, block: BlockId) -> Option<BlockId> {
        let next = self.record(block).sibling_next;
        next.is_some().then_some(next)
    }

    /// The topmost of `block` and its ancestors for which `is_meant` holds. It must hold for `block`, and for none whose child it does
    /// not hold for. `O(log depth)`.
    pub fn topmost(&self, block: BlockId, is_meant: impl Fn(BlockId) -> bool) -> BlockId {
        let mut at = block;
        loop {
            let above = [self.jumps[at.index()], self.parent(at)];
            match above.into_iter().find(|above| above.is_some() && is_meant(*above)) {
                Some(above) => at = above,
                None => return at,
            }
        }
    }

    /// The one of `block` and its ancestors that `depth` blocks come before. `O(log depth)`.
    ///
    /// # Panics
    /// If fewer come before `block`.
    pub fn ancestor_at(&self, block: BlockId, depth: u32) -> BlockId {
        assert!(self.record(block).depth >= depth, "{block:?} is nearer to the root than {depth} blocks");
        self.topmost(block, |above| self.record(above).depth >= depth)
    }

    /// Notes where a search from `block` jumps to, a new child of `parent` (X6).
    #[inline]
    pub(super) fn note_jump(&mut self, block: BlockId, parent: BlockId) {
        let mut jump = parent;
        if parent.is_some() && self.jumps[parent.index()].is_some() {
            let far = self.jumps[parent.index()];
            let farther = self.jumps[far.index()];
            let depth = |block: BlockId| self.records[block.index()].depth;
            if farther.is_some() && depth(parent) - depth(far) == depth(far) - depth(farther) {
                jump = farther;
            }
        }
        self.jumps[block.index()] = jump;
    }

    /// Makes `block` the first child of `parent`.
    pub(super) fn adopt(&mut self, block: BlockId, parent: BlockId) {
        if !parent.is_some() {
            return;
        }
        let sibling = self.record(parent).first_child;
        self.record_mut(block).sibling_next = sibling;
        if sibling.is_some() {
            self.record_mut(sibling).sibling_prev = block;
        }
        self.record_mut(parent).first_child = block;
    }

    /// Takes `block` from its parent's children. It has no location, so it is counted nowhere.
    pub(super) fn orphan(&mut self, block: BlockId) {
        let Record { parent, sibling_prev, sibling_next, .. } = *self.record(block);
        if sibling_prev.is_some() {
            self.record_mut(sibling_prev).sibling_next = sibling_next;
        } else if parent.is_some() {
            self.record_mut(parent).first_child = sibling_next;
        }
        if sibling_next.is_some() {
            self.record_mut(sibling_next).sibling_prev = sibling_prev;
        }
    }

    pub(super) fn check_children(&self, block: BlockId) {
        let jump = self.jumps[block.index()];
        assert!(
            jump.is_some() == self.parent(block).is_some(),
            "X6: {block:?} after {:?} jumps to {jump:?}",
            self.parent(block)
        );
        let mut counted = [0; TierId::COUNT];
        for child in self.children(block) {
            let record = self.record(child);
            assert!(record.is_known(), "X2: block {block:?} has the forgotten child {child:?}");
            assert!(
                record.parent == block,
                "X2: {child:?} is a child of {block:?}, but its parent is {:?}",
                record.parent
            );
            assert!(record.depth == self.record(block).depth + 1, "X2: depth of {child:?}");
            for tier in TierId::ALL {
                let is_there = self.anchor.is_some_and(|anchor| self.location(child, anchor, tier).is_some());
                counted[tier.index()] += u32::from(is_there);
            }
        }
        let kept = self.record(block).children_in;
        assert!(counted == kept, "X2: block {block:?} has {counted:?} children by tier, and counts {kept:?}");
    }
}
