//! The pager's handle for tasks.
//! Uses `sequence`, `waiting`. Known by: engines.

use crate::sequence::AsyncSequence;
use crate::waiting::progressed;
use kv_pager::pager::{Deliveries, Delivery, Pager, Prompt, Request};
use kv_pager::units::Nanos;
use kv_pager::{Error, ErrorKind};

/// A pager whose waits are futures. Cheap to clone; used from any number of tasks.
#[derive(Clone, Debug)]
pub struct AsyncPager {
    pager: Pager,
}

impl AsyncPager {
    /// The same pager, for tasks.
    pub fn new(pager: Pager) -> Self {
        Self { pager }
    }

    /// The pager itself, for calls that never wait.
    pub fn pager(&self) -> &Pager {
        &self.pager
    }

    /// Opens a sequence, as [`Pager::open`] does, and waits for device slots as long as there are too few. Dropped before, it has
    /// opened nothing. Names the prompt's blocks before it first waits: about 15 ns a block of 16 tokens.
    ///
    /// # Errors
    /// Those of [`Pager::open`] that are not of kind [`ErrorKind::Retry`].
    pub async fn open(&self, request: &Request<'_>) -> Result<AsyncSequence, Error> {
        let prompt = self.pager.prepare(request);
        self.open_prompt(&prompt).await
    }

    /// Opens a sequence for a request that is prepared, as [`AsyncPager::open`] does.
    ///
    /// # Errors
    /// Those of [`AsyncPager::open`].
    pub async fn open_prompt(&self, prompt: &Prompt) -> Result<AsyncSequence, Error> {
        loop {
            let seen = self.pager.progress();
            match self.pager.open_prompt(prompt) {
                Ok(sequence) => return Ok(AsyncSequence::new(self.pager.clone(), sequence)),
                Err(error) if error.kind() == ErrorKind::Retry => progressed(&self.pager, seen).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until all moves of an `onboard` or `offload` have ended, and tells how. Dropped before, the deliveries are still the
    /// caller's, to be awaited again.
    pub async fn delivered<'a>(&self, deliveries: &'a mut Deliveries) -> &'a [Delivery] {
        loop {
            let seen = self.pager.progress();
            if deliveries.is_over() {
                return deliveries.poll();
            }
            progressed(&self.pager, seen).await;
        }
    }

    /// Waits until no move waits or is under way, or for `timeout`. Returns whether that was so.
    pub async fn quiet(&self, timeout: Nanos) -> bool {
        let quiet = async {
            loop {
                let seen = self.pager.progress();
                self.pager.poll();
                if !self.pager.is_busy() {
                    return;
                }
                progressed(&self.pager, seen).await;
            }
        };
        tokio::time::timeout(timeout.as_duration(), quiet).await.is_ok()
    }
}
