//! Epochs: other weights under the same fingerprint.
//! Layer 9. Known by: `pager`, engines.
//!
//! - **H1** from the moment an epoch begins, no match finds a block that an earlier one has named: its number is in every name;
//! - **H2** what the epoch before has left is given up a slice a call; before the next one begins, all of it is.
//!
//! A record keeps one bit of its epoch, which tells the present one from the one before; H2 is why that is enough.

use super::Pager;
use super::core::Core;
use crate::ids::{BlockId, ModelEpoch};
use crate::sync::Ordering;

/// How many records one call looks at.
const RECORDS_A_CALL: usize = 128;

impl Pager {
    /// The epoch that requests are named in.
    pub fn epoch(&self) -> ModelEpoch {
        ModelEpoch(self.shared.epoch.load(Ordering::Acquire))
    }

    /// Begins a new epoch, and returns it: the weights have changed, though the fingerprint has not. No cached block is found from
    /// here on, nor after a restart with [`Config::epoch`](crate::Config) as it is now. Sequences that are open go on with what
    /// they hold, and what they commit is not cached. A [`Prompt`](super::Prompt) of before is named anew when it is opened.
    ///
    /// `O(1)`, but for the prompts that [holds](Pager::hold) keep, which are named anew without the lock; the memory is reclaimed by the
    /// calls that follow, 128 records each, and the event stream tells of each block then. If that has not ended when the next epoch
    /// begins, this call ends it, in slices of the lock.
    pub fn advance_epoch(&self) -> ModelEpoch {
        let mut core = self.shared.core.lock();
        while core.stale_from.is_some() {
            core.reclaim_stale();
            drop(core);
            core = self.shared.core.lock();
        }
        core.epoch = core.epoch.next();
        let epoch = core.epoch;
        core.index.begin_epoch(epoch);
        core.stale_from = Some(0);
        core.give_up_kept();
        self.shared.epoch.store(epoch.0, Ordering::Release);
        drop(core);
        loop {
            let mut core = self.shared.core.lock();
            let present = core.epoch;
            let Some((keeper, mut prompt)) = core.stale_prompt() else { return epoch };
            drop(core);
            prompt.rename(present, &self.shared.hasher);
            self.shared.core.lock().put_back_prompt(keeper, prompt);
        }
    }
}

impl Core {
    /// Gives up what the epoch before has left, as far as one call goes.
    pub(super) fn reclaim_stale(&mut self) {
        let Some(from) = self.stale_from else { return };
        self.handle(RECORDS_A_CALL);
        let until = (from + RECORDS_A_CALL).min(self.index.capacity());
        for block in (from..until).map(BlockId::from_index) {
            if self.index.is_named(block) && self.index.is_stale(block) {
                self.detach(block);
                self.sweep_detached(block);
            }
        }
        self.stale_from = (until < self.index.capacity()).then_some(until);
        if self.stale_from.is_none() {
            self.signal.ring();
        }
    }
}
