//! A lane's cost as it is now: what was fitted, corrected by every transfer since.
//! Layer 6. Uses `units`, `cost::{lane, correction}`. Known by: `cost`.
//!
//! Two corrections: one of the whole lane, so that a disk that slows down is believed at every size at once, and one of
//! each knot, for what the fit got wrong at one size. A batch corrects the knot that most of its time comes from: lane and knot
//! would walk apart for ever if that knot had no weight in what is predicted.
//!
//! A lane whose far end keeps parts encoded is one line with its codec: what is observed of a transfer has both in it, and both
//! are corrected as one.

use super::correction::{Correction, Learned};
use super::{LaneCost, Load, real};
use crate::units::Nanos;

/// A lane that learns. Fixed size (C4).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct LaneEstimate {
    /// What was fitted, without a codec.
    fitted: LaneCost,
    /// What the lane's codec adds for each byte moved.
    codec_byte_ns: f64,
    lane: Correction,
    knots: [Correction; LaneCost::KNOTS_MAX],
    current: LaneCost,
}

impl LaneEstimate {
    /// What was fitted, uncorrected.
    pub(super) fn new(fitted: LaneCost) -> Self {
        let knots = [Correction::new(); LaneCost::KNOTS_MAX];
        Self { fitted, codec_byte_ns: 0.0, lane: Correction::new(), knots, current: fitted }
    }

    /// The cost to predict with.
    pub(super) fn current(&self) -> &LaneCost {
        &self.current
    }

    /// The same without the codec: what a profile says of the lane. A codec that was measured far too slow leaves it a part of what
    /// would be its own.
    pub(super) fn without_codec(&self) -> LaneCost {
        const SHARE_MIN: f64 = 0.25;
        let own = self.scaled(&self.fitted);
        self.current.with_byte_ns(-self.codec_byte_ns, |index| SHARE_MIN * own.knots()[index].copy_ns)
    }

    /// The lane's codec adds so much for each byte moved.
    pub(super) fn set_codec(&mut self, codec_byte_ns: f64) {
        self.codec_byte_ns = codec_byte_ns;
        self.correct();
    }

    /// Takes in that the lane worked on `load` for `took`, its codec's work in it.
    pub(super) fn observe(&mut self, load: Load, took: Nanos) -> Learned {
        let predicted_ns = self.current.busy_ns(load);
        if predicted_ns <= 0.0 {
            return Learned::Nothing;
        }
        let ratio = real::from_nanos(took) / predicted_ns;
        let learned = self.lane.observe(ratio);
        if learned == Learned::Steady {
            self.knots[self.current.ruling_knot(load)].observe(ratio);
        }
        self.correct();
        learned
    }

    fn correct(&mut self) {
        self.current = self.scaled(&self.fitted.with_byte_ns(self.codec_byte_ns, |_| 0.0));
    }

    fn scaled(&self, cost: &LaneCost) -> LaneCost {
        let lane = self.lane.factor();
        cost.scaled(lane, |index| lane * self.knots[index].factor())
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneCost, LaneEstimate, Learned, Load};
    use crate::cost::{CostModel, Knot, Profile};
    use crate::ids::TierId;
    use crate::tier::LaneEnds;
    use crate::units::{Bytes, Nanos};

    fn batch(blocks: u32) -> Load {
        Load { bytes: Bytes::new(u64::from(blocks) << 21), copies: blocks.div_ceil(8) }
    }

    #[test]
    fn a_disk_that_slows_down_is_believed_at_every_size_after_eight_transfers() {
        let disk = LaneCost::uniform(100_000.0, 20_000.0, 1.3e9, Bytes::mib(16));
        let slow = LaneCost::uniform(100_000.0, 20_000.0, 0.2e9, Bytes::mib(16));
        let mut estimate = LaneEstimate::new(disk);
        let drifted = (0..8).any(|_| estimate.observe(batch(16), slow.busy(batch(16))) == Learned::Drift);
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

    const BATCHES: [u32; 14] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128];

    /// Numbers in 0..1 that look random.
    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(state >> 32).expect("32 bits")) / f64::from(u32::MAX)
        }
    }

    #[test]
    fn a_lane_that_is_as_it_was_measured_stays_so_whatever_the_noise_and_the_sizes() {
        let profile = Profile::shipped("h200-llama3-8b").expect("it comes along");
        let model = CostModel::new(&profile).expect("it is plausible");
        let ends = |source, target| LaneEnds { source, target };
        let lanes = [
            (ends(TierId::Host, TierId::Device), 8),
            (ends(TierId::Device, TierId::Host), 8),
            (ends(TierId::File, TierId::Host), 2),
        ];
        let load = |blocks: u32, per_copy| Load {
            bytes: Bytes::new(u64::from(blocks) << 21),
            copies: blocks.div_ceil(per_copy),
        };
        for (ends, per_copy) in lanes {
            let truth = *model.lane(ends).expect("it is measured");
            for (seed, is_either, width) in
                (1..5).flat_map(|seed| [(seed, true, 0.05), (seed, false, 0.1), (seed, true, 0.145)])
            {
                let mut random = noise(seed);
                let mut estimate = LaneEstimate::new(truth);
                let mut worst: f64 = 1.0;
                for _ in 0..5000 {
                    let size = if is_either { 6.0 * random().round() } else { 7.0 * random() };
                    let blocks =
                        BATCHES.into_iter().rfind(|blocks| f64::from(*blocks).log2() <= size).unwrap_or(1);
                    // Of every three batches one meets another the other way, or all are off by a little.
                    let slower = if width > 0.1 { f64::from(random() < 0.4) } else { 2.0 * random() - 1.0 };
                    let took = truth.busy_ns(load(blocks, per_copy)) * (1.0 + width * slower);
                    estimate.observe(load(blocks, per_copy), super::real::to_nanos(took));
                    for blocks in [1, 16, 64] {
                        let load = load(blocks, per_copy);
                        let ratio = estimate.current().busy_ns(load) / truth.busy_ns(load);
                        worst = worst.max(ratio).max(1.0 / ratio);
                    }
                }
                assert!(worst < 1.2, "{ends}, seed {seed}, {width}: {worst}");
            }
        }
    }

    #[test]
    fn what_the_fit_got_wrong_at_one_size_is_learnt_there_and_spoils_no_other() {
        let disk = LaneCost::new(
            100_000.0,
            Bytes::mib(16),
            &[(0, 20_000.0), (2 << 20, 1.6e6), (16 << 20, 12.4e6)]
                .map(|(bytes, copy_ns)| Knot { copy_bytes: Bytes::new(bytes), copy_ns }),
        );
        let mut estimate = LaneEstimate::new(disk);
        let (small, large) = (batch(1), batch(8));
        for _ in 0..2000 {
            estimate.observe(small, super::real::to_nanos(disk.busy_ns(small) * 1.8));
            estimate.observe(large, disk.busy(large));
        }
        let small = estimate.current().busy_ns(small) / (disk.busy_ns(small) * 1.8);
        let large = estimate.current().busy_ns(large) / disk.busy_ns(large);
        assert!((0.85..1.15).contains(&small) && (0.85..1.15).contains(&large), "{small} {large}");
    }

    #[test]
    fn a_transfer_of_nothing_teaches_nothing() {
        let mut estimate = LaneEstimate::new(LaneCost::uniform(1.0, 1.0, 1e9, Bytes::mib(1)));
        assert_eq!(estimate.observe(Load::default(), Nanos::new(5)), Learned::Nothing);
    }
}
