//! A card's prefill as something that can be measured.
//! Uses `prefill`, the core's calibration. Known by: the command line's `measure`, benchmarks.

use super::PrefillGemms;
use crate::driver::Device;
use kv_pager::Error;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::cost::TokenSpan;
use kv_pager::cost::calibrate::PrefillProbe;
use kv_pager::cost::fit::PrefillSample;
use kv_pager::layout::ModelLayout;
use std::collections::HashMap;
use std::sync::Arc;

/// Of the contexts that a prompt has room for, which are measured, in eighths of the longest; both ends first, for they fix
/// the line between them.
const CONTEXTS: [u32; 6] = [0, 8, 4, 1, 2, 6];
/// Contexts are whole blocks, as an engine's are nearly always.
const GRAIN_TOKENS: u32 = 16;

/// Computes steps after any context, for products need no earlier step.
#[derive(Debug)]
pub struct GemmProbe {
    gemms: PrefillGemms,
    step_tokens_max: u32,
    prompt_tokens_max: u32,
    /// How many prompts in steps of each length.
    rounds: HashMap<u32, usize>,
    clock: MonotonicClock,
}

impl GemmProbe {
    /// A probe of the model called `name` ([`PrefillGemms::new`]).
    ///
    /// # Errors
    /// Those of [`PrefillGemms::new`].
    pub fn new(
        device: &Arc<Device>,
        model: (&str, &ModelLayout),
        step_tokens_max: u32,
        prompt_tokens_max: u32,
    ) -> Result<Self, Error> {
        let gemms = PrefillGemms::new(device, model, step_tokens_max, prompt_tokens_max)?;
        let (rounds, clock) = (HashMap::new(), MonotonicClock::new());
        Ok(Self { gemms, step_tokens_max, prompt_tokens_max, rounds, clock })
    }

    /// The products, for computing beside lanes.
    pub fn into_gemms(self) -> PrefillGemms {
        self.gemms
    }
}

impl PrefillProbe for GemmProbe {
    fn step_tokens_max(&self) -> u32 {
        self.step_tokens_max
    }

    fn prompt_tokens_max(&self) -> u32 {
        self.prompt_tokens_max
    }

    fn window_tokens(&self) -> Option<u32> {
        None
    }

    /// The steps come after contexts from none to the longest, each once, in another order every time.
    fn prefill(
        &mut self,
        prompt_tokens: u32,
        step_tokens: u32,
        on_step: &mut dyn FnMut(PrefillSample) -> bool,
    ) -> Result<(), Error> {
        let round = self.rounds.entry(step_tokens).or_default();
        let starts = starts(prompt_tokens, step_tokens, *round);
        *round += 1;
        for start in starts {
            let step = TokenSpan { start, tokens: step_tokens };
            self.gemms.warm(step)?;
            let started = self.clock.now();
            self.gemms.compute(step)?;
            if !on_step(PrefillSample { step, took: self.clock.now().since(started) }) {
                break;
            }
        }
        Ok(())
    }
}

/// Where the steps of one prompt begin.
fn starts(prompt_tokens: u32, step_tokens: u32, round: usize) -> impl Iterator<Item = u32> {
    let longest = prompt_tokens.saturating_sub(step_tokens);
    let eighths = CONTEXTS.into_iter().cycle().skip(round % CONTEXTS.len()).take(CONTEXTS.len());
    eighths.map(move |eighths| longest / 8 * eighths / GRAIN_TOKENS * GRAIN_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::starts;

    #[test]
    fn every_round_visits_all_contexts_and_begins_elsewhere() {
        let sorted = |round| {
            let mut all: Vec<u32> = starts(40_960, 8192, round).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(sorted(0), [0, 4096, 8192, 16_384, 24_576, 32_768]);
        assert_eq!(sorted(1), sorted(0));
        let first = |round| starts(40_960, 8192, round).next();
        assert_eq!([first(0), first(1), first(2)], [Some(0), Some(32_768), Some(16_384)]);
    }

    #[test]
    fn steps_fit_the_prompt() {
        for (prompt, step) in [(8192, 8192), (100, 60), (40_960, 16)] {
            assert!(starts(prompt, step, 0).all(|start| start + step <= prompt && start % 16 == 0));
        }
    }
}
