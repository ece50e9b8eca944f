//! What a block looks like, coarsely enough to learn from: its category.
//! Layer 8. Uses `prices`. Known by: `reuse`.
//!
//! - **CA1** every look has one category below [`Category::COUNT`], and each category one coarse one.

use super::super::prices::{DEPTH_BANDS, band};

/// How many categories differ only in what the coarse one leaves out.
const FINE: usize = 6;

/// What is known of a block when a request has used it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Requests that used it, as far as is remembered; at least one.
    pub(super) uses: u8,
    /// What comes before it, in units.
    pub(super) depth: u32,
    /// How much of the front of the request had been seen before, in units.
    pub(super) known: u32,
    /// What the request added to that, in units.
    pub(super) added: u32,
    /// Whether the request ended with it.
    pub(super) is_last: bool,
}

/// One of [`Category::COUNT`] kinds of block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Category(u16);

impl Category {
    /// How many coarse categories there are: uses, depth, and whether the request went on from something.
    pub(super) const COARSE: usize = 4 * DEPTH_BANDS * 2;
    /// How many there are: the coarse ones by what the request added, and by whether it ended there.
    pub(super) const COUNT: usize = Self::COARSE * FINE;

    pub(super) fn of(look: &Look) -> Self {
        let uses = match look.uses {
            0..=1 => 0,
            2 => 1,
            3..=4 => 2,
            5.. => 3,
        };
        let added = match look.added {
            0..=2 => 0,
            3..=32 => 1,
            33.. => 2,
        };
        let coarse = (uses * DEPTH_BANDS + band(look.depth)) * 2 + usize::from(look.known > 2);
        let index = coarse * FINE + added * 2 + usize::from(look.is_last);
        Self(u16::try_from(index).expect("CA1: there are few"))
    }

    /// The category at `index`.
    pub(super) fn from_index(index: u16) -> Self {
        Self(index)
    }

    pub(super) fn number(self) -> u16 {
        self.0
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The coarse category: where to look while little is known of this one.
    pub(super) fn coarse(self) -> usize {
        self.index() / FINE
    }

    /// The band of depth of its blocks.
    pub(super) fn band(self) -> usize {
        self.coarse() / 2 % DEPTH_BANDS
    }
}

#[cfg(test)]
mod tests {
    use super::{Category, Look};

    #[test]
    fn depth_and_coarseness_come_back() {
        for (depth, band) in [(0, 0), (3, 1), (4, 2), (63, 3), (64, 4), (u32::MAX, 4)] {
            for uses in [1, 2, 3, 255] {
                let look = Look { uses, depth, known: 9, added: 40, is_last: true };
                let category = Category::of(&look);
                assert_eq!(category.band(), band, "{look:?}");
                assert!(category.index() < Category::COUNT, "CA1: {look:?}");
                let other = Category::of(&Look { added: 0, is_last: false, ..look });
                assert_eq!((category.coarse(), category == other), (other.coarse(), false), "{look:?}");
            }
        }
    }
}
