//! A correction: a factor that follows what is observed, shrugs off outliers, and jumps when the world has changed.
//! Layer 6. Uses nothing. Known by: `cost::lane_estimate`, `cost::prefill_estimate`.
//!
//! - **C4** its memory does not grow: the last [`Correction::RECENT`] ratios, nothing else (I8);
//! - one outlier moves the factor by at most `GAIN * (STEP_MAX - 1)`;
//! - when as many ratios in a row as are remembered lie on one side by more than [`Correction::DRIFT`], the factor is their
//!   median at once.
//!
//! Averages forget an outlier slowly and a changed disk just as slowly; a run of agreeing ratios tells the two apart.

/// What an observation did to a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// It agreed, and moved the model a little.
    Steady,
    /// It disagreed, alone so far.
    Outlier,
    /// It was the last of a run that agreed with each other and not with the model: the model has jumped.
    Drift,
    /// Nobody predicts such a thing here.
    Nothing,
}

/// A factor on predictions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Correction {
    factor: f64,
    recent: [f64; Self::RECENT],
    count: usize,
    /// How far ratios were from 1 lately, on average.
    error: f64,
}

impl Correction {
    /// How many ratios are remembered.
    pub(super) const RECENT: usize = 5;
    /// By how much a ratio disagrees.
    pub(super) const DRIFT: f64 = 1.25;
    /// How much of a disagreement is taken over at once.
    const GAIN: f64 = 0.1;
    /// The most that one observation counts.
    const STEP_MAX: f64 = 1.25;
    /// How far from a profile a machine can be.
    const FACTOR_MAX: f64 = 256.0;

    /// No correction.
    pub(super) fn new() -> Self {
        Self { factor: 1.0, recent: [0.0; Self::RECENT], count: 0, error: 0.0 }
    }

    /// What predictions are multiplied with.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// By what share predictions were wrong lately, on average; an outlier counts as [`Correction::DRIFT`], and nothing observed as
    /// nothing wrong.
    pub(super) fn error(&self) -> f64 {
        self.error
    }

    /// Takes in `ratio`, observed over predicted, the prediction being made with the factor as it is.
    pub(super) fn observe(&mut self, ratio: f64) -> Learned {
        if !ratio.is_finite() || ratio <= 0.0 {
            return Learned::Nothing;
        }
        let apart = ratio.max(1.0 / ratio).min(Self::DRIFT) - 1.0;
        self.error += Self::GAIN * (apart - self.error);
        let disagrees = !(1.0 / Self::DRIFT..=Self::DRIFT).contains(&ratio);
        if !disagrees {
            self.count = 0;
            self.step(ratio);
            return Learned::Steady;
        }
        let wanted = self.factor * ratio;
        let turned = self.count > 0 && (self.recent[0] > self.factor) != (wanted > self.factor);
        if turned {
            self.count = 0;
        }
        self.recent[self.count] = wanted;
        self.count += 1;
        if self.count == Self::RECENT {
            let mut sorted = self.recent;
            sorted.sort_by(f64::total_cmp);
            self.set(sorted[Self::RECENT / 2]);
            self.count = 0;
            return Learned::Drift;
        }
        self.step(ratio.clamp(1.0 / Self::STEP_MAX, Self::STEP_MAX));
        Learned::Outlier
    }

    /// Goes a little towards `ratio`; twice as slow and twice as fast cancel each other.
    fn step(&mut self, ratio: f64) {
        let share = 1.0 + Self::GAIN * (ratio.max(1.0 / ratio) - 1.0);
        self.set(if ratio > 1.0 { self.factor * share } else { self.factor / share });
    }

    fn set(&mut self, factor: f64) {
        self.factor = factor.clamp(1.0 / Self::FACTOR_MAX, Self::FACTOR_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::{Correction, Learned};

    #[test]
    fn one_outlier_moves_little_and_a_run_moves_at_once() {
        let mut correction = Correction::new();
        assert_eq!(correction.observe(50.0), Learned::Outlier);
        assert!(correction.factor() < 1.03, "{correction:?}");
        let mut observed = 0;
        while correction.observe(4.0 / correction.factor()) != Learned::Drift {
            observed += 1;
            assert!(observed < 8, "{correction:?}");
        }
        assert!((correction.factor() - 4.0).abs() < 1e-9, "{correction:?}");
    }

    #[test]
    fn the_error_is_what_predictions_are_wrong_by_and_outliers_count_little() {
        let mut correction = Correction::new();
        assert!(correction.error().abs() < 1e-12, "{correction:?}");
        for round in 0..100 {
            let wanted = if round % 2 == 0 { 1.06 } else { 1.0 / 1.06 };
            correction.observe(wanted);
        }
        assert!((correction.error() - 0.06).abs() < 0.001, "{correction:?}");
        correction.observe(100.0);
        assert!(correction.error() < 0.08, "{correction:?}");
    }

    #[test]
    fn outliers_on_both_sides_are_no_drift() {
        let mut correction = Correction::new();
        for _ in 0..50 {
            assert_ne!(correction.observe(3.0 / correction.factor()), Learned::Drift);
            assert_ne!(correction.observe(0.3 / correction.factor()), Learned::Drift);
        }
        assert!((0.8..1.25).contains(&correction.factor()), "{correction:?}");
    }
}
