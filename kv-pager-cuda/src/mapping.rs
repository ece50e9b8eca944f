//! A mapping: anonymous host memory in huge pages, touched in parallel on one node.
//! Uses `numa`. Known by: `pinned`.
//!
//! - **A1** `start..start + bytes` is mapped, readable, writable and this value's own from construction to drop;
//! - **A2** no reference into it is ever made: its bytes are copied in and out, for devices and drives write them too;
//! - **A3** memory that a device may still be writing is never unmapped: it is given up instead.
//!
//! Why not the driver's own allocator: it touches pages one by one, on whatever node, which takes 14 times as long.
#![expect(unsafe_code, reason = "memory is mapped, touched and copied by address")]

use crate::numa::{NodeId, processors_of};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, ptr, thread};

/// The size of a huge page on x86-64 and the usual one elsewhere.
const HUGE: usize = 2 << 20;
/// The most threads that touch memory; more do not help.
const TOUCHERS_MAX: usize = 16;

/// Owned host memory.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// A1; a multiple of [`HUGE`].
    start: *mut u8,
    bytes: usize,
    /// What was mapped, `start..` lies inside.
    whole: (*mut c_void, usize),
    given_up: AtomicBool,
}

// SAFETY: the pointers are names of memory that the value owns; access goes through methods that say who may.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `bytes` zeroed bytes, rounded up to huge pages, touched on `node` (anywhere, where `None`).
    pub(crate) fn new(bytes: usize, node: Option<NodeId>) -> io::Result<Self> {
        let bytes = bytes.checked_next_multiple_of(HUGE).ok_or(io::ErrorKind::OutOfMemory)?;
        let length = bytes.checked_add(HUGE).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a fresh private mapping, at an address of the system's choice, aliases nothing.
        let whole = unsafe {
            mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        let start = whole.cast::<u8>().map_addr(|address| address.next_multiple_of(HUGE));
        let mapping = Self { start, bytes, whole: (whole, length), given_up: AtomicBool::new(false) };
        // SAFETY: A1; the advice changes page sizes, not contents. Where it is unknown, pages stay small.
        let advised = unsafe { madvise(mapping.start.cast(), bytes, Advice::LinuxHugepage) };
        if let Err(error) = advised {
            tracing::debug!(%error, "no huge pages for pinned memory");
        }
        mapping.touch(node);
        Ok(mapping)
    }

    /// Makes every page present. Threads that run on a node's processors get that node's memory.
    fn touch(&self, node: Option<NodeId>) {
        let processors = node.map(processors_of).unwrap_or_default();
        let available = thread::available_parallelism().map_or(1, usize::from);
        let threads = if processors.is_empty() { available } else { processors.len().min(available) };
        let huge_pages = self.bytes / HUGE;
        let threads = threads.clamp(1, TOUCHERS_MAX).min(huge_pages.max(1));
        let share = huge_pages.div_ceil(threads) * HUGE;
        thread::scope(|scope| {
            for index in 0..threads {
                let processors = &processors;
                scope.spawn(move || {
                    bind_to(processors);
                    let from = (index * share).min(self.bytes);
                    self.touch_range(from, (from + share).min(self.bytes));
                });
            }
        });
    }

    fn touch_range(&self, from: usize, to: usize) {
        if from == to {
            return;
        }
        // SAFETY: A1: `from..to` lies inside.
        let start = unsafe { self.start.add(from) };
        // SAFETY: A1; pages are made present, their contents stay.
        if unsafe { madvise(start.cast(), to - from, Advice::LinuxPopulateWrite) }.is_ok() {
            return;
        }
        for offset in (from..to).step_by(4096) {
            // SAFETY: A1: `offset` lies inside.
            let byte = unsafe { self.start.add(offset) };
            // SAFETY: A1; nobody else has the memory yet.
            unsafe { byte.write_volatile(0) };
        }
    }

    /// Where it begins.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies what lies at `offset` into `into`.
    ///
    /// # Panics
    /// If it does not lie inside.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(offset + into.len() <= self.bytes, "{} bytes at {offset} of {}", into.len(), self.bytes);
        // SAFETY: A1 and the assertion: the range lies inside.
        let from = unsafe { self.start.add(offset) };
        // SAFETY: A1, A2: the source is mapped, and `into`, a Rust reference, is not in it.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
    }

    /// Copies `from` to `offset`.
    ///
    /// # Panics
    /// If it does not fit inside.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset + from.len() <= self.bytes, "{} bytes at {offset} of {}", from.len(), self.bytes);
        // SAFETY: A1 and the assertion: the range lies inside.
        let to = unsafe { self.start.add(offset) };
        // SAFETY: A1, A2: the target is mapped, and `from`, a Rust reference, is not in it.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    }

    /// Leaves it mapped for good: something may still be writing there (A3).
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether it stays mapped for good.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// Keeps this thread on `processors`; on none given, or where the system refuses, it stays where it is.
fn bind_to(processors: &[usize]) {
    if processors.is_empty() {
        return;
    }
    let mut set = CpuSet::new();
    for processor in processors.iter().filter(|processor| **processor < CpuSet::MAX_CPU) {
        set.set(*processor);
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::debug!(%error, "a thread was not bound to a node");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.is_given_up() {
            tracing::warn!(bytes = self.bytes, "host memory is left mapped: a copy into it never ended");
            return;
        }
        let (whole, length) = self.whole;
        // SAFETY: A1, A2, A3: it is ours, nothing refers into it, and no device writes it.
        if let Err(error) = unsafe { munmap(whole, length) } {
            tracing::warn!(%error, "host memory was not unmapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HUGE, Mapping};
    use crate::numa::NodeId;

    #[test]
    fn it_is_zero_aligned_and_holds_what_is_written() {
        for node in [None, Some(NodeId(0)), Some(NodeId(999))] {
            let mapping = Mapping::new(3 * HUGE + 1, node).expect("8 MiB can be had");
            assert_eq!((mapping.bytes(), mapping.start().addr() % HUGE), (4 * HUGE, 0));
            let mut bytes = [1; 100];
            mapping.read(mapping.bytes() - 100, &mut bytes);
            assert_eq!(bytes, [0; 100]);
            mapping.write(HUGE - 50, &[7; 100]);
            mapping.read(HUGE - 50, &mut bytes);
            assert_eq!(bytes, [7; 100]);
        }
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        assert!(Mapping::new(usize::MAX - 1, None).is_err());
        assert!(Mapping::new(1 << 60, None).is_err());
    }
}
