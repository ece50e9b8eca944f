//! Writing a batch of slots, so that no crash leaves half of one to be found (O1).
//! Uses `file::{group, runs}`, `memory`. Known by: `file::write`.
//!
//! - **WR1** each slot of a batch goes through O1: its header says that it is full only after its payload was written, and its
//!   payload is written only after its header was void;
//! - **WR2** a slot that fails leaves its neighbours as they are: a request over several slots that fails is made again for
//!   each of them (L2).
//!
//! All slots of a batch take each of O1's steps together: what is adjacent is one request, headers as well as payloads, and
//! locks are taken once a step.

use super::drive::{self, WRITES_TOGETHER, WriteRequest};
use super::group::{Group, RunFault};
use super::header::SlotState;
use super::records::Record;
use super::rings::REQUEST_BYTES_MAX;
use super::runs::{Runs, of_each};
use crate::borrow::WriteBorrow;
use crate::lane::CHUNK_MOVES_MAX;
use crate::memory::RunRead;
use std::io::{self, IoSlice};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// With fewer payloads under way the drive is idle: it is given the next one at once, and the checksum is computed meanwhile or
/// afterwards. With as many, the checksum comes first, so that nothing is left to do when the last write ends.
const BUSY_WRITES: u32 = 8;

/// One slot on its way through O1.
#[derive(Debug)]
pub(super) struct Part<'a> {
    slot: usize,
    source: RunRead<'a>,
    /// Meanwhile nobody else writes the slot or its header, and nobody reads it.
    _borrow: WriteBorrow<'a>,
    /// As it was when the write began, with the checksum of the new payload.
    record: Record,
    /// Whether the header on the file is surely void (Z2).
    is_void: bool,
    fault: Option<RunFault>,
}

impl Part<'_> {
    /// What became of it.
    pub(super) fn into_result(self) -> Result<(), RunFault> {
        self.fault.map_or(Ok(()), Err)
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Payload that was written, padding included.
    pub(super) payload_bytes: u64,
    /// Headers that were written.
    pub(super) header_bytes: u64,
    /// Calls that wrote payload.
    pub(super) calls: u32,
    /// Whether the file must be told of a slot (O3).
    pub(super) must_tell: bool,
}

impl Group {
    /// Begins to write `source` into `slot`; what was begun is given to [`Group::write`]. `O(1)`.
    ///
    /// # Errors
    /// [`RunFault::Busy`] if the slot is in use, [`RunFault::Unwritable`] if it is spoiled or retired.
    pub(super) fn begin<'a>(&'a self, slot: usize, source: RunRead<'a>) -> Result<Part<'a>, RunFault> {
        let borrow = self.borrows.try_write(slot..slot + 1).ok_or(RunFault::Busy)?;
        let mut records = self.records.lock();
        let record = &mut records[slot];
        if !record.is_writable() {
            return Err(RunFault::Unwritable);
        }
        record.begin();
        let (record, is_void) = (*record, !record.is_on_file);
        Ok(Part { slot, source, _borrow: borrow, record, is_void, fault: None })
    }

    /// Writes what was begun, each slot whole or not at all (O1), and tells each part what became of it. Blocks on I/O.
    pub(super) fn write(&self, parts: &mut [Option<Part<'_>>], headers: &mut Vec<u8>, now_s: u64) -> Written {
        headers.clear();
        headers.resize(self.shape.bytes() * parts.len(), 0);
        let mut written = Written::default();
        self.clear(parts, headers, now_s, &mut written);
        self.write_payloads(parts, &mut written);
        let _turn = self.header_lock.lock();
        self.publish(parts, headers, now_s, &mut written);
        self.note(parts, &mut written);
        written
    }

    /// Notes what became of each part, and which of them were given up after they had taken their labels: the file must be told.
    /// The caller has held `header_lock` since before that, so that whoever takes it next finds them listed (S2).
    fn note(&self, parts: &[Option<Part<'_>>], written: &mut Written) {
        let mut records = self.records.lock();
        for part in parts.iter().flatten() {
            let record = &mut records[part.slot];
            let must_tell = match part.fault {
                None => record.fill(part.record.checksum),
                Some(RunFault::Unwritable) => {
                    record.fail_for_good();
                    true
                }
                Some(_) => record.fail(part.is_void),
            };
            if must_tell {
                self.list(part.slot, record);
                written.must_tell = true;
            }
        }
    }

    /// Makes void the headers that are not.
    fn clear(&self, parts: &mut [Option<Part<'_>>], headers: &mut [u8], now_s: u64, written: &mut Written) {
        let bytes = self.shape.bytes();
        let is_wanted = |part: &Part<'_>| !part.is_void;
        for (part, header) in parts.iter().zip(headers.chunks_exact_mut(bytes)) {
            if let Some(part) = part.as_ref().filter(|part| is_wanted(part)) {
                self.shape.stamp(&self.stamp(part.slot, SlotState::Writing, &part.record, now_s), header);
            }
        }
        let _turn = self.header_lock.lock();
        self.for_each_run(parts, is_wanted, |run, place| {
            let headers = &headers[place.start * bytes..place.end * bytes];
            self.write_headers(slot_of(run), headers)?;
            written.header_bytes += headers.len() as u64;
            run.iter_mut().flatten().for_each(|part| part.is_void = true);
            Ok(())
        });
    }

    /// Writes the payloads of all that is void: several small requests together, if nobody reads.
    fn write_payloads(&self, parts: &mut [Option<Part<'_>>], written: &mut Written) {
        let runs = self.runs(parts, |_| true);
        let are_together = self.slot_bytes <= REQUEST_BYTES_MAX && self.depth() > 1;
        let at_once = if are_together { WRITES_TOGETHER } else { 1 };
        for runs in runs.as_slice().chunks(at_once) {
            let mut outcomes = [const { Ok(0) }; CHUNK_MOVES_MAX];
            if !self.write_together(parts, runs, &mut outcomes) {
                for (run, outcome) in runs.iter().zip(&mut outcomes) {
                    *outcome = self.write_payload_run(&mut parts[run.clone()]);
                }
            }
            for (run, outcome) in runs.iter().zip(outcomes) {
                let mut note = |calls, slots| {
                    written.calls += calls;
                    written.payload_bytes += (slots * self.slot_bytes) as u64;
                };
                let outcome = outcome.map(|calls| note(calls, run.len()));
                settle(parts, run.clone(), outcome, &mut |part, _| {
                    self.write_payload_run(part).map(|calls| note(calls, 1))
                });
            }
        }
    }

    /// Writes a run's payloads in one request, and computes their checksums: before, or, if the drive is idle, after it. Returns
    /// the number of calls.
    fn write_payload_run(&self, run: &mut [Option<Part<'_>>]) -> io::Result<u32> {
        let passing = self.gate.write();
        let is_idle = passing.others < BUSY_WRITES;
        if !is_idle {
            self.checksum(run);
        }
        let (files, offset) = self.payload_offset(slot_of(run));
        let mut slices = [IoSlice::new(&[]); CHUNK_MOVES_MAX];
        for (part, slice) in run.iter().flatten().zip(&mut slices) {
            *slice = IoSlice::new(part.source.region(0));
        }
        let calls = drive::write_all(&*files.payloads, &mut slices[..run.len()], offset)?;
        drop(passing);
        if is_idle {
            self.checksum(run);
        }
        Ok(calls)
    }

    /// Writes the payloads of each of `runs`, which are in order, in one request, all of a directory's together, unless somebody
    /// reads, or it is a single one: then it writes nothing, and returns false.
    fn write_together(
        &self,
        parts: &mut [Option<Part<'_>>],
        runs: &[Range<usize>],
        outcomes: &mut [io::Result<u32>],
    ) -> bool {
        let count = u32::try_from(runs.len()).expect("a batch is small");
        let Some(passing) = (count > 1).then(|| self.gate.write_together(count)).flatten() else {
            return false;
        };
        let is_idle = passing.others < BUSY_WRITES;
        if !is_idle {
            for run in runs {
                self.checksum(&mut parts[run.clone()]);
            }
        }
        self.write_runs(parts, runs, outcomes);
        drop(passing);
        if is_idle {
            for run in runs {
                self.checksum(&mut parts[run.clone()]);
            }
        }
        true
    }

    fn write_runs(
        &self,
        parts: &[Option<Part<'_>>],
        runs: &[Range<usize>],
        outcomes: &mut [io::Result<u32>],
    ) {
        let mut slices = [IoSlice::new(&[]); CHUNK_MOVES_MAX];
        for (part, slice) in parts.iter().zip(&mut slices) {
            *slice = IoSlice::new(part.as_ref().map_or(&[], |part| part.source.region(0)));
        }
        for (directory, files) in self.files.iter().enumerate() {
            let mut requests: [_; CHUNK_MOVES_MAX] = std::array::from_fn(|_| WriteRequest::new(&mut [], 0));
            let mut numbers = [0; CHUNK_MOVES_MAX];
            let mut count = 0;
            for (number, (run, own)) in runs.iter().zip(of_each(runs, &mut slices)).enumerate() {
                let place = self.placement.place(slot_of(&parts[run.clone()]));
                if place.directory == directory {
                    requests[count] = WriteRequest::new(own, place.local * self.slot_bytes as u64);
                    numbers[count] = number;
                    count += 1;
                }
            }
            files.payloads.write_many(&mut requests[..count]);
            for (number, request) in numbers.into_iter().zip(requests).take(count) {
                outcomes[number] = request.outcome;
            }
        }
    }

    fn checksum(&self, run: &mut [Option<Part<'_>>]) {
        for part in run.iter_mut().flatten() {
            part.record.checksum = xxh3_64(&part.source.region(0)[..self.kept_bytes]);
        }
    }

    /// Says of all whose payload was written that they are full, with the labels that wait for them. The caller holds
    /// `header_lock`.
    fn publish(&self, parts: &mut [Option<Part<'_>>], headers: &mut [u8], now_s: u64, written: &mut Written) {
        let bytes = self.shape.bytes();
        let mut has_label = [false; CHUNK_MOVES_MAX];
        {
            let mut labels = self.labels.lock();
            let places = headers.chunks_exact_mut(bytes).zip(&mut has_label);
            for (part, (header, has_label)) in parts.iter().zip(places) {
                if let Some(part) = part.as_ref().filter(|part| part.fault.is_none()) {
                    *has_label = labels.take(part.slot, header);
                }
            }
        }
        let places = headers.chunks_exact_mut(bytes).zip(has_label);
        for (part, (header, has_label)) in parts.iter_mut().zip(places) {
            if let Some(part) = part.as_mut().filter(|part| part.fault.is_none()) {
                let state = if has_label { SlotState::Full } else { SlotState::Nameless };
                self.shape.stamp(&self.stamp(part.slot, state, &part.record, now_s), header);
                // From here on the file may say that it is full, whether the call says so or not.
                part.is_void = false;
            }
        }
        self.for_each_run(
            parts,
            |_| true,
            |run, place| {
                let headers = &headers[place.start * bytes..place.end * bytes];
                self.write_headers(slot_of(run), headers)?;
                written.header_bytes += headers.len() as u64;
                Ok(())
            },
        );
    }

    /// Calls `write` for each run of adjacent slots that are wanted and have not failed, with their places among `parts`; for
    /// each slot alone where it fails for several (WR2).
    fn for_each_run<'a>(
        &self,
        parts: &mut [Option<Part<'a>>],
        is_wanted: impl Fn(&Part<'a>) -> bool,
        mut write: impl FnMut(&mut [Option<Part<'a>>], Range<usize>) -> io::Result<()>,
    ) {
        for run in self.runs(parts, is_wanted).as_slice() {
            let outcome = write(&mut parts[run.clone()], run.clone());
            settle(parts, run.clone(), outcome, &mut write);
        }
    }

    /// The runs of adjacent slots that are wanted and have not failed.
    fn runs<'a>(&self, parts: &[Option<Part<'a>>], is_wanted: impl Fn(&Part<'a>) -> bool) -> Runs {
        Runs::of(self, parts.len(), |place| {
            let part = parts[place].as_ref().filter(|part| part.fault.is_none() && is_wanted(part));
            part.map(|part| part.slot)
        })
    }
}

/// Has each slot of a run that failed written alone, with its place among `parts`, and notes what fails then (WR2).
fn settle<'a>(
    parts: &mut [Option<Part<'a>>],
    run: Range<usize>,
    outcome: io::Result<()>,
    write: &mut impl FnMut(&mut [Option<Part<'a>>], Range<usize>) -> io::Result<()>,
) {
    let Err(error) = outcome else { return };
    if run.len() == 1 {
        return fail(&mut parts[run.start], error);
    }
    for index in run {
        if let Err(error) = write(&mut parts[index..=index], index..index + 1) {
            fail(&mut parts[index], error);
        }
    }
}

/// The first slot of a run.
fn slot_of(run: &[Option<Part<'_>>]) -> usize {
    run[0].as_ref().expect("a run has a part at each place").slot
}

fn fail(part: &mut Option<Part<'_>>, error: io::Error) {
    let Some(part) = part else { return };
    part.fault = Some(if drive::is_bad_place(&error) {
        tracing::warn!(slot = part.slot, %error, "a place takes no bytes; its slot is retired");
        RunFault::Unwritable
    } else {
        RunFault::Drive(error)
    });
}
