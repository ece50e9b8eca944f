//! The score: which of the two orders hits more now.
//! Layer 8. Uses `reuse`. Known by: `duel`.
//!
//! - **DU3** the difference in hits fades over several capacities' worth of references; the model is the better one when it is
//!   ahead by a part of the spread, and no more when it is behind by more than the margin and a larger part.

use super::super::reuse::Rule;

/// References over which the score fades, in capacities of the tier.
const WINDOW_CAPACITIES: f64 = 8.0;

/// References over which the score fades, at least.
const WINDOW_MIN: f64 = 4096.0;

/// How far, in hits per reference, the model may be behind before it is left.
const MARGIN: f64 = 0.0007;

/// How much of the spread of the difference it may be behind beside that: hits come by whole requests, so a few of them
/// say little.
const SPREAD_LEAVE: f64 = 0.25;

/// How much of the spread it must be ahead to be followed.
const SPREAD_FOLLOW: f64 = 0.1;

/// The model's hits less recency's.
#[derive(Debug)]
pub(super) struct Score {
    window: f64,
    /// Hits by value less hits by recency, fading.
    ahead: f64,
    /// The sum of the squares of that, request by request, fading alike.
    variance: f64,
    rule: Rule,
}

impl Score {
    /// For tiers of `capacity` blocks.
    pub(super) fn new(capacity: u32) -> Self {
        let window = (f64::from(capacity) * WINDOW_CAPACITIES).max(WINDOW_MIN);
        Self { window, ahead: 0.0, variance: 0.0, rule: Rule::Recency }
    }

    /// A request of so many references, of which the model hit `gain` more than recency.
    pub(super) fn add(&mut self, references: f64, gain: f64) {
        let fade = self.fade(references);
        self.ahead = self.ahead * fade + gain;
        self.variance = self.variance * fade + gain * gain;
        self.rule = match self.rule {
            Rule::Value if self.ahead < -MARGIN * self.window - SPREAD_LEAVE * self.spread() => Rule::Recency,
            Rule::Recency if self.ahead > SPREAD_FOLLOW * self.spread() => Rule::Value,
            rule => rule,
        };
    }

    /// How much of what was before still counts after so many references.
    pub(super) fn fade(&self, references: f64) -> f64 {
        (1.0 - references / self.window).max(0.0)
    }

    /// The better one.
    pub(super) fn rule(&self) -> Rule {
        self.rule
    }

    /// By how many hits the model is ahead.
    pub(super) fn ahead(&self) -> f64 {
        self.ahead
    }

    /// By how many it could be ahead, or behind, without being the better or the worse one.
    pub(super) fn spread(&self) -> f64 {
        self.variance.sqrt()
    }
}
