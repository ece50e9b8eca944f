//! The crew of a lane: its threads, and a watch over those that hang.
//! Uses `lane::queue`, `lane::job`. Known by: `lane`.
//!
//! - **W1** a thread that works has its job and when it began on its desk, so that the watch can end that job;
//! - **W2** for each thread that hangs another is started, but never more than twice the crew: then the watch gives up what
//!   waits too long in the queue's stead, for the drive is gone;
//! - **W3** a crew that is dropped waits for its threads, but not for one that hangs: that one is left with what it uses.

use super::job::Job;
use super::queue::{Chunk, Queue};
use super::{Copier, LaneSpec};
use kv_pager::Error;
use kv_pager::clock::{Clock, Time};
use kv_pager::ids::Fence;
use kv_pager::tier::{Move, MoveFault};
use kv_pager::units::Nanos;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

/// What a thread is at (W1).
#[derive(Debug, Default)]
struct Desk {
    work: Mutex<Option<(Arc<Job>, Time)>>,
    /// The thread does nothing more but end.
    is_left: AtomicBool,
}

/// A thread that was started.
#[derive(Debug)]
struct Hand {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
}

/// What the threads of a lane share.
#[derive(Debug)]
struct Shared {
    spec: LaneSpec,
    copier: Arc<dyn Copier>,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    /// Threads in the middle of a chunk.
    working: AtomicU32,
    hands: Mutex<Vec<Hand>>,
    /// Rings when a desk is left.
    left: Condvar,
}

/// The threads of a lane. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Crew {
    shared: Arc<Shared>,
}

impl Crew {
    pub(super) fn start(
        spec: &LaneSpec,
        copier: &Arc<dyn Copier>,
        queue: &Arc<Queue>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            spec: *spec,
            copier: Arc::clone(copier),
            queue: Arc::clone(queue),
            clock: Arc::clone(clock),
            working: AtomicU32::new(0),
            hands: Mutex::new(Vec::new()),
            left: Condvar::new(),
        });
        // From here on dropping the crew ends what was started.
        let crew = Self { shared };
        for _ in 0..spec.workers {
            crew.shared.hire()?;
        }
        Ok(crew)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.queue.close();
        let mut hands = shared.hands.lock();
        let is_working = |hand: &Hand| !hand.desk.is_left.load(Ordering::Acquire);
        let timeout = shared.spec.chunk_timeout.as_duration();
        shared.left.wait_while_for(&mut hands, |hands| hands.iter().any(is_working), timeout);
        for hand in hands.drain(..) {
            if is_working(&hand) {
                tracing::error!(lane = %shared.copier.ends(), "a thread hangs and is left behind");
                if let Some((job, _)) = hand.desk.work.lock().as_ref() {
                    job.give_up();
                }
            } else if hand.thread.join().is_err() {
                tracing::error!(lane = %shared.copier.ends(), "a thread had panicked");
            }
        }
    }
}

impl Shared {
    /// Starts a thread.
    fn hire(self: &Arc<Self>) -> Result<(), Error> {
        let desk = Arc::new(Desk::default());
        let (shared, own) = (Arc::clone(self), Arc::clone(&desk));
        let ends = self.copier.ends();
        let started = thread::Builder::new().name(format!("kv {ends}")).spawn(move || {
            let _leaving = Leaving { shared: &shared, desk: &own };
            shared.work(&own);
        });
        let thread = started.map_err(|source| {
            let action = format!("cannot start a thread for lane {ends}; give it fewer");
            Error::Io { tier: ends.target, action, source }
        })?;
        self.hands.lock().push(Hand { desk, thread });
        Ok(())
    }

    /// A thread's life.
    fn work(&self, desk: &Desk) {
        let mut chunk = Chunk::default();
        let mut moves: Vec<Move> = Vec::new();
        let mut outcomes = Vec::new();
        let mut scratch = Vec::new();
        while self.queue.take(&*self.copier, self.spec.chunk_bytes, &mut chunk) {
            let Some(job) = chunk.job.take() else {
                self.copier.housekeep();
                continue;
            };
            let began = self.clock.now();
            *desk.work.lock() = Some((Arc::clone(&job), began));
            let sharers = self.working.fetch_add(1, Ordering::Relaxed) + 1;
            if !chunk.upcoming.is_empty() {
                self.copier.announce(&chunk.upcoming);
            }
            chunk.moves.retain(|(index, _)| job.begin(*index));
            moves.clear();
            moves.extend(chunk.moves.iter().map(|(_, order)| *order));
            outcomes.clear();
            outcomes.resize(moves.len(), Err(MoveFault::Lost));
            let copies = self.copy(&moves, &mut scratch, &mut outcomes);
            // Threads that work at the same time share the time, so that the sum is the lane's.
            let busy = Nanos::new(self.clock.now().since(began).as_u64() / u64::from(sharers));
            self.working.fetch_sub(1, Ordering::Relaxed);
            *desk.work.lock() = None;
            let ends = chunk.moves.iter().zip(&outcomes).map(|((index, _), outcome)| (*index, *outcome));
            job.end(ends, busy, copies);
        }
    }

    /// Copies what may be copied: a move with a fence that nobody here will ever end is against the rules (L4).
    fn copy(&self, moves: &[Move], scratch: &mut Vec<u8>, outcomes: &mut [Result<(), MoveFault>]) -> u32 {
        let is_over = |order: &Move| order.source_fence == Fence::OVER && order.target_fence == Fence::OVER;
        let mut copies = 0;
        let mut start = 0;
        for run in moves.chunk_by(|last, next| is_over(last) == is_over(next)) {
            let told = &mut outcomes[start..start + run.len()];
            start += run.len();
            if is_over(&run[0]) {
                copies += self.copier.copy(run, scratch, told);
            } else {
                told.fill(Err(MoveFault::Busy));
            }
        }
        copies
    }
}

/// Leaves a thread's desk when it ends, also by a panic.
struct Leaving<'a> {
    shared: &'a Shared,
    desk: &'a Desk,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.desk.work.lock().take();
        let _hands = self.shared.hands.lock();
        self.desk.is_left.store(true, Ordering::Release);
        self.shared.left.notify_all();
    }
}
