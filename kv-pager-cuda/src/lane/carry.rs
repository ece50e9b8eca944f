//! Carrying: the driver calls that take a chunk across, by each path.
//! Uses `driver`, `lane::{chunk, cut, launch, rank}`. Known by: `lane::issue`.
//!
//! - **X1** slots of a chunk are in range (checked at submission), so every address made from them lies in a plan (P1) or in
//!   the pinned memory (H2);
//! - **X2** the lane keeps both tiers, and the rank its staging memory, until the chunk is over: a chunk that never ends
//!   makes their memory be given up, not freed;
//! - **X3** the pager lets nobody else write a move's source or touch its target (I2), and the fences order compute (L4);
//! - **X4** staging places obey G2, with the waits that the ring asks for.
#![expect(unsafe_code, reason = "memory is copied by address, on the device")]

use super::chunk::{Chunk, LayerPiece, Pieces, Scratch, chunk_count, size, stage_stride};
use super::cut::runs;
use super::rank::{RankLane, event_index};
use super::{Direction, Path};
use crate::device::DeviceTier;
use crate::driver::{DriverError, Pitched, RawStream, Visit, copy_async, copy_pitched_async};
use crate::pinned::PinnedTier;

/// Runs of host slots up to which a layer's piece is taken by a pitched copy each; with more of them one batch of single
/// pieces costs the host less (6 µs a pitched copy, 0.6 µs a piece of a batch).
const PITCHED_RUNS_MAX: u32 = 6;

impl RankLane {
    /// Queues all copies of `chunk`, and not [`finish`](Self::finish). Returns how many copies it took.
    pub(super) fn carry(
        &mut self,
        chunk: &Chunk<'_>,
        (tier, host): (&DeviceTier, &PinnedTier),
        scratch: &mut Scratch,
        visit: &Visit,
    ) -> Result<u32, DriverError> {
        visit.to(&self.device)?;
        let fences = tier.fences();
        let (first, last) = (self.first.raw(), self.last.raw());
        if chunk.path != Path::Gather || self.direction == Direction::Within {
            self.wait(fences, chunk.source_fences, last)?;
            self.wait(fences, chunk.target_fences, last)?;
        }
        if self.direction == Direction::Within {
            return self.carry_within(chunk, tier, scratch);
        }
        match chunk.path {
            Path::Runs | Path::Batch => self.carry_pieces(chunk, (tier, host), scratch),
            Path::ZeroCopy => {
                let place = host.place(chunk.group);
                let base = host.device_address(chunk.group, self.index);
                self.fill_job(chunk, tier, None, &mut scratch.job);
                scratch.job.part_slots[..chunk.host_slots.len()].copy_from_slice(chunk.host_slots);
                scratch.job.part_base = base;
                scratch.job.part_stride = place.stride;
                self.launch(chunk.group, tier, &scratch.job, last)?;
                Ok(1)
            }
            Path::Gather => {
                self.wait(fences, chunk.source_fences, first)?;
                let stride = stage_stride(chunk.group, (tier, host));
                let staged = self.stage(chunk, stride * chunk.device_slots.len() as u64)?;
                self.fill_job(chunk, tier, None, &mut scratch.job);
                scratch.job.part_base = staged;
                scratch.job.part_stride = stride;
                let Scratch { job, pieces } = scratch;
                let handed = &self.handed[event_index(chunk.number)];
                let copies = match self.direction {
                    Direction::Offload => {
                        self.launch(chunk.group, tier, job, first)?;
                        handed.record(first)?;
                        last.wait_for(handed)?;
                        self.wait(fences, chunk.target_fences, last)?;
                        self.copy_runs(chunk, (tier, host), pieces, (staged, last))?
                    }
                    Direction::Onboard | Direction::Within => {
                        let copies = self.copy_runs(chunk, (tier, host), pieces, (staged, first))?;
                        handed.record(first)?;
                        last.wait_for(handed)?;
                        self.wait(fences, chunk.target_fences, last)?;
                        self.launch(chunk.group, tier, job, last)?;
                        copies
                    }
                };
                Ok(copies)
            }
        }
    }

    /// Queues one piece of a layer-wise onboarding of `chunk`: some layers of all its parts.
    pub(super) fn carry_layers(
        &mut self,
        chunk: &Chunk<'_>,
        piece: LayerPiece,
        (tier, host): (&DeviceTier, &PinnedTier),
        scratch: &mut Scratch,
        visit: &Visit,
    ) -> Result<u32, DriverError> {
        visit.to(&self.device)?;
        let fences = tier.fences();
        let (first, last) = (self.first.raw(), self.last.raw());
        self.wait(fences, chunk.source_fences, first)?;
        let fragment_bytes = tier.ranks()[self.index].plans[chunk.group.index()].fragment_bytes;
        let width = fragment_bytes * u64::from(piece.fragments);
        let staged = self.stage(chunk, width * chunk.device_slots.len() as u64)?;
        let place = host.place(chunk.group);
        let offset = fragment_bytes * u64::from(piece.fragment_first);
        let source = host.address(chunk.group, self.index) + offset;
        let mut copies = u32::try_from(runs(chunk.host_slots).count()).expect("a chunk has few runs");
        if self.batch.is_some() && copies > PITCHED_RUNS_MAX {
            let pieces = &mut scratch.pieces;
            pieces.clear();
            for (index, slot) in chunk.host_slots.iter().enumerate() {
                let from = source + place.stride * u64::from(*slot);
                pieces.push(staged + width * index as u64, from, size(width));
            }
            copies = chunk_count(chunk);
            // SAFETY: X1: the same layers of slots in range, apart in the staging place; X2; X3; X4.
            unsafe { self.copy_pieces(pieces, true, first) }?;
        } else {
            for (start, parts) in runs(chunk.host_slots) {
                let copy = Pitched {
                    to: staged + width * start as u64,
                    to_pitch: size(width),
                    from: source + place.stride * u64::from(chunk.host_slots[start]),
                    from_pitch: size(place.stride),
                    width: size(width),
                    pieces: parts,
                };
                // SAFETY: X1: a run of slots in range, the same layers of each; X2; X3; X4: the place is this piece's.
                unsafe { copy_pitched_async(&copy, first) }?;
            }
        }
        let handed = &self.handed[event_index(chunk.number)];
        handed.record(first)?;
        last.wait_for(handed)?;
        self.wait(fences, chunk.target_fences, last)?;
        self.fill_job(chunk, tier, Some(piece), &mut scratch.job);
        scratch.job.part_base = staged;
        scratch.job.part_stride = width;
        self.launch(chunk.group, tier, &scratch.job, last)?;
        Ok(copies)
    }

    /// From slot to slot of the device: into staging memory and out again, on one stream, or piece by piece. The chunk's host
    /// slots are the device slots that it comes from.
    fn carry_within(
        &mut self,
        chunk: &Chunk<'_>,
        tier: &DeviceTier,
        scratch: &mut Scratch,
    ) -> Result<u32, DriverError> {
        let last = self.last.raw();
        let rank = &tier.ranks()[self.index];
        let plan = &rank.plans[chunk.group.index()];
        if chunk.path != Path::Gather {
            let mut copies = 0;
            for (target_slot, source_slot) in chunk.device_slots.iter().zip(chunk.host_slots) {
                scratch.pieces.from.clear();
                plan.pieces(*source_slot, |address, _, _| scratch.pieces.from.push(address));
                let mut sources = scratch.pieces.from.iter();
                let mut outcome = Ok(());
                plan.pieces(*target_slot, |address, _, bytes| {
                    let source = *sources.next().expect("slots of one plan have the same pieces");
                    if outcome.is_ok() {
                        // SAFETY: X1: pieces of slots in range, which P2 keeps apart; X2; X3.
                        outcome = unsafe { copy_async(address, source, size(bytes), last) };
                        copies += 1;
                    }
                });
                outcome?;
            }
            return Ok(copies);
        }
        let part_bytes = plan.fragment_bytes * u64::from(plan.fragments());
        let staged = self.stage(chunk, part_bytes * chunk.device_slots.len() as u64)?;
        self.fill_job(chunk, tier, None, &mut scratch.job);
        let job = &mut scratch.job;
        job.part_base = staged;
        job.part_stride = part_bytes;
        job.device_slots[..chunk.host_slots.len()].copy_from_slice(chunk.host_slots);
        self.launch_one(chunk.group, tier, job, (Direction::Offload, last))?;
        job.device_slots[..chunk.device_slots.len()].copy_from_slice(chunk.device_slots);
        self.launch_one(chunk.group, tier, job, (Direction::Onboard, last))?;
        Ok(2)
    }

    /// One copy for each run of host slots, between host memory and the staging place at `staged`; several runs in one call.
    fn copy_runs(
        &self,
        chunk: &Chunk<'_>,
        (tier, host): (&DeviceTier, &PinnedTier),
        pieces: &mut Pieces,
        (staged, stream): (u64, RawStream),
    ) -> Result<u32, DriverError> {
        let place = host.place(chunk.group);
        let stride = stage_stride(chunk.group, (tier, host));
        let base = host.address(chunk.group, self.index);
        pieces.clear();
        for (start, parts) in runs(chunk.host_slots) {
            let slot = base + place.stride * u64::from(chunk.host_slots[start]);
            let stage = staged + stride * start as u64;
            let (to, from) = self.ends(stage, slot);
            if stride == place.stride {
                pieces.push(to, from, size(stride) * parts);
                continue;
            }
            let (to_pitch, from_pitch) = self.ends(stride, place.stride);
            let (to_pitch, from_pitch, width) = (size(to_pitch), size(from_pitch), size(place.slice_bytes));
            let copy = Pitched { to, to_pitch, from, from_pitch, width, pieces: parts };
            // SAFETY: X1: this rank's slice of a run of slots in range; X2; X3; X4: the staging place is this chunk's.
            unsafe { copy_pitched_async(&copy, stream) }?;
        }
        // SAFETY: X1: runs of slots in range, which H2 keeps apart; X2; X3; X4: the staging place is this chunk's.
        unsafe { self.copy_pieces(pieces, pieces.count() > 1, stream) }?;
        Ok(u32::try_from(runs(chunk.host_slots).count()).expect("a chunk has few runs"))
    }

    /// Queues `pieces`, in one call where `as_batch` asks for that and the driver can.
    ///
    /// # Safety
    /// As for [`copy_async`], for each piece; none overlaps another's target.
    unsafe fn copy_pieces(
        &self,
        pieces: &mut Pieces,
        as_batch: bool,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        if let Some(batch) = self.batch.filter(|_| as_batch) {
            // SAFETY: the caller vouches for all pieces.
            return unsafe { batch.queue(&mut pieces.to, &mut pieces.from, &mut pieces.sizes, stream) };
        }
        for ((to, from), bytes) in pieces.to.iter().zip(&pieces.from).zip(&pieces.sizes) {
            // SAFETY: as above.
            unsafe { copy_async(*to, *from, *bytes, stream) }?;
        }
        Ok(())
    }

    /// The pieces of all parts, adjacent ones merged, as copies of their own or as one batch.
    fn carry_pieces(
        &self,
        chunk: &Chunk<'_>,
        (tier, host): (&DeviceTier, &PinnedTier),
        scratch: &mut Scratch,
    ) -> Result<u32, DriverError> {
        let plan = &tier.ranks()[self.index].plans[chunk.group.index()];
        let place = host.place(chunk.group);
        let base = host.address(chunk.group, self.index);
        let pieces = &mut scratch.pieces;
        pieces.clear();
        for (device_slot, host_slot) in chunk.device_slots.iter().zip(chunk.host_slots) {
            let slot = base + place.stride * u64::from(*host_slot);
            plan.pieces(*device_slot, |address, offset, bytes| {
                let (to, from) = self.ends(address, slot + offset);
                pieces.extend(to, from, size(bytes));
            });
        }
        // SAFETY: X1: pieces of slots in range, which P2 and H2 keep apart; X2; X3.
        unsafe { self.copy_pieces(pieces, chunk.path == Path::Batch, self.last.raw()) }?;
        Ok(pieces.count())
    }
}
