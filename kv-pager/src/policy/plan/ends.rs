//! Where a load may end: a short list, because most ends are never best.
//! Layer 8. Uses nothing. Known by: `policy::plan::search`.

/// At most [`Ends::MAX`] blocks, without repetition, in the order they were found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    blocks: [u32; Self::MAX],
    count: usize,
}

impl Ends {
    /// The most ends that are looked at (Q1).
    const MAX: usize = 8;

    /// No ends.
    pub(super) fn new() -> Self {
        Self { blocks: [0; Self::MAX], count: 0 }
    }

    /// Whether there is room for no more.
    pub(super) fn is_full(&self) -> bool {
        self.count == Self::MAX
    }

    /// Adds an end, if there is room and it is new and not before the first block.
    pub(super) fn add(&mut self, block: u32) {
        if block > 0 && !self.is_full() && !self.iter().any(|known| known == block) {
            self.blocks[self.count] = block;
            self.count += 1;
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.blocks[..self.count].iter().copied()
    }
}
