//! The reference engine as something whose prefill can be measured.
//! Known by: `measure`.

use kv_pager::Error;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::cost::TokenSpan;
use kv_pager::cost::calibrate::PrefillProbe;
use kv_pager::cost::fit::PrefillSample;
use kv_pager::ids::TokenId;
use kv_pager::layout::ModelLayout;
use kv_pager_testkit::engine::{Engine, Model, PlainMemory, Run, Setting, Uncached};

/// The largest step that is measured.
pub(super) const STEP_TOKENS_MAX: u32 = 1024;
/// The longest prompt, where its keys and values take no more than [`PROMPT_BYTES_MAX`].
const PROMPT_TOKENS_MAX: u32 = 4096;
const PROMPT_BYTES_MAX: usize = 256 << 20;

/// A reference engine with memory for one prompt.
#[derive(Debug)]
pub(super) struct ReferenceProbe {
    model: Model,
    memory: PlainMemory,
    prompt_tokens_max: u32,
    clock: MonotonicClock,
}

impl ReferenceProbe {
    /// An engine for `layout`.
    ///
    /// # Errors
    /// [`Error::Configuration`] if it can't compute such a model.
    pub(super) fn new(layout: ModelLayout) -> Result<Self, Error> {
        let model = Model::new(layout, Setting::Window, 1)?;
        let fitting = u32::try_from(PROMPT_BYTES_MAX / model.bytes_per_token()).unwrap_or(u32::MAX);
        let prompt_tokens_max = fitting.clamp(64, PROMPT_TOKENS_MAX);
        let memory = PlainMemory::new(model.layout(), model.blocks(prompt_tokens_max as usize));
        Ok(Self { model, memory, prompt_tokens_max, clock: MonotonicClock::new() })
    }
}

impl PrefillProbe for ReferenceProbe {
    fn step_tokens_max(&self) -> u32 {
        STEP_TOKENS_MAX
    }

    fn prompt_tokens_max(&self) -> u32 {
        self.prompt_tokens_max
    }

    fn window_tokens(&self) -> Option<u32> {
        None
    }

    fn prefill(
        &mut self,
        prompt_tokens: u32,
        step_tokens: u32,
        on_step: &mut dyn FnMut(PrefillSample) -> bool,
    ) -> Result<(), Error> {
        let engine = Engine {
            model: &self.model,
            memory: &self.memory,
            verifier: None,
            chunk_tokens: step_tokens as usize,
        };
        let prompt: Vec<TokenId> = (0..prompt_tokens).map(TokenId).collect();
        let source = Uncached::new(prompt.len(), self.model.tokens_per_block());
        let mut run = Run::new(&engine, source, prompt, 0);
        let mut start = 0;
        while start < prompt_tokens {
            let step = TokenSpan::between(start, prompt_tokens.min(start + step_tokens));
            let started = self.clock.now();
            run.advance(&engine)?;
            if !on_step(PrefillSample { step, took: self.clock.now().since(started) }) {
                break;
            }
            start = step.end();
        }
        Ok(())
    }
}
