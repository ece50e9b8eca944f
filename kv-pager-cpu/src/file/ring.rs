//! A ring: several reads or writes of a file, handed to the system in one call (`io_uring`).
//! Uses nothing. Known by: `file::rings`.
//!
//! A request of a few KiB costs the processor more than the drive: a call each, and a thread that is put to sleep and woken.
//! Through a ring a thread hands in several at once, and is woken once for several that ended.
//!
//! A thread that hangs in a request hangs in the ring's call, as it would in `preadv`: what the request uses is left with it.
#![expect(unsafe_code, reason = "the kernel is given addresses, and shares memory with the ring")]

use crate::lane::CHUNK_MOVES_MAX;
use memmap2::{MmapOptions, MmapRaw};
use rustix::io::Errno;
use rustix::io_uring::{
    IORING_OFF_CQ_RING, IORING_OFF_SQ_RING, IORING_OFF_SQES, IoringEnterFlags, IoringOp, IoringSetupFlags,
    addr_or_splice_off_in_union, io_uring_enter, io_uring_params, io_uring_ptr, io_uring_setup, io_uring_sqe,
    io_uring_user_data, len_union, off_or_addr2_union,
};
use std::ffi::c_void;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Requests under way at once.
pub(super) const DEPTH: u32 = 16;

/// The most requests of one call.
const PIECES_MAX: usize = CHUNK_MOVES_MAX;

/// What is read or written at one offset: slices that the call is lent.
#[derive(Clone, Copy)]
struct Piece {
    address: *mut c_void,
    slices: u32,
    offset: u64,
}

/// The kernel's half and this one.
#[derive(Debug)]
pub(super) struct Ring {
    /// - **RI3** what a request that was taken through it names is used until its completion was read: `carry` doesn't
    ///   return before.
    descriptor: OwnedFd,
    /// - **RI1** each area is mapped from `descriptor`, as long as the kernel said that it is, until the ring is dropped: what
    ///   `places` names lies within it;
    submissions: MmapRaw,
    completions: MmapRaw,
    /// - **RI2** the kernel looks at entries between the head and the tail of the submissions alone, in a call that this side
    ///   makes, and this side writes only others. A completion is read between head and tail, before the head is moved on.
    entries: MmapRaw,
    places: Places,
}

/// Where things stand in the areas, in bytes, and how many entries they have: powers of two.
#[derive(Clone, Copy, Debug)]
struct Places {
    submission_tail: u32,
    submissions: u32,
    completion_head: u32,
    completion_tail: u32,
    completion: u32,
    completions: u32,
}

/// A completion, as the kernel writes it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Completion {
    user_data: u64,
    result: i32,
    _flags: u32,
}

impl Ring {
    /// # Errors
    /// What the system says where it has no rings, or lets this process have none.
    pub(super) fn new() -> io::Result<Self> {
        let mut parameters = io_uring_params::default();
        parameters.flags = IoringSetupFlags::COOP_TASKRUN;
        // SAFETY: no `ATTACH_WQ`, so no descriptor is named.
        let descriptor = unsafe { io_uring_setup(DEPTH, &mut parameters) }?;
        let (submission, completion) = (parameters.sq_off, parameters.cq_off);
        let places = Places {
            submission_tail: submission.tail,
            submissions: parameters.sq_entries,
            completion_head: completion.head,
            completion_tail: completion.tail,
            completion: completion.cqes,
            completions: parameters.cq_entries,
        };
        let map = |area, start: u32, entries: u32, entry_bytes: usize| {
            let bytes = start as usize + entries as usize * entry_bytes;
            MmapOptions::new().offset(area).len(bytes).map_raw(&descriptor)
        };
        let (entries, numbers) = (parameters.sq_entries, submission.array);
        let ring = Self {
            submissions: map(IORING_OFF_SQ_RING, numbers, entries, size_of::<u32>())?,
            completions: map(
                IORING_OFF_CQ_RING,
                completion.cqes,
                parameters.cq_entries,
                size_of::<Completion>(),
            )?,
            entries: map(IORING_OFF_SQES, 0, entries, size_of::<io_uring_sqe>())?,
            places,
            descriptor,
        };
        // The kernel finds an entry by its number: each stands where its number says.
        for entry in 0..entries {
            word(&ring.submissions, numbers + entry * 4).store(entry, Ordering::Relaxed);
        }
        Ok(ring)
    }

    /// Reads into each of `pieces`, at its offset, as far as one request goes, several at once. Tells of each how many bytes those
    /// were. Blocks on I/O.
    ///
    /// # Panics
    /// If there are more than [`PIECES_MAX`] pieces, or more than results.
    pub(super) fn read<'a, 'b: 'a>(
        &mut self,
        file: BorrowedFd<'_>,
        pieces: impl Iterator<Item = (&'a mut [IoSliceMut<'b>], u64)>,
        results: &mut [io::Result<usize>],
    ) {
        let pieces = pieces.map(|(slices, offset)| (slices.as_mut_ptr().cast(), slices.len(), offset));
        self.carry(file, IoringOp::Readv, pieces, results);
    }

    /// Writes each of `pieces`, as [`Ring::read`] reads them.
    ///
    /// # Panics
    /// As there.
    pub(super) fn write<'a, 'b: 'a>(
        &mut self,
        file: BorrowedFd<'_>,
        pieces: impl Iterator<Item = (&'a [IoSlice<'b>], u64)>,
        results: &mut [io::Result<usize>],
    ) {
        // The kernel only reads what is written.
        let pieces = pieces.map(|(slices, offset)| (slices.as_ptr().cast_mut().cast(), slices.len(), offset));
        self.carry(file, IoringOp::Writev, pieces, results);
    }

    /// Carries out `operation` for each of `pieces`: where its slices stand, how many they are, and its offset.
    fn carry(
        &mut self,
        file: BorrowedFd<'_>,
        operation: IoringOp,
        pieces: impl Iterator<Item = (*mut c_void, usize, u64)>,
        results: &mut [io::Result<usize>],
    ) {
        let mut all = [Piece { address: std::ptr::null_mut(), slices: 0, offset: 0 }; PIECES_MAX];
        let mut count = 0;
        for (address, slices, offset) in pieces {
            all[count] = Piece { address, slices: u32::try_from(slices).expect("a batch is small"), offset };
            count += 1;
        }
        // From here on nothing panics: what is under way must end first (RI3).
        let (pieces, results) = (&all[..count], &mut results[..count]);
        let mut next = 0;
        // Handed to the kernel's half: those that it has yet to take, and those that it has taken.
        let (mut waiting, mut under_way) = (0, 0);
        while next < pieces.len() || waiting > 0 || under_way > 0 {
            while next < pieces.len() && under_way + waiting < DEPTH {
                self.push(file, operation, pieces[next], next);
                next += 1;
                waiting += 1;
            }
            // Half of them: enough to go on with, while the other half keeps the drive busy.
            let wanted = (under_way + waiting).div_ceil(2);
            match self.enter(waiting, wanted) {
                Ok(taken) => {
                    waiting -= taken;
                    under_way += taken;
                }
                Err(Errno::INTR) => {}
                // The kernel is out of something for the moment.
                Err(Errno::AGAIN | Errno::BUSY | Errno::NOMEM) if under_way > 0 => thread::yield_now(),
                Err(error) => {
                    // Nothing of what waits was taken: it is called off, and nothing more is handed in.
                    self.call_off(waiting);
                    for result in &mut results[next - waiting as usize..] {
                        *result = Err(error.into());
                    }
                    (next, waiting) = (pieces.len(), 0);
                    thread::yield_now();
                }
            }
            under_way -= self.reap(results);
        }
    }

    /// Hands one request to the kernel's half.
    fn push(&mut self, file: BorrowedFd<'_>, operation: IoringOp, piece: Piece, number: usize) {
        let entry = io_uring_sqe {
            opcode: operation,
            fd: file.as_raw_fd(),
            off_or_addr2: off_or_addr2_union { off: piece.offset },
            addr_or_splice_off_in: addr_or_splice_off_in_union { addr: io_uring_ptr::new(piece.address) },
            len: len_union { len: piece.slices },
            user_data: io_uring_user_data::from_u64(number as u64),
            ..Default::default()
        };
        let (tail, mask) = (self.tail(), self.places.submissions - 1);
        let at = self
            .entries
            .as_mut_ptr()
            .cast::<c_void>()
            .cast::<io_uring_sqe>()
            .wrapping_add((tail & mask) as usize);
        // SAFETY: RI1: the place is one of `submissions`, and an area is mapped at a page; RI2: it is behind the tail, for at most `DEPTH` of them are under way.
        unsafe { at.write(entry) };
        self.set_tail(tail.wrapping_add(1));
    }

    fn tail(&self) -> u32 {
        // Only this side moves it.
        word(&self.submissions, self.places.submission_tail).load(Ordering::Relaxed)
    }

    fn set_tail(&self, tail: u32) {
        word(&self.submissions, self.places.submission_tail).store(tail, Ordering::Release);
    }

    /// Takes back the last `count` requests, which the kernel has not taken (RI2).
    fn call_off(&self, count: u32) {
        self.set_tail(self.tail().wrapping_sub(count));
    }

    /// Has the kernel take `waiting` requests, and waits for `wanted` to end. Returns how many it took.
    fn enter(&self, waiting: u32, wanted: u32) -> Result<u32, Errno> {
        // SAFETY: no `EXT_ARG`; the entries between head and tail name slices and bytes that their owner lends to `read` or
        // `write`, which don't return before all that were taken have ended (RI3).
        unsafe { io_uring_enter(&self.descriptor, waiting, wanted, IoringEnterFlags::GETEVENTS) }
    }

    /// Takes note of what has ended. Returns how many requests did.
    fn reap(&mut self, results: &mut [io::Result<usize>]) -> u32 {
        let places = &self.places;
        let head = word(&self.completions, places.completion_head);
        let tail = word(&self.completions, places.completion_tail).load(Ordering::Acquire);
        let start = self.completions.as_mut_ptr().wrapping_add(places.completion as usize);
        let (mut at, mut ended) = (head.load(Ordering::Relaxed), 0);
        while at != tail {
            let number = (at & (places.completions - 1)) as usize;
            let completion = start.cast::<c_void>().cast::<Completion>().wrapping_add(number);
            // SAFETY: RI1: the place is one of `completions`, aligned as the kernel has it; RI2: it is before the tail.
            let completion = unsafe { completion.read() };
            let number = usize::try_from(completion.user_data).expect("the number of a piece");
            results[number] = usize::try_from(completion.result)
                .map_err(|_| io::Error::from_raw_os_error(-completion.result));
            at = at.wrapping_add(1);
            ended += 1;
        }
        head.store(at, Ordering::Release);
        ended
    }
}

/// A number that both halves use.
fn word(area: &MmapRaw, offset: u32) -> &AtomicU32 {
    let offset = offset as usize;
    assert!(offset + size_of::<u32>() <= area.len(), "{offset} of {}", area.len());
    let at = area.as_mut_ptr().wrapping_add(offset).cast();
    // SAFETY: RI1: it is within the area, which the ring keeps, and aligned as the kernel has it; both halves use it as an atomic.
    unsafe { AtomicU32::from_ptr(at) }
}

#[cfg(test)]
mod tests {
    use super::{DEPTH, PIECES_MAX, Ring};
    use std::fs::File;
    use std::io::{self, IoSlice, IoSliceMut};
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    /// As many results as pieces, none of which is there yet.
    fn nothing(count: usize) -> Vec<io::Result<usize>> {
        (0..count).map(|_| Err(io::ErrorKind::NotFound.into())).collect()
    }

    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn ring() -> Option<Ring> {
        let ring = Ring::new();
        if let Err(error) = &ring {
            eprintln!("skipped: this system gives no ring: {error}");
        }
        ring.ok()
    }

    #[test]
    fn more_pieces_than_fit_the_ring_are_all_read_and_the_ring_is_used_again() {
        let Some(mut ring) = ring() else { return };
        assert!(PIECES_MAX > 2 * DEPTH as usize);
        let file = tempfile::tempfile().expect("a file");
        let mut texts: Vec<[u8; 2]> =
            (0..PIECES_MAX).map(|at| [u8::try_from(at).expect("small"), 7]).collect();
        file.write_all_at(&texts.concat(), 0).expect("it can be written");
        // Backwards, so that no piece stands where its number says.
        texts.reverse();
        let offset = |at: usize| (PIECES_MAX - 1 - at) as u64 * 2;
        for _ in 0..3 {
            let mut read = vec![[0; 2]; PIECES_MAX];
            let mut slices: Vec<[IoSliceMut<'_>; 2]> = Vec::new();
            for text in &mut read {
                let (front, back) = text.split_at_mut(1);
                slices.push([IoSliceMut::new(front), IoSliceMut::new(back)]);
            }
            let pieces = slices.iter_mut().enumerate().map(|(at, slices)| (&mut slices[..], offset(at)));
            let mut results = nothing(PIECES_MAX);
            ring.read(file.as_fd(), pieces, &mut results);
            assert!(results.iter().all(|result| matches!(result, Ok(2))), "{results:?}");
            drop(slices);
            assert_eq!(read, texts);
        }
    }

    #[test]
    fn what_is_written_through_a_ring_is_in_the_file() {
        let Some(mut ring) = ring() else { return };
        let file = tempfile::tempfile().expect("a file");
        let texts: Vec<[u8; 2]> = (0..PIECES_MAX).map(|at| [u8::try_from(at).expect("small"), 7]).collect();
        let slices: Vec<_> = texts.iter().map(|text| text.each_ref().map(|byte| slice_of(byte))).collect();
        // Backwards, so that no piece stands where its number says.
        let offset = |at: usize| (PIECES_MAX - 1 - at) as u64 * 2;
        let pieces = slices.iter().enumerate().map(|(at, slices)| (&slices[..], offset(at)));
        let mut results = nothing(PIECES_MAX);
        ring.write(file.as_fd(), pieces, &mut results);
        assert!(results.iter().all(|result| matches!(result, Ok(2))), "{results:?}");
        let mut read = vec![0; PIECES_MAX * 2];
        file.read_exact_at(&mut read, 0).expect("it can be read");
        assert_eq!(read, texts.into_iter().rev().flatten().collect::<Vec<_>>());
    }

    fn slice_of(byte: &u8) -> IoSlice<'_> {
        IoSlice::new(std::slice::from_ref(byte))
    }

    #[test]
    fn each_piece_has_an_outcome_of_its_own() {
        let Some(mut ring) = ring() else { return };
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(b"text", 0).expect("it can be written");
        let mut read = [[0; 3]; 3];
        let mut read_at = |file: &File, offsets: [u64; 3]| {
            let mut slices: Vec<_> = read.iter_mut().map(|text| [IoSliceMut::new(text)]).collect();
            let pieces = slices.iter_mut().zip(offsets).map(|(slice, offset)| (&mut slice[..], offset));
            let mut results = nothing(3);
            ring.read(file.as_fd(), pieces, &mut results);
            results
        };
        // Behind the end there is nothing; so far behind there can't be anything.
        let results = read_at(&file, [0, u64::MAX >> 1, 2]);
        assert!(matches!(results[..], [Ok(3), Err(_) | Ok(0), Ok(2)]), "{results:?}");
        let own = tempfile::NamedTempFile::new().expect("a file");
        let write_only = File::options().write(true).open(own.path()).expect("it is there");
        let results = read_at(&write_only, [0, 1, 2]);
        assert!(results.iter().all(Result::is_err), "{results:?}");
        let read_only = File::open(own.path()).expect("it is there");
        let slice = [IoSlice::new(b"text")];
        let mut results = nothing(2);
        ring.write(read_only.as_fd(), [(&slice[..], 0), (&slice[..], 4)].into_iter(), &mut results);
        assert!(results.iter().all(Result::is_err), "{results:?}");
    }
}
