//! One class of a file tier: its slots, their headers and payloads, over all directories.
//! Uses `borrow`, `file::{drive, header, labels, placement, records}`. Known by: `file`.
//!
//! - **O1** a slot is written in this order: its header is made void, then the payload is written, then its new header, so
//!   that the file never says `Full` of bytes that are not those;
//! - **O2** a payload is handed out only if its checksum holds;
//! - **O3** what the file must be told (a slot given up, a slot retired) is told by `housekeep`, in any order: a write into
//!   the slot tells it first.

use super::drive::{self, Drive};
use super::header::{HeaderShape, SlotState, Stamp};
use super::labels::Labels;
use super::placement::Placement;
use super::records::{Record, SlotUse};
use crate::borrow::Borrows;
use crate::lane::CHUNK_MOVES_MAX;
use crate::memory::{RunRead, RunWrite};
use kv_pager::ids::{GroupId, SlotId};
use kv_pager::tier::{BlockLabel, MoveFault};
use parking_lot::Mutex;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// The files of one class in one directory.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) headers: Box<dyn Drive>,
    pub(super) payloads: Box<dyn Drive>,
}

/// One class.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) placement: Placement,
    pub(super) shape: HeaderShape,
    /// From a payload to the next.
    pub(super) slot_bytes: usize,
    /// Of a payload, without padding.
    pub(super) kept_bytes: usize,
    /// By directory.
    pub(super) files: Box<[Files]>,
    pub(super) borrows: Borrows,
    pub(super) records: Mutex<Box<[Record]>>,
    pub(super) labels: Mutex<Labels>,
    /// Slots of which the file must be told (O3), each once.
    pub(super) untold: Mutex<Vec<usize>>,
}

/// Why a run was not written or read.
#[derive(Debug)]
pub(super) enum RunFault {
    /// A slot is in use.
    Busy,
    /// A slot is not to be used, or holds nothing.
    Unusable,
    /// A slot's payload was found damaged before.
    Spoiled,
    /// The drive refused.
    Drive(io::Error),
}

impl From<&RunFault> for MoveFault {
    fn from(fault: &RunFault) -> Self {
        match fault {
            RunFault::Busy => Self::Busy,
            RunFault::Spoiled => Self::Damaged,
            RunFault::Unusable | RunFault::Drive(_) => Self::Io,
        }
    }
}

impl From<io::Error> for RunFault {
    fn from(error: io::Error) -> Self {
        Self::Drive(error)
    }
}

impl Group {
    pub(super) fn slots(&self) -> usize {
        self.labels.lock().slots()
    }

    /// Whether `next` lies right behind `last` in the same directory.
    pub(super) fn is_adjacent(&self, last: SlotId, next: SlotId) -> bool {
        let (last, next) = (self.placement.place(last.index()), self.placement.place(next.index()));
        last.directory == next.directory && last.local + 1 == next.local
    }

    /// Where the payloads of slots from `first` stand.
    pub(super) fn payload_offset(&self, first: usize) -> (&Files, u64) {
        let place = self.placement.place(first);
        (&self.files[place.directory], place.local * self.slot_bytes as u64)
    }

    pub(super) fn label(&self, slot: SlotId, label: &BlockLabel<'_>) {
        self.labels.lock().put(slot.index(), |header| self.shape.write_label(label, header));
    }

    /// Gives `slot` up. Returns whether `housekeep` has something to tell.
    pub(super) fn give_up(&self, slot: SlotId) -> bool {
        self.labels.lock().clear(slot.index());
        let mut records = self.records.lock();
        let record = &mut records[slot.index()];
        let must_tell = record.give_up();
        if must_tell {
            self.list(slot.index(), record);
        }
        must_tell
    }

    /// Notes that the payload of `slot` is damaged.
    pub(super) fn spoil(&self, slot: SlotId) {
        let mut records = self.records.lock();
        let record = &mut records[slot.index()];
        if record.spoil() {
            self.list(slot.index(), record);
        }
    }

    /// Has `housekeep` retire every slot whose header is damaged, instead of making it void.
    pub(super) fn retire_listed(&self) {
        let listed = self.untold.lock().clone();
        let mut records = self.records.lock();
        for slot in listed {
            records[slot].condemn();
        }
    }

    /// Notes that the file must be told of `slot`.
    fn list(&self, slot: usize, record: &mut Record) {
        if !std::mem::replace(&mut record.is_listed, true) {
            self.untold.lock().push(slot);
        }
    }

    /// Writes adjacent slots from `first`, one for each of `sources`, whole or not at all (O1). Blocks on I/O.
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
        let mut run = RunInWriting { group: self, slots, now_s, is_void };
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

    /// Reads adjacent slots from `first` into `targets`, and tells for each whether its bytes are what was written (O2).
    /// Blocks on I/O. Returns the number of calls.
    pub(super) fn read(
        &self,
        first: usize,
        targets: &mut [Option<RunWrite<'_>>],
        outcomes: &mut [Result<(), MoveFault>],
    ) -> Result<u32, RunFault> {
        let slots = first..first + targets.len();
        let _borrow = self.borrows.try_read(slots.clone()).ok_or(RunFault::Busy)?;
        let mut checksums = [0; CHUNK_MOVES_MAX];
        for (record, checksum) in self.records.lock()[slots.clone()].iter().zip(&mut checksums) {
            match record.usage {
                SlotUse::Full => *checksum = record.checksum,
                SlotUse::Spoiled | SlotUse::Retired => return Err(RunFault::Spoiled),
                SlotUse::Empty | SlotUse::Writing | SlotUse::Unwanted => return Err(RunFault::Unusable),
            }
        }
        let (files, offset) = self.payload_offset(first);
        let mut slices = std::array::from_fn::<_, CHUNK_MOVES_MAX, _>(|_| IoSliceMut::new(&mut []));
        for (slice, target) in slices.iter_mut().zip(targets.iter_mut().flatten()) {
            *slice = IoSliceMut::new(target.region_mut(0));
        }
        let calls = match drive::read_all(&*files.payloads, &mut slices[..slots.len()], offset) {
            Ok(calls) => calls,
            // The file is shorter than it was made: these bytes are gone.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 1,
            Err(error) => return Err(error.into()),
        };
        files.payloads.forget(offset, (slots.len() * self.slot_bytes) as u64);
        for (index, (target, outcome)) in targets.iter_mut().flatten().zip(outcomes).enumerate() {
            let is_whole = xxh3_64(&target.region_mut(0)[..self.kept_bytes]) == checksums[index];
            *outcome = if is_whole { Ok(()) } else { Err(MoveFault::Damaged) };
            if !is_whole {
                self.spoil(SlotId::from_index(first + index));
            }
        }
        Ok(calls)
    }

    /// Tells the file what it must be told (O3), except of slots in use. Returns how many headers were written.
    pub(super) fn housekeep(&self, now_s: u64) -> io::Result<u64> {
        let mut told = 0;
        let mut later = Vec::new();
        while let Some(slot) = { self.untold.lock().pop() } {
            let Some(_borrow) = self.borrows.try_write(slot..slot + 1) else {
                later.push(slot);
                continue;
            };
            let record = {
                let mut records = self.records.lock();
                records[slot].is_listed = false;
                records[slot]
            };
            let state = match record.usage {
                SlotUse::Empty if record.is_on_file => SlotState::Void,
                SlotUse::Spoiled => SlotState::Retired,
                _ => continue,
            };
            let mut header = vec![0; self.shape.bytes()];
            self.shape.stamp(&self.stamp(slot, state, &record, now_s), &mut header);
            if let Err(error) = self.write_headers(slot, &header) {
                self.list(slot, &mut self.records.lock()[slot]);
                return Err(error);
            }
            told += 1;
            let mut records = self.records.lock();
            records[slot].is_on_file = false;
            if state == SlotState::Retired {
                records[slot].usage = SlotUse::Retired;
            }
        }
        self.untold.lock().append(&mut later);
        Ok(told)
    }

    fn stamp(&self, slot: usize, state: SlotState, record: &Record, now_s: u64) -> Stamp {
        Stamp {
            group: self.id,
            slot: SlotId::from_index(slot),
            state,
            generation: record.generation,
            payload_checksum: record.checksum,
            strikes: u32::from(record.strikes),
            written_s: now_s,
        }
    }

    /// Writes headers of adjacent slots from `first`.
    fn write_headers(&self, first: usize, headers: &[u8]) -> io::Result<()> {
        let place = self.placement.place(first);
        let offset = place.local * self.shape.bytes() as u64;
        drive::write_all(&*self.files[place.directory].headers, &mut [IoSlice::new(headers)], offset)
            .map(drop)
    }
}

/// What a write did.
#[derive(Debug)]
pub(super) struct Written {
    checksums: [u64; CHUNK_MOVES_MAX],
    /// Calls that wrote payload.
    pub(super) calls: u32,
    /// Bytes of headers that were written.
    pub(super) header_bytes: u64,
}

/// A run on its way through O1.
struct RunInWriting<'a> {
    group: &'a Group,
    slots: Range<usize>,
    now_s: u64,
    /// Whether the headers on the file are surely void.
    is_void: bool,
}

impl RunInWriting<'_> {
    fn write(&mut self, sources: &[Option<RunRead<'_>>], scratch: &mut Vec<u8>) -> Result<Written, RunFault> {
        let group = self.group;
        let mut written = Written { checksums: [0; CHUNK_MOVES_MAX], calls: 0, header_bytes: 0 };
        if !self.is_void {
            scratch.clear();
            scratch.resize(group.shape.bytes() * self.slots.len(), 0);
            self.stamp_all(scratch, &written.checksums, |_| SlotState::Writing);
            group.write_headers(self.slots.start, scratch)?;
            written.header_bytes += scratch.len() as u64;
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
        scratch.clear();
        scratch.resize(group.shape.bytes() * self.slots.len(), 0);
        let mut has_name = [false; CHUNK_MOVES_MAX];
        {
            let mut labels = group.labels.lock();
            for (index, header) in scratch.chunks_exact_mut(group.shape.bytes()).enumerate() {
                has_name[index] = labels.take(self.slots.start + index, header);
            }
        }
        self.stamp_all(scratch, &written.checksums, |index| {
            if has_name[index] { SlotState::Full } else { SlotState::Nameless }
        });
        // From here on the file may say that the slots are full, whether this call says so or not.
        self.is_void = false;
        group.write_headers(self.slots.start, scratch)?;
        written.header_bytes += scratch.len() as u64;
        Ok(written)
    }

    fn stamp_all(&self, headers: &mut [u8], checksums: &[u64], state: impl Fn(usize) -> SlotState) {
        let records = self.group.records.lock();
        for (index, header) in headers.chunks_exact_mut(self.group.shape.bytes()).enumerate() {
            let record = Record { checksum: checksums[index], ..records[self.slots.start + index] };
            let stamp = self.group.stamp(self.slots.start + index, state(index), &record, self.now_s);
            self.group.shape.stamp(&stamp, header);
        }
    }
}
