//! What two opposite lanes share: each is slower while the other works.
//! Layer 6. Uses `sync`, `tier`. Known by: `cost::machine`.

use crate::sync::{AtomicBool, Ordering};
use crate::tier::LaneEnds;

/// A link with two directions.
#[derive(Debug)]
pub(super) struct Link {
    ends: LaneEnds,
    /// Whether the lane with `ends` works, and whether the opposite one does.
    works: [AtomicBool; 2],
}

impl Link {
    pub(super) fn new(ends: LaneEnds) -> Self {
        Self { ends, works: [AtomicBool::new(false), AtomicBool::new(false)] }
    }

    /// Whether a lane with these ends is one of its directions.
    pub(super) fn joins(&self, ends: LaneEnds) -> bool {
        self.ends == ends || self.ends == LaneEnds { source: ends.target, target: ends.source }
    }

    /// Says whether the lane with these ends works now.
    pub(super) fn set(&self, ends: LaneEnds, works: bool) {
        self.works[usize::from(ends != self.ends)].store(works, Ordering::Relaxed);
    }

    /// Whether the lane opposite to the one with these ends works now.
    pub(super) fn is_opposite_busy(&self, ends: LaneEnds) -> bool {
        self.works[usize::from(ends == self.ends)].load(Ordering::Relaxed)
    }
}
