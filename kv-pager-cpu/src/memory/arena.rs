//! The arena: the bytes of a memory tier, lent by slot to readers or to one writer.
//! Uses `borrow`, `memory::geometry`. Known by: `memory`.
//!
//! The guards are the only way to the bytes, and the borrow counts decide who gets one. A guard costs one atomic
//! addition and one subtraction a slot.
#![expect(
    unsafe_code,
    reason = "slots of one mapping are lent out one by one, which the borrow checker cannot follow"
)]

use super::geometry::{Class, Geometry};
use crate::borrow::{Borrows, ReadBorrow, WriteBorrow};
use memmap2::MmapRaw;
use std::ops::Range;
use std::slice;

/// The mapping with its borrows.
#[derive(Debug)]
pub(crate) struct Arena {
    /// - **M1** mapped readable and writable, `geometry.bytes()` long, until the arena is dropped; never remapped;
    /// - **M2** every reference into it was made by a guard that took the slots of its bytes from `borrows` before, gives
    ///   them back after, and outlives the reference; slots of different numbers or regions share no byte (G1, G2).
    map: MmapRaw,
    geometry: Geometry,
    /// By class.
    borrows: Box<[Borrows]>,
}

impl Arena {
    /// Lends out `map` as `geometry` says.
    ///
    /// # Panics
    /// If the mapping is smaller than the geometry.
    pub(super) fn new(map: MmapRaw, geometry: Geometry) -> Self {
        assert!(map.len() >= geometry.bytes().as_usize(), "{} mapped for {}", map.len(), geometry.bytes());
        let borrows = geometry.classes().iter().map(|class| Borrows::new(class.slots())).collect();
        Self { map, geometry, borrows }
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Where the mapping is, and how long.
    pub(super) fn memory(&self) -> (*mut u8, usize) {
        (self.map.as_mut_ptr(), self.map.len())
    }

    /// Lends adjacent `slots` of the class for reading, unless one has a writer.
    #[inline]
    pub(super) fn try_read(&self, class: usize, slots: Range<usize>) -> Option<RunRead<'_>> {
        let borrow = self.borrows[class].try_read(slots)?;
        Some(RunRead { arena: self, class, borrow })
    }

    /// Lends adjacent `slots` of the class for writing, unless one is in use.
    #[inline]
    pub(super) fn try_write(&self, class: usize, slots: Range<usize>) -> Option<RunWrite<'_>> {
        let borrow = self.borrows[class].try_write(slots)?;
        Some(RunWrite { arena: self, class, borrow })
    }

    /// Where `range` starts in memory.
    #[inline]
    fn start(&self, range: &Range<usize>) -> *mut u8 {
        assert!(range.end <= self.map.len(), "{range:?} leaves the mapping");
        self.map.as_mut_ptr().wrapping_add(range.start)
    }
}

/// Adjacent slots, lent for reading.
#[derive(Debug)]
pub(crate) struct RunRead<'a> {
    arena: &'a Arena,
    class: usize,
    /// M2: of the same class.
    borrow: ReadBorrow<'a>,
}

impl RunRead<'_> {
    pub(crate) fn class(&self) -> &Class {
        &self.arena.geometry.classes()[self.class]
    }

    /// The bytes of all slots in `region`, padding included.
    pub(crate) fn region(&self, region: usize) -> &[u8] {
        self.bytes(self.class().run(region, &self.borrow.slots()))
    }

    /// `bytes` bytes of the part in the `nth` slot, from `part_offset`; they must not leave a fragment.
    pub(crate) fn piece(&self, nth: usize, part_offset: usize, bytes: usize) -> &[u8] {
        let slots = self.borrow.slots();
        assert!(nth < slots.len(), "slot {nth} of {slots:?}");
        self.bytes(self.class().piece(slots.start + nth, part_offset, bytes))
    }

    /// Plane `index` of the part in the first slot.
    #[inline]
    pub(crate) fn plane(&self, index: usize) -> &[u8] {
        self.bytes(self.class().plane(self.borrow.slots().start, index))
    }

    #[inline]
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        let start = self.arena.start(&range);
        // SAFETY: M1: `range` is within the mapping (asserted in `start`), which the arena keeps; M2: all callers take it
        // from the class for slots that `borrow` holds for reading, so nobody writes there until the guard is dropped, and
        // the slice borrows the guard.
        unsafe { slice::from_raw_parts(start, range.len()) }
    }
}

/// Adjacent slots, lent for writing. Their bytes stay as they are until they are written.
#[derive(Debug)]
pub(crate) struct RunWrite<'a> {
    arena: &'a Arena,
    class: usize,
    /// M2: of the same class.
    borrow: WriteBorrow<'a>,
}

impl RunWrite<'_> {
    pub(crate) fn class(&self) -> &Class {
        &self.arena.geometry.classes()[self.class]
    }

    /// As [`RunRead::region`], to be written.
    pub(crate) fn region_mut(&mut self, region: usize) -> &mut [u8] {
        self.bytes_mut(self.class().run(region, &self.borrow.slots()))
    }

    /// As [`RunRead::piece`], to be written.
    pub(crate) fn piece_mut(&mut self, nth: usize, part_offset: usize, bytes: usize) -> &mut [u8] {
        let slots = self.borrow.slots();
        assert!(nth < slots.len(), "slot {nth} of {slots:?}");
        self.bytes_mut(self.class().piece(slots.start + nth, part_offset, bytes))
    }

    /// As [`RunRead::plane`], to be written.
    #[inline]
    pub(crate) fn plane_mut(&mut self, index: usize) -> &mut [u8] {
        self.bytes_mut(self.class().plane(self.borrow.slots().start, index))
    }

    #[inline]
    fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        let start = self.arena.start(&range);
        // SAFETY: M1 as in `RunRead::bytes`; M2: all callers take `range` from the class for slots that `borrow` alone
        // holds, and the slice borrows the guard mutably, so no other reference to these bytes exists.
        unsafe { slice::from_raw_parts_mut(start, range.len()) }
    }
}
