//! The handles: a request going in, a sequence coming out.
//! Layer 9. Known by: engines.

use super::course::Forecast;
use super::slices;
use super::stats::SequenceReport;
use super::step::Step;
use super::{Pager, Progress};
use crate::error::Error;
use crate::ids::{Fence, GroupId, ModelEpoch, PrefixHash, Salt, SequenceId, SlotId, TierId, TokenId};
use crate::policy::Urgency;
use crate::prefix::PrefixHasher;
use crate::sequence::{ExtraKey, RequestPriority, SequenceState};
use crate::units::Nanos;
use std::ops::Range;

/// What a sequence is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    tokens: &'a [TokenId],
    salt: Salt,
    extra_keys: &'a [ExtraKey],
    urgency: Urgency,
    priority: RequestPriority,
    time_to_live: Option<Nanos>,
}

impl<'a> Request<'a> {
    /// A request with this prompt, in the cache of the default salt.
    pub fn new(tokens: &'a [TokenId]) -> Self {
        Self {
            tokens,
            salt: Salt::default(),
            extra_keys: &[],
            urgency: Urgency::default(),
            priority: RequestPriority::default(),
            time_to_live: None,
        }
    }

    /// Its tokens.
    pub fn tokens(&self) -> &'a [TokenId] {
        self.tokens
    }

    /// In the cache of `salt`: it shares blocks only with requests of the same.
    #[must_use]
    pub fn with_salt(self, salt: Salt) -> Self {
        Self { salt, ..self }
    }

    /// With bytes that depend on these too.
    #[must_use]
    pub fn with_extra_keys(self, extra_keys: &'a [ExtraKey]) -> Self {
        Self { extra_keys, ..self }
    }

    /// More important than others: its loads go first, and its blocks stay longer.
    #[must_use]
    pub fn with_priority(self, priority: RequestPriority) -> Self {
        Self { priority, ..self }
    }

    /// With blocks that are given up, in every tier, that long after it has closed, unless a request without a time to live has used
    /// them, or one with a time to live uses them until later. They can be found until the calls that follow have given them up,
    /// 256 blocks each. A restart forgets that they were to expire. Where the engine owns the device slots, that long after the last
    /// call that brought or offloaded them, or ended the request.
    #[must_use]
    pub fn with_time_to_live(self, time_to_live: Nanos) -> Self {
        Self { time_to_live: Some(time_to_live), ..self }
    }

    /// With what the engine knows of how it is to be served.
    #[must_use]
    pub fn with_urgency(self, urgency: Urgency) -> Self {
        Self { urgency, ..self }
    }
}

/// A request whose blocks are named: hashed once, however often it has to be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prompt {
    tokens: Vec<TokenId>,
    salt: Salt,
    epoch: ModelEpoch,
    extra_keys: Vec<ExtraKey>,
    hashes: Vec<PrefixHash>,
    urgency: Urgency,
    priority: RequestPriority,
    time_to_live: Option<Nanos>,
}

impl Prompt {
    /// Its tokens.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Whose cache it is in.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// How it is to be served from now on: what the engine knows may have changed since it was prepared.
    pub fn set_urgency(&mut self, urgency: Urgency) {
        self.urgency = urgency;
    }

    pub(super) fn urgency(&self) -> &Urgency {
        &self.urgency
    }

    /// A state that holds it and how it is to be served, for matching.
    pub(super) fn state(&self, tokens_per_block: u32) -> SequenceState {
        let mut state = SequenceState::new(tokens_per_block, 0, 0);
        state.set_request(&self.tokens, self.salt, &self.extra_keys);
        state.epoch = self.epoch;
        state.priority = self.priority;
        state.time_to_live = self.time_to_live;
        state.hashes.extend_from_slice(&self.hashes);
        state
    }

    /// The names of its full blocks, in order.
    pub fn names(&self) -> &[PrefixHash] {
        &self.hashes
    }
}

pub(super) fn open_prompt(pager: &Pager, prompt: &Prompt) -> Result<Sequence, Error> {
    open_with(pager, prompt.tokens.len(), prompt.urgency, |state, _hasher| {
        state.salt = prompt.salt;
        state.epoch = prompt.epoch;
        state.priority = prompt.priority;
        state.time_to_live = prompt.time_to_live;
        state.tokens.extend_from_slice(&prompt.tokens);
        state.extra_keys.extend_from_slice(&prompt.extra_keys);
        state.hashes.extend_from_slice(&prompt.hashes);
    })
}

pub(super) fn prepare(pager: &Pager, request: &Request<'_>) -> Prompt {
    let mut state = SequenceState::new(pager.shared.tokens_per_block, 0, 0);
    state.set_request(request.tokens, request.salt, request.extra_keys);
    state.epoch = pager.epoch();
    state.hash_full_blocks(&pager.shared.hasher);
    let SequenceState { tokens, salt, epoch, extra_keys, hashes, .. } = state;
    Prompt {
        tokens,
        salt,
        epoch,
        extra_keys,
        hashes,
        urgency: request.urgency,
        priority: request.priority,
        time_to_live: request.time_to_live,
    }
}

pub(super) fn open(pager: &Pager, request: &Request<'_>) -> Result<Sequence, Error> {
    open_with(pager, request.tokens.len(), request.urgency, |state, hasher| {
        state.set_request(request.tokens, request.salt, request.extra_keys);
        state.epoch = pager.epoch();
        state.priority = request.priority;
        state.time_to_live = request.time_to_live;
        state.hash_full_blocks(hasher);
    })
}

fn open_with(
    pager: &Pager,
    tokens: usize,
    urgency: Urgency,
    fill: impl FnOnce(&mut SequenceState, &PrefixHasher),
) -> Result<Sequence, Error> {
    let shared = &pager.shared;
    let seen = pager.progress();
    let mut state = {
        let mut core = shared.core.lock();
        core.check_length(tokens)?;
        core.lease_state()?
    };
    fill(&mut state, &shared.hasher);
    if let Err(error) = slices::open(shared, &mut state, Some(urgency)) {
        let mut core = shared.core.lock();
        let error = core.why_refused(error, state.salt, tokens);
        core.return_state(state);
        return Err(error);
    }
    Ok(Sequence { pager: pager.clone(), state: Some(state), seen })
}

/// An open request. Owned by one thread at a time. Dropping it closes it, once the last fence that was given is over.
#[derive(Debug)]
pub struct Sequence {
    pager: Pager,
    /// `None` only while it is being closed.
    state: Option<Box<SequenceState>>,
    seen: Progress,
}

/// The state of a sequence that has not been closed.
fn opened(state: &mut Option<Box<SequenceState>>) -> &mut SequenceState {
    state.as_mut().expect("taken only by drop")
}

impl Sequence {
    fn state_ref(&self) -> &SequenceState {
        self.state.as_ref().expect("taken only by drop")
    }

    /// Its name, for logs.
    pub fn id(&self) -> SequenceId {
        self.state_ref().id
    }

    /// The epoch that it was opened in: once another has begun, what it commits is not cached.
    pub fn epoch(&self) -> ModelEpoch {
        self.state_ref().epoch
    }

    /// How many tokens it has been given.
    pub fn len(&self) -> usize {
        self.state_ref().tokens.len()
    }

    /// Whether it has no token.
    pub fn is_empty(&self) -> bool {
        self.state_ref().tokens.is_empty()
    }

    /// All tokens that it has been given.
    pub fn tokens(&self) -> &[TokenId] {
        &self.state_ref().tokens
    }

    /// How many leading tokens were found cached when it was opened, wherever; what fails to load is computed all the same.
    pub fn matched_tokens(&self) -> usize {
        self.state_ref().matched_blocks * self.state_ref().tokens_per_block()
    }

    /// What to do next for the tokens given so far. A range to compute has at most `tokens_max` tokens (at least one), comes
    /// after everything that is there, and ends where loaded blocks begin. Read the table after this call: it may have changed.
    ///
    /// # Errors
    /// [`Error::TierBusy`] or [`Error::TierFull`] if a shared block must be copied first and there is no slot for the copy.
    #[tracing::instrument(level = "debug", skip_all, fields(sequence = ?self.id()))]
    pub fn next_step(&mut self, tokens_max: usize) -> Result<Step, Error> {
        self.seen = self.pager.progress();
        let shared = &self.pager.shared;
        slices::next_step(shared, opened(&mut self.state), tokens_max)
    }

    /// Blocks until something has ended since the last `next_step`, or for `timeout`. Returns whether it did.
    pub fn wait(&self, timeout: Nanos) -> bool {
        self.pager.wait(self.seen, timeout)
    }

    /// Says that K and V of `computed`, the range of the last step or a front part of it, are in the slots once `fence` is
    /// over. Full blocks can be matched from now on; whoever reads them waits for the fence.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is another range.
    #[tracing::instrument(level = "debug", skip_all, fields(sequence = ?self.id(), ?computed))]
    pub fn commit(&mut self, computed: Range<usize>, fence: Fence) -> Result<(), Error> {
        let shared = &self.pager.shared;
        let state = opened(&mut self.state);
        state.hash_full_blocks(&shared.hasher);
        slices::commit(shared, state, computed, fence)
    }

    /// Says that computing `computed` took so long, in one step: the costs learn from it, and the plan is judged by it. It is meant for
    /// steps of the prompt: one of fewer tokens than the smallest that was measured, such as one that decodes, teaches the costs
    /// nothing.
    ///
    /// # Panics
    /// If the range is empty or beyond 2^32 tokens.
    pub fn observe(&self, computed: Range<usize>, took: Nanos) {
        self.pager.shared.core.lock().observe(self.state_ref(), &computed, took);
    }

    /// What was planned when it was opened and what came of it, once all tokens of its prompt are there; `None` before, and where
    /// no costs are known.
    pub fn forecast(&self) -> Option<Forecast> {
        self.pager.shared.core.lock().forecast(self.state_ref())
    }

    /// Adds tokens, and takes the slots that they need.
    ///
    /// # Errors
    /// [`Error::TierBusy`] or [`Error::TierFull`] if there are too few slots, [`Error::SequenceTooLong`] at the limit. Then no
    /// token was added.
    #[tracing::instrument(level = "debug", skip_all, fields(sequence = ?self.id(), tokens = tokens.len()))]
    pub fn append(&mut self, tokens: &[TokenId]) -> Result<(), Error> {
        let shared = &self.pager.shared;
        let state = opened(&mut self.state);
        let before = state.tokens.len();
        state.tokens.extend_from_slice(tokens);
        state.hash_full_blocks(&shared.hasher);
        let is_extended = slices::extend(shared, state);
        if is_extended.is_err() {
            state.tokens.truncate(before);
            state.hashes.truncate(before / state.tokens_per_block());
        }
        is_extended
    }

    /// Gives up all tokens from `tokens` on, as after rejected speculation; their slots may be reused once `fence`, the last
    /// compute that uses them, is over. Does nothing if there are not so many.
    #[tracing::instrument(level = "debug", skip_all, fields(sequence = ?self.id(), tokens = tokens))]
    pub fn truncate(&mut self, tokens: usize, fence: Fence) {
        if tokens < self.len() {
            let shared = &self.pager.shared;
            slices::truncate(shared, opened(&mut self.state), tokens, fence);
            shared.signal.ring();
        }
    }

    /// Another sequence with the same tokens, which shares all blocks; the first of the two to write into a shared one gets a
    /// copy. `O(blocks)`.
    ///
    /// # Errors
    /// [`Error::Misuse`] between a step to compute and its commit; [`Error::TierBusy`] while a block is being copied;
    /// [`Error::TooManySequences`] at the limit.
    #[tracing::instrument(level = "debug", skip_all, fields(sequence = ?self.id()))]
    pub fn fork(&self) -> Result<Self, Error> {
        let child = slices::fork(&self.pager.shared, self.state_ref())?;
        Ok(Self { pager: self.pager.clone(), state: Some(child), seen: self.seen })
    }

    /// The block table of `group`: one device slot for each block that the tokens reach, in order. What an attention kernel
    /// takes. Needs no lock.
    pub fn table(&self, group: GroupId) -> &[SlotId] {
        &self.state_ref().tables[group.index()]
    }

    /// Fences of other sequences' compute that wrote what was found on the device. The engine's stream waits for them before it
    /// reads this sequence's slots; what the same stream computed it need not wait for.
    pub fn waits(&self) -> &[Fence] {
        &self.state_ref().waits
    }

    /// Where the bytes of block `block` came from; `None` if this sequence computes them, or waits for them still.
    pub fn block_source(&self, block: usize) -> Option<TierId> {
        self.state_ref().entries.get(block).filter(|entry| entry.is_settled()).and_then(|entry| entry.source)
    }

    /// What became of it so far.
    pub fn report(&self) -> SequenceReport {
        SequenceReport {
            hit_tokens: self.state_ref().hit_tokens(),
            computed_tokens: self.state_ref().computed_tokens,
        }
    }

    /// Closes it: its blocks stay cached, its slots may be reused once `fence`, the last compute that uses them, is over.
    pub fn close(mut self, fence: Fence) {
        opened(&mut self.state).fence = fence;
        // Dropping does the rest.
    }

    /// Asserts what must hold between its entries and its tables; for tests.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        self.state_ref().check();
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            let _span = tracing::debug_span!("close", sequence = ?state.id).entered();
            slices::close(&self.pager.shared, state);
        }
    }
}
