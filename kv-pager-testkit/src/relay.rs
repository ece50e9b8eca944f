//! The relay: a lane around a lane, that decides when a move begins, what becomes of it, and when its end is told.
//! Uses `kv_pager::tier`. Known by: `faulty`, `late`, `throttled`.
//!
//! - **RE1** a move is given to the inner lane at most once, after its [`Gate`] let it begin, and its end is told once;
//! - **RE2** until then it can be called off;
//! - **RE3** when the relay is dropped, every ticket of it ends: what was not begun as cancelled, what the inner lane has as
//!   it ends there, and what hangs as lost.
//!
//! A relay is pumped by a thread of its own, which wakes when something ended or a gate changed; or by the test, which then
//! decides every step.

use kv_pager::Error;
use kv_pager::tier::{Lane, LaneEnds, Move, MoveFault, Signal, Ticket, TicketWriter};
use kv_pager::units::Nanos;
use parking_lot::Mutex;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Decides over the moves of a relay.
pub(crate) trait Gate: Debug + Send + Sync {
    /// Called once for each move of a batch, in order, when it is submitted. What is returned stays with the move.
    fn admit(&self, order: &Move) -> Fate;

    /// Whether a move that was told to wait may begin.
    fn may_begin(&self, _order: &Move) -> bool {
        true
    }

    /// Whether the end of a move may be told, now that the inner lane has told it.
    fn may_end(&self, _order: &Move, _fate: Fate) -> bool {
        true
    }

    /// What the inner lane is given for `order`.
    fn forward(&self, order: &Move) -> Move {
        *order
    }

    /// How long until a gate may have changed by itself.
    fn patience(&self) -> Nanos {
        Nanos::MAX
    }
}

/// What becomes of a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// The inner lane carries it out; the number is the gate's own, handed back in [`Gate::may_end`].
    Forward(u64),
    /// It begins, and ends with this fault; the inner lane never sees it.
    Fail(MoveFault),
    /// It begins, and does not end while the relay lives.
    Hang,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Waiting,
    /// To be given to the inner lane as soon as its queue has room.
    Begun,
    /// With the inner lane: in which of the batch's inner tickets, and where there.
    Flying(usize, usize),
    Hanging,
    Ended,
}

#[derive(Debug)]
struct Batch {
    writer: TicketWriter,
    moves: Vec<(Move, Fate, Stage)>,
    inner: Vec<Ticket>,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn Lane>,
    gate: Arc<dyn Gate>,
    batches: Mutex<Vec<Batch>>,
    signal: Arc<Signal>,
    is_over: AtomicBool,
}

/// How long a dropped relay waits for the inner lane.
const PATIENCE: Nanos = Nanos::from_millis(30_000);

/// The most moves that have not ended.
pub(crate) const MOVES_MAX: usize = 4096;

/// A lane around a lane.
#[derive(Debug)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
    pump: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay that pumps itself; ringing `signal` makes it look at its gate.
    pub(crate) fn new(inner: Arc<dyn Lane>, gate: Arc<dyn Gate>, signal: Arc<Signal>) -> Self {
        let mut relay = Self::stepped(inner, gate, signal);
        let shared = Arc::clone(&relay.shared);
        relay.pump = Some(thread::spawn(move || {
            while !shared.is_over.load(Ordering::Acquire) {
                let seen = shared.signal.count();
                shared.pump();
                shared.signal.wait_past(seen, shared.gate.patience());
            }
        }));
        relay
    }

    /// A relay in which nothing happens but in [`Relay::pump`].
    pub(crate) fn stepped(inner: Arc<dyn Lane>, gate: Arc<dyn Gate>, signal: Arc<Signal>) -> Self {
        let shared =
            Shared { inner, gate, batches: Mutex::default(), signal, is_over: AtomicBool::new(false) };
        Self { shared: Arc::new(shared), pump: None }
    }

    /// Begins and ends what may begin and end.
    pub(crate) fn pump(&self) {
        self.shared.pump();
    }

    /// The least number that the gate gave to a move which the inner lane has and whose end has not been told.
    pub(crate) fn next_number(&self) -> Option<u64> {
        let batches = self.shared.batches.lock();
        let moves = batches.iter().flat_map(|batch| &batch.moves);
        moves
            .filter_map(|(_, fate, stage)| match (fate, stage) {
                (Fate::Forward(number), Stage::Begun | Stage::Flying(..)) => Some(*number),
                _ => None,
            })
            .min()
    }

    pub(crate) fn ends(&self) -> LaneEnds {
        self.shared.inner.ends()
    }

    pub(crate) fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let open: usize = self.shared.batches.lock().iter().map(|batch| batch.moves.len()).sum();
        if open + batch.len() > MOVES_MAX {
            return Err(Error::QueueFull { limit: MOVES_MAX });
        }
        let (writer, ticket) = TicketWriter::new(batch.len());
        let moves =
            batch.iter().map(|order| (*order, self.shared.gate.admit(order), Stage::Waiting)).collect();
        self.shared.batches.lock().push(Batch { writer, moves, inner: Vec::new() });
        if self.pump.is_some() {
            self.shared.signal.ring();
        } else {
            self.pump();
        }
        Ok(ticket)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.signal.ring();
        if let Some(pump) = self.pump.take() {
            pump.join().expect("a pump doesn't panic");
        }
        for batch in self.shared.batches.lock().iter_mut() {
            batch.wind_up(&self.shared);
        }
    }
}

impl Shared {
    fn pump(&self) {
        self.batches.lock().retain_mut(|batch| {
            batch.begin(self);
            batch.end(self);
            !batch.moves.iter().all(|(_, _, stage)| matches!(stage, Stage::Ended))
        });
    }
}

impl Batch {
    fn begin(&mut self, shared: &Shared) {
        let mut has_news = false;
        for (index, (order, fate, stage)) in self.moves.iter_mut().enumerate() {
            if !matches!(stage, Stage::Waiting) || !shared.gate.may_begin(order) {
                continue;
            }
            has_news = true;
            *stage = match fate {
                _ if !self.writer.begin(index) => Stage::Ended,
                Fate::Hang => Stage::Hanging,
                Fate::Fail(fault) => {
                    self.writer.end(index, Err(*fault));
                    Stage::Ended
                }
                Fate::Forward(_) => Stage::Begun,
            };
        }
        self.forward(shared);
        if has_news {
            self.writer.publish(Nanos::ZERO, 0);
        }
    }

    /// Gives what has begun to the inner lane, unless its queue is full: then the next pump tries again.
    fn forward(&mut self, shared: &Shared) {
        let begun = self.moves.iter().filter(|(_, _, stage)| matches!(stage, Stage::Begun));
        let orders: Vec<Move> = begun.map(|(order, _, _)| shared.gate.forward(order)).collect();
        if orders.is_empty() {
            return;
        }
        let Ok(ticket) = shared.inner.submit(&orders) else { return };
        let begun = self.moves.iter_mut().filter(|(_, _, stage)| matches!(stage, Stage::Begun));
        for (place, (_, _, stage)) in begun.enumerate() {
            *stage = Stage::Flying(self.inner.len(), place);
        }
        ticket.attach(&shared.signal);
        self.inner.push(ticket);
    }

    /// Calls off what the inner lane has not begun, and waits for the rest (RE3).
    fn wind_up(&mut self, shared: &Shared) {
        self.inner.iter().for_each(Ticket::cancel);
        loop {
            let seen = shared.signal.count();
            if self.inner.iter().all(Ticket::is_over) || !shared.signal.wait_past(seen, PATIENCE) {
                break;
            }
        }
        for (index, (_, _, stage)) in self.moves.iter_mut().enumerate() {
            let Stage::Flying(ticket, place) = *stage else { continue };
            if let Some(outcome) = self.inner[ticket].outcome(place) {
                self.writer.end(index, outcome);
                *stage = Stage::Ended;
            }
        }
    }

    fn end(&mut self, shared: &Shared) {
        let mut has_news = false;
        for (index, (order, fate, stage)) in self.moves.iter_mut().enumerate() {
            let Stage::Flying(ticket, place) = *stage else { continue };
            let Some(outcome) = self.inner[ticket].outcome(place) else { continue };
            if shared.gate.may_end(order, *fate) {
                self.writer.end(index, outcome);
                *stage = Stage::Ended;
                has_news = true;
            }
        }
        if has_news {
            self.writer.publish(Nanos::ZERO, 0);
        }
    }
}
