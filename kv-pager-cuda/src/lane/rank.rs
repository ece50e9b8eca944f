//! One rank of a lane: its streams, its events, and its staging memory.
//! Uses `driver`, `fences`, `staging`. Known by: `lane::{carry, issue, launch, worker}`.
//!
//! Two streams: `first` gathers, or copies in; `last` copies out, or scatters. Every chunk ends on `last`, whatever its
//! path, so chunks end in the order of their numbers.

use super::chunk::Chunk;
use super::{Direction, LaneOptions};
use crate::device::DeviceTier;
use crate::driver::{BatchCopy, Device, DeviceMemory, DriverError, Event, RawStream, Stream};
use crate::fences::{Fences, Waited};
use crate::staging::StagingRing;
use kv_pager::ids::Fence;
use std::sync::Arc;

/// Chunks whose events a rank keeps apart: more than can be in flight at once.
pub(super) const EVENTS: usize = 256;

/// What a card is made to say in tests, in place of its driver.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// That it does not take this call.
    Call,
    /// That it can't be used any more.
    Device,
}

/// One rank's end of a lane.
#[derive(Debug)]
pub(super) struct RankLane {
    pub(super) index: usize,
    pub(super) device: Arc<Device>,
    pub(super) direction: Direction,
    pub(super) first: Stream,
    pub(super) last: Stream,
    pub(super) staging: Option<DeviceMemory>,
    pub(super) ring: StagingRing,
    /// By chunk number: its work on `first` is done.
    pub(super) handed: Box<[Event]>,
    /// By chunk number: all its work is done.
    pub(super) done: Box<[Event]>,
    pub(super) blocks: u32,
    /// `None` where pieces are copied one by one.
    pub(super) batch: Option<BatchCopy>,
    /// For tests: leaves fences out, so that a test of a wait can show that it would notice.
    pub(super) ignores_fences: bool,
    /// For tests: what its card says instead of taking a chunk.
    refusal: Option<Refusal>,
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
            batch: if options.batch_copies { BatchCopy::find() } else { None },
            device,
            ignores_fences: false,
            refusal: None,
        })
    }

    pub(super) fn ignore_fences(&mut self) {
        self.ignores_fences = true;
    }

    pub(super) fn refuse(&mut self, refusal: Option<Refusal>) {
        self.refusal = refusal;
    }

    /// What a test has its card say.
    pub(super) fn refusal(&self) -> Result<(), DriverError> {
        match self.refusal {
            None => Ok(()),
            Some(Refusal::Call) => Err(DriverError::REFUSED),
            Some(Refusal::Device) => Err(DriverError::LOST),
        }
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

    pub(super) fn wait(&self, fences: &Fences, list: &[Fence], stream: RawStream) -> Result<(), DriverError> {
        for fence in list {
            if !self.ignores_fences {
                let waited = fences.wait(*fence, self.index, stream)?;
                debug_assert!(waited == Waited::Yes, "fence {fence:?} was checked at submission");
            }
        }
        Ok(())
    }

    /// A place in the staging ring for `bytes`, whose address is returned; whoever fills it waits for who had it (G2).
    pub(super) fn stage(&mut self, chunk: &Chunk<'_>, bytes: u64) -> Result<u64, DriverError> {
        let staging = self.staging.as_ref().expect("paths with staging are taken only where there is some");
        let place = self.ring.reserve(chunk.number, bytes);
        if let Some(after) = place.after.filter(|_| self.direction != Direction::Within) {
            self.first.raw().wait_for(&self.done[event_index(after)])?;
        }
        Ok(staging.address() + place.offset)
    }

    /// Target and source, of an address on the device and one in host memory.
    pub(super) fn ends(&self, device: u64, host: u64) -> (u64, u64) {
        match self.direction {
            Direction::Offload => (host, device),
            Direction::Onboard | Direction::Within => (device, host),
        }
    }
}

/// Where a chunk's events are.
pub(super) fn event_index(number: u64) -> usize {
    usize::try_from(number % EVENTS as u64).expect("less than the count")
}
