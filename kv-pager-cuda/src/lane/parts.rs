//! Parts: what the chunk in hand is made of, in room that is used again for each.
//! Uses `fences`, `lane::{books, chunk}`. Known by: `lane::issue`.

use super::Path;
use super::books::{Books, Flight};
use super::chunk::{Chunk, number};
use crate::driver::DriverError;
use crate::fences::Fences;
use crate::kernels::MOVES_MAX;
use kv_pager::clock::Clock;
use kv_pager::ids::{Fence, GroupId};
use kv_pager::tier::{Move, MoveFault};

/// The parts of the chunk in hand.
#[derive(Debug)]
pub(super) struct Parts {
    /// `(host slot, device slot, index in the batch)`.
    pub(super) list: Vec<(u32, u32, u32)>,
    pub(super) device_slots: Vec<u32>,
    pub(super) host_slots: Vec<u32>,
    pub(super) source_fences: Vec<Fence>,
    pub(super) target_fences: Vec<Fence>,
}

impl Parts {
    /// Room for the largest chunk.
    pub(super) fn new() -> Self {
        Self {
            list: Vec::with_capacity(MOVES_MAX),
            device_slots: Vec::with_capacity(MOVES_MAX),
            host_slots: Vec::with_capacity(MOVES_MAX),
            source_fences: Vec::with_capacity(MOVES_MAX),
            target_fences: Vec::with_capacity(MOVES_MAX),
        }
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.source_fences.clear();
        self.target_fences.clear();
    }

    /// Whether both fences of `part` can be waited for. Those in hand were looked up before.
    pub(super) fn knows(&self, part: &Move, fences: &Fences) -> bool {
        (self.source_fences.last() == Some(&part.source_fence) || fences.is_known(part.source_fence))
            && (self.target_fences.last() == Some(&part.target_fence) || fences.is_known(part.target_fence))
    }

    pub(super) fn push(&mut self, part: &Move, index: u32, is_out: bool) {
        let (device, host) = if is_out { (part.source, part.target) } else { (part.target, part.source) };
        self.list.push((number(host), number(device), index));
        let fences =
            [(&mut self.source_fences, part.source_fence), (&mut self.target_fences, part.target_fence)];
        for (list, fence) in fences {
            if fence != Fence::OVER && list.last() != Some(&fence) {
                list.push(fence);
            }
        }
    }

    /// Puts parts in the order of their host slots, so that runs are as long as they can be.
    pub(super) fn arrange(&mut self) {
        if !self.list.is_sorted() {
            self.list.sort_unstable();
        }
        self.device_slots.clear();
        self.host_slots.clear();
        self.device_slots.extend(self.list.iter().map(|part| part.1));
        self.host_slots.extend(self.list.iter().map(|part| part.0));
    }

    pub(super) fn chunk(&self, number: u64, group: GroupId, path: Path) -> Chunk<'_> {
        Chunk {
            number,
            group,
            path,
            device_slots: &self.device_slots,
            host_slots: &self.host_slots,
            source_fences: &self.source_fences,
            target_fences: &self.target_fences,
        }
    }

    /// I1, I2: the chunk in hand is under way, with all its moves.
    pub(super) fn fly(
        &self,
        books: &mut Books,
        (batch, bytes): (u64, u64),
        carried: &Result<u32, DriverError>,
        clock: &dyn Clock,
    ) {
        books.carried.extend(self.list.iter().map(|part| part.2));
        books.flights.push_back(Flight {
            chunk: books.next_chunk,
            batch,
            moves: self.list.len(),
            copies: *carried.as_ref().unwrap_or(&0),
            bytes,
            issued: clock.now(),
            fault: carried.is_err().then_some(MoveFault::Io),
            timed_out: false,
            ranks_over: 0,
        });
        books.next_chunk += 1;
    }
}
