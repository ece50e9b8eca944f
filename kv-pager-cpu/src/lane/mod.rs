//! Lanes: bounded queues of moves, and threads that carry them out.
//! Uses `memory`, `file` (through [`Copier`]). Known by: `backend`.
//!
//! - **N1** a queue never holds more than [`LaneSpec::moves_queued`] moves: a batch that doesn't fit is refused whole;
//! - **N2** a move that was taken from the queue is ended by the thread that took it, or by the lane when that thread hangs;
//! - **N3** when a lane has been dropped, every ticket of it has ended (L3);
//! - **N4** in a forked child, which has none of the threads, nothing is moved and nobody waits.
//!
//! What is copied, and what may be copied in one piece, is a [`Copier`]'s; there is one for each pair of tiers.

mod account;
mod crew;
mod desk;
mod job;
mod memory;
mod queue;
mod watch;

pub(crate) use memory::MemoryCopier;
pub(crate) use queue::Queue;

use crew::Crew;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::tier::{Lane, LaneEnds, Move, MoveFault, Ticket, TicketWriter};
use kv_pager::units::{Bytes, Nanos};
use std::fmt::Debug;
use std::sync::Arc;

/// The most moves that one thread takes at once.
pub(crate) const CHUNK_MOVES_MAX: usize = 64;

/// How a lane works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneSpec {
    /// Threads that copy.
    pub workers: usize,
    /// The most moves that wait.
    pub moves_queued: usize,
    /// The most bytes that a thread takes at once; a single part may be larger.
    pub chunk_bytes: Bytes,
    /// How long one chunk may take. Then its moves end as [`MoveFault::TimedOut`], and another thread takes its place.
    /// [`Nanos::MAX`] where nothing can hang.
    pub chunk_timeout: Nanos,
}

impl LaneSpec {
    /// For copies within memory: few threads, for memory is soon saturated.
    pub fn memory() -> Self {
        Self { workers: 2, moves_queued: 8192, chunk_bytes: Bytes::mib(1), chunk_timeout: Nanos::MAX }
    }

    /// For files: a thread for each of the requests that a drive likes to have at once.
    pub fn file() -> Self {
        Self {
            workers: 32,
            chunk_bytes: Bytes::mib(4),
            chunk_timeout: Nanos::from_millis(10_000),
            ..Self::memory()
        }
    }

    /// # Errors
    /// [`Error::Configuration`] if a number is zero.
    fn check(&self) -> Result<(), Error> {
        let zero = self.workers == 0
            || self.moves_queued == 0
            || self.chunk_bytes == Bytes::ZERO
            || self.chunk_timeout == Nanos::ZERO;
        if zero || self.workers > 1024 {
            let why = format!("{self:?}: nothing may be zero, and 1024 threads are the most");
            return Err(Error::Configuration { setting: "lane", why });
        }
        Ok(())
    }
}

/// Carries out the moves between two tiers. Contract: an outcome is written for every move, whatever happens.
pub(crate) trait Copier: Debug + Send + Sync {
    /// The tiers it joins.
    fn ends(&self) -> LaneEnds;

    /// Bytes that `order` moves.
    ///
    /// # Panics
    /// If one of its slots does not exist.
    fn bytes(&self, order: &Move) -> Bytes;

    /// Whether `next` is worth being taken together with `last`, of the same group, before it.
    fn joins(&self, last: &Move, next: &Move) -> bool;

    /// How many small moves a thread has under way at once.
    fn depth(&self) -> usize {
        1
    }

    /// Whether [`Copier::announce`] does anything.
    fn announces(&self) -> bool {
        false
    }

    /// Says what will be asked for soon.
    fn announce(&self, _upcoming: &[Move]) {}

    /// Work of its own, done when [`Queue::nudge`] was called.
    fn housekeep(&self) {}

    /// The drive at one of the ends is gone: every thread hangs in it.
    fn give_up(&self) {}

    /// Copies; `scratch` keeps its memory between calls. Returns how many copy calls it took.
    fn copy(&self, moves: &[Move], scratch: &mut Vec<u8>, outcomes: &mut [Result<(), MoveFault>]) -> u32;
}

/// A lane whose moves are carried out by threads of its own.
#[derive(Debug)]
pub(crate) struct WorkerLane {
    copier: Arc<dyn Copier>,
    queue: Arc<Queue>,
    /// Dropped with the lane: joins the threads.
    _crew: Crew,
    /// The process that has the threads.
    owner: u32,
}

impl WorkerLane {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `spec` can't work; [`Error::Io`] if a thread can't be started.
    pub(crate) fn new(
        spec: &LaneSpec,
        copier: Arc<dyn Copier>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        spec.check()?;
        let queue = Arc::new(Queue::new(spec.moves_queued));
        let crew = Crew::start(spec, &copier, &queue, clock)?;
        Ok(Self { copier, queue, _crew: crew, owner: std::process::id() })
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Lane for WorkerLane {
    fn ends(&self) -> LaneEnds {
        self.copier.ends()
    }

    /// As the trait says.
    ///
    /// # Panics
    /// If a slot does not exist.
    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        if self.owner != std::process::id() {
            // A forked child has the queue, but nobody who works: its tickets end at once, and nothing is moved.
            return Ok(TicketWriter::new(batch.len()).1);
        }
        for order in batch {
            assert!(self.copier.bytes(order) > Bytes::ZERO, "{order:?} moves nothing");
        }
        self.queue.submit(batch)
    }

    /// Threads take chunks of one batch while others still copy those of the batch before it.
    fn works_on_many(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
