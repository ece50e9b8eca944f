//! Falls: what stands on a lost block goes, in as many holds of the lock as it takes.
//! Layer 9. Uses `pager::core`. Known by: `pager::faults`, `pager::chores`.
//!
//! - **FL1** one hold goes on with falls by no more blocks than it may handle, and by all children that came to one block meanwhile;
//! - **FL2** what falls goes leaf first (I6). Names go on the way down, copies on the way up: nothing is named under what has lost its
//!   name, so the way down ends;
//! - **FL3** until a fall is over, all that it has found is referred to: their records are theirs. What is in use goes when that ends,
//!   and what is to be dropped nearer than a block that may be referred to by a fall alone, when that is over: once, so that falls end.
//!
//! Nobody finds a block by a copy that was lost. What stands on it in the file is found meanwhile where its blocks lie nearer too, and
//! is whole; after a restart it is not, for its parent is missing.

use super::core::Core;
use crate::ids::{BlockId, TierId};

/// What goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Falling {
    /// The anchor's copies in a tier.
    Copies(TierId),
    /// The names, and with them all copies.
    Names,
}

/// What stands on a block is falling.
#[derive(Debug)]
pub(super) struct Fall {
    what: Falling,
    /// The block, and what was found of its descendants, each after its parent.
    found: Vec<BlockId>,
    /// Of how many of them all children have been looked at, and which child of the next one was last, if any.
    seen: usize,
    last_child: BlockId,
}

impl Fall {
    fn root(&self) -> BlockId {
        self.found[0]
    }

    /// Whether a child of `block` may be in the file without it for a while.
    pub(super) fn keeps_in_file(&self, block: BlockId) -> bool {
        self.what == Falling::Copies(TierId::File) && self.root() == block
    }
}

impl Core {
    /// Begins to let fall what stands on `block`, as far as this hold of the lock goes. If that is not all, the record of `block` is
    /// given up with the rest, by the holds that follow.
    pub(super) fn begin_fall(&mut self, block: BlockId, what: Falling) {
        // Nothing can be given up in a tier that is lost.
        let is_lost = matches!(what, Falling::Copies(tier) if self.lost[tier.index()]);
        if is_lost || self.index.children(block).next().is_none() {
            return;
        }
        self.index.add_reference(block);
        let mut found = self.fallen.pop().unwrap_or_default();
        found.push(block);
        let mut fall = Fall { what, found, seen: 0, last_child: BlockId::NONE };
        if self.fall_on(&mut fall) {
            self.index.drop_reference(block);
            self.keep_list(fall);
        } else {
            self.falls.push(fall);
        }
    }

    /// Goes on with all falls, as far as this hold goes. Returns whether all are over.
    pub(super) fn falls_on(&mut self) -> bool {
        loop {
            while let Some(mut fall) = self.falls.pop() {
                if !self.fall_on(&mut fall) {
                    self.falls.push(fall);
                    return false;
                }
                let root = fall.root();
                self.keep_list(fall);
                self.end_reference(root);
            }
            if self.strays.is_empty() {
                return true;
            }
            if self.left == 0 {
                return false;
            }
            self.handle(1);
            if let Some(block) = self.strays.pop() {
                self.index.drop_reference(block);
                self.drop_strays(block);
                if !self.sweep_detached(block) {
                    self.prune(block);
                }
            }
        }
    }

    /// A fall is over: the next one has its list.
    fn keep_list(&mut self, Fall { mut found, .. }: Fall) {
        found.clear();
        self.fallen.push(found);
    }

    /// Goes on with a fall. Returns whether only its root is left.
    fn fall_on(&mut self, fall: &mut Fall) -> bool {
        loop {
            while fall.seen < fall.found.len() {
                if !self.find_falling(fall) {
                    return false;
                }
                fall.seen += 1;
                fall.last_child = BlockId::NONE;
            }
            if fall.found.len() == 1 {
                return true;
            }
            if self.left == 0 {
                return false;
            }
            self.handle(1);
            fall.seen -= 1;
            let Some(block) = fall.found.pop_if(|block| !self.has_joined(*block, fall.what)) else {
                continue;
            };
            self.let_fall(block, fall.what);
        }
    }

    /// Finds the children of the next block that are to go with it. False if there are more of them than this hold may look at.
    fn find_falling(&mut self, fall: &mut Fall) -> bool {
        let parent = fall.found[fall.seen];
        let first = fall.last_child;
        let mut next =
            if first.is_some() { self.index.sibling(first) } else { self.index.children(parent).next() };
        while let Some(child) = next {
            if self.left == 0 {
                return false;
            }
            self.handle(1);
            // The last one that is looked at is referred to in any case: from there the next hold goes on.
            if self.left == 0 || self.may_fall(child, fall.what) {
                self.index.add_reference(child);
                if fall.what == Falling::Names {
                    self.detach(child);
                }
                fall.found.push(child);
                fall.last_child = child;
            }
            next = self.index.sibling(child);
        }
        true
    }

    fn may_fall(&self, block: BlockId, what: Falling) -> bool {
        match (what, self.model.anchor()) {
            (Falling::Copies(tier), Some(anchor)) => self.index.location(block, anchor, tier).is_some(),
            (Falling::Copies(_), None) => false,
            (Falling::Names, _) => true,
        }
    }

    /// Whether a child that could go has come to a block since its children were looked at. `O(children in the tier)`.
    fn has_joined(&self, block: BlockId, what: Falling) -> bool {
        let (Falling::Copies(tier), Some(anchor)) = (what, self.model.anchor()) else { return false };
        let is_idle = |child: BlockId| {
            self.whole(child, anchor, tier).is_some_and(|slot| self.is_unused(anchor, tier, slot))
        };
        self.index.children_in(block, anchor, tier) > 0 && self.index.children(block).any(is_idle)
    }

    /// Gives up a block whose descendants have gone, unless it is in use.
    fn let_fall(&mut self, block: BlockId, what: Falling) {
        let (Falling::Copies(tier), Some(anchor)) = (what, self.model.anchor()) else {
            self.index.drop_reference(block);
            self.free_detached(block);
            return;
        };
        if let Some(slot) = self.whole(block, anchor, tier).filter(|slot| self.is_unused(anchor, tier, *slot))
        {
            self.remove_copy(block, anchor, tier, slot);
        }
        self.end_reference(block);
    }

    /// What a fall has found is not referred to by it any more.
    fn end_reference(&mut self, block: BlockId) {
        self.index.drop_reference(block);
        if !self.sweep_detached(block) {
            self.prune(block);
        }
    }
}
