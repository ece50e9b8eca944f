//! What a hold by salt takes in: the blocks of a salt, each after its parent, as they are found.
//! Layer 9. Known by: `pager`.
//!
//! - **K5** a block is taken in after its parent: what is kept of a salt is a tree from its roots;
//! - **K6** what one call looks at for all searches together is bounded, and a search that has found all there is costs nothing.
//!
//! A sequence that closes says which its last block was. From there, the search climbs to the first block that is kept, and the way
//! back down is what is taken in. What nobody tells of (what was cached before the hold, or was given back by it) is found by going
//! round all records once.

use super::{Keeper, Keepers, Subject};
use crate::ids::{BlockId, PrefixHash, Salt};
use crate::pager::core::Core;
use crate::sequence::SequenceState;
use std::collections::{HashSet, VecDeque};

/// How many records one call looks at, for all keepers together.
pub(super) const LOOKS_A_CALL: usize = 128;
/// How many last blocks are remembered; if there are more, all records are gone round instead.
const LEAVES_MAX: usize = 64;

/// A block and its name: the record may be another block's by the time it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::pager) struct Leaf {
    block: BlockId,
    hash: PrefixHash,
}

/// How far the blocks of a salt have been found.
#[derive(Debug)]
pub(super) struct Search {
    /// How many records there are.
    records: usize,
    /// Those that are kept.
    kept: HashSet<BlockId>,
    /// Where closed sequences have ended, to be looked at.
    leaves: VecDeque<Leaf>,
    /// The way from such a block up to what is kept; the next one to be taken in is its last.
    way: Vec<Leaf>,
    /// Whether it may go on upwards.
    is_climbing: bool,
    /// The record that is looked at next, and how many are left of this round.
    record: usize,
    records_left: usize,
}

impl Search {
    /// A search that has all of so many records before it.
    pub(super) fn new(records: usize) -> Self {
        Self {
            records,
            kept: HashSet::new(),
            leaves: VecDeque::new(),
            way: Vec::new(),
            is_climbing: false,
            record: 0,
            records_left: records,
        }
    }

    /// Whether there is nothing left to be looked at.
    pub(super) fn is_over(&self) -> bool {
        self.leaves.is_empty() && self.way.is_empty() && self.records_left == 0
    }

    /// Goes round all records again: what was kept was given back, or something may have been missed.
    pub(super) fn start_over(&mut self) {
        self.leaves.clear();
        self.give_up_way();
        self.records_left = self.records;
    }

    /// The last one of the way is kept from now on.
    pub(super) fn note_taken(&mut self, block: BlockId) {
        self.kept.insert(block);
    }

    /// It is not any more.
    pub(super) fn note_given_back(&mut self, block: BlockId) {
        self.kept.remove(&block);
    }

    /// The last one of the way is kept whole: on to the next.
    pub(super) fn go_down(&mut self) {
        self.way.pop();
    }

    fn give_up_way(&mut self) {
        self.way.clear();
        self.is_climbing = false;
    }

    fn offer(&mut self, leaf: Leaf) {
        if self.leaves.len() < LEAVES_MAX {
            self.leaves.push_back(leaf);
        } else {
            self.start_over();
        }
    }
}

impl Keepers {
    /// A sequence of `salt` closes, whose last block is `last`: what it committed may be what a hold waits for.
    pub(in crate::pager) fn wake(&mut self, salt: Salt, last: Option<Leaf>) {
        for keeper in self.list.iter_mut().filter(|keeper| keeper.salt == salt && keeper.is_hold()) {
            keeper.is_waiting = false;
            if let (Subject::Salt(search), Some(leaf)) = (&mut keeper.subject, last) {
                search.offer(leaf);
            }
        }
    }

    /// Any blocks of `salt` may be what a hold waits for.
    pub(in crate::pager) fn wake_all(&mut self, salt: Salt) {
        for keeper in self.list.iter_mut().filter(|keeper| keeper.salt == salt && keeper.is_hold()) {
            keeper.is_waiting = false;
            keeper.search_again();
        }
    }

    /// Whether anything of `salt` is held without a prompt.
    fn searches(&self, salt: Salt) -> bool {
        self.list.iter().any(|keeper| keeper.salt == salt && matches!(keeper.subject, Subject::Salt(_)))
    }
}

impl Core {
    /// The last block of a sequence that others can find, if its salt is held and it is among the last ones.
    pub(in crate::pager) fn last_block(&self, state: &SequenceState) -> Option<Leaf> {
        if !self.keepers.searches(state.salt) {
            return None;
        }
        let mut last = state.entries.iter().rev().take(LOOKS_A_CALL).map(|entry| entry.block);
        let is_found =
            |block: &BlockId| block.is_some() && self.index.is_named(*block) && !self.index.is_stale(*block);
        let block = last.find(is_found)?;
        Some(Leaf { block, hash: self.index.hash(block) })
    }

    /// The next block of the salt that is to be taken in, if it is found within what one call may look at.
    pub(super) fn find_of_salt(&mut self, salt: Salt, search: &mut Search) -> Option<BlockId> {
        loop {
            if search.is_climbing {
                self.climb(salt, search)?;
            } else if let Some(next) = search.way.last().copied() {
                if self.may_take_in(salt, search, next) {
                    return Some(next.block);
                }
                search.give_up_way();
            } else {
                let leaf = self.next_leaf(salt, search)?;
                search.way.push(leaf);
                search.is_climbing = true;
            }
        }
    }

    /// Goes up from the last of the way to what is kept already. `None` if that is farther than one call goes.
    fn climb(&mut self, salt: Salt, search: &mut Search) -> Option<()> {
        while let Some(last) = search.way.last().copied() {
            self.keepers.looks_left = self.keepers.looks_left.checked_sub(1)?;
            if !self.is_of(salt, last) {
                if search.way.len() == 1 {
                    // It has gone, and what is above it may have stayed.
                    search.start_over();
                }
                search.give_up_way();
                return Some(());
            }
            if search.kept.contains(&last.block) {
                search.give_up_way();
                return Some(());
            }
            let parent = self.index.parent(last.block);
            if !parent.is_some() || search.kept.contains(&parent) {
                break;
            }
            search.way.push(Leaf { block: parent, hash: self.index.hash(parent) });
        }
        search.is_climbing = false;
        Some(())
    }

    /// A block of the salt that is not kept. `None` if there is none, or not within what one call may look at.
    fn next_leaf(&mut self, salt: Salt, search: &mut Search) -> Option<Leaf> {
        if let Some(leaf) = search.leaves.pop_front() {
            return Some(leaf);
        }
        while search.records_left > 0 {
            self.keepers.looks_left = self.keepers.looks_left.checked_sub(1)?;
            let block = BlockId::from_index(search.record);
            search.record = (search.record + 1) % search.records;
            search.records_left -= 1;
            if self.index.is_named(block) && !search.kept.contains(&block) {
                let leaf = Leaf { block, hash: self.index.hash(block) };
                if self.is_of(salt, leaf) {
                    return Some(leaf);
                }
            }
        }
        None
    }

    /// Whether it is still that block, one of `salt` that can be found.
    fn is_of(&self, salt: Salt, leaf: Leaf) -> bool {
        let Leaf { block, hash } = leaf;
        self.index.is_named(block)
            && self.index.hash(block) == hash
            && self.index.view(block).salt == salt
            && !self.index.is_stale(block)
    }

    /// Whether it is still that block, its parent is kept, and it is cached in every group that needs all (K5).
    fn may_take_in(&self, salt: Salt, search: &Search, leaf: Leaf) -> bool {
        let is_next = || {
            let parent = self.index.parent(leaf.block);
            !parent.is_some() || search.kept.contains(&parent)
        };
        self.is_of(salt, leaf)
            && is_next()
            && self.full_groups().all(|group| self.is_cached(leaf.block, group))
    }
}

impl Keeper {
    /// Asserts K5; for tests.
    ///
    /// # Panics
    /// If it does not hold.
    pub(super) fn check_search(&self, parent: impl Fn(BlockId) -> BlockId) {
        let Subject::Salt(search) = &self.subject else { return };
        assert!(
            search.kept.len() == self.blocks.len(),
            "K5: {} blocks of {:?} are kept, and {} known to be",
            self.blocks.len(),
            self.salt,
            search.kept.len()
        );
        for (at, block) in self.blocks.iter().enumerate() {
            let above = parent(*block);
            let is_after = !above.is_some() || self.blocks[..at].contains(&above);
            assert!(is_after, "K5: {block:?} is kept without its parent {above:?} before it");
        }
    }
}
