//! A lane's cost as it is now: what was fitted, corrected by every transfer since.
//! Layer 6. Uses `units`, `cost::{lane, correction}`. Known by: `cost`.
//!
//! Two corrections: one of the whole lane, so that a disk that slows down is believed at every size at once, and one of
//! each knot, for what the fit got wrong at one size.

use super::correction::{Correction, Learned};
use super::{LaneCost, Load, real};
use crate::units::Nanos;

/// A lane that learns. Fixed size (C4).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct LaneEstimate {
    fitted: LaneCost,
    lane: Correction,
    knots: [Correction; LaneCost::KNOTS_MAX],
    current: LaneCost,
}

impl LaneEstimate {
    /// What was fitted, uncorrected.
    pub(super) fn new(fitted: LaneCost) -> Self {
        let knots = [Correction::new(); LaneCost::KNOTS_MAX];
        Self { fitted, lane: Correction::new(), knots, current: fitted }
    }

    /// The cost to predict with.
    pub(super) fn current(&self) -> &LaneCost {
        &self.current
    }

    /// Takes in that the lane worked on `load` for `took`.
    pub(super) fn observe(&mut self, load: Load, took: Nanos) -> Learned {
        let predicted_ns = self.current.busy_ns(load);
        if predicted_ns <= 0.0 {
            return Learned::Nothing;
        }
        let ratio = real::from_nanos(took) / predicted_ns;
        let learned = self.lane.observe(ratio);
        if learned == Learned::Steady {
            self.knots[self.fitted.nearest_knot(load)].observe(ratio);
        }
        let lane = self.lane.factor();
        self.current = self.fitted.scaled(lane, |index| lane * self.knots[index].factor());
        learned
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneCost, LaneEstimate, Learned, Load};
    use crate::units::{Bytes, Nanos};

    fn batch(blocks: u32) -> Load {
        Load { bytes: Bytes::new(u64::from(blocks) << 21), copies: blocks.div_ceil(8) }
    }

    #[test]
    fn a_disk_that_slows_down_is_believed_at_every_size_after_six_transfers() {
        let disk = LaneCost::uniform(100_000.0, 20_000.0, 1.3e9, Bytes::mib(16));
        let slow = LaneCost::uniform(100_000.0, 20_000.0, 0.2e9, Bytes::mib(16));
        let mut estimate = LaneEstimate::new(disk);
        let drifted = (0..6).any(|_| estimate.observe(batch(16), slow.busy(batch(16))) == Learned::Drift);
        assert!(drifted, "{estimate:?}");
        for blocks in [4, 64, 256] {
            let error = estimate.current().busy_ns(batch(blocks)) / slow.busy_ns(batch(blocks));
            assert!((0.85..1.15).contains(&error), "{blocks} blocks: {error}");
        }
    }

    #[test]
    fn noise_and_rare_stalls_leave_the_prediction_within_a_tenth() {
        let disk = LaneCost::uniform(100_000.0, 20_000.0, 1.3e9, Bytes::mib(16));
        let mut estimate = LaneEstimate::new(disk);
        for round in 0..500_u32 {
            let load = batch(1 + round % 100);
            let noise = 0.9 + 0.2 * f64::from(round * 37 % 101) / 101.0;
            let stall = if round % 11 == 0 { 30.0 } else { 1.0 };
            estimate.observe(load, super::real::to_nanos(disk.busy_ns(load) * noise * stall));
            let error = estimate.current().busy_ns(batch(32)) / disk.busy_ns(batch(32));
            assert!((0.9..1.1).contains(&error), "round {round}: {error}");
        }
    }

    #[test]
    fn a_transfer_of_nothing_teaches_nothing() {
        let mut estimate = LaneEstimate::new(LaneCost::uniform(1.0, 1.0, 1e9, Bytes::mib(1)));
        assert_eq!(estimate.observe(Load::default(), Nanos::new(5)), Learned::Nothing);
    }
}
