//! Borrows: who is using a slot, any number of readers or one writer.
//! Uses nothing. Known by: `memory`, `file`.
//!
//! - **B1** a slot's count is the number of its readers, or [`WRITER`];
//! - **B2** a slot that was taken for writing is taken by nobody else until the guard is dropped;
//! - **B3** what a call that failed had taken on its way, it has given back.
//!
//! Nobody waits: a slot in use by someone else is a broken rule of the pager's, and is told as such.

use kv_pager::sync::{AtomicU32, Ordering};
use std::ops::Range;

/// The count of a slot with a writer. Readers never come near it: each is a guard in memory.
const WRITER: u32 = u32::MAX;

/// The borrows of the slots of one class.
#[derive(Debug)]
pub(crate) struct Borrows {
    /// B1.
    counts: Box<[AtomicU32]>,
}

impl Borrows {
    /// Slots that nobody uses.
    pub(crate) fn new(slots: usize) -> Self {
        Self { counts: (0..slots).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Takes adjacent `slots` for reading; `None`, and nothing taken, if one has a writer.
    ///
    /// # Panics
    /// If there are no such slots.
    #[inline]
    pub(crate) fn try_read(&self, slots: Range<usize>) -> Option<ReadBorrow<'_>> {
        let counts = &self.counts[slots.clone()];
        let taken = counts.iter().take_while(|count| {
            // One below the mark is kept out as well, so that a count never becomes it.
            let more = |count: u32| (count < WRITER - 1).then(|| count + 1);
            count.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok()
        });
        let taken = taken.count();
        let borrow = ReadBorrow { counts: &counts[..taken], first: slots.start };
        (taken == counts.len()).then_some(borrow)
    }

    /// Takes adjacent `slots` for writing; `None`, and nothing taken, if one is in use.
    ///
    /// # Panics
    /// If there are no such slots.
    #[inline]
    pub(crate) fn try_write(&self, slots: Range<usize>) -> Option<WriteBorrow<'_>> {
        let counts = &self.counts[slots.clone()];
        let taken = counts.iter().take_while(|count| {
            count.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
        });
        let taken = taken.count();
        let borrow = WriteBorrow { counts: &counts[..taken], first: slots.start };
        (taken == counts.len()).then_some(borrow)
    }
}

/// Adjacent slots taken for reading, until it is dropped.
#[derive(Debug)]
pub(crate) struct ReadBorrow<'a> {
    counts: &'a [AtomicU32],
    first: usize,
}

impl ReadBorrow<'_> {
    pub(crate) fn slots(&self) -> Range<usize> {
        self.first..self.first + self.counts.len()
    }
}

impl Drop for ReadBorrow<'_> {
    #[inline]
    fn drop(&mut self) {
        for count in self.counts {
            count.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Adjacent slots taken for writing, until it is dropped (B2).
#[derive(Debug)]
pub(crate) struct WriteBorrow<'a> {
    counts: &'a [AtomicU32],
    first: usize,
}

impl WriteBorrow<'_> {
    pub(crate) fn slots(&self) -> Range<usize> {
        self.first..self.first + self.counts.len()
    }
}

impl Drop for WriteBorrow<'_> {
    #[inline]
    fn drop(&mut self) {
        for count in self.counts {
            count.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Borrows;

    #[test]
    fn readers_share_and_a_writer_does_not() {
        let borrows = Borrows::new(2);
        let first = borrows.try_read(0..1).expect("free");
        let second = borrows.try_read(0..1).expect("readers share");
        assert!(borrows.try_write(0..1).is_none());
        drop((first, second));
        let writer = borrows.try_write(0..1).expect("free again");
        assert!(borrows.try_read(0..1).is_none());
        assert!(borrows.try_write(1..2).is_some(), "its neighbour is free");
        drop(writer);
    }

    #[test]
    fn a_run_that_fails_gives_back_what_it_took() {
        let borrows = Borrows::new(4);
        let writer = borrows.try_write(2..3).expect("free");
        assert!(borrows.try_read(0..4).is_none());
        assert!(borrows.try_write(0..4).is_none());
        drop(writer);
        assert!(borrows.try_write(0..4).is_some());
    }
}
