//! A job: one batch under way, and its ticket's other half.
//! Uses `kv_pager::tier`. Known by: `lane`.
//!
//! - **J1** after `give_up` nothing of the batch begins any more, and nothing ends: of a thread that comes back late only that is
//!   heard, so that the slots of its moves can be used again.

use kv_pager::sync::{AtomicBool, Mutex, Ordering};
use kv_pager::tier::{Move, MoveFault, Ticket, TicketWriter};
use kv_pager::units::Nanos;

/// A batch under way.
#[derive(Debug)]
pub(crate) struct Job {
    state: Mutex<State>,
    is_announced: AtomicBool,
}

#[derive(Debug)]
struct State {
    writer: TicketWriter,
    /// J1.
    is_given_up: bool,
}

impl Job {
    /// A job of `moves` moves, and its ticket.
    pub(super) fn new(moves: usize) -> (Self, Ticket) {
        let (writer, ticket) = TicketWriter::new(moves);
        let state = Mutex::new(State { writer, is_given_up: false });
        (Self { state, is_announced: AtomicBool::new(false) }, ticket)
    }

    /// True for the first caller.
    pub(super) fn is_to_be_announced(&self) -> bool {
        !self.is_announced.swap(true, Ordering::Relaxed)
    }

    /// Begins `moves`, each with its place in the batch, and keeps those that were not called off; none if the lane has given up.
    pub(super) fn begin(&self, moves: &mut Vec<(u32, Move)>) {
        let state = self.state.lock();
        moves.retain(|(index, _)| !state.is_given_up && state.writer.begin(*index as usize));
    }

    /// Ends moves that were begun, and rings. If the lane has given up, they have ended as timed out: they are over now.
    pub(super) fn end(
        &self,
        ends: impl Iterator<Item = (u32, Result<(), MoveFault>)>,
        busy: Nanos,
        copies: u32,
    ) {
        let State { writer, is_given_up } = &*self.state.lock();
        for (index, outcome) in ends {
            if *is_given_up {
                writer.conclude(index as usize);
            } else {
                writer.end(index as usize, outcome);
            }
        }
        writer.publish(busy, copies);
    }

    /// Ends what has begun as timed out and the rest as cancelled (J1).
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.is_given_up, true) {
            state.writer.abandon(MoveFault::TimedOut);
        }
    }
}
