//! Measuring an engine's prefill by letting it compute prompts.
//! Layer 6. Uses `units`, `error`, `clock`, `cost::fit`. Known by: `cost::calibrate`.

use crate::clock::Clock;
use crate::cost::fit::PrefillSample;
use crate::error::Error;
use crate::units::Nanos;

/// An engine whose prefill can be measured. Contract: **F1** each step that is told of was computed as when serving, and
/// timed alone; **F2** the prompt ends early when `on_step` says so.
pub trait PrefillProbe {
    /// The largest step that the engine takes.
    fn step_tokens_max(&self) -> u32;

    /// The longest prompt that there is memory for.
    fn prompt_tokens_max(&self) -> u32;

    /// The window of those layers that have one.
    fn window_tokens(&self) -> Option<u32>;

    /// Computes a prompt of `prompt_tokens` tokens in steps of `step_tokens`, and tells of each; goes on while it returns true.
    ///
    /// # Errors
    /// What the engine says.
    fn prefill(
        &mut self,
        prompt_tokens: u32,
        step_tokens: u32,
        on_step: &mut dyn FnMut(PrefillSample) -> bool,
    ) -> Result<(), Error>;
}

/// The shortest step that is measured.
const STEP_TOKENS_MIN: u32 = 16;
/// Prompts of each step length, at most.
const ROUNDS: u32 = 3;

/// Times prompts in steps of 16, 64, 256 ... tokens until `budget` is spent.
///
/// # Errors
/// What the engine says.
pub fn measure_prefill(
    probe: &mut dyn PrefillProbe,
    budget: Nanos,
    clock: &dyn Clock,
) -> Result<Vec<PrefillSample>, Error> {
    let longest = probe.step_tokens_max().min(probe.prompt_tokens_max());
    let quadruples = std::iter::successors(Some(STEP_TOKENS_MIN), |step| step.checked_mul(4));
    let steps: Vec<u32> = quadruples.take_while(|step| *step < longest).chain([longest]).collect();
    // Whole steps only: a short last one would be measured as a length of its own.
    let prompt_tokens = probe.prompt_tokens_max() / longest * longest;
    let share = Nanos::new(budget.as_u64() / u64::from(ROUNDS) / steps.len() as u64);
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        for &step_tokens in &steps {
            let end = clock.now().after(share);
            probe.prefill(prompt_tokens, step_tokens, &mut |sample| {
                samples.push(sample);
                clock.now() < end
            })?;
        }
    }
    Ok(samples)
}
