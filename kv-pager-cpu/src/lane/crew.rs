//! The crew of a lane: the threads that take chunks from its queue and copy them.
//! Uses `lane::{account, queue, job, desk, watch}`. Known by: `lane`.
//!
//! - **W4** a crew that is dropped waits for its threads, but not for one that hangs: that one is left behind with what it
//!   uses, and its moves end as timed out.

use super::account::Account;
use super::desk::{Desk, Hand};
use super::queue::{Chunk, Queue};
use super::{Copier, LaneSpec, watch};
use kv_pager::Error;
use kv_pager::clock::{Clock, Time};
use kv_pager::ids::Fence;
use kv_pager::sync::{Condvar, Mutex};
use kv_pager::tier::{Move, MoveFault};
use kv_pager::units::Nanos;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// What the threads of a lane share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) spec: LaneSpec,
    pub(super) copier: Arc<dyn Copier>,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Arc<dyn Clock>,
    account: Mutex<Account>,
    pub(super) hands: Mutex<Vec<Hand>>,
    /// Rings when a desk is left, and when the queue is closed.
    pub(super) left: Condvar,
}

/// The threads of a lane. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Crew {
    shared: Arc<Shared>,
    watch: Option<JoinHandle<()>>,
    /// The process that has the threads.
    owner: u32,
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
            account: Mutex::new(Account::new()),
            hands: Mutex::new(Vec::new()),
            left: Condvar::new(),
        });
        // From here on dropping the crew ends what was started.
        let mut crew = Self { shared, watch: None, owner: std::process::id() };
        for _ in 0..spec.workers {
            crew.shared.hire()?;
        }
        if spec.chunk_timeout != Nanos::MAX {
            let shared = Arc::clone(&crew.shared);
            crew.watch = Some(crew.shared.spawn("watch", move || watch::keep(&shared))?);
        }
        Ok(crew)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let shared = &self.shared;
        if self.owner != std::process::id() {
            return;
        }
        shared.queue.close();
        let is_working = |hand: &Hand| !hand.desk.is_left() && !hand.desk.is_relieved();
        let timeout = shared.spec.chunk_timeout.as_duration();
        // Taken out of the lock: the watch needs it to end.
        let hands = {
            let mut hands = shared.hands.lock();
            shared.left.notify_all();
            shared.left.wait_while_for(&mut hands, |hands| hands.iter().any(is_working), timeout);
            std::mem::take(&mut *hands)
        };
        let mut threads = Vec::new();
        for hand in hands {
            if hand.desk.is_left() {
                threads.push(hand.thread);
            } else {
                tracing::error!(lane = %shared.copier.ends(), "a thread hangs and is left behind");
                if let Some(job) = hand.desk.work().and_then(|work| work.job) {
                    job.give_up();
                }
            }
        }
        threads.extend(self.watch.take());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(lane = %shared.copier.ends(), "a thread had panicked");
            }
        }
    }
}

impl Shared {
    /// Starts a thread that copies.
    pub(super) fn hire(self: &Arc<Self>) -> Result<(), Error> {
        let desk = Arc::new(Desk::default());
        let (shared, own) = (Arc::clone(self), Arc::clone(&desk));
        let thread = self.spawn("lane", move || {
            let _leaving = Leaving { shared: &shared, desk: &own };
            shared.work(&own);
        })?;
        self.hands.lock().push(Hand { desk, thread });
        Ok(())
    }

    fn spawn(&self, what: &str, life: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
        let ends = self.copier.ends();
        thread::Builder::new().name(format!("kv {what} {ends}")).spawn(life).map_err(|source| {
            let action = format!("cannot start a thread for lane {ends}; give it fewer");
            Error::Io { tier: ends.target, action, source }
        })
    }

    /// A thread's life.
    fn work(&self, desk: &Desk) {
        let mut chunk = Chunk::default();
        let mut bench = Bench::default();
        while !desk.is_relieved() && self.queue.take(&*self.copier, &self.spec, &mut chunk) {
            let began = self.clock.now();
            desk.begin(chunk.job.as_ref(), began);
            if chunk.job.is_some() {
                self.carry_out(&mut chunk, &mut bench, began);
            } else {
                self.copier.housekeep();
            }
            desk.end();
        }
    }

    fn carry_out(&self, chunk: &mut Chunk, bench: &mut Bench, began: Time) {
        let Some(job) = chunk.job.take() else { return };
        if !chunk.upcoming.is_empty() {
            self.copier.announce(&chunk.upcoming);
        }
        job.begin(&mut chunk.moves);
        bench.moves.clear();
        bench.moves.extend(chunk.moves.iter().map(|(_, order)| *order));
        bench.outcomes.clear();
        bench.outcomes.resize(bench.moves.len(), Err(MoveFault::Lost));
        let copies = self.copy(&bench.moves, &mut bench.scratch, &mut bench.outcomes);
        let busy = self.account.lock().charge(began, self.clock.now());
        let ends = chunk.moves.iter().zip(&bench.outcomes).map(|((index, _), outcome)| (*index, *outcome));
        job.end(ends, busy, copies);
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

/// What a thread uses again and again, so that a batch allocates nothing.
#[derive(Default)]
struct Bench {
    moves: Vec<Move>,
    outcomes: Vec<Result<(), MoveFault>>,
    scratch: Vec<u8>,
}

/// Leaves a thread's desk when it ends, also by a panic.
struct Leaving<'a> {
    shared: &'a Shared,
    desk: &'a Desk,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let _hands = self.shared.hands.lock();
        self.desk.leave();
        self.shared.left.notify_all();
    }
}
