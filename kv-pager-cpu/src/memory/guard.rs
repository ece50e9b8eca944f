//! Guards: one slot's bytes, as an engine reads and writes them.
//! Uses `memory::arena`. Known by: engines.
//!
//! A *plane* is one layer and side of a part, `[tokens, kv_heads, head_dim]`, row-major; it is adjacent bytes in either
//! layout, so an engine that goes by planes works with both. A write guard keeps what it doesn't write: some tokens of a
//! slot are written by writing some bytes of each plane.

use super::arena::{RunRead, RunWrite};

/// One slot, lent for reading. Dropping it gives the slot back.
#[derive(Debug)]
pub struct SlotRead<'a> {
    pub(super) run: RunRead<'a>,
}

impl SlotRead<'_> {
    /// Fragment `index` of the part in the tier's layout, without padding. `O(1)`.
    ///
    /// # Panics
    /// If the part has no such fragment.
    pub fn fragment(&self, index: usize) -> &[u8] {
        let bytes = self.run.class().fragment_bytes();
        self.run.piece(0, index * bytes, bytes)
    }

    /// All fragments, in the order of the part's bytes (Y2).
    pub fn fragments(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.run.class().regions()).map(|index| self.fragment(index))
    }

    /// Plane `index` of `layers * sides`. `O(1)`.
    ///
    /// # Panics
    /// If the part has no such plane.
    #[inline]
    pub fn plane(&self, index: usize) -> &[u8] {
        self.run.plane(index)
    }
}

/// One slot, lent for writing. Dropping it gives the slot back.
#[derive(Debug)]
pub struct SlotWrite<'a> {
    pub(super) run: RunWrite<'a>,
}

impl SlotWrite<'_> {
    /// Fragment `index` of the part in the tier's layout, without padding. `O(1)`.
    ///
    /// # Panics
    /// If the part has no such fragment.
    pub fn fragment_mut(&mut self, index: usize) -> &mut [u8] {
        let bytes = self.run.class().fragment_bytes();
        self.run.piece_mut(0, index * bytes, bytes)
    }

    /// How many fragments the part has.
    pub fn fragments(&self) -> usize {
        self.run.class().regions()
    }

    /// Plane `index` of `layers * sides`. `O(1)`.
    ///
    /// # Panics
    /// If the part has no such plane.
    #[inline]
    pub fn plane_mut(&mut self, index: usize) -> &mut [u8] {
        self.run.plane_mut(index)
    }
}
