//! How many of a group's parts lie where, between any two blocks: prefix sums over the runs.
//! Layer 8. Uses `ids`, `policy::plan::prefix`. Known by: `policy::plan::onboard`.

use super::{GroupPrefix, TierRun};
use crate::ids::TierId;

/// Blocks by place: the tiers by their index, then those that no tier has.
pub(super) type Places = [u32; TierId::COUNT + 1];

/// The place of what no tier has.
pub(super) const NOWHERE: usize = TierId::COUNT;

/// A run's place.
fn place(run: TierRun) -> usize {
    run.tier.map_or(NOWHERE, TierId::index)
}

/// Sums over one group's runs, on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Where each run starts, and how many blocks lie where before it.
    starts: [(u32, Places); GroupPrefix::RUNS_MAX],
    places: [usize; GroupPrefix::RUNS_MAX],
    count: usize,
}

impl Counts {
    /// Sums of nothing.
    pub(super) const EMPTY: Self =
        Self { starts: [(0, [0; 4]); GroupPrefix::RUNS_MAX], places: [0; GroupPrefix::RUNS_MAX], count: 0 };

    /// The sums over `runs`, counted from the first of their blocks. `O(runs)`.
    pub(super) fn fill(&mut self, runs: &[TierRun]) {
        let (mut start, mut sums) = (0, [0; TierId::COUNT + 1]);
        for (index, run) in runs.iter().enumerate() {
            let run_place = place(*run);
            if index < GroupPrefix::RUNS_MAX {
                self.starts[index] = (start, sums);
                self.places[index] = run_place;
                self.count = index + 1;
            } else {
                let last = &mut self.places[GroupPrefix::RUNS_MAX - 1];
                *last = (*last).max(run_place);
            }
            start += run.blocks;
            sums[run_place] += run.blocks;
        }
    }

    /// How many of the blocks before `block` lie where. `O(log runs)`.
    pub(super) fn before(&self, block: u32) -> Places {
        let starts = &self.starts[..self.count];
        let Some(index) = starts.partition_point(|(start, _)| *start <= block).checked_sub(1) else {
            return [0; TierId::COUNT + 1];
        };
        let (start, mut sums) = starts[index];
        sums[self.places[index]] += block - start;
        sums
    }

    /// Where runs end, before `end`.
    pub(super) fn cuts(&self, end: u32) -> impl Iterator<Item = u32> + '_ {
        self.starts[..self.count]
            .iter()
            .map(|(start, _)| *start)
            .filter(move |start| (1..end).contains(start))
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, NOWHERE, TierRun};
    use crate::ids::TierId;

    #[test]
    fn sums_agree_with_counting() {
        let tiers = [Some(TierId::Host), None, Some(TierId::Device), Some(TierId::File), Some(TierId::Host)];
        let runs = tiers.map(|tier| TierRun { blocks: 3, tier });
        let mut counts = Counts::EMPTY;
        counts.fill(&runs);
        let mut counted = [0; 4];
        for block in 0..15 {
            assert_eq!(counts.before(block), counted, "before block {block}");
            counted[tiers[block as usize / 3].map_or(NOWHERE, TierId::index)] += 1;
        }
        assert!(counts.cuts(15).eq([3, 6, 9, 12]));
    }

    #[test]
    fn too_many_runs_count_as_the_farthest_of_the_rest() {
        let runs: Vec<TierRun> = (0..40)
            .map(|index| TierRun {
                blocks: 1,
                tier: Some(if index % 2 == 0 { TierId::Host } else { TierId::File }),
            })
            .collect();
        let mut counts = Counts::EMPTY;
        counts.fill(&runs);
        assert_eq!(counts.before(40), [0, 8, 32, 0]);
    }
}
