//! Housekeeping: telling the file what changed without a payload (O3).
//! Uses `file::group`. Known by: `file`, `file::inspect`.
//!
//! Slots that were given up are made void, those that were found damaged are retired, and how often blocks were asked for is
//! brought up to date. Nothing here borrows a slot, so no move ever meets it: the record is looked at under `header_lock`,
//! and a write that has begun is left to tell its own story (O4).

use super::drive;
use super::group::Group;
use super::header::{Found, SlotState};
use super::records::{Record, SlotUse};
use kv_pager::ids::SlotId;
use std::io::{self, IoSliceMut};

impl Group {
    /// Makes void what was given up, and retires what was found damaged. Blocks on I/O. Returns how many headers it wrote.
    ///
    /// # Errors
    /// What the system said first; what it refused is told another time.
    pub(super) fn housekeep(&self, now_s: u64) -> io::Result<u64> {
        let _alone = self.telling.lock();
        // A batch that is saying what it wrote lists what was given up meanwhile.
        drop(self.header_lock.lock());
        let (mut told, mut refusal) = (0, None);
        let mut header = vec![0; self.shape.bytes()];
        let untold = std::mem::take(&mut *self.untold.lock());
        for slot in untold {
            let _turn = self.header_lock.lock();
            let record = {
                let mut records = self.records.lock();
                records[slot].is_listed = false;
                records[slot]
            };
            let Some(state) = state_to_tell(&record) else { continue };
            header.fill(0);
            self.shape.stamp(&self.stamp(slot, state, &record, now_s), &mut header);
            let written = self.write_headers(slot, &header);
            let mut records = self.records.lock();
            if let Err(error) = written {
                self.list(slot, &mut records[slot]);
                refusal.get_or_insert(error);
                continue;
            }
            records[slot].tell();
            told += 1;
        }
        refusal.map_or(Ok(told), Err)
    }

    /// Notes how often the block in `slot` was asked for.
    pub(super) fn set_uses(&self, slot: SlotId, uses: u32) {
        let record = &mut self.records.lock()[slot.index()];
        record.uses = Some(uses).filter(|_| record.usage == SlotUse::Full);
    }

    /// Writes how often blocks were asked for into their headers, where that was noted. Blocks on I/O. Adds to `told` how many
    /// headers it wrote. One that can't be read costs its own count; one that can't be written keeps no other from it.
    ///
    /// # Errors
    /// What the system said to the last write that it refused.
    pub(super) fn write_uses(&self, told: &mut u64) -> io::Result<()> {
        let mut header = vec![0; self.shape.bytes()];
        let mut outcome = Ok(());
        for slot in 0..self.slots() {
            if self.records.lock()[slot].uses.is_none() {
                continue;
            }
            let _turn = self.header_lock.lock();
            let Some(uses) = self.records.lock()[slot].uses.take() else { continue };
            let place = self.placement.place(slot);
            let offset = place.local * header.len() as u64;
            let headers = &*self.files[place.directory].headers;
            if let Err(error) = drive::read_all(headers, &mut [IoSliceMut::new(&mut header)], offset) {
                tracing::warn!(%error, slot, "how often a block was asked for is not kept");
                continue;
            }
            let found = self.shape.read(self.id, SlotId::from_index(slot), &header);
            let is_full = matches!(found, Found::Sound(stamp, _) if stamp.state == SlotState::Full);
            if is_full && self.records.lock()[slot].usage == SlotUse::Full {
                self.shape.set_uses(&mut header, uses);
                match self.write_headers(slot, &header) {
                    Ok(()) => *told += 1,
                    Err(error) => outcome = Err(error),
                }
            }
        }
        outcome
    }
}

/// What the file must be told of a slot.
fn state_to_tell(record: &Record) -> Option<SlotState> {
    match record.usage {
        SlotUse::Empty if record.is_on_file => Some(SlotState::Void),
        SlotUse::Spoiled => Some(SlotState::Retired),
        SlotUse::Empty | SlotUse::Writing | SlotUse::Unwanted | SlotUse::Full | SlotUse::Retired => None,
    }
}
