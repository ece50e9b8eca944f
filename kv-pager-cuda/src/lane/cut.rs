//! Cutting: how a batch becomes chunks, and a chunk's slots become runs.
//! Uses nothing of the crate. Known by: `lane`.
//!
//! - **U1** chunks cover a batch's parts once, in order; none is empty or exceeds its limits;
//! - **U2** runs cover a chunk's parts once; the parts of a run are adjacent in host memory.

/// The limits of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the chunk that the link waits for.
    pub(crate) edge_bytes: u64,
    /// Bytes of any other.
    pub(crate) chunk_bytes: u64,
    /// Parts of any.
    pub(crate) parts_max: usize,
}

/// How many parts the next chunk takes, of `left` parts of `part_bytes` that the batch still has (U1).
///
/// Out of the device the link waits for the first chunk's gather, so that is small (`is_first`); into it, the caller waits
/// for the last chunk's scatter, so what is left for the last is.
pub(crate) fn chunk_parts(
    left: usize,
    part_bytes: u64,
    limits: &Limits,
    (is_out, is_first): (bool, bool),
) -> usize {
    let fitting = |bytes: u64| usize::try_from(bytes / part_bytes).unwrap_or(usize::MAX).max(1);
    let edge = fitting(limits.edge_bytes);
    let most = fitting(limits.chunk_bytes).min(limits.parts_max);
    let parts = if left <= edge {
        left
    } else if is_out {
        if is_first { edge } else { most }
    } else {
        (left - edge).min(most)
    };
    parts.min(left).min(most)
}

/// The runs of `slots`, as `(index of the first, how many)` (U2).
pub(crate) fn runs(slots: &[u32]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == slots.len() {
            return None;
        }
        let mut end = start + 1;
        while end < slots.len() && slots[end] == slots[end - 1] + 1 {
            end += 1;
        }
        let run = (start, end - start);
        start = end;
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::{Limits, chunk_parts, runs};

    const MIB: u64 = 1 << 20;

    fn cut(parts: usize, part_bytes: u64, is_out: bool) -> Vec<usize> {
        let limits = Limits { edge_bytes: 8 * MIB, chunk_bytes: 64 * MIB, parts_max: 480 };
        let mut left = parts;
        let mut chunks = Vec::new();
        while left > 0 {
            let taken = chunk_parts(left, part_bytes, &limits, (is_out, chunks.is_empty()));
            assert!((1..=480).contains(&taken) && taken <= left, "U1: {taken} of {left}");
            chunks.push(taken);
            left -= taken;
        }
        chunks
    }

    #[test]
    fn what_somebody_waits_for_is_small() {
        assert_eq!(cut(64, 2 * MIB, true), [4, 32, 28]);
        assert_eq!(cut(64, 2 * MIB, false), [32, 28, 4]);
        assert_eq!(cut(256, 2 * MIB, true)[0], 4);
        assert_eq!(cut(256, 2 * MIB, false).last(), Some(&4));
    }

    #[test]
    fn small_batches_and_huge_parts_are_cut_too() {
        assert_eq!(cut(1, 2 * MIB, true), [1]);
        assert_eq!(cut(3, 512 * MIB, false), [1, 1, 1]);
        assert_eq!(cut(1000, 8 << 10, true), [480, 480, 40]);
    }

    #[test]
    fn runs_end_where_slots_are_not_adjacent() {
        let found: Vec<_> = runs(&[4, 5, 6, 9, 8, 9, 10]).collect();
        assert_eq!(found, [(0, 3), (3, 1), (4, 3)]);
        assert_eq!(runs(&[]).count(), 0);
    }
}
