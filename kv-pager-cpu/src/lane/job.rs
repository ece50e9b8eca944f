//! A job: one batch under way, and its ticket's other half.
//! Uses `kv_pager::tier`. Known by: `lane`.
//!
//! - **J1** after `give_up` nothing of the batch begins or ends any more: a thread that comes back late is not heard.

use kv_pager::sync::{AtomicBool, Mutex, Ordering};
use kv_pager::tier::{Move, MoveFault, Ticket, TicketWriter};
use kv_pager::units::Nanos;

/// A batch under way.
#[derive(Debug)]
pub(crate) struct Job {
    /// J1: empty once the lane has given up.
    writer: Mutex<Option<TicketWriter>>,
    is_announced: AtomicBool,
}

impl Job {
    /// A job of `moves` moves, and its ticket.
    pub(super) fn new(moves: usize) -> (Self, Ticket) {
        let (writer, ticket) = TicketWriter::new(moves);
        (Self { writer: Mutex::new(Some(writer)), is_announced: AtomicBool::new(false) }, ticket)
    }

    /// True for the first caller.
    pub(super) fn is_to_be_announced(&self) -> bool {
        !self.is_announced.swap(true, Ordering::Relaxed)
    }

    /// Begins `moves`, each with its place in the batch, and keeps those that were not called off; none if the lane has given up.
    pub(super) fn begin(&self, moves: &mut Vec<(u32, Move)>) {
        let writer = self.writer.lock();
        moves.retain(|(index, _)| writer.as_ref().is_some_and(|writer| writer.begin(*index as usize)));
    }

    /// Ends moves that were begun, and rings.
    pub(super) fn end(
        &self,
        ends: impl Iterator<Item = (u32, Result<(), MoveFault>)>,
        busy: Nanos,
        copies: u32,
    ) {
        if let Some(writer) = self.writer.lock().as_ref() {
            for (index, outcome) in ends {
                writer.end(index as usize, outcome);
            }
            writer.publish(busy, copies);
        }
    }

    /// Ends what has begun as timed out and the rest as cancelled (J1).
    pub(super) fn give_up(&self) {
        if let Some(writer) = self.writer.lock().take() {
            writer.abandon(MoveFault::TimedOut);
        }
    }
}
