//! The hash table: blocks of one hash, chained through their records.
//! Layer 3. Uses `ids`. Known by: `prefix`.
//!
//! - **X5** a block that can be found is in the chain of its hash, or is its parent's first child, or both.
//!
//! Most blocks are an only child: they are found through their parent, whose record is at hand, and never touch the table,
//! which in a large cache is two misses of the processor's own caches for each block's life. One is chained when a younger
//! sibling takes its place.

use super::{BlockKeys, PrefixIndex};
use crate::ids::{BlockId, PrefixHash, Salt};

impl PrefixIndex {
    /// The chain of a name: by its low bits, which are as good as all.
    pub(super) fn chain(&self, hash: PrefixHash) -> usize {
        hash.0 as usize & (self.chains.len() - 1)
    }

    pub(super) fn in_chain(&self, hash: PrefixHash) -> impl Iterator<Item = BlockId> + '_ {
        let first = self.chains[self.chain(hash)];
        std::iter::successors(first.is_some().then_some(first), |at| {
            let next = self.record(*at).chain_next;
            next.is_some().then_some(next)
        })
    }

    pub(super) fn find_chained(&self, hash: PrefixHash, keys: &BlockKeys<'_>) -> Option<BlockId> {
        self.in_chain(hash).find(|at| self.record(*at).hash() == hash && self.is_same(*at, keys))
    }

    /// The block of this name, salt and depth, found without its tokens: only for parents in a tier's labels, which were
    /// compared when they were written. It must have been [made findable](PrefixIndex::make_findable).
    pub fn find_recovered(&self, hash: PrefixHash, salt: Salt, depth: u32) -> Option<BlockId> {
        let mut chain = self.in_chain(hash);
        let is_meant = |at: &BlockId| {
            let record = self.record(*at);
            record.hash() == hash && record.salt == salt && record.depth == depth
        };
        let found = chain.find(is_meant)?;
        // Two of one name: nobody can say which is meant.
        if chain.any(|at| is_meant(&at)) { None } else { Some(found) }
    }

    /// Sees to it that `block` is found by its name alone, as [`PrefixIndex::find_recovered`] does.
    pub fn make_findable(&mut self, block: BlockId) {
        if self.record(block).is_unchained() {
            let chain = self.chain(self.record(block).hash());
            let next = self.chains[chain];
            self.record_mut(block).mark_chained(next);
            self.chains[chain] = block;
        }
    }

    /// Takes `block` out of its chain, if it is in one.
    ///
    /// # Panics
    /// If the chain is broken.
    pub(super) fn unchain(&mut self, block: BlockId) {
        if !self.record(block).is_chained() {
            return;
        }
        let chain = self.chain(self.record(block).hash());
        let next = self.record(block).chain_next;
        let mut at = self.chains[chain];
        if at == block {
            self.chains[chain] = next;
            return;
        }
        while self.record(at).chain_next != block {
            at = self.record(at).chain_next;
            assert!(at.is_some(), "X1: block {block:?} is not in its chain");
        }
        self.record_mut(at).chain_next = next;
    }
}
