//! Prefetches: bringing nearer what queued requests will ask for.
//! Layer 9. Known by: engines.

use super::Pager;
use super::core::Core;
use super::finding::{self, Grip};
use super::handle::Prompt;
use super::keepers::{KeeperId, KeeperKind, Kept};
use super::slices;
use crate::error::Error;

/// A prefetch that is under way, or done and kept until the request opens. Dropping it calls it off: what no lane has begun is not
/// brought, and what has come stays cached like anything else.
#[derive(Debug)]
pub struct Prefetch {
    pager: Pager,
    id: KeeperId,
}

impl Pager {
    /// Begins to bring the cached blocks of a queued request nearer: from the file to the host, and to the device as far as
    /// [`Reserves::prefetched_share`](crate::config::Reserves) goes. It never takes what is in use, leaves free what the low
    /// watermark sets aside, gives way to every request, and its moves wait behind those that requests wait for. An
    /// `open` of the same prompt shares them; drop the prefetch after it. Never blocks: as there is room, the calls that follow
    /// start more. Costs what matching the prompt costs, and 128 blocks a call after that.
    ///
    /// # Errors
    /// [`Error::TooManyKept`] at [`Reserves::prefetches`](crate::config::Reserves).
    pub fn prefetch(&self, prompt: &Prompt) -> Result<Prefetch, Error> {
        let now = self.shared.clock.now();
        let mut state = prompt.state(self.shared.tokens_per_block);
        loop {
            self.lock_for(&mut state).check_prefetch()?;
            let wanted = finding::find(&self.shared, &state, Grip::Loose).len();
            let mut core = self.shared.core.lock();
            // Of an epoch that has begun meanwhile nothing was found.
            if state.epoch == core.epoch {
                core.check_prefetch()?;
                let id = core.add_keeper(KeeperKind::Prefetch, state, wanted);
                drop(core);
                slices::keep_house(&self.shared, now);
                return Ok(Prefetch { pager: self.clone(), id });
            }
        }
    }
}

impl Core {
    fn check_prefetch(&self) -> Result<(), Error> {
        let limit = self.config.reserves.prefetches;
        if self.keepers.count(KeeperKind::Prefetch) >= limit as usize {
            return Err(Error::TooManyKept { limit });
        }
        Ok(())
    }
}

impl Prefetch {
    /// What it has brought so far, and what is on its way.
    pub fn kept(&self) -> Kept {
        slices::kept(&self.pager.shared, self.id)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        slices::end_keeper(&self.pager.shared, self.id);
    }
}
