//! The queue of a lane: moves that wait, batch after batch, in order.
//! Uses `lane::job`. Known by: `lane`, `file` (nudges it).
//!
//! - **N1** never more than `limit` moves; its memory is taken when the queue is made.
//! - **Q1** a batch waits in one piece, so that what is adjacent in it can be copied in one piece;
//! - **Q2** once closed, nothing is taken any more, and what waited is dropped: it ends as cancelled.

use super::job::Job;
use super::{CHUNK_MOVES_MAX, Copier, LaneSpec};
use kv_pager::Error;
use kv_pager::sync::{Condvar, Mutex};
use kv_pager::tier::{Move, Ticket};
use kv_pager::units::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many bytes are soon moved, and a thread takes more at once, to come to the queue less often.
const SMALL_BYTES: Bytes = Bytes::mib(1);

/// A move that waits.
#[derive(Debug)]
struct Waiting {
    job: Arc<Job>,
    /// Its place in the batch.
    index: u32,
    order: Move,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Waiting>,
    is_closed: bool,
    is_nudged: bool,
}

/// The moves of a lane that have not been taken.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

/// What a thread took: moves of one batch, or nothing but a nudge.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) job: Option<Arc<Job>>,
    /// Each with its place in the batch.
    pub(super) moves: Vec<(u32, Move)>,
    /// What waits behind them, if that has yet to be announced.
    pub(super) upcoming: Vec<Move>,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        let state = State { waiting: VecDeque::with_capacity(limit), is_closed: false, is_nudged: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), limit }
    }

    /// Appends the batch, or nothing of it.
    pub(super) fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let (job, ticket) = Job::new(batch.len());
        let job = Arc::new(job);
        let mut state = self.state.lock();
        if batch.len() > self.limit - state.waiting.len() {
            return Err(Error::QueueFull { limit: self.limit });
        }
        state.waiting.extend((0..).zip(batch).map(|(index, order)| Waiting {
            job: Arc::clone(&job),
            index,
            order: *order,
        }));
        drop(state);
        self.changed.notify_all();
        Ok(ticket)
    }

    /// Waits for moves or a nudge, and takes the next chunk; false once the queue is closed.
    pub(super) fn take(&self, copier: &dyn Copier, spec: &LaneSpec, chunk: &mut Chunk) -> bool {
        chunk.job = None;
        chunk.moves.clear();
        chunk.upcoming.clear();
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return false;
            }
            if std::mem::take(&mut state.is_nudged) {
                return true;
            }
            if let Some(first) = state.waiting.pop_front() {
                fill(chunk, first, &mut state.waiting, copier, spec);
                return true;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Has a thread look after the tier before it takes the next move.
    pub(crate) fn nudge(&self) {
        self.state.lock().is_nudged = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Drops what waits: it ends as cancelled.
    pub(super) fn empty(&self) {
        // Moved away first: a ticket's end rings, which must not happen under the lock.
        let dropped: Vec<Waiting> = self.state.lock().waiting.drain(..).collect();
        drop(dropped);
    }

    /// Ends every wait (Q2).
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
        drop(dropped);
    }
}

/// Takes with `first` what joins it, and of small moves that don't as many as leave enough for the other threads, or as a thread
/// has under way at once.
fn fill(
    chunk: &mut Chunk,
    first: Waiting,
    waiting: &mut VecDeque<Waiting>,
    copier: &dyn Copier,
    spec: &LaneSpec,
) {
    let mut bytes = copier.bytes(&first.order);
    let depth = copier.depth();
    let at_once = if bytes.as_usize() * depth <= SMALL_BYTES.as_usize() { depth } else { 1 };
    let share = (waiting.len() / (2 * spec.workers)).max(at_once).min(CHUNK_MOVES_MAX - 1);
    let mut last = first.order;
    chunk.moves.push((first.index, last));
    while chunk.moves.len() < CHUNK_MOVES_MAX {
        let Some(next) = waiting.front() else { break };
        bytes += copier.bytes(&next.order);
        let belongs = Arc::ptr_eq(&next.job, &first.job) && next.order.group == last.group;
        let joins = bytes <= spec.chunk_bytes && copier.joins(&last, &next.order);
        let is_small = bytes <= SMALL_BYTES && chunk.moves.len() < share;
        if !(belongs && (joins || is_small)) {
            break;
        }
        last = next.order;
        chunk.moves.push((next.index, last));
        waiting.pop_front();
    }
    if copier.announces() && first.job.is_to_be_announced() {
        let same = waiting.iter().take_while(|next| Arc::ptr_eq(&next.job, &first.job));
        chunk.upcoming.extend(same.map(|next| next.order));
    }
    chunk.job = Some(first.job);
}
