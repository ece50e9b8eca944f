//! A lane's cost from timed batches.
//! Layer 6. Uses `units`, `cost::{lane, real}`. Known by: `cost::fit`.

use super::regression::{COLUMNS_MAX, Row, regress};
use crate::cost::{Knot, LaneCost, Load, real};
use crate::units::{Bytes, Nanos};

/// One timed batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneSample {
    /// What was moved.
    pub load: Load,
    /// How long the lane worked on it, waiting excluded.
    pub took: Nanos,
}

/// Sizes at which a lane may change its ways: 0, 16 KiB, then by four up to 64 MiB.
const KNOT_BYTES: [u64; LaneCost::KNOTS_MAX] =
    [0, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20];

/// Of the rate that the lane can reach, the share that a chunk must reach to saturate it.
const SATURATED: f64 = 0.97;
/// How much of its share of the time of the largest copies the last piece of a curve takes at least.
const FLAT: f64 = 1.0 / 64.0;

/// The cost that explains `samples` best; `None` if they are too few or all alike. Samples of nothing are ignored.
///
/// Alpha and gamma are told apart by batches of the same bytes in more or fewer copies; where all copies have one size, gamma
/// counts as part of the bytes' time. Knots are set only where samples lie around them.
pub fn fit_lane(samples: &[LaneSample]) -> Option<LaneCost> {
    let real_moves = |sample: &&LaneSample| sample.load.copies > 0 && sample.took > Nanos::ZERO;
    let mut mean_bytes: Vec<f64> =
        samples.iter().filter(real_moves).map(|sample| copy_bytes(sample.load)).collect();
    mean_bytes.sort_by(f64::total_cmp);
    let knots = choose_knots(&mean_bytes)?;
    if samples.iter().all(|sample| sample.load == samples[0].load) {
        return None;
    }
    let rows: Vec<Row> = samples.iter().filter(real_moves).map(|sample| row(sample, &knots)).collect();
    let found = regress(&rows, knots.len() + 1)?;
    let curve: Vec<Knot> = knots
        .iter()
        .zip(&found[1..])
        .map(|(&bytes, &copy_ns)| Knot { copy_bytes: real::to_bytes(bytes), copy_ns })
        .collect();
    let cost = LaneCost::new(found[0], Bytes::mib(1), &rising(curve));
    Some(LaneCost::new(cost.alpha_ns(), saturating_chunk(&cost), cost.knots()))
}

/// The curve without the knots before the last that are as slow as that: no lane carries more bytes in no more time, so something else
/// ran while they were measured.
fn rising(mut curve: Vec<Knot>) -> Vec<Knot> {
    let is_flat = |curve: &[Knot]| match curve {
        [.., before, last] => {
            let bytes = [before, last].map(|knot| real::from_bytes(knot.copy_bytes));
            let share = 1.0 - bytes[0] / bytes[1];
            last.copy_ns - before.copy_ns < FLAT * share * last.copy_ns
        }
        _ => false,
    };
    while curve.len() > 2 && is_flat(&curve) {
        curve.remove(curve.len() - 2);
    }
    if is_flat(&curve) {
        curve[0].copy_ns = 0.0;
    }
    curve
}

fn copy_bytes(load: Load) -> f64 {
    real::from_bytes(load.bytes) / f64::from(load.copies)
}

/// Knots from zero to the size that ends the samples, each piece with at least three samples in it.
fn choose_knots(sorted_bytes: &[f64]) -> Option<Vec<f64>> {
    let largest = *sorted_bytes.last()?;
    let within =
        |from: f64, to: f64| sorted_bytes.iter().filter(|&&bytes| from < bytes && bytes <= to).count();
    let mut knots = vec![0.0];
    for bytes in KNOT_BYTES.iter().skip(1).map(|&bytes| real::from_bytes(Bytes::new(bytes))) {
        let from = knots[knots.len() - 1];
        if bytes < largest && within(from, bytes) >= 3 && within(bytes, f64::INFINITY) >= 3 {
            knots.push(bytes);
        }
    }
    if knots.len() == LaneCost::KNOTS_MAX {
        knots.pop();
    }
    (largest >= 1.0).then(|| {
        knots.push(largest.floor());
        knots
    })
}

/// `alpha + copies * curve`, the curve being straight between its knots.
fn row(sample: &LaneSample, knots: &[f64]) -> Row {
    let mut row = Row { features: [0.0; COLUMNS_MAX], observed: real::from_nanos(sample.took) };
    row.features[0] = 1.0;
    let bytes = copy_bytes(sample.load);
    let right = (1..knots.len() - 1).find(|&right| bytes <= knots[right]).unwrap_or(knots.len() - 1);
    let share = (bytes - knots[right - 1]) / (knots[right] - knots[right - 1]);
    let copies = f64::from(sample.load.copies);
    row.features[right] = copies * (1.0 - share);
    row.features[right + 1] = copies * share;
    row
}

/// The smallest power of two from 64 KiB to 64 MiB whose copies reach [`SATURATED`] of the best rate.
fn saturating_chunk(cost: &LaneCost) -> Bytes {
    let sizes = (16..=26).map(|power| Bytes::new(1 << power));
    let rate = |bytes: Bytes| real::from_bytes(bytes) / cost.stream_ns(Load { bytes, copies: 1 });
    let best = rate(Bytes::mib(64));
    sizes.into_iter().find(|&bytes| rate(bytes) >= SATURATED * best).unwrap_or(Bytes::mib(64))
}

#[cfg(test)]
mod tests {
    use super::{Knot, LaneCost, LaneSample, Load, fit_lane, rising};
    use crate::cost::real;
    use crate::units::Bytes;

    fn samples_of(truth: &LaneCost, outlier_every: u32) -> Vec<LaneSample> {
        let mut samples = Vec::new();
        for power in 12..28 {
            for copies in [1, 2, 8, 32] {
                let count = u32::try_from(samples.len()).expect("few");
                let noise = 0.95 + 0.1 * f64::from(count * 61 % 97) / 97.0;
                let stall = if count % outlier_every == 0 { 12.0 } else { 1.0 };
                let load = Load { bytes: Bytes::new((1 << power) * u64::from(copies)), copies };
                samples.push(LaneSample { load, took: real::to_nanos(truth.busy_ns(load) * noise * stall) });
            }
        }
        samples
    }

    #[test]
    fn known_costs_are_found_under_noise_and_outliers() {
        let knots = [(0, 2_500.0), (64 << 10, 6_000.0), (1 << 20, 30_000.0), (64 << 20, 1_220_000.0)];
        let knots = knots.map(|(bytes, copy_ns)| Knot { copy_bytes: Bytes::new(bytes), copy_ns });
        let bent = LaneCost::new(6_500.0, Bytes::mib(16), &knots);
        let disk = LaneCost::uniform(120_000.0, 25_000.0, 1.3e9, Bytes::mib(4));
        for truth in [bent, disk] {
            for outlier_every in [1_000, 7] {
                let found = fit_lane(&samples_of(&truth, outlier_every)).expect("enough samples");
                for power in 13..30 {
                    for copies in [1_u32, 5, 20] {
                        let load = Load { bytes: Bytes::new((1 << power) * u64::from(copies)), copies };
                        let error = found.busy_ns(load) / truth.busy_ns(load) - 1.0;
                        assert!(error.abs() < 0.05, "1 in {outlier_every}: {load:?}: {error}\n{found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_chunk_is_where_the_curve_is_flat() {
        let found = fit_lane(&samples_of(&LaneCost::uniform(5_000.0, 10_000.0, 10e9, Bytes::mib(1)), 1_000));
        let chunk = found.expect("enough samples").chunk_bytes();
        assert!((Bytes::mib(2)..=Bytes::mib(8)).contains(&chunk), "{chunk}");
    }

    #[test]
    fn copies_of_one_size_have_no_gamma_but_the_right_time() {
        let truth = LaneCost::uniform(20_000.0, 5_000.0, 9e9, Bytes::mib(1));
        let samples = [1, 2, 4, 8, 16, 32].map(|copies| {
            let load = Load { bytes: Bytes::mib(2 * u64::from(copies)), copies };
            LaneSample { load, took: truth.busy(load) }
        });
        let found = fit_lane(&samples).expect("enough samples");
        for sample in samples {
            let error = found.busy_ns(sample.load) / real::from_nanos(sample.took) - 1.0;
            assert!(error.abs() < 0.01, "{sample:?}: {error}");
        }
    }

    #[test]
    fn what_was_slow_while_something_else_ran_makes_no_lane_without_end() {
        let knot = |kib: u64, copy_ns: f64| Knot { copy_bytes: Bytes::new(kib << 10), copy_ns };
        let last = |curve: Vec<Knot>| {
            let cost = LaneCost::new(0.0, Bytes::mib(1), &rising(curve));
            cost.classes().last().expect("one at least").beta_bytes_per_s
        };
        let slow = last(vec![knot(0, 1e3), knot(1 << 10, 1e6), knot(4 << 10, 9e6), knot(16 << 10, 8e6)]);
        assert!((1e9..4e9).contains(&slow), "{slow}");
        let all_slow = last(vec![knot(0, 9e6), knot(16 << 10, 8e6)]);
        assert!((2e9..3e9).contains(&all_slow), "{all_slow}");
    }

    #[test]
    fn one_batch_is_no_curve() {
        let truth = LaneCost::uniform(1_000.0, 100.0, 1e9, Bytes::mib(1));
        let load = Load { bytes: Bytes::mib(1), copies: 1 };
        let sample = LaneSample { load, took: truth.busy(load) };
        assert!(fit_lane(&[sample; 20]).is_none());
        assert!(fit_lane(&[]).is_none());
    }
}
