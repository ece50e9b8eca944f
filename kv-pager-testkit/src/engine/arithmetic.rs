//! Sums in a fixed order: the same floats in, the same bits out, on every machine.
//! Uses nothing. Known by: `engine`.
//!
//! - **A1** every sum adds its terms in an order that only the shape decides, never the chunk or the machine;
//! - **A2** nothing here calls a mathematics library: only additions, multiplications, divisions and square roots, which
//!   IEEE 754 rounds one way, and which the compiler neither fuses nor reorders.
//!
//! The loops run over independent lanes, so they become vector instructions without changing a bit.

/// Values of a hidden vector, of a head's key and of its value.
pub(super) const WIDTH: usize = 32;
/// Positions whose scores are computed side by side.
pub(super) const LANES: usize = 16;

/// `matrix`, stored by input, times `input`.
pub(super) fn multiply<const IN: usize, const OUT: usize>(
    matrix: &[[f32; OUT]; IN],
    input: &[f32; IN],
) -> [f32; OUT] {
    let mut output = [0.0; OUT];
    for (row, &factor) in matrix.iter().zip(input) {
        for (sum, &weight) in output.iter_mut().zip(row) {
            *sum += factor * weight;
        }
    }
    output
}

/// The sum of products, lane by lane.
pub(super) fn product(left: &[f32; WIDTH], right: &[f32; WIDTH]) -> f32 {
    let mut sums = [0.0; LANES];
    for (left, right) in left.as_chunks::<LANES>().0.iter().zip(right.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    sum_lanes(sums)
}

/// Adds `term` to `sum`.
pub(super) fn add(sum: &mut [f32; WIDTH], term: &[f32; WIDTH]) {
    for (sum, &term) in sum.iter_mut().zip(term) {
        *sum += term;
    }
}

/// The sum over lanes, in halves: `(0 + 8) + (4 + 12) + ..`.
pub(super) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `vector` scaled to a mean square of one.
pub(super) fn normalise(vector: &[f32; WIDTH]) -> [f32; WIDTH] {
    let mean = product(vector, vector) / 32.0;
    let scale = 1.0 / (mean + 1e-6).sqrt();
    vector.map(|value| value * scale)
}

/// `e^x` for `x <= 0`, to about five digits; what lies below -87 counts as -87.
pub(super) fn exp_of_negative(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let exponent = x.max(-87.0) * std::f32::consts::LOG2_E;
    let rounded = exponent + ROUNDER;
    let rest = exponent - (rounded - ROUNDER);
    // 2^rest for -0.5..=0.5: the series of e^(rest * ln 2).
    let mut power = 1.540_353e-4_f32;
    for coefficient in [1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, 6.931_472e-1, 1.0] {
        power = power * rest + coefficient;
    }
    let shift = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()) << 23;
    f32::from_bits(power.to_bits().wrapping_add(shift))
}

#[cfg(test)]
mod tests {
    use super::{LANES, WIDTH, exp_of_negative, multiply, normalise, sum_lanes};

    #[test]
    fn exponentials_are_close_and_one_at_zero() {
        assert_eq!(exp_of_negative(0.0).to_bits(), 1.0_f32.to_bits());
        for step in 0_u16..800 {
            let x = -f32::from(step) / 10.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp_of_negative(x)) - exact).abs() / exact;
            assert!(error < 1e-5, "e^{x}: off by {error}");
        }
        assert!(exp_of_negative(f32::NEG_INFINITY) > 0.0);
    }

    #[test]
    fn lanes_and_rows_add_up() {
        let lanes: [f32; LANES] = std::array::from_fn(|lane| [1.0, 2.0, 4.0, 0.5][lane % 4]);
        assert_eq!(sum_lanes(lanes).to_bits(), 30.0_f32.to_bits());
        let product = multiply(&[[1.0, 2.0], [3.0, 4.0]], &[10.0, 1.0]);
        assert_eq!(product.map(f32::to_bits), [13.0_f32, 24.0].map(f32::to_bits));
        let unit = normalise(&[3.0; WIDTH]);
        assert!(unit.iter().all(|value| (value - 1.0).abs() < 1e-5));
    }
}
