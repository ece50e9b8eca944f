//! A pool of tickets, so that a lane in steady state allocates nothing.
//! Layer 5. Uses `tier::ticket`. Known by: backends.
//!
//! - **O1** a ticket is given out again only after both halves of its last use were dropped.

use super::ticket::{Shared, Ticket, TicketWriter};
use std::sync::Arc;

/// Tickets of at most `moves` moves, used again and again.
#[derive(Debug)]
pub struct TicketPool {
    shared: Box<[Arc<Shared>]>,
    next: usize,
}

impl TicketPool {
    /// `tickets` tickets, each with room for `moves` moves.
    pub fn new(tickets: usize, moves: usize) -> Self {
        Self { shared: (0..tickets).map(|_| Arc::new(Shared::new(moves))).collect(), next: 0 }
    }

    /// Both halves, for a batch of `moves`. Allocates only if every ticket is in use or the batch is too long.
    /// `O(tickets)` at worst, `O(1)` where they end in the order of their starts.
    pub fn take(&mut self, moves: usize) -> (TicketWriter, Ticket) {
        for _ in 0..self.shared.len() {
            self.next = (self.next + 1) % self.shared.len();
            let candidate = &mut self.shared[self.next];
            if Arc::get_mut(candidate).is_some_and(|shared| shared.reset(moves)) {
                return TicketWriter::halves(Arc::clone(candidate));
            }
        }
        TicketWriter::new(moves)
    }
}

#[cfg(test)]
mod tests {
    use super::TicketPool;
    use crate::tier::MoveFault;

    #[test]
    fn a_ticket_in_use_is_not_given_out_again() {
        let mut pool = TicketPool::new(2, 4);
        let (writer, ticket) = pool.take(3);
        assert!(writer.begin(0));
        for moves in [1, 4, 5, 2] {
            let (other, its) = pool.take(moves);
            assert_eq!((its.len(), its.ended()), (moves, 0));
            drop(other);
            assert!(its.is_over());
        }
        assert_eq!((ticket.len(), ticket.ended()), (3, 0));
        drop(writer);
        assert_eq!(ticket.outcome(0), Some(Err(MoveFault::Lost)));
        assert!(ticket.is_over());
    }
}
