//! A cell: where a request's cached blocks lie, and what is before it on the lane; and the splits that are tried in it.
//! Known by: `two_front`.

use serde::Serialize;

/// Tokens in a block.
pub const BLOCK_TOKENS: u32 = 16;

/// One kind of request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Cell {
    /// Tokens whose blocks lie on the device.
    pub context_tokens: u32,
    /// Tokens after them whose blocks lie below the device.
    pub prefix_tokens: u32,
    /// How many quarters of those lie in host memory, from the first on; the others lie in the file.
    pub host_quarters: u32,
    /// Blocks of another request that the lane to the device has been given just before.
    pub queued_blocks: u32,
}

/// Computes the blocks before `meet` while those from there to `end` are loaded, and then the rest. Counted from the first block
/// below the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Split {
    /// Where the load begins.
    pub meet: u32,
    /// Where it ends.
    pub end: u32,
}

/// Blocks that are queued in the cells that have a queue: 80 ms of a link of 54 GB/s.
const QUEUED_BLOCKS: u32 = 2048;

/// All cells: by context, prefix, and where that lies.
pub fn grid() -> Vec<Cell> {
    let places = [(4, 0), (4, QUEUED_BLOCKS), (2, 0), (0, 0)];
    let cell = |context_tokens, prefix_tokens| {
        places.map(|(host_quarters, queued_blocks)| Cell {
            context_tokens,
            prefix_tokens,
            host_quarters,
            queued_blocks,
        })
    };
    [(0, 2048), (0, 8192), (8192, 2048), (8192, 8192)]
        .into_iter()
        .flat_map(|(context, prefix)| cell(context, prefix))
        .collect()
}

impl Cell {
    /// Blocks on the device.
    pub(super) fn ready_blocks(&self) -> u32 {
        self.context_tokens / BLOCK_TOKENS
    }

    /// Blocks below it.
    pub(super) fn cached_blocks(&self) -> u32 {
        self.prefix_tokens / BLOCK_TOKENS
    }

    /// Those of them that lie in host memory.
    pub(super) fn host_blocks(&self) -> u32 {
        self.cached_blocks() * self.host_quarters / 4
    }

    /// The splits that are tried: with loads of all that is cached, the meeting place at every eighth; with loads that end an eighth
    /// before, or where the blocks in host memory end, at every quarter; and computing all.
    pub fn splits(&self) -> Vec<Split> {
        let cached = self.cached_blocks();
        let all = (0..8).map(|eighth| Split { meet: cached * eighth / 8, end: cached });
        let ends = [cached * 7 / 8, self.host_blocks()].into_iter().filter(|end| (1..cached).contains(end));
        let shorter = ends.flat_map(|end| {
            (0..4)
                .map(move |quarter| Split { meet: cached * quarter / 4, end })
                .filter(|split| split.meet < split.end)
        });
        all.chain(shorter).chain([Split { meet: 0, end: 0 }]).collect()
    }
}

impl Split {
    /// For people.
    pub(super) fn label(self, cell: &Cell) -> String {
        match (self.meet, self.end) {
            (_, 0) => "recompute".to_owned(),
            (0, end) if end == cell.cached_blocks() => "load".to_owned(),
            (meet, end) => format!("compute {meet}, load to {end}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Split, grid};

    #[test]
    fn the_grid_has_cells_of_every_kind_and_whole_blocks() {
        let cells = grid();
        assert!(cells.len() >= 12);
        for cell in &cells {
            assert_eq!((cell.context_tokens % 16, cell.prefix_tokens % 64), (0, 0), "{cell:?}");
        }
        for quarters in [0, 2, 4] {
            assert!(cells.iter().any(|cell| cell.host_quarters == quarters));
        }
        assert!(cells.iter().any(|cell| cell.queued_blocks > 0));
    }

    #[test]
    fn splits_are_told_apart_and_include_the_pure_ones() {
        for cell in grid() {
            let splits = cell.splits();
            let cached = cell.cached_blocks();
            assert!(splits.contains(&Split { meet: 0, end: cached }), "{cell:?}");
            assert!(splits.contains(&Split { meet: 0, end: 0 }), "{cell:?}");
            for (index, split) in splits.iter().enumerate() {
                assert!(split.meet <= split.end && split.end <= cached, "{split:?}");
                assert!(!splits[..index].contains(split), "{split:?} twice in {cell:?}");
            }
        }
    }
}
