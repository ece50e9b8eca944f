//! What the file tier promises about the next process (S1 to S3).
//! Uses `file::group`. Known by: the pager, through `kv_pager::tier`.

use super::FileTier;
use super::records::SlotUse;
use kv_pager::Error;
use kv_pager::ids::{GroupId, SlotId, TierId};
use kv_pager::tier::{BlockLabel, Persistence, RecoveredBlock};
use std::io::ErrorKind;

impl Persistence for FileTier {
    fn label(&self, group: GroupId, slot: SlotId, label: &BlockLabel<'_>) {
        self.check(group, slot);
        self.group(group).label(slot, label);
    }

    fn void(&self, group: GroupId, slot: SlotId) {
        self.check(group, slot);
        if self.group(group).give_up(slot) {
            self.call_housekeeper();
        }
    }

    fn recover(&self) -> Vec<RecoveredBlock> {
        std::mem::take(&mut self.recovered.lock())
    }

    fn retired(&self) -> Vec<(GroupId, SlotId)> {
        let mut retired = Vec::new();
        for group in &self.groups {
            let records = group.records.lock();
            let slots = records.iter().enumerate().filter(|(_, record)| record.usage == SlotUse::Retired);
            retired.extend(slots.map(|(index, _)| (group.id, SlotId::from_index(index))));
        }
        retired
    }

    fn set_uses(&self, group: GroupId, slot: SlotId, uses: u32) {
        self.check(group, slot);
        self.group(group).set_uses(slot, uses);
    }

    /// As the trait says. A forked child makes nothing durable: its parent's files are its parent's.
    fn flush(&self) -> Result<(), Error> {
        if !self.is_own_process() {
            let action = "a forked process makes nothing durable; its parent does".to_owned();
            return Err(Error::Io { tier: TierId::File, action, source: ErrorKind::Unsupported.into() });
        }
        let flushed = || {
            let files = || self.groups.iter().flat_map(|group| &group.files);
            files().try_for_each(|files| files.payloads.sync())?;
            let (told, counted) = (self.housekeep(), self.write_uses());
            // What was told before is made durable, whatever could not be told.
            files().try_for_each(|files| files.headers.sync())?;
            told.and(counted)
        };
        let fault =
            |source| Error::Io { tier: TierId::File, action: "make writes durable".to_owned(), source };
        flushed().map_err(fault)
    }
}
