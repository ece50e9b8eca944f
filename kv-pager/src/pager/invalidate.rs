//! Invalidation: erasing what is cached for one salt, or for all, here and in what outlives the process.
//! Layer 9. Known by: `pager`.
//!
//! An erased block is matched no more from the moment the call returns. Sequences that hold it go on with their slots; what they
//! commit under it stays nameless, for its prefix is not the one that is asked for after.

use super::Pager;
use super::core::Core;
use super::slices;
use crate::error::Error;
use crate::event::BlockEvent;
use crate::ids::{BlockId, Salt, TierId};

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
        let (mut erased, mut record) = (0, 0);
        slices::repeat(&self.shared, |core| {
            if let Some(begun) = begun.take() {
                core.events.push(begun);
            }
            let until = core.index.capacity().min(record + self.shared.slice_blocks);
            let slice = (record..until).map(BlockId::from_index);
            erased += slice.map(|block| u64::from(core.erase(block, &is_meant))).sum::<u64>();
            record = until;
            record == core.index.capacity()
        });
        let tiers = {
            let mut core = self.shared.core.lock();
            core.housekeep(self.shared.clock.now());
            core.tiers.clone()
        };
        for tier in TierId::ALL {
            if let Some(persistence) = tiers[tier.index()].as_ref().and_then(|tier| tier.persistence()) {
                persistence.flush()?;
            }
        }
        Ok(erased)
    }
}

impl Core {
    /// Takes a block out of the index, if its salt is meant. Returns whether it was found until now.
    fn erase(&mut self, block: BlockId, is_meant: &impl Fn(Salt) -> bool) -> bool {
        let is_found = self.index.is_named(block) && is_meant(self.index.view(block).salt);
        if is_found {
            self.detach(block);
            self.sweep_detached(block);
        }
        is_found
    }
}
