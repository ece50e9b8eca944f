//! Something for each lane: an array by its two ends.
//! Layer 6. Uses `ids`, `tier`. Known by: `cost`, `policy::plan`.

use crate::ids::TierId;
use crate::tier::LaneEnds;

/// One `T` for each ordered pair of tiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByLane<T> {
    entries: [[T; TierId::COUNT]; TierId::COUNT],
}

impl<T> ByLane<T> {
    /// That of the lane with these ends. `O(1)`.
    pub fn get(&self, ends: LaneEnds) -> &T {
        &self.entries[ends.source.index()][ends.target.index()]
    }

    /// The same, to change. `O(1)`.
    pub fn get_mut(&mut self, ends: LaneEnds) -> &mut T {
        &mut self.entries[ends.source.index()][ends.target.index()]
    }

    /// All of them, by source, then target, nearest first.
    pub fn iter(&self) -> impl Iterator<Item = (LaneEnds, &T)> {
        TierId::ALL
            .into_iter()
            .flat_map(|source| TierId::ALL.into_iter().map(move |target| LaneEnds { source, target }))
            .map(|ends| (ends, self.get(ends)))
    }
}
