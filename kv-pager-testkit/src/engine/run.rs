//! One request being served: prefill in chunks, then token by token, and what came of it.
//! Uses everything in `engine`. Known by: the command line, tests.
//!
//! - **Q1** `advance` never blocks: it computes at most one chunk, or says that there is nothing to do yet;
//! - **Q2** every block that came from the cache is shown to the verifier before anything is computed on it, and every
//!   block is read once more before the sequence is given back.

use super::context::Context;
use super::memory::KvMemory;
use super::model::{Model, Setting};
use super::source::{StepSource, Uncached};
use super::verifier::{ContentKey, Verdict, Verifier, compute_checksums};
use super::{Output, PlainMemory};
use kv_pager::ids::{SlotId, TierId, TokenId};
use kv_pager::pager::Step;
use kv_pager::{Error, ErrorKind};

/// What computes: shared by all requests of a device.
#[derive(Clone, Copy, Debug)]
pub struct Engine<'a> {
    /// The model.
    pub model: &'a Model,
    /// Where K and V of its sequences lie.
    pub memory: &'a dyn KvMemory,
    /// What checks them, if anything does.
    pub verifier: Option<&'a Verifier>,
    /// Tokens computed in one step at most; at least one.
    pub chunk_tokens: usize,
}

/// What [`Run::advance`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Something was computed; there is more to do.
    Computed,
    /// The prompt is done and the first token known; there may be more to do.
    Prefilled,
    /// Nothing can be done until something ended.
    Waiting,
    /// Everything is done.
    Finished,
}

/// A request being served over a source of steps.
#[derive(Debug)]
pub struct Run<S> {
    source: S,
    tokens: Vec<TokenId>,
    prompt_tokens: usize,
    output_tokens: usize,
    context: Context,
    table: Vec<SlotId>,
    /// Names of the complete blocks that have been checked or computed.
    keys: Vec<ContentKey>,
    /// What was generated and not yet appended.
    next_token: Option<TokenId>,
    output: Output,
}

impl<S: StepSource> Run<S> {
    /// Serves `prompt`, which `source` was opened with, and generates `output_tokens` tokens.
    pub fn new(engine: &Engine<'_>, source: S, prompt: Vec<TokenId>, output_tokens: usize) -> Self {
        Self {
            source,
            prompt_tokens: prompt.len(),
            output_tokens,
            context: Context::new(engine.model, prompt.len() + output_tokens),
            tokens: prompt,
            table: Vec::new(),
            keys: Vec::new(),
            next_token: None,
            output: Output::default(),
        }
    }

    /// Does the next step.
    ///
    /// # Errors
    /// What the source says, but for "retry", which is [`Progress::Waiting`].
    ///
    /// # Panics
    /// If the source breaks its contract.
    pub fn advance(&mut self, engine: &Engine<'_>) -> Result<Progress, Error> {
        match self.try_advance(engine) {
            Err(error) if error.kind() == ErrorKind::Retry => Ok(Progress::Waiting),
            other => other,
        }
    }

    /// The source and what came of the request; every block is read once more first (Q2).
    pub fn finish(mut self, engine: &Engine<'_>) -> (S, Output) {
        self.source.read_table(&mut self.table);
        let changed = self.context.count_changed_blocks(engine.model, engine.memory, &self.table);
        if let Some(verifier) = engine.verifier {
            verifier.count_changed(changed);
        }
        self.output.changed_blocks = changed;
        self.output.checksums = self.context.checksums().to_vec();
        (self.source, self.output)
    }

    /// Tokens of the request's prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    fn try_advance(&mut self, engine: &Engine<'_>) -> Result<Progress, Error> {
        if let Some(token) = self.next_token {
            self.source.append(&[token])?;
            self.tokens.push(token);
            self.next_token = None;
        }
        match self.source.next_step(engine.chunk_tokens)? {
            Step::Wait => Ok(Progress::Waiting),
            Step::Compute(range) => {
                self.source.read_table(&mut self.table);
                if engine.model.setting() == Setting::Full || range.start < self.context.position() {
                    self.context.forget();
                }
                self.context.read_to(range.start, engine.model, engine.memory, &self.table);
                self.check_blocks(engine);
                self.output.computed_tokens += range.end.min(self.prompt_tokens).saturating_sub(range.start);
                let tokens = &self.tokens[range.clone()];
                let (context, table) = (&mut self.context, &self.table);
                self.source.compute(&range, || context.compute(tokens, engine.model, engine.memory, table));
                self.remember_blocks(engine);
                self.source.commit(range)?;
                Ok(Progress::Computed)
            }
            Step::Ready => {
                assert_eq!(
                    self.context.position(),
                    self.tokens.len(),
                    "O2: the last token was computed here"
                );
                let logits = self.context.logits(engine.model);
                self.output.logits_digest = logits.mix_into(self.output.logits_digest);
                let is_first = self.tokens.len() == self.prompt_tokens;
                if self.output.generated.len() < self.output_tokens {
                    let token = logits.most_likely();
                    self.output.generated.push(token);
                    if self.output.generated.len() < self.output_tokens {
                        self.next_token = Some(token);
                    }
                }
                Ok(match self.next_token {
                    None => Progress::Finished,
                    Some(_) if is_first => Progress::Prefilled,
                    Some(_) => Progress::Computed,
                })
            }
        }
    }

    /// Names the complete blocks that the context has reached since the last call.
    fn name_blocks(&mut self, engine: &Engine<'_>) -> std::ops::Range<usize> {
        let tokens_per_block = engine.model.tokens_per_block();
        let start = self.keys.len();
        for block in start..self.context.checksums().len() {
            let parent = self.keys.last().copied().unwrap_or_default();
            let first = block * tokens_per_block;
            self.keys.push(parent.child(&self.tokens[first..first + tokens_per_block]));
        }
        start..self.keys.len()
    }

    /// Shows the blocks that were just read to the verifier.
    fn check_blocks(&mut self, engine: &Engine<'_>) {
        let blocks = self.name_blocks(engine);
        let Some(verifier) = engine.verifier else { return };
        let mut computed: Option<Vec<u64>> = None;
        for block in blocks {
            let Some(tier) = self.source.block_source(block) else { continue };
            let is_onboarded = tier != TierId::Device;
            let checksum = self.context.checksums()[block];
            if verifier.check(self.keys[block], checksum, is_onboarded) == Verdict::Unknown {
                let read = &self.tokens[..self.context.position()];
                let expected = computed.get_or_insert_with(|| compute_checksums(engine.model, read))[block];
                verifier.check_against(expected, checksum, is_onboarded);
                verifier.remember(self.keys[block], expected);
            }
        }
    }

    /// Shows the blocks that were just computed to the verifier (V2: before they are committed).
    fn remember_blocks(&mut self, engine: &Engine<'_>) {
        let blocks = self.name_blocks(engine);
        let Some(verifier) = engine.verifier else { return };
        let tokens_per_block = engine.model.tokens_per_block();
        for block in blocks {
            let verdict = verifier.remember(self.keys[block], self.context.checksums()[block]);
            if verdict != Verdict::Unknown {
                let start = block * tokens_per_block;
                self.output.recomputed_tokens +=
                    self.prompt_tokens.clamp(start, start + tokens_per_block) - start;
            }
        }
    }
}

/// Serves a request without a pager: what all runs with one must equal, bit for bit.
///
/// # Panics
/// Never: plain steps do not fail.
pub fn run_uncached(model: &Model, prompt: &[TokenId], output_tokens: usize) -> Output {
    let slots = model.blocks(prompt.len() + output_tokens);
    let memory = PlainMemory::new(model.layout(), slots);
    let engine = Engine { model, memory: &memory, verifier: None, chunk_tokens: usize::MAX / 2 };
    let source = Uncached::new(prompt.len(), model.tokens_per_block());
    let mut run = Run::new(&engine, source, prompt.to_vec(), output_tokens);
    while run.advance(&engine).expect("plain steps do not fail") != Progress::Finished {}
    run.finish(&engine).1
}
