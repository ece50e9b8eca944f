//! The window: keys and values of the last positions, side by side, out of the slots.
//! Uses `engine::arithmetic`. Known by: `engine`.
//!
//! - **N1** a position's place depends on the position alone, so sums over the window run in an order that does not
//!   depend on where computing was resumed.
//!
//! Copying a token's rows once lets a few hundred later tokens read them without a table or a lock, and in an order
//! that vector instructions like: keys lie by dimension for [`LANES`] positions at a time.

use super::arithmetic::{LANES, WIDTH, exp_of_negative, sum_lanes};

/// The ring of one layer.
#[derive(Debug)]
pub(super) struct Window {
    /// By lane group, dimension, lane.
    keys: Vec<[[f32; LANES]; WIDTH]>,
    values: Vec<[f32; WIDTH]>,
    /// Scores of the attention in progress; then weights.
    weights: Vec<[f32; LANES]>,
}

impl Window {
    /// A window of at least `positions` positions.
    pub(super) fn new(positions: usize) -> Self {
        let groups = positions.div_ceil(LANES).max(1);
        Self {
            keys: vec![[[0.0; LANES]; WIDTH]; groups],
            values: vec![[0.0; WIDTH]; groups * LANES],
            weights: vec![[0.0; LANES]; groups],
        }
    }

    /// Positions it holds.
    pub(super) fn capacity(&self) -> usize {
        self.values.len()
    }

    /// Sets the key and value of `position`, in place of those of the position one window earlier.
    pub(super) fn set(&mut self, position: usize, key: &[f32; WIDTH], value: &[f32; WIDTH]) {
        let place = position % self.capacity();
        let keys = &mut self.keys[place / LANES];
        for (lanes, &key) in keys.iter_mut().zip(key) {
            lanes[place % LANES] = key;
        }
        self.values[place] = *value;
    }

    /// Attention of `query` at `position`, whose own key and value are set, over the window that ends there.
    pub(super) fn attend(&mut self, position: usize, query: &[f32; WIDTH]) -> [f32; WIDTH] {
        let filled = self.capacity().min(position + 1);
        let groups = filled.div_ceil(LANES);
        // 1 / sqrt(WIDTH)
        let scaled = query.map(|value| value * 0.176_776_7);
        let mut highest = [f32::NEG_INFINITY; LANES];
        for (group, keys) in self.keys[..groups].iter().enumerate() {
            let mut scores = [0.0; LANES];
            for (lanes, &factor) in keys.iter().zip(&scaled) {
                for (score, &key) in scores.iter_mut().zip(lanes) {
                    *score += factor * key;
                }
            }
            for score in scores.iter_mut().skip(filled - group * LANES) {
                *score = f32::NEG_INFINITY;
            }
            for (highest, &score) in highest.iter_mut().zip(&scores) {
                *highest = if score > *highest { score } else { *highest };
            }
            self.weights[group] = scores;
        }
        let top = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0; LANES];
        for (group, weights) in self.weights[..groups].iter_mut().enumerate() {
            for weight in weights.iter_mut() {
                *weight = exp_of_negative(*weight - top);
            }
            // Places that hold nothing yet get no weight.
            for weight in weights.iter_mut().skip(filled - group * LANES) {
                *weight = 0.0;
            }
            for (sum, &weight) in sums.iter_mut().zip(weights.iter()) {
                *sum += weight;
            }
        }
        let mut output = [0.0; WIDTH];
        for (&weight, value) in self.weights.as_flattened().iter().zip(&self.values[..filled]) {
            for (sum, &value) in output.iter_mut().zip(value) {
                *sum += weight * value;
            }
        }
        let total = sum_lanes(sums);
        output.map(|sum| sum / total)
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, WIDTH, Window};
    use crate::random::Random;

    fn vector(random: &mut Random) -> [f32; WIDTH] {
        std::array::from_fn(|_| random.signed_unit())
    }

    #[test]
    fn attention_is_the_weighted_mean_of_the_window() {
        let mut random = Random::new(3);
        let mut window = Window::new(20);
        assert_eq!(window.capacity(), 2 * LANES);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for position in 0..100 {
            let (key, value, query) = (vector(&mut random), vector(&mut random), vector(&mut random));
            window.set(position, &key, &value);
            keys.push(key);
            values.push(value);
            let start = keys.len().saturating_sub(window.capacity());
            let weights: Vec<f64> = keys[start..]
                .iter()
                .map(|key| {
                    let product: f64 = key.iter().zip(&query).map(|(k, q)| f64::from(k * q)).sum();
                    (product / 32.0_f64.sqrt()).exp()
                })
                .collect();
            let output = window.attend(position, &query);
            for (dimension, &found) in output.iter().enumerate() {
                let weighted: f64 = weights
                    .iter()
                    .zip(&values[start..])
                    .map(|(weight, value)| weight * f64::from(value[dimension]))
                    .sum();
                let expected = weighted / weights.iter().sum::<f64>();
                assert!((f64::from(found) - expected).abs() < 1e-5, "{position}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn a_window_filled_late_gives_the_same_bits() {
        let mut random = Random::new(4);
        let rows: Vec<_> = (0..90).map(|_| (vector(&mut random), vector(&mut random))).collect();
        let query = vector(&mut random);
        let mut whole = Window::new(32);
        for (position, (key, value)) in rows.iter().enumerate() {
            whole.set(position, key, value);
        }
        let mut late = Window::new(32);
        for (position, (key, value)) in rows.iter().enumerate().skip(58) {
            late.set(position, key, value);
        }
        assert_eq!(whole.attend(89, &query).map(f32::to_bits), late.attend(89, &query).map(f32::to_bits));
    }
}
