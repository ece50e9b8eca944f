//! One class of a file tier: its slots, their headers and payloads, over all directories.
//! Uses `borrow`, `file::{drive, header, labels, placement, records}`. Known by: `file`.
//!
//! - **O1** a slot is written in this order: its header is made void, then the payload is written, then its new header, so
//!   that the file never says `Full` of bytes that are not those (`file::writing`);
//! - **O2** a payload is handed out only if its checksum holds (`file::reading`);
//! - **O3** what the file must be told (a slot given up, a slot retired) is told in any order: a write into the slot tells it
//!   first (`file::housekeeping`);
//! - **O4** headers are written under `header_lock`, and by housekeeping after a look at the record: who comes late doesn't
//!   undo what came first.

use super::drive::{self, Drive};
use super::gate::Gate;
use super::header::{HeaderShape, SlotState, Stamp};
use super::labels::Labels;
use super::placement::Placement;
use super::records::Record;
use crate::borrow::Borrows;
use kv_pager::ids::{GroupId, SlotId};
use kv_pager::sync::Mutex;
use kv_pager::tier::{BlockLabel, MoveFault};
use std::io::{self, IoSlice};
use std::sync::Arc;

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
    /// Held by who tells what is listed there: who comes next finds that all of it was told.
    pub(super) telling: Mutex<()>,
    /// O4. Taken for all headers of a batch at once: the system lets one write to a file through at a time as well, and whoever
    /// waits for it there is woken for each header. Taken before `records`.
    pub(super) header_lock: Mutex<()>,
    /// Of the whole tier: its drives serve all of it.
    pub(super) gate: Arc<Gate>,
}

/// Why a run was not written or read.
#[derive(Debug)]
pub(super) enum RunFault {
    /// A slot is in use.
    Busy,
    /// A slot holds nothing, or the tier is not to be used.
    Unusable,
    /// A slot's payload is damaged, or was found so before.
    Spoiled,
    /// A slot takes nothing in: its place is bad, or it was found damaged before.
    Unwritable,
    /// The budget for writes is used up.
    Spent,
    /// The drive refused.
    Drive(io::Error),
}

impl From<&RunFault> for MoveFault {
    fn from(fault: &RunFault) -> Self {
        match fault {
            RunFault::Busy => Self::Busy,
            RunFault::Spoiled => Self::Damaged,
            RunFault::Unwritable => Self::Unwritable,
            RunFault::Spent => Self::Cancelled,
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

    /// Whether `next` is the slot after `last`, and lies right behind it.
    pub(super) fn is_adjacent(&self, last: SlotId, next: SlotId) -> bool {
        next.index() == last.index() + 1
            && self.placement.place(last.index()).directory == self.placement.place(next.index()).directory
    }

    /// How many small requests for payloads are handed to a drive at once.
    pub(super) fn depth(&self) -> usize {
        self.files.iter().map(|files| files.payloads.depth()).min().unwrap_or(1)
    }

    /// Where the payloads of slots from `first` stand.
    pub(super) fn payload_offset(&self, first: usize) -> (&Files, u64) {
        let place = self.placement.place(first);
        (&self.files[place.directory], place.local * self.slot_bytes as u64)
    }

    pub(super) fn label(&self, slot: SlotId, label: &BlockLabel<'_>) {
        self.labels.lock().put(slot.index(), |header| self.shape.write_label(label, header));
    }

    /// Gives `slot` up. Returns whether the file must be told.
    pub(super) fn give_up(&self, slot: SlotId) -> bool {
        self.labels.lock().clear(slot.index());
        self.change(slot, Record::give_up)
    }

    /// Notes that the payload of `slot` is damaged.
    pub(super) fn spoil(&self, slot: SlotId) {
        self.change(slot, Record::spoil);
    }

    /// Notes that `slot`, which holds nothing that can be read, is to be retired.
    pub(super) fn condemn(&self, slot: SlotId) {
        self.change(slot, Record::condemn);
    }

    /// Changes a record, and notes it if the file must be told.
    fn change(&self, slot: SlotId, change: impl FnOnce(&mut Record) -> bool) -> bool {
        let mut records = self.records.lock();
        let record = &mut records[slot.index()];
        let must_tell = change(record);
        if must_tell {
            self.list(slot.index(), record);
        }
        must_tell
    }

    /// Notes that the file must be told of `slot`.
    pub(super) fn list(&self, slot: usize, record: &mut Record) {
        if !std::mem::replace(&mut record.is_listed, true) {
            self.untold.lock().push(slot);
        }
    }

    pub(super) fn stamp(&self, slot: usize, state: SlotState, record: &Record, now_s: u64) -> Stamp {
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

    /// Writes headers of adjacent slots from `first`; the caller holds `header_lock` (O4).
    pub(super) fn write_headers(&self, first: usize, headers: &[u8]) -> io::Result<()> {
        let place = self.placement.place(first);
        let offset = place.local * self.shape.bytes() as u64;
        drive::write_all(&*self.files[place.directory].headers, &mut [IoSlice::new(headers)], offset)
            .map(drop)
    }
}
