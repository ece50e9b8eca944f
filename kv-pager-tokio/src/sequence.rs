//! A sequence whose waits are futures.
//! Uses `waiting`. Known by: engines.

use crate::waiting::progressed;
use kv_pager::ids::{Fence, TokenId};
use kv_pager::pager::{Pager, Sequence, Step};
use kv_pager::{Error, ErrorKind};
use std::ops::Range;

/// An open request, owned by one task at a time. Dropping it closes it, as it does a [`Sequence`].
#[derive(Debug)]
pub struct AsyncSequence {
    pager: Pager,
    sequence: Sequence,
}

impl AsyncSequence {
    pub(crate) fn new(pager: Pager, sequence: Sequence) -> Self {
        Self { pager, sequence }
    }

    /// The sequence: its tables, its report.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// The sequence, for calls that never wait.
    pub fn sequence_mut(&mut self) -> &mut Sequence {
        &mut self.sequence
    }

    /// The sequence, for a thread.
    pub fn into_sequence(self) -> Sequence {
        self.sequence
    }

    /// What to compute next, once its loads are there; `None` when all tokens given so far have been computed or loaded. Otherwise as
    /// [`Sequence::next_step`]. Dropped before, nothing was handed out: ask again.
    ///
    /// # Errors
    /// Those of [`Sequence::next_step`] that are not of kind [`ErrorKind::Retry`].
    pub async fn next_step(&mut self, tokens_max: usize) -> Result<Option<Range<usize>>, Error> {
        loop {
            let seen = self.pager.progress();
            match self.sequence.next_step(tokens_max) {
                Ok(Step::Compute(tokens)) => return Ok(Some(tokens)),
                Ok(Step::Ready) => return Ok(None),
                Ok(Step::Wait) => {}
                Err(error) if error.kind() == ErrorKind::Retry => {}
                Err(error) => return Err(error),
            }
            progressed(&self.pager, seen).await;
        }
    }

    /// Adds tokens, as [`Sequence::append`] does, and waits for the slots that they need. Dropped before, none was added.
    ///
    /// # Errors
    /// Those of [`Sequence::append`] that are not of kind [`ErrorKind::Retry`].
    pub async fn append(&mut self, tokens: &[TokenId]) -> Result<(), Error> {
        loop {
            let seen = self.pager.progress();
            match self.sequence.append(tokens) {
                Err(error) if error.kind() == ErrorKind::Retry => progressed(&self.pager, seen).await,
                other => return other,
            }
        }
    }

    /// Says that what was to compute has been; see [`Sequence::commit`].
    ///
    /// # Errors
    /// Those of [`Sequence::commit`].
    pub fn commit(&mut self, computed: Range<usize>, fence: Fence) -> Result<(), Error> {
        self.sequence.commit(computed, fence)
    }

    /// Another sequence with the same tokens; see [`Sequence::fork`]. Waits while a block is being copied or too many are open.
    ///
    /// # Errors
    /// Those of [`Sequence::fork`] that are not of kind [`ErrorKind::Retry`].
    pub async fn fork(&self) -> Result<Self, Error> {
        loop {
            let seen = self.pager.progress();
            match self.sequence.fork() {
                Ok(fork) => return Ok(Self::new(self.pager.clone(), fork)),
                Err(error) if error.kind() == ErrorKind::Retry => progressed(&self.pager, seen).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes it; see [`Sequence::close`].
    pub fn close(self, fence: Fence) {
        self.sequence.close(fence);
    }
}
