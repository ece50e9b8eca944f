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

/// Room for the arguments of driver calls, shared by the ranks of a lane.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) job: Box<Job>,
    pub(super) to: Vec<u64>,
    pub(super) from: Vec<u64>,
    pub(super) sizes: Vec<usize>,
}

impl Scratch {
    pub(super) fn new(pieces: usize) -> Self {
        Self {
            job: Box::new(Job::empty()),
            to: Vec::with_capacity(pieces),
            from: Vec::with_capacity(pieces),
            sizes: Vec::with_capacity(pieces),
        }
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
