//! The prefill's cost as it is now: what was fitted, corrected by every step that the engine has reported since.
//! Layer 6. Uses `units`, `cost::{prefill, correction}`. Known by: `cost`.
//!
//! As with lanes, one correction follows the device as a whole (it got busy, or hot), and one each node what the fit got
//! wrong there.
//!
//! Steps of fewer tokens than the smallest that was measured teach nothing: they are priced as that one, which is more than they may
//! take. A server that decodes reports steps of one token all day, and the device would look many times faster than it is.

use super::correction::{Correction, Learned};
use super::{PrefillCost, TokenSpan, real};
use crate::units::Nanos;

/// A prefill cost that learns. Fixed size (C4).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct PrefillEstimate {
    fitted: PrefillCost,
    device: Correction,
    nodes: [Correction; PrefillCost::NODES_MAX],
    current: PrefillCost,
}

impl PrefillEstimate {
    /// What was fitted, uncorrected.
    pub(super) fn new(fitted: &PrefillCost) -> Self {
        let nodes = [Correction::new(); PrefillCost::NODES_MAX];
        Self { fitted: *fitted, device: Correction::new(), nodes, current: *fitted }
    }

    /// The cost to predict with.
    pub(super) fn current(&self) -> &PrefillCost {
        &self.current
    }

    /// By what share predictions of steps were wrong lately, on average.
    pub(super) fn error(&self) -> f64 {
        self.device.error()
    }

    /// Takes in that one step took `took`; [`Learned::Nothing`] of a step smaller than any that was measured.
    pub(super) fn observe(&mut self, step: TokenSpan, took: Nanos) -> Learned {
        if step.tokens < self.fitted.nodes()[0].tokens {
            return Learned::Nothing;
        }
        let predicted_ns = self.current.step_ns(step);
        if predicted_ns <= 0.0 {
            return Learned::Nothing;
        }
        let ratio = real::from_nanos(took) / predicted_ns;
        let learned = self.device.observe(ratio);
        if learned == Learned::Steady {
            self.nodes[self.current.ruling_node(step)].observe(ratio);
        }
        let device = self.device.factor();
        self.current = self.fitted.scaled(|index| device * self.nodes[index].factor());
        learned
    }
}

#[cfg(test)]
mod tests {
    use super::{Learned, PrefillCost, PrefillEstimate, TokenSpan, real};
    use crate::cost::Node;
    use crate::units::Nanos;

    #[test]
    fn a_gpu_that_gets_busy_is_noticed_within_eight_steps_and_forgiven_as_fast() {
        let node = |tokens, base_ns| Node { tokens, base_ns, context_ns: 500.0, window_ns: 0.0 };
        let idle = PrefillCost::new(None, &[node(128, 1e7), node(2048, 5e7)]);
        let mut estimate = PrefillEstimate::new(&idle);
        let step = TokenSpan { start: 4096, tokens: 1000 };
        for busy in [1.8, 1.0] {
            let took = real::to_nanos(idle.step_ns(step) * busy);
            assert!((0..8).any(|_| estimate.observe(step, took) == Learned::Drift), "{busy}");
            let other = TokenSpan { start: 0, tokens: 200 };
            let error = estimate.current().step_ns(other) / (idle.step_ns(other) * busy);
            assert!((0.95..1.05).contains(&error), "{busy}: {error}");
        }
    }

    #[test]
    fn steps_smaller_than_any_that_was_measured_teach_nothing() {
        let node = |tokens, base_ns| Node { tokens, base_ns, context_ns: 500.0, window_ns: 0.0 };
        let measured = PrefillCost::new(None, &[node(16, 1.6e6), node(2048, 5e7)]);
        let mut estimate = PrefillEstimate::new(&measured);
        for start in 4096..4196 {
            let decoded = TokenSpan { start, tokens: 1 };
            assert_eq!(estimate.observe(decoded, Nanos::new(100_000)), Learned::Nothing);
        }
        assert_eq!(estimate, PrefillEstimate::new(&measured));
        // The smallest that was measured does.
        let smallest = TokenSpan { start: 4096, tokens: 16 };
        assert_eq!(estimate.observe(smallest, measured.step(smallest)), Learned::Steady);
    }
}
