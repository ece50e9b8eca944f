//! One rank of a lane: its streams, its staging memory, and the driver calls that carry a chunk across.
//! Uses `driver`, `kernels`, `plan`, `pinned`, `staging`, `lane::{cut, path}`. Known by: `lane`.
//!
//! - **X1** slots of a chunk are in range (checked at submission), so every address made from them lies in a plan (P1) or in
//!   the pinned mapping (H2);
//! - **X2** the lane keeps both tiers, and this value its staging memory, until the chunk is over: a chunk that never ends
//!   makes their memory be given up, not freed;
//! - **X3** the pager lets nobody else write a move's source or touch its target (I2), and the fences order compute (L4);
//! - **X4** staging places obey G2, with the waits that [`StagingRing`] asks for.
//!
//! Two streams: `first` gathers, or copies in; `last` copies out, or scatters. Every chunk ends on `last`, whatever its
//! path, so chunks end in the order of their numbers.
#![expect(unsafe_code, reason = "memory is copied by address, on the device")]

use super::cut::runs;
use super::{Direction, LaneOptions, Path};
use crate::device::DeviceTier;
use crate::driver::{
    BatchCopy, Device, DeviceMemory, DriverError, Event, Kernel, Pitched, RawStream, Stream, Visit,
    copy_async, copy_pitched_async,
};
use crate::fences::{Fences, Waited};
use crate::kernels::{Job, THREADS};
use crate::pinned::PinnedTier;
use crate::staging::StagingRing;
use kv_pager::ids::{Fence, GroupId, SlotId};
use std::sync::Arc;

/// Chunks whose events a rank keeps apart: more than can be in flight at once.
pub(super) const EVENTS: usize = 256;

/// Runs of host slots up to which a layer's piece is taken by a pitched copy each; with more of them one batch of single
/// pieces costs the host less (6 µs a pitched copy, 0.6 µs a piece of a batch).
const PITCHED_RUNS_MAX: u32 = 6;

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
    job: Box<Job>,
    to: Vec<u64>,
    from: Vec<u64>,
    sizes: Vec<usize>,
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

/// One rank's end of a lane.
#[derive(Debug)]
pub(super) struct RankLane {
    index: usize,
    device: Arc<Device>,
    direction: Direction,
    first: Stream,
    last: Stream,
    staging: Option<DeviceMemory>,
    ring: StagingRing,
    /// By chunk number: its work on `first` is done.
    handed: Box<[Event]>,
    /// By chunk number: all its work is done.
    done: Box<[Event]>,
    blocks: u32,
    batch: Option<BatchCopy>,
    /// For tests: leaves fences out, so that a test of a wait can show that it would notice.
    ignores_fences: bool,
}

impl RankLane {
    pub(super) fn new(
        (index, tier): (usize, &DeviceTier),
        direction: Direction,
        options: &LaneOptions,
    ) -> Result<Self, DriverError> {
        let rank = &tier.ranks()[index];
        let device = Arc::clone(&rank.device);
        let events = || (0..EVENTS).map(|_| Event::new(&device)).collect::<Result<Box<[_]>, _>>();
        let bytes = options.staging_bytes.as_usize();
        let staging = match rank.kernels {
            Some(_) => Some(DeviceMemory::allocate(&device, bytes)?),
            None => None,
        };
        Ok(Self {
            index,
            direction,
            first: Stream::new(&device)?,
            last: Stream::new(&device)?,
            ring: StagingRing::new(staging.as_ref().map_or(0, |memory| memory.bytes() as u64), 2 * EVENTS),
            staging,
            handed: events()?,
            done: events()?,
            blocks: options.kernel_blocks.unwrap_or(device.multiprocessors()).max(1),
            batch: BatchCopy::find(),
            device,
            ignores_fences: false,
        })
    }

    pub(super) fn ignore_fences(&mut self) {
        self.ignores_fences = true;
    }

    pub(super) fn has_batch(&self) -> bool {
        self.batch.is_some()
    }

    pub(super) fn ring_bytes(&self) -> u64 {
        self.ring.bytes()
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Whether all of chunk `number` is done.
    pub(super) fn is_over(&self, number: u64) -> Result<bool, DriverError> {
        self.done[event_index(number)].is_over()
    }

    /// Chunk `number` and all before it are over: their staging bytes are free.
    pub(super) fn release(&mut self, number: u64) {
        self.ring.release(number);
    }

    /// X2: something of ours never ended.
    pub(super) fn give_up(&self) {
        self.staging.iter().for_each(DeviceMemory::give_up);
    }

    /// Stands behind everything queued so far.
    pub(super) fn record_fence(&self, fences: &Fences, fence: Fence) -> Result<(), DriverError> {
        fences.record_rank(fence, self.index, self.last.raw())
    }

    /// Ends the chunk's work: `done` stands behind whatever was queued for it.
    pub(super) fn finish(&self, number: u64) -> Result<(), DriverError> {
        self.done[event_index(number)].record(self.last.raw())
    }

    fn wait(&self, fences: &Fences, list: &[Fence], stream: RawStream) -> Result<(), DriverError> {
        for fence in list {
            if !self.ignores_fences {
                let waited = fences.wait(*fence, self.index, stream)?;
                debug_assert!(waited == Waited::Yes, "fence {fence:?} was checked at submission");
            }
        }
        Ok(())
    }

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
                let job = &scratch.job;
                let handed = &self.handed[event_index(chunk.number)];
                let copies = match self.direction {
                    Direction::Offload => {
                        self.launch(chunk.group, tier, job, first)?;
                        handed.record(first)?;
                        last.wait_for(handed)?;
                        self.wait(fences, chunk.target_fences, last)?;
                        self.copy_runs(chunk, (tier, host), staged, last)?
                    }
                    Direction::Onboard | Direction::Within => {
                        let copies = self.copy_runs(chunk, (tier, host), staged, first)?;
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
        if let Some(batch) = self.batch.filter(|_| copies > PITCHED_RUNS_MAX) {
            let Scratch { to, from, sizes, .. } = scratch;
            to.clear();
            from.clear();
            sizes.clear();
            for (index, slot) in chunk.host_slots.iter().enumerate() {
                to.push(staged + width * index as u64);
                from.push(source + place.stride * u64::from(*slot));
                sizes.push(size(width));
            }
            copies = chunk_count(chunk);
            // SAFETY: X1: the same layers of slots in range, apart in the staging place; X2; X3; X4.
            unsafe { batch.queue(to, from, sizes, first) }?;
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
                scratch.from.clear();
                plan.pieces(*source_slot, |address, _, _| scratch.from.push(address));
                let mut sources = scratch.from.iter();
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

    /// A place in the staging ring for `bytes`, whose address is returned; whoever fills it waits for who had it (G2).
    fn stage(&mut self, chunk: &Chunk<'_>, bytes: u64) -> Result<u64, DriverError> {
        let staging = self.staging.as_ref().expect("paths with staging are taken only where there is some");
        let place = self.ring.reserve(chunk.number, bytes);
        if let Some(after) = place.after.filter(|_| self.direction != Direction::Within) {
            self.first.raw().wait_for(&self.done[event_index(after)])?;
        }
        Ok(staging.address() + place.offset)
    }

    /// One copy for each run of host slots, between host memory and the staging place at `staged`.
    fn copy_runs(
        &self,
        chunk: &Chunk<'_>,
        (tier, host): (&DeviceTier, &PinnedTier),
        staged: u64,
        stream: RawStream,
    ) -> Result<u32, DriverError> {
        let place = host.place(chunk.group);
        let stride = stage_stride(chunk.group, (tier, host));
        let base = host.address(chunk.group, self.index);
        let mut copies = 0;
        for (start, parts) in runs(chunk.host_slots) {
            let slot = base + place.stride * u64::from(chunk.host_slots[start]);
            let stage = staged + stride * start as u64;
            let (to, from) = self.ends(stage, slot);
            if stride == place.stride {
                // SAFETY: X1: a run of slots in range; X2; X3; X4: the staging place is this chunk's.
                unsafe { copy_async(to, from, size(stride) * parts, stream) }?;
            } else {
                let (to_pitch, from_pitch) = self.ends(stride, place.stride);
                let (to_pitch, from_pitch, width) =
                    (size(to_pitch), size(from_pitch), size(place.slice_bytes));
                let copy = Pitched { to, to_pitch, from, from_pitch, width, pieces: parts };
                // SAFETY: as above, this rank's slice of each slot.
                unsafe { copy_pitched_async(&copy, stream) }?;
            }
            copies += 1;
        }
        Ok(copies)
    }

    /// Target and source, of an address on the device and one in host memory.
    fn ends(&self, device: u64, host: u64) -> (u64, u64) {
        match self.direction {
            Direction::Offload => (host, device),
            Direction::Onboard | Direction::Within => (device, host),
        }
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
        let Scratch { to, from, sizes, .. } = scratch;
        to.clear();
        from.clear();
        sizes.clear();
        for (device_slot, host_slot) in chunk.device_slots.iter().zip(chunk.host_slots) {
            let slot = base + place.stride * u64::from(*host_slot);
            plan.pieces(*device_slot, |address, offset, bytes| {
                let (target, source) = self.ends(address, slot + offset);
                if let (Some(last_to), Some(last_from), Some(length)) =
                    (to.last(), from.last(), sizes.last_mut())
                    && last_to + *length as u64 == target
                    && last_from + *length as u64 == source
                {
                    *length += size(bytes);
                    return;
                }
                to.push(target);
                from.push(source);
                sizes.push(size(bytes));
            });
        }
        let copies = u32::try_from(to.len()).unwrap_or(u32::MAX);
        let stream = self.last.raw();
        match self.batch {
            Some(batch) if chunk.path == Path::Batch => {
                // SAFETY: X1: pieces of slots in range, which P2 and H2 keep apart; X2; X3.
                unsafe { batch.queue(to, from, sizes, stream) }?;
            }
            _ => {
                for ((to, from), bytes) in to.iter().zip(from.iter()).zip(sizes.iter()) {
                    // SAFETY: as above.
                    unsafe { copy_async(*to, *from, *bytes, stream) }?;
                }
            }
        }
        Ok(copies)
    }

    /// All of a job but where the parts lie: by default one after the other.
    fn fill_job(&self, chunk: &Chunk<'_>, tier: &DeviceTier, piece: Option<LayerPiece>, job: &mut Job) {
        let rank = &tier.ranks()[self.index];
        let plan = &rank.plans[chunk.group.index()];
        let piece = piece.unwrap_or(LayerPiece { fragment_first: 0, fragments: plan.fragments() });
        let count = chunk.device_slots.len();
        job.regions = rank.tables[chunk.group.index()] + 16 * u64::from(piece.fragment_first);
        job.fragments = piece.fragments;
        job.fragment_units = units(plan.fragment_bytes);
        if let Some(rows) = &plan.rows {
            job.heads = rows.heads;
            job.row_units = units(rows.row_bytes);
            job.token_stride = rows.token_stride;
            job.head_stride = rows.head_stride;
        }
        job.moves = chunk_count(chunk);
        job.device_slots[..count].copy_from_slice(chunk.device_slots);
        for (index, slot) in job.part_slots[..count].iter_mut().enumerate() {
            *slot = u32::try_from(index).expect("a chunk has at most MOVES_MAX parts");
        }
    }

    fn launch(
        &self,
        group: GroupId,
        tier: &DeviceTier,
        job: &Job,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        self.launch_one(group, tier, job, (self.direction, stream))
    }

    fn launch_one(
        &self,
        group: GroupId,
        tier: &DeviceTier,
        job: &Job,
        (direction, stream): (Direction, RawStream),
    ) -> Result<(), DriverError> {
        let rank = &tier.ranks()[self.index];
        let kernels = rank.kernels.as_ref().expect("paths with kernels are taken only where there are some");
        let has_rows = rank.plans[group.index()].rows.is_some();
        let kernel: &Kernel = match (direction, has_rows) {
            (Direction::Offload, false) => &kernels.gather,
            (Direction::Offload, true) => &kernels.gather_rows,
            (_, false) => &kernels.scatter,
            (_, true) => &kernels.scatter_rows,
        };
        let warps = job.moves * job.fragments * job.fragment_units.div_ceil(256);
        let blocks = self.blocks.min(warps.div_ceil(THREADS / 32)).max(1);
        // SAFETY: J1 for the layout; X1: slots in range of the table's regions and of the parts; X2; X3; X4.
        unsafe { kernel.launch((blocks, THREADS), job, stream) }
    }
}

/// From part to part in the staging ring: as in host memory where one rank has all of it, so that a run is one piece; else
/// slice after slice.
pub(super) fn stage_stride(group: GroupId, (tier, host): (&DeviceTier, &PinnedTier)) -> u64 {
    let place = host.place(group);
    if tier.ranks().len() == 1 { place.stride } else { place.slice_bytes }
}

/// How many parts a chunk has.
fn chunk_count(chunk: &Chunk<'_>) -> u32 {
    u32::try_from(chunk.device_slots.len()).expect("a chunk has at most MOVES_MAX parts")
}

/// Where a chunk's events are.
fn event_index(number: u64) -> usize {
    usize::try_from(number % EVENTS as u64).expect("less than the count")
}

/// A size inside a batch's memory.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a 64-bit machine addresses it")
}

/// 16-byte units of a size that P1 made a multiple of them.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes / 16).expect("a part has at most 1 GiB")
}

/// The number of a slot, for the lists above.
pub(super) fn number(slot: SlotId) -> u32 {
    slot.as_u32()
}
