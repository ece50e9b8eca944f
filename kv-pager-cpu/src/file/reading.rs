//! Reading a batch of slots, and handing out only what was written (O2).
//! Uses `file::{group, runs}`, `memory`. Known by: `file::read`.
//!
//! What is adjacent is one request, whichever host slots it goes to; where that fails, each slot is asked for alone, so that one
//! does not fail its neighbours (L2).

use super::drive::{self, ReadRequest};
use super::group::{Group, RunFault};
use super::records::SlotUse;
use super::runs::{Runs, of_each};
use crate::borrow::ReadBorrow;
use crate::lane::CHUNK_MOVES_MAX;
use crate::memory::RunWrite;
use kv_pager::ids::SlotId;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// One slot on its way to host memory.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    slot: usize,
    target: RunWrite<'a>,
    /// Meanwhile nobody writes the slot.
    _borrow: ReadBorrow<'a>,
    /// What its payload must have.
    checksum: u64,
    fault: Option<RunFault>,
}

impl Arrival<'_> {
    /// What became of it.
    pub(super) fn into_result(self) -> Result<(), RunFault> {
        self.fault.map_or(Ok(()), Err)
    }
}

impl Group {
    /// Begins to read `slot` into `target`; what was begun is given to [`Group::read`]. `O(1)`.
    ///
    /// # Errors
    /// [`RunFault::Busy`] if the slot is being written.
    pub(super) fn arrival<'a>(&'a self, slot: usize, target: RunWrite<'a>) -> Result<Arrival<'a>, RunFault> {
        let borrow = self.borrows.try_read(slot..slot + 1).ok_or(RunFault::Busy)?;
        Ok(Arrival { slot, target, _borrow: borrow, checksum: 0, fault: None })
    }

    /// Reads what was begun, and tells for each whether its bytes are what was written (O2). Blocks on I/O. Returns the number of
    /// calls.
    pub(super) fn read(&self, parts: &mut [Option<Arrival<'_>>]) -> u32 {
        self.find_checksums(parts);
        let runs = Runs::of(self, parts.len(), |place| {
            parts[place].as_ref().filter(|part| part.fault.is_none()).map(|part| part.slot)
        });
        let mut calls = 0;
        let mut outcomes = [const { Ok(0) }; CHUNK_MOVES_MAX];
        let reading = self.gate.read();
        self.read_runs(parts, runs.as_slice(), &mut outcomes);
        for (run, outcome) in runs.as_slice().iter().zip(outcomes) {
            match outcome {
                Ok(more) => calls += more,
                Err(error) if run.len() == 1 => self.fail(&mut parts[run.start], error),
                Err(_) => calls += run.clone().map(|place| self.read_alone(parts, place)).sum::<u32>(),
            }
        }
        drop(reading);
        self.verify(parts);
        calls
    }

    fn find_checksums(&self, parts: &mut [Option<Arrival<'_>>]) {
        let records = self.records.lock();
        for part in parts.iter_mut().flatten() {
            let record = &records[part.slot];
            match record.usage {
                SlotUse::Full => part.checksum = record.checksum,
                SlotUse::Spoiled | SlotUse::Retired => part.fault = Some(RunFault::Spoiled),
                SlotUse::Empty | SlotUse::Writing | SlotUse::Unwanted => {
                    part.fault = Some(RunFault::Unusable);
                }
            }
        }
    }

    fn read_alone(&self, parts: &mut [Option<Arrival<'_>>], place: usize) -> u32 {
        let mut outcome = [Ok(0)];
        self.read_runs(parts, std::slice::from_ref(&(place..place + 1)), &mut outcome);
        let [outcome] = outcome;
        outcome.unwrap_or_else(|error| {
            self.fail(&mut parts[place], error);
            0
        })
    }

    /// Reads the payloads of each of `runs`, which are in order, in one request; all of a directory's together.
    fn read_runs(
        &self,
        parts: &mut [Option<Arrival<'_>>],
        runs: &[Range<usize>],
        outcomes: &mut [io::Result<u32>],
    ) {
        let mut place_of = [0; CHUNK_MOVES_MAX];
        for (slot, part) in place_of.iter_mut().zip(&*parts) {
            *slot = part.as_ref().map_or(0, |part| part.slot);
        }
        let mut slices: [_; CHUNK_MOVES_MAX] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        for (part, slice) in parts.iter_mut().zip(&mut slices) {
            *slice = IoSliceMut::new(part.as_mut().map_or(&mut [], |part| part.target.region_mut(0)));
        }
        for (directory, files) in self.files.iter().enumerate() {
            let mut requests: [_; CHUNK_MOVES_MAX] = std::array::from_fn(|_| ReadRequest::new(&mut [], 0));
            let mut numbers = [0; CHUNK_MOVES_MAX];
            let mut count = 0;
            for (number, (run, own)) in runs.iter().zip(of_each(runs, &mut slices)).enumerate() {
                let place = self.placement.place(place_of[run.start]);
                if place.directory == directory {
                    requests[count] = ReadRequest::new(own, place.local * self.slot_bytes as u64);
                    numbers[count] = number;
                    count += 1;
                }
            }
            files.payloads.read_many(&mut requests[..count]);
            for (number, request) in numbers.into_iter().zip(requests).take(count) {
                let bytes = (runs[number].len() * self.slot_bytes) as u64;
                files.payloads.forget(request.offset, bytes);
                outcomes[number] = match request.outcome {
                    // The file is shorter than it was made: what lay behind is gone, and what lies before may be whole.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(1),
                    outcome => outcome,
                };
            }
        }
    }

    fn verify(&self, parts: &mut [Option<Arrival<'_>>]) {
        for part in parts.iter_mut().flatten().filter(|part| part.fault.is_none()) {
            if xxh3_64(&part.target.region_mut(0)[..self.kept_bytes]) != part.checksum {
                self.spoil(SlotId::from_index(part.slot));
                part.fault = Some(RunFault::Spoiled);
            }
        }
    }

    /// What can't be read is as good as damaged.
    fn fail(&self, part: &mut Option<Arrival<'_>>, error: io::Error) {
        let Some(part) = part else { return };
        part.fault = Some(if drive::is_bad_place(&error) {
            tracing::warn!(slot = part.slot, %error, "a payload can't be read; its slot is retired");
            self.spoil(SlotId::from_index(part.slot));
            RunFault::Spoiled
        } else {
            RunFault::Drive(error)
        });
    }
}
