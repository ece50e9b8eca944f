//! Numbers from a seed: the same on every machine, in every version.
//! Uses nothing. Known by: `trace`, `workload`, `engine`, tests.
//!
//! Not for secrets. `SplitMix64`, because it is ten lines, has no state to set up, and any 64 bits are a good seed.

/// Spreads `value` over all 64 bits: equal in, equal out; one bit in, half of them out.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let value = mix(self.state);
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        value
    }

    /// A number in `0..bound`, by multiplication: its bias is below `bound / 2^32`.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "there is no number below zero");
        let product = (self.next_u64() >> 32) * u64::from(bound);
        u32::try_from(product >> 32).expect("the upper half of a product is below its factor")
    }

    /// A number in `low..=high`.
    ///
    /// # Panics
    /// If `low > high`, or the range is all of `u32`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        assert!(low <= high, "{low} to {high} is no range");
        low + self.below(high - low + 1)
    }

    /// A number in `-1.0..1.0`, one of 2^24 equally likely ones.
    pub fn signed_unit(&mut self) -> f32 {
        signed_unit(self.next_u64())
    }
}

/// The number in `-1.0..1.0` that the upper 24 of `bits` stand for.
#[expect(clippy::cast_precision_loss, reason = "24 bits are exact in a float")]
pub fn signed_unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut random = Random::new(7);
        let first: Vec<u32> = (0..4).map(|_| random.below(1000)).collect();
        assert_eq!(first, [389, 16, 900, 582]);
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut random = Random::new(1);
        let drawn: Vec<u32> = (0..200).map(|_| random.between(3, 5)).collect();
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert!((3..=5).all(|number| drawn.contains(&number)));
        assert!((0..200).all(|_| (-1.0..1.0).contains(&random.signed_unit())));
    }
}
