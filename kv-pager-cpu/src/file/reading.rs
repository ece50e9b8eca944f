//! Reading a run of slots, and handing out only what was written (O2).
//! Uses `file::group`, `memory`. Known by: `file::read`.

use super::drive;
use super::group::{Group, RunFault};
use super::records::SlotUse;
use crate::lane::CHUNK_MOVES_MAX;
use crate::memory::RunWrite;
use kv_pager::ids::SlotId;
use kv_pager::tier::MoveFault;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

impl Group {
    /// Reads adjacent slots from `first` into `targets`, and tells for each whether its bytes are what was written (O2).
    /// Blocks on I/O. Returns the number of calls.
    ///
    /// # Errors
    /// If nothing was read.
    pub(super) fn read(
        &self,
        first: usize,
        targets: &mut [Option<RunWrite<'_>>],
        outcomes: &mut [Result<(), MoveFault>],
    ) -> Result<u32, RunFault> {
        let slots = first..first + targets.len();
        let _borrow = self.borrows.try_read(slots.clone()).ok_or(RunFault::Busy)?;
        let checksums = self.checksums(slots.clone())?;
        let (files, offset) = self.payload_offset(first);
        let mut slices = std::array::from_fn::<_, CHUNK_MOVES_MAX, _>(|_| IoSliceMut::new(&mut []));
        for (slice, target) in slices.iter_mut().zip(targets.iter_mut().flatten()) {
            *slice = IoSliceMut::new(target.region_mut(0));
        }
        let calls = match drive::read_all(&*files.payloads, &mut slices[..slots.len()], offset) {
            Ok(calls) => calls,
            // The file is shorter than it was made: what lay behind is gone, and what lies before may be whole.
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

    fn checksums(&self, slots: Range<usize>) -> Result<[u64; CHUNK_MOVES_MAX], RunFault> {
        let mut checksums = [0; CHUNK_MOVES_MAX];
        for (record, checksum) in self.records.lock()[slots].iter().zip(&mut checksums) {
            match record.usage {
                SlotUse::Full => *checksum = record.checksum,
                SlotUse::Spoiled | SlotUse::Retired => return Err(RunFault::Spoiled),
                SlotUse::Empty | SlotUse::Writing | SlotUse::Unwanted => return Err(RunFault::Unusable),
            }
        }
        Ok(checksums)
    }
}
