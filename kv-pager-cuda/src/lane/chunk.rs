//! A chunk as its ranks see it: which slots, by which path, behind which fences; and the sizes that follow.
//! Uses `device`, `pinned`, `lane::path`. Known by: `lane::{parts, issue, rank, carry, launch}`.

use super::Path;
use crate::device::DeviceTier;
use crate::kernels::Job;
use crate::pinned::PinnedTier;
use kv_pager::ids::{Fence, GroupId, SlotId};

/// What is to be copied: the parts of one chunk.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    pub(super) number: u64,
    pub(super) group: GroupId,
    pub(super) path: Path,
    pub(super) device_slots: &'a [u32],
    pub(super) host_slots: &'a [u32],
    /// What the moves' fences are; repeated ones were dropped.
    pub(super) source_fences: &'a [Fence],
    pub(super) target_fences: &'a [Fence],
}

/// The layers that a piece of a layer-wise onboarding brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerPiece {
    pub(super) fragment_first: u32,
    pub(super) fragments: u32,
}

/// Copies to be queued: how many bytes go from where to where.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) to: Vec<u64>,
    pub(super) from: Vec<u64>,
    pub(super) sizes: Vec<usize>,
}

impl Pieces {
    pub(super) fn clear(&mut self) {
        self.to.clear();
        self.from.clear();
        self.sizes.clear();
    }

    pub(super) fn push(&mut self, to: u64, from: u64, bytes: usize) {
        self.to.push(to);
        self.from.push(from);
        self.sizes.push(bytes);
    }

    /// As [`Pieces::push`], but what follows the last piece at both ends becomes part of it.
    pub(super) fn extend(&mut self, to: u64, from: u64, bytes: usize) {
        if let (Some(last_to), Some(last_from), Some(length)) =
            (self.to.last(), self.from.last(), self.sizes.last_mut())
            && last_to + *length as u64 == to
            && last_from + *length as u64 == from
        {
            *length += bytes;
        } else {
            self.push(to, from, bytes);
        }
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.to.len()).unwrap_or(u32::MAX)
    }
}

/// Room for the arguments of driver calls, shared by the ranks of a lane.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) job: Box<Job>,
    pub(super) pieces: Pieces,
}

impl Scratch {
    pub(super) fn new(pieces: usize) -> Self {
        let (to, from, sizes) =
            (Vec::with_capacity(pieces), Vec::with_capacity(pieces), Vec::with_capacity(pieces));
        Self { job: Box::new(Job::empty()), pieces: Pieces { to, from, sizes } }
    }
}

/// From part to part in the staging ring: as in host memory where one rank has all of it, so that a run is one piece; else
/// slice after slice.
pub(super) fn stage_stride(group: GroupId, (tier, host): (&DeviceTier, &PinnedTier)) -> u64 {
    let place = host.place(group);
    if tier.ranks().len() == 1 { place.stride } else { place.slice_bytes }
}

/// How many parts a chunk has.
pub(super) fn chunk_count(chunk: &Chunk<'_>) -> u32 {
    u32::try_from(chunk.device_slots.len()).expect("a chunk has at most MOVES_MAX parts")
}

/// A size inside a batch's memory.
pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a 64-bit machine addresses it")
}

/// 16-byte units of a size that P1 made a multiple of them.
pub(super) fn units(bytes: u64) -> u32 {
    u32::try_from(bytes / 16).expect("a part has at most 1 GiB")
}

/// The number of a slot, for the lists above.
pub(super) fn number(slot: SlotId) -> u32 {
    slot.as_u32()
}
