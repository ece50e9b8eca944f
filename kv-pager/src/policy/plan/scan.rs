//! Looking at splits one by one, where nothing is known of how they are ordered.
//! Layer 8. Uses `policy::plan::split`. Known by: `policy::plan::search`.

use super::split::Split;

/// The best split seen so far, and the chunks it loads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) chunks: u32,
    pub(super) split: Split,
}

/// The best of `1..=chunks` that a grid of at most about `grid` shows.
pub(super) fn scan(chunks: u32, grid: u32, at: impl Fn(u32) -> Split) -> Seen {
    let last = Seen { chunks, split: at(chunks) };
    (1..chunks).step_by(stride(chunks, grid) as usize).fold(last, |best, index| look(best, index, &at))
}

/// The best of what lies between the neighbours of `seen` in that grid.
pub(super) fn refine(seen: Seen, chunks: u32, grid: u32, at: impl Fn(u32) -> Split) -> Split {
    let stride = stride(chunks, grid);
    let from = seen.chunks.saturating_sub(stride - 1).max(1);
    let to = seen.chunks.saturating_add(stride).min(chunks);
    // A grid as fine as one chunk everywhere would grow with the blocks (Q1).
    let fine = (stride / grid).max(1) as usize;
    (from..to).step_by(fine).fold(seen, |best, index| look(best, index, &at)).split
}

fn stride(chunks: u32, grid: u32) -> u32 {
    chunks.div_ceil(grid).max(1)
}

fn look(best: Seen, chunks: u32, at: impl Fn(u32) -> Split) -> Seen {
    let split = at(chunks);
    if best.split.better(&split) == &best.split { best } else { Seen { chunks, split } }
}
