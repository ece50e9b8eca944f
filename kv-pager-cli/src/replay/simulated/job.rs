//! A request under way in virtual time.
//! Known by: `replay::simulated::course`.

use crate::failure::Failure;
use kv_pager::ErrorKind;
use kv_pager::clock::Time;
use kv_pager::cost::TokenSpan;
use kv_pager::cost::machine::JobId;
use kv_pager::pager::{Pager, Prompt, Sequence, Step};
use kv_pager::policy::Urgency;
use std::ops::Range;

/// A request that has arrived and is not yet served.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    /// Its place in the stream.
    pub(super) index: usize,
    pub(super) arrival: Time,
    /// When its last computing ended.
    pub(super) computed_at: Time,
    /// Named once, however often it is tried to be opened.
    prompt: Option<Prompt>,
    sequence: Option<Sequence>,
    /// What the compute server was given.
    computing: Option<Range<usize>>,
}

/// What a job does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// These tokens.
    Compute(TokenSpan),
    /// Something must end first.
    Wait,
    /// Nothing: it is served.
    Leave,
}

impl Job {
    pub(super) fn new(id: JobId, index: usize, arrival: Time) -> Self {
        let (prompt, sequence, computing) = (None, None, None);
        Self { id, index, arrival, computed_at: arrival, prompt, sequence, computing }
    }

    pub(super) fn is_open(&self) -> bool {
        self.sequence.is_some()
    }

    /// Opens its sequence, whose prompt `name` tells, while so many wait behind it; false if something must end first.
    ///
    /// # Errors
    /// If it can never be served.
    pub(super) fn open(
        &mut self,
        pager: &Pager,
        waiting: u32,
        name: impl FnOnce() -> Prompt,
    ) -> Result<bool, Failure> {
        let prompt = self.prompt.get_or_insert_with(name);
        prompt.set_urgency(Urgency { waiting, ..Urgency::default() });
        match pager.open_prompt(prompt) {
            Ok(sequence) => {
                self.sequence = Some(sequence);
                self.prompt = None;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Retry => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What it does next, in steps of at most `step_tokens_max`.
    ///
    /// # Errors
    /// If it can't be served.
    ///
    /// # Panics
    /// If it is not open.
    pub(super) fn next(&mut self, step_tokens_max: u32) -> Result<Next, Failure> {
        let sequence = self.sequence.as_mut().expect("only open jobs go on");
        match sequence.next_step(step_tokens_max as usize) {
            Ok(Step::Compute(range)) => {
                let span = TokenSpan::between(tokens(range.start), tokens(range.end));
                self.computing = Some(range);
                Ok(Next::Compute(span))
            }
            Ok(Step::Wait) => Ok(Next::Wait),
            Ok(Step::Ready) => Ok(Next::Leave),
            Err(error) if error.kind() == ErrorKind::Retry => Ok(Next::Wait),
            Err(error) => Err(error.into()),
        }
    }

    /// What it was given to compute has been computed by `now`: the tokens.
    ///
    /// # Errors
    /// Those of the pager.
    ///
    /// # Panics
    /// If nothing was.
    pub(super) fn commit(&mut self, started: Time, now: Time) -> Result<Range<usize>, Failure> {
        let range = self.computing.take().expect("the server computes what it was given");
        let sequence = self.sequence.as_mut().expect("only open jobs compute");
        sequence.observe(range.clone(), now.since(started));
        sequence.commit(range.clone(), kv_pager::ids::Fence::OVER)?;
        self.computed_at = now;
        Ok(range)
    }

    /// Its sequence, at the end.
    pub(super) fn into_sequence(self) -> Option<Sequence> {
        self.sequence
    }
}

/// A place in a prompt.
fn tokens(count: usize) -> u32 {
    u32::try_from(count).expect("a trace's prompt has less than 2^32 tokens")
}
