//! Fences: points in the engine's and the lanes' work, kept as events, named by numbers.
//! Uses `driver`. Known by: `device`, `lane`.
//!
//! - **F1** a number is given once; its place in the ring of events is taken again only after it was seen over, so a number
//!   whose place has a later one is over (the tier contract's T2);
//! - **F2** a fence over N ranks has one event on each, and is over when all are;
//! - **F3** a fence taken by a lane and not recorded yet is not over, and nobody else takes its place;
//! - **F4** whether a fence is over is asked without blocking, and never of an event that is part of a graph capture.

use crate::driver::{Device, DriverError, Event, RawStream, Visit};
use kv_pager::ids::Fence;
use kv_pager::sync::{Mutex, MutexGuard};
use std::sync::Arc;

/// What a place of the ring is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    /// Free; whatever number it had is over.
    Over,
    /// Given out, and not recorded on all ranks (F3).
    Taken,
    /// Recorded; over when its events are.
    Recorded,
}

#[derive(Debug)]
struct Place {
    number: u64,
    state: Use,
    /// F2: one a rank.
    events: Box<[Event]>,
}

#[derive(Debug)]
struct Ring {
    places: Box<[Place]>,
    next: u64,
}

/// All fences of one device tier.
#[derive(Debug)]
pub(crate) struct Fences {
    ring: Mutex<Ring>,
}

/// Why there is no fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NoFence {
    /// As many are under way as the ring has places.
    #[error("{0} fences are not over yet; wait for some, then retry")]
    Full(usize),
    /// The stream records a graph.
    #[error(
        "the stream is capturing a graph: take the fence on the stream that the graph is launched on, after that"
    )]
    Capturing,
    /// The driver refused.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// What a stream has to do about a fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waited {
    /// Nothing, it is over or the stream now waits.
    Yes,
    /// It can't be waited for: it was never given out, or not recorded yet.
    Unknown,
}

impl Fences {
    /// A ring of `places` fences on `devices`.
    pub(crate) fn new(devices: &[Arc<Device>], places: usize) -> Result<Self, DriverError> {
        let place = |_| {
            let events = devices.iter().map(Event::new).collect::<Result<Box<[_]>, _>>()?;
            Ok(Place { number: 0, state: Use::Over, events })
        };
        let places = (0..places).map(place).collect::<Result<Box<[_]>, DriverError>>()?;
        Ok(Self { ring: Mutex::new(Ring { places, next: 1 }) })
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock()
    }

    /// A fence at what is queued on `streams` now, one stream a rank.
    pub(crate) fn record(&self, devices: &[Arc<Device>], streams: &[RawStream]) -> Result<Fence, NoFence> {
        assert!(devices.len() == streams.len(), "{} streams for {} ranks", streams.len(), devices.len());
        let visit = Visit::begin();
        for stream in streams {
            if stream.is_capturing()? {
                return Err(NoFence::Capturing);
            }
        }
        let mut ring = self.lock();
        let index = ring.take()?;
        let number = ring.places[index].number;
        for (rank, stream) in streams.iter().enumerate() {
            visit.to(&devices[rank])?;
            ring.places[index].events[rank].record(*stream)?;
        }
        ring.places[index].state = Use::Recorded;
        Ok(Fence(number))
    }

    /// A number for work that a lane is about to queue (F3).
    pub(crate) fn take(&self) -> Result<Fence, NoFence> {
        let mut ring = self.lock();
        let index = ring.take()?;
        Ok(Fence(ring.places[index].number))
    }

    /// Records `fence`, taken before, on the stream of one rank; the caller is in that rank's context.
    pub(crate) fn record_rank(
        &self,
        fence: Fence,
        rank: usize,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        let mut ring = self.lock();
        let Some(index) = ring.place_of(fence) else { return Ok(()) };
        let place = &mut ring.places[index];
        place.events[rank].record(stream)?;
        if rank + 1 == place.events.len() {
            place.state = Use::Recorded;
        }
        Ok(())
    }

    /// Makes the stream of `rank` wait for `fence`, on the device. The caller is in a [`Visit`].
    pub(crate) fn wait(&self, fence: Fence, rank: usize, stream: RawStream) -> Result<Waited, DriverError> {
        if fence == Fence::OVER {
            return Ok(Waited::Yes);
        }
        let ring = self.lock();
        match ring.place_of(fence) {
            Some(index) if ring.places[index].state == Use::Recorded => {
                stream.wait_for(&ring.places[index].events[rank])?;
                Ok(Waited::Yes)
            }
            Some(index) if ring.places[index].state == Use::Over => Ok(Waited::Yes),
            None if fence.0 < ring.next => Ok(Waited::Yes),
            Some(_) | None => Ok(Waited::Unknown),
        }
    }

    /// Whether `fence` can be waited for: it was recorded, or is over.
    pub(crate) fn is_known(&self, fence: Fence) -> bool {
        if fence == Fence::OVER {
            return true;
        }
        let ring = self.lock();
        match ring.place_of(fence) {
            Some(index) => ring.places[index].state != Use::Taken,
            None => fence.0 < ring.next,
        }
    }

    /// Whether `fence` is over on all ranks. A fence never given out is not; one on a lost device never is.
    pub(crate) fn is_over(&self, fence: Fence) -> bool {
        if fence == Fence::OVER {
            return true;
        }
        let mut ring = self.lock();
        match ring.place_of(fence) {
            Some(index) => ring.is_place_over(index),
            None => fence.0 < ring.next,
        }
    }
}

impl Ring {
    /// The place that still has `fence`'s number.
    fn place_of(&self, fence: Fence) -> Option<usize> {
        let count = self.places.len() as u64;
        let index = usize::try_from(fence.0 % count).ok()?;
        (self.places[index].number == fence.0).then_some(index)
    }

    fn is_place_over(&mut self, index: usize) -> bool {
        let place = &mut self.places[index];
        if place.state == Use::Recorded {
            let _visit = Visit::begin();
            if place.events.iter().all(|event| event.is_over() == Ok(true)) {
                place.state = Use::Over;
            }
        }
        place.state == Use::Over
    }

    /// F1: the next number whose place is over. Places still in use are passed over, and their numbers with them.
    fn take(&mut self) -> Result<usize, NoFence> {
        let count = self.places.len();
        for _ in 0..count {
            let number = self.next;
            let index = usize::try_from(number % count as u64).expect("less than the count");
            if self.is_place_over(index) {
                self.next += 1;
                self.places[index].number = number;
                self.places[index].state = Use::Taken;
                return Ok(index);
            }
            self.next += 1;
        }
        Err(NoFence::Full(count))
    }
}
