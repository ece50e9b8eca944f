//! Filler: values for what the model does not compute, that still depend on everything before them.
//! Uses `random`. Known by: `engine`.

use super::arithmetic::WIDTH;
use crate::random::{mix, signed_unit};

/// Values that look like a model's and depend on every bit of where they come from.
pub(super) struct Filler {
    origin: u64,
}

impl Filler {
    pub(super) fn new(origin: u64, row: usize) -> Self {
        Self { origin: origin.wrapping_add((row as u64).wrapping_mul(0xd6e8_feb8_6659_fd93)) }
    }

    pub(super) fn vector(&self) -> [f32; WIDTH] {
        std::array::from_fn(|index| signed_unit(mix(self.origin ^ index as u64)))
    }

    pub(super) fn fill(&self, values: &mut [f32]) {
        let (low, high) = (mix(self.origin), mix(!self.origin));
        for (index, value) in (0_u64..).zip(values) {
            let bits = (low ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(high | 1);
            *value = signed_unit(bits);
        }
    }
}
