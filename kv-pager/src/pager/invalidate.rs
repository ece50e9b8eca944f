//! Invalidation: erasing what is cached for one salt, or for all, here and in what outlives the process.
//! Layer 9. Known by: `pager`.
//!
//! - **E1** an erased block is matched no more from the moment the call returns. Sequences that hold it go on with their slots; what
//!   they commit under it stays nameless, for its prefix is not the one that is asked for after;
//! - **E2** no descendant of an erased block keeps its name, whoever has given it one between two slices (I6).
//!
//! Descendants are gone through before the next record is looked at: a block that was named meanwhile may have a record that was
//! looked at before, and a parent whose record comes later. Names and copies go on the way down: nothing can be named under what was
//! erased, so the way ends. Records go on the way up; until then they are referred to, or the last child would take all of a long
//! chain along in one hold.

use super::Pager;
use super::core::Core;
use super::slices;
use crate::error::Error;
use crate::event::BlockEvent;
use crate::ids::{BlockId, Salt, TierId};

/// How far an erasure has come.
#[derive(Default)]
struct Erasure {
    /// The first record that has not been looked at.
    record: usize,
    /// Erased blocks, each a child of the one before it, whose children have not all been erased. Their records are referred to.
    path: Vec<BlockId>,
    erased: u64,
}

impl Pager {
    /// Erases all blocks of `salt`, and makes that durable: they are not found after a restart either. Returns how many it was.
    /// Blocks on I/O where a tier outlives the process.
    ///
    /// # Errors
    /// [`Error::Io`] if a drive refuses to make it durable; here they are erased all the same.
    pub fn invalidate(&self, salt: Salt) -> Result<u64, Error> {
        self.erase(|found| found == salt, None)
    }

    /// Erases all blocks, as [`Pager::invalidate`] does those of one salt. [`BlockEvent::Cleared`] is told before the first goes, and
    /// then of each that it is removed: what others store meanwhile is told of after the clearing.
    ///
    /// # Errors
    /// Those of [`Pager::invalidate`].
    pub fn invalidate_all(&self) -> Result<u64, Error> {
        self.erase(|_| true, Some(BlockEvent::Cleared))
    }

    /// Erases the blocks whose salt is meant; `begun` is told before the first goes.
    fn erase(&self, is_meant: impl Fn(Salt) -> bool, mut begun: Option<BlockEvent>) -> Result<u64, Error> {
        let mut erasure = Erasure::default();
        slices::repeat(&self.shared, |core| {
            if let Some(begun) = begun.take() {
                core.events.push(begun);
            }
            core.erase_slice(&mut erasure, &is_meant)
        });
        slices::keep_house(&self.shared, self.shared.clock.now());
        let tiers = self.shared.core.lock().tiers.clone();
        for tier in TierId::ALL {
            if let Some(persistence) = tiers[tier.index()].as_ref().and_then(|tier| tier.persistence()) {
                persistence.flush()?;
            }
        }
        Ok(erasure.erased)
    }
}

impl Core {
    /// Goes on with an erasure by as many records and children as a slice has blocks; the children of one block that somebody still
    /// uses, and so keep their records, may come on top. Returns whether that was its end.
    fn erase_slice(&mut self, erasure: &mut Erasure, is_meant: &impl Fn(Salt) -> bool) -> bool {
        let mut left = self.config.limits.slice_blocks as usize;
        while left > 0 {
            let Some(last) = erasure.path.last().copied() else {
                if erasure.record == self.index.capacity() {
                    return true;
                }
                self.erase(BlockId::from_index(erasure.record), erasure, is_meant);
                erasure.record += 1;
                left -= 1;
                continue;
            };
            let mut passed = 0;
            let next = self
                .index
                .children(last)
                .inspect(|_| passed += 1)
                .find(|child| self.is_named_of(*child, is_meant));
            left = left.saturating_sub(passed.max(1));
            if let Some(child) = next {
                self.erase(child, erasure, is_meant);
            } else {
                erasure.path.pop();
                self.unrefer(last);
            }
        }
        false
    }

    /// Takes a block out of the index, if its salt is meant.
    fn erase(&mut self, block: BlockId, erasure: &mut Erasure, is_meant: &impl Fn(Salt) -> bool) {
        if self.is_named_of(block, is_meant) {
            self.detach(block);
            self.index.add_reference(block);
            self.sweep_detached(block);
            erasure.path.push(block);
            erasure.erased += 1;
        }
    }

    /// Whether `block` can be found, and its salt is meant.
    fn is_named_of(&self, block: BlockId, is_meant: &impl Fn(Salt) -> bool) -> bool {
        self.index.is_named(block) && is_meant(self.index.view(block).salt)
    }
}
