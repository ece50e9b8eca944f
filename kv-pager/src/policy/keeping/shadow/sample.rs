//! A sample of all names: a small shadow that stands for a large tier.
//! Layer 8. Uses `policy::keeping`. Known by: `duel`, `pager`.
//!
//! - **SA1** whether a name is in the sample depends on the name alone, so what stands in it is a prefix tree too;
//! - **SA2** a tier over the sample has the same share of the capacity.

use super::Bounds;

/// One name of every 2^`shift`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    shift: u32,
}

impl Sample {
    /// All names.
    pub const ALL: Self = Self { shift: 0 };

    /// A share of the names for which a tier of `capacity` blocks has at most `sample_blocks`.
    pub fn for_capacity(capacity: u32, sample_blocks: u32) -> Self {
        let shift = (0..31).find(|&shift| capacity >> shift <= sample_blocks.max(1));
        Self { shift: shift.unwrap_or(31) }
    }

    /// The share of the names that are in the sample.
    pub(in crate::policy::keeping) fn share(self) -> f64 {
        (-f64::from(self.shift)).exp2()
    }

    /// How many of so many references to names are to ones in the sample, on average over all samples.
    pub(super) fn share_of(self, references: u64) -> u64 {
        references >> self.shift
    }

    /// Whether the name is in the sample.
    pub fn has(self, name: u64) -> bool {
        let mixed = (name ^ (name >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed.leading_zeros() >= self.shift
    }

    /// SA2: the bounds of a tier over the sample. A request may have more of its blocks in the sample than its share.
    pub fn bounds(self, whole: &Bounds) -> Bounds {
        let share = whole.request_blocks >> self.shift;
        Bounds {
            capacity: (whole.capacity >> self.shift).max(1),
            request_blocks: whole.request_blocks.min(2 * share + 64),
            ..*whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn the_sample_has_its_share_of_small_numbers_and_of_large() {
        let sample = Sample::for_capacity(16_000, 1_000);
        assert_eq!(sample, Sample { shift: 4 });
        for spread in [1, 0x9e37_79b9_7f4a_7c15] {
            let count = (0..100_000_u64).filter(|&name| sample.has(name.wrapping_mul(spread))).count();
            assert!((5_700..6_800).contains(&count), "{count} of 100000, for a share of 6250");
        }
        assert!((0..100).all(|name| Sample::ALL.has(name)));
    }
}
