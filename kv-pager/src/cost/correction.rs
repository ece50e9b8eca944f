//! A correction: a factor that follows what is observed, shrugs off outliers, and jumps when the world has changed.
//! Layer 6. Uses nothing. Known by: `cost::lane_estimate`, `cost::prefill_estimate`.
//!
//! - **C4** its memory does not grow: the last [`Correction::RECENT`] ratios, nothing else (I8);
//! - one outlier moves the factor by at most `GAIN * (STEP_MAX - 1)`;
//! - when ratios that are off by more than [`Correction::DRIFT`] on one side have outnumbered the others by
//!   [`Correction::LEAD`], the factor is the median of what was seen meanwhile, at once.
//!
//! Averages forget an outlier slowly and a changed disk just as slowly; a lead of agreeing ratios tells the two apart. It is a
//! cumulative sum of signs, floored at zero: what is off by much counts no more than what is off by little, so that a stall is one
//! vote, and a good sample takes one vote back and not all. The lead that is asked for weighs stalls against changes: stalls that come
//! at random make a lead by chance, the less often the longer it must be, and a true change waits for just as many samples.

/// What an observation did to a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// It agreed, and moved the model a little.
    Steady,
    /// It disagreed, alone so far.
    Outlier,
    /// It was the last of many that agreed with each other and not with the model: the model has jumped.
    Drift,
    /// Nobody predicts such a thing here.
    Nothing,
}

/// A factor on predictions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Correction {
    factor: f64,
    /// By how many those that ask for a larger factor outnumber the others, since there were as many; negative for a smaller one.
    lead: i32,
    /// What factor was asked for since then: a ring.
    recent: [f64; Self::RECENT],
    count: usize,
    /// How far ratios were from 1 lately, on average.
    error: f64,
}

impl Correction {
    /// The lead that makes a change.
    const LEAD: i32 = 8;
    /// How many ratios are remembered: whoever leads by [`Correction::LEAD`] for the first time has most of the last so many.
    const RECENT: usize = 15;
    /// By how much a ratio disagrees.
    const DRIFT: f64 = 1.25;
    /// How much of a disagreement is taken over at once.
    const GAIN: f64 = 0.1;
    /// The most that one observation counts.
    const STEP_MAX: f64 = 1.25;
    /// How far from a profile a machine can be: a drive that hardly answers takes thousands of times as long.
    const FACTOR_MAX: f64 = 4096.0;

    /// No correction.
    pub(super) fn new() -> Self {
        Self { factor: 1.0, lead: 0, recent: [0.0; Self::RECENT], count: 0, error: 0.0 }
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
        let vote = i32::from(ratio > Self::DRIFT) - i32::from(ratio < 1.0 / Self::DRIFT);
        self.lead += if vote == 0 { -self.lead.signum() } else { vote };
        if self.lead == 0 {
            self.count = 0;
        } else {
            self.recent[self.count % Self::RECENT] = self.factor * ratio;
            self.count += 1;
        }
        if self.lead.abs() == Self::LEAD {
            self.set(self.median());
            (self.lead, self.count) = (0, 0);
            return Learned::Drift;
        }
        self.step(ratio.clamp(1.0 / Self::STEP_MAX, Self::STEP_MAX));
        if vote == 0 { Learned::Steady } else { Learned::Outlier }
    }

    /// Of what was asked for lately.
    fn median(&self) -> f64 {
        let mut sorted = self.recent;
        let sorted = &mut sorted[..self.count.min(Self::RECENT)];
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
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
            assert!(observed < 12, "{correction:?}");
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

    /// How many samples it takes until a change is believed, where `is_slow` tells which samples take `slowness` times as long and the
    /// others take what they took before; `None` if it is not in a thousand.
    fn noticed_after(slowness: f64, is_slow: impl Fn(u32) -> bool) -> Option<(u32, Correction)> {
        let mut correction = Correction::new();
        (0..1000).find_map(|sample| {
            let wanted = if is_slow(sample) { slowness } else { 1.0 };
            let learned = correction.observe(wanted / correction.factor());
            (learned == Learned::Drift).then_some((sample + 1, correction))
        })
    }

    #[test]
    fn good_samples_in_between_do_not_hide_a_change() {
        let (samples, correction) =
            noticed_after(4.0, |sample| sample % 5 != 4).expect("four of five are slow");
        assert!(samples <= 12 && (correction.factor() - 4.0).abs() < 1e-9, "{samples}: {correction:?}");
        let (samples, correction) =
            noticed_after(4.0, |sample| sample % 3 != 2).expect("two of three are slow");
        assert!(samples <= 20 && (correction.factor() - 4.0).abs() < 1e-9, "{samples}: {correction:?}");
        // With noise of a fifth each way, a disk at half its speed is believed at what it takes.
        let mut correction = Correction::new();
        let noise = |sample: u32| 0.8 + 0.4 * f64::from(sample * 7919 % 101) / 100.0;
        let drifts = (0..16).filter(|&sample| {
            let wanted = if sample % 4 == 3 { 1.0 } else { 2.0 * noise(sample) };
            correction.observe(wanted / correction.factor()) == Learned::Drift
        });
        assert_eq!(drifts.count(), 1, "{correction:?}");
        assert!((1.6..2.4).contains(&correction.factor()), "{correction:?}");
    }

    #[test]
    fn a_stall_every_few_samples_is_no_change() {
        assert_eq!(noticed_after(20.0, |sample| sample % 3 == 0), None);
        assert_eq!(noticed_after(20.0, |sample| sample % 6 < 2), None);
    }

    /// Numbers in 0..1 that look random.
    fn random(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(state >> 32).expect("32 bits")) / f64::from(u32::MAX)
        }
    }

    /// What each sample takes where `share` of them, at random, take `slowness` times as long, with noise of a tenth each way.
    fn wanted(seed: u64, slowness: f64, share: f64) -> impl FnMut() -> f64 {
        let mut random = random(seed);
        move || (if random() < share { slowness } else { 1.0 }) * (0.9 + 0.2 * random())
    }

    #[test]
    fn stalls_at_random_are_hardly_ever_taken_for_a_change() {
        const SAMPLES: u32 = 200_000;
        for (share, most) in [(0.2, SAMPLES / 20_000), (0.3, SAMPLES / 2_000)] {
            for slowness in [4.0, 20.0] {
                let mut wanted = wanted(7, slowness, share);
                let mut correction = Correction::new();
                let mut believed = 0;
                for _ in 0..SAMPLES {
                    let learned = correction.observe(wanted() / correction.factor());
                    believed += u32::from(learned == Learned::Drift && correction.factor() > 2.0);
                }
                assert!(believed < most, "{share} of {slowness}: {believed}");
            }
        }
    }

    #[test]
    fn a_change_is_believed_within_twelve_samples() {
        for seed in 0..50 {
            for slowness in [0.25, 2.0, 20.0] {
                let mut wanted = wanted(seed, slowness, 1.0);
                let mut correction = Correction::new();
                let believed =
                    (0..12).any(|_| correction.observe(wanted() / correction.factor()) == Learned::Drift);
                assert!(believed, "{seed}, {slowness}: {correction:?}");
                let error = correction.factor() / slowness;
                assert!((0.9..1.1).contains(&error), "{seed}, {slowness}: {correction:?}");
            }
        }
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
