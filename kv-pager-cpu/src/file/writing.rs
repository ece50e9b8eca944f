//! Writing a run of slots, so that no crash leaves half of it to be found (O1).
//! Uses `file::group`, `memory`. Known by: `file::write`.

use super::drive;
use super::group::{Group, RunFault};
use super::header::SlotState;
use super::records::Record;
use crate::lane::CHUNK_MOVES_MAX;
use crate::memory::RunRead;
use std::io::IoSlice;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// What a write did.
#[derive(Debug)]
pub(super) struct Written {
    checksums: [u64; CHUNK_MOVES_MAX],
    /// Calls that wrote payload.
    pub(super) calls: u32,
    /// Bytes of headers that were written.
    pub(super) header_bytes: u64,
}

impl Group {
    /// Writes adjacent slots from `first`, one for each of `sources`, whole or not at all (O1). Blocks on I/O.
    ///
    /// # Errors
    /// [`RunFault::Busy`] if one is in use, [`RunFault::Unusable`] if one is spoiled or retired: nothing was written then.
    pub(super) fn write(
        &self,
        first: usize,
        sources: &[Option<RunRead<'_>>],
        scratch: &mut Vec<u8>,
        now_s: u64,
    ) -> Result<Written, RunFault> {
        let slots = first..first + sources.len();
        let _borrow = self.borrows.try_write(slots.clone()).ok_or(RunFault::Busy)?;
        let is_void = {
            let mut records = self.records.lock();
            let records = &mut records[slots.clone()];
            if !records.iter().all(Record::is_writable) {
                return Err(RunFault::Unusable);
            }
            records.iter_mut().for_each(Record::begin);
            !records.iter().any(|record| record.is_on_file)
        };
        let mut run = Run { group: self, slots, now_s, is_void };
        let result = run.write(sources, scratch);
        let mut records = self.records.lock();
        for (index, record) in run.slots.clone().zip(&mut records[run.slots.clone()]) {
            let must_tell = match &result {
                Ok(written) => record.fill(written.checksums[index - first]),
                Err(_) => record.fail(run.is_void),
            };
            if must_tell {
                self.list(index, record);
            }
        }
        result
    }
}

/// A run on its way through O1.
struct Run<'a> {
    group: &'a Group,
    slots: Range<usize>,
    now_s: u64,
    /// Whether the headers on the file are surely void.
    is_void: bool,
}

impl Run<'_> {
    fn write(&mut self, sources: &[Option<RunRead<'_>>], headers: &mut Vec<u8>) -> Result<Written, RunFault> {
        let group = self.group;
        let mut written = Written { checksums: [0; CHUNK_MOVES_MAX], calls: 0, header_bytes: 0 };
        if !self.is_void {
            self.clear(headers);
            self.write_headers(headers, &mut written, |_| SlotState::Writing)?;
            self.is_void = true;
        }
        let mut slices = [IoSlice::new(&[]); CHUNK_MOVES_MAX];
        for (index, source) in sources.iter().flatten().enumerate() {
            let bytes = source.region(0);
            written.checksums[index] = xxh3_64(&bytes[..group.kept_bytes]);
            slices[index] = IoSlice::new(bytes);
        }
        let (files, offset) = group.payload_offset(self.slots.start);
        written.calls = drive::write_all(&*files.payloads, &mut slices[..sources.len()], offset)?;
        self.clear(headers);
        let has_name = self.take_labels(headers);
        // From here on the file may say that the slots are full, whether this call says so or not.
        self.is_void = false;
        let state = |index: usize| if has_name[index] { SlotState::Full } else { SlotState::Nameless };
        self.write_headers(headers, &mut written, state)?;
        Ok(written)
    }

    fn clear(&self, headers: &mut Vec<u8>) {
        headers.clear();
        headers.resize(self.group.shape.bytes() * self.slots.len(), 0);
    }

    /// Moves the labels of the run into its headers; tells which slots have one.
    fn take_labels(&self, headers: &mut [u8]) -> [bool; CHUNK_MOVES_MAX] {
        let mut has_name = [false; CHUNK_MOVES_MAX];
        let mut labels = self.group.labels.lock();
        for (index, header) in headers.chunks_exact_mut(self.group.shape.bytes()).enumerate() {
            has_name[index] = labels.take(self.slots.start + index, header);
        }
        has_name
    }

    fn write_headers(
        &self,
        headers: &mut [u8],
        written: &mut Written,
        state: impl Fn(usize) -> SlotState,
    ) -> Result<(), RunFault> {
        let group = self.group;
        {
            let records = group.records.lock();
            for (index, header) in headers.chunks_exact_mut(group.shape.bytes()).enumerate() {
                let record =
                    Record { checksum: written.checksums[index], ..records[self.slots.start + index] };
                let stamp = group.stamp(self.slots.start + index, state(index), &record, self.now_s);
                group.shape.stamp(&stamp, header);
            }
        }
        let _turn = group.header_lock.read();
        group.write_headers(self.slots.start, headers)?;
        written.header_bytes += headers.len() as u64;
        Ok(())
    }
}
