//! A device tier's slots, read and written by hand: for tests, tools, and engines that compute on the CPU.
//! Uses `device`, `driver`. Known by: whoever has a slot.
#![expect(unsafe_code, reason = "slots are copied by address")]

use crate::device::{DeviceTier, Rank};
use crate::driver::{DriverError, Visit, copy_async};
use kv_pager::Error;
use kv_pager::ids::{GroupId, SlotId, TierId};
use kv_pager::tier::Tier;
use kv_pager::units::Nanos;

/// How long reading or writing a slot may take.
const PATIENCE: Nanos = Nanos::from_millis(10_000);

impl Rank {
    /// Copies each `(to, from, bytes)` that `pieces` names, and waits for them. On a stream of its own: the default stream
    /// is not ordered with ours, and a copy out of pageable memory may return before its bytes have arrived.
    ///
    /// # Safety
    /// All ranges are there, and nobody else reads or writes them meanwhile.
    unsafe fn copy_pieces(&self, pieces: impl Fn(&mut dyn FnMut(u64, u64, u64))) -> Result<(), DriverError> {
        let visit = Visit::begin();
        let mut outcome = visit.to(&self.device);
        pieces(&mut |to, from, bytes| {
            let bytes = usize::try_from(bytes).expect("a part has at most 1 GiB");
            if outcome.is_ok() {
                // SAFETY: the caller vouches for all ranges, and they are waited for below.
                outcome = unsafe { copy_async(to, from, bytes, self.slot_stream.raw()) };
            }
        });
        let is_over = self.slot_stream.finish(PATIENCE)?;
        assert!(
            is_over,
            "a copy of one slot did not end in {} s; its memory can't be given back",
            PATIENCE.as_secs_f64()
        );
        outcome
    }
}

impl DeviceTier {
    /// Reads a part out of `slot`, all ranks' slices one after the other, and waits for it. For tests and tools.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Io`] if the device refuses.
    ///
    /// # Panics
    /// If there is no such slot, or `into` is no part long.
    pub fn read_slot(&self, group: GroupId, slot: SlotId, into: &mut [u8]) -> Result<(), Error> {
        self.check_part(group, slot, into.len());
        let slice_bytes = into.len() / self.ranks().len();
        for (rank, into) in self.ranks().iter().zip(into.chunks_exact_mut(slice_bytes)) {
            let start = into.as_mut_ptr().addr() as u64;
            let pieces = |copy: &mut dyn FnMut(u64, u64, u64)| {
                rank.plans[group.index()].pieces(slot.as_u32(), |address, offset, bytes| {
                    copy(start + offset, address, bytes);
                });
            };
            // SAFETY: P1 and the check: pieces of a slot in range, and of a slice of `into`; Q2: the memory is there.
            unsafe { rank.copy_pieces(pieces) }
                .map_err(|error| error.tell(TierId::Device, "reading a slot"))?;
        }
        Ok(())
    }

    /// Writes a part into `slot`, all ranks' slices one after the other, and waits for it. For tests and tools.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Io`] if the device refuses.
    ///
    /// # Panics
    /// If there is no such slot, or `from` is no part long.
    pub fn write_slot(&self, group: GroupId, slot: SlotId, from: &[u8]) -> Result<(), Error> {
        self.check_part(group, slot, from.len());
        let slice_bytes = from.len() / self.ranks().len();
        for (rank, from) in self.ranks().iter().zip(from.chunks_exact(slice_bytes)) {
            let start = from.as_ptr().addr() as u64;
            let pieces = |copy: &mut dyn FnMut(u64, u64, u64)| {
                rank.plans[group.index()].pieces(slot.as_u32(), |address, offset, bytes| {
                    copy(address, start + offset, bytes);
                });
            };
            // SAFETY: P1 and the check: pieces of a slot in range, and of a slice of `from`; Q2: the memory is there.
            unsafe { rank.copy_pieces(pieces) }
                .map_err(|error| error.tell(TierId::Device, "writing a slot"))?;
        }
        Ok(())
    }

    fn check_part(&self, group: GroupId, slot: SlotId, bytes: usize) {
        let class = self.classes()[group.index()];
        assert!(slot.as_u32() < class.slots, "slot {slot:?} of {}", class.slots);
        assert!(bytes == class.slot_bytes.as_usize(), "{bytes} bytes for a part of {}", class.slot_bytes);
    }
}
