//! Runs of blocks, on the stack: where a prefix lies, block by block, in short.
//! Layer 8. Uses `ids`, `policy::plan::prefix`. Known by: `policy::plan::loader`, `pager`.

use super::{GroupPrefix, TierRun};
use crate::ids::TierId;

/// At most [`GroupPrefix::RUNS_MAX`] runs. What does not fit is added to the last, which then lies as far as its farthest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TierRuns {
    runs: [TierRun; GroupPrefix::RUNS_MAX],
    count: usize,
}

impl Default for TierRuns {
    fn default() -> Self {
        Self::new(std::iter::empty())
    }
}

impl TierRuns {
    /// The runs of blocks that lie in these tiers, in order. `O(blocks)`, without heap.
    pub fn new(tiers: impl Iterator<Item = Option<TierId>>) -> Self {
        let empty = TierRun { blocks: 0, tier: None };
        let mut runs = Self { runs: [empty; GroupPrefix::RUNS_MAX], count: 0 };
        for tier in tiers {
            runs.push(tier);
        }
        runs
    }

    fn push(&mut self, tier: Option<TierId>) {
        let is_full = self.count == GroupPrefix::RUNS_MAX;
        match self.runs[..self.count].last_mut() {
            Some(last) if last.tier == tier => last.blocks += 1,
            Some(last) if is_full => {
                // No tier at all is farther than any.
                let farther = last.tier.zip(tier).map(|(one, other)| one.max(other));
                *last = TierRun { blocks: last.blocks + 1, tier: farther };
            }
            _ => {
                self.runs[self.count] = TierRun { blocks: 1, tier };
                self.count += 1;
            }
        }
    }

    /// All of them.
    pub fn as_slice(&self) -> &[TierRun] {
        &self.runs[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::{GroupPrefix, TierRun, TierRuns};
    use crate::ids::TierId::{File, Host};

    #[test]
    fn equal_neighbours_are_one_run() {
        let runs = TierRuns::new([Some(Host), Some(Host), Some(File), None, None].into_iter());
        let expected = [(2, Some(Host)), (1, Some(File)), (2, None)];
        assert!(runs.as_slice().iter().copied().eq(expected.map(|(blocks, tier)| TierRun { blocks, tier })));
    }

    #[test]
    fn no_block_is_lost_when_there_are_too_many_runs() {
        let runs = TierRuns::new((0..101).map(|index| Some(if index % 2 == 0 { Host } else { File })));
        let runs = runs.as_slice();
        assert_eq!(
            (runs.len(), runs.iter().map(|run| run.blocks).sum::<u32>()),
            (GroupPrefix::RUNS_MAX, 101)
        );
        assert_eq!(runs[GroupPrefix::RUNS_MAX - 1].tier, Some(File));
    }
}
