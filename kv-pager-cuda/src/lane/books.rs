//! A lane's books: what waits, what is under way, and what has ended.
//! Uses the core's `tier`, `lane::path`. Known by: `lane`, `lane::{issue, worker}`.
//!
//! - **B1** every move of a batch is waiting, in a chunk under way, or ended; its ticket tells the same;
//! - **B2** chunks are under way in the order of their numbers, and end in it;
//! - **B3** nothing here grows past its limit, and nothing is allocated after construction;
//! - **B4** a chunk that timed out keeps its place, its events and its staging bytes until it is known to be over.

use super::Path;
use kv_pager::Error;
use kv_pager::clock::Time;
use kv_pager::ids::Fence;
use kv_pager::tier::{Move, MoveFault, Ticket, TicketPool, TicketWriter};
use kv_pager::units::Nanos;
use std::collections::VecDeque;

/// A batch of which not all moves have ended.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) writer: TicketWriter,
    pub(super) moves: usize,
    /// Moves that left the queue.
    pub(super) taken: usize,
    pub(super) ended: usize,
    pub(super) by_layer: bool,
    /// What stands behind the whole, given to the ticket once all of it is queued.
    pub(super) fence: Option<Fence>,
    pub(super) path: Option<Path>,
}

/// A move set aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aside {
    pub(super) part: Move,
    pub(super) batch: u64,
    pub(super) index: u32,
    pub(super) since: Time,
}

/// A chunk handed to the devices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) chunk: u64,
    pub(super) batch: u64,
    /// How many entries of [`Books::carried`] are its own.
    pub(super) moves: usize,
    pub(super) copies: u32,
    pub(super) bytes: u64,
    pub(super) issued: Time,
    /// What its moves end as, if the driver refused some of its work.
    pub(super) fault: Option<MoveFault>,
    /// B4.
    pub(super) timed_out: bool,
    /// A bit for each rank that is over.
    pub(super) ranks_over: u64,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) waiting: VecDeque<Move>,
    /// Moves whose fence is not known yet; they have left the queue and have not begun.
    pub(super) aside: VecDeque<Aside>,
    pub(super) batches: VecDeque<Batch>,
    /// The number of `batches[0]`.
    pub(super) first_batch: u64,
    pub(super) flights: VecDeque<Flight>,
    /// Indices, in their batches, of the moves of `flights`, in order.
    pub(super) carried: VecDeque<u32>,
    pub(super) next_chunk: u64,
    /// When something last ended.
    pub(super) progress: Time,
    moves_max: usize,
    batches_max: usize,
    tickets: TicketPool,
}

impl Books {
    pub(super) fn new(moves_max: usize, batches_max: usize, flights_max: usize) -> Self {
        Self {
            waiting: VecDeque::with_capacity(moves_max),
            aside: VecDeque::with_capacity(moves_max),
            batches: VecDeque::with_capacity(batches_max),
            first_batch: 0,
            flights: VecDeque::with_capacity(flights_max),
            carried: VecDeque::with_capacity(moves_max),
            next_chunk: 0,
            progress: Time::START,
            moves_max,
            batches_max,
            tickets: TicketPool::new(batches_max.min(64), moves_max.min(1024)),
        }
    }

    /// Takes a batch into the queue.
    pub(super) fn queue(
        &mut self,
        moves: &[Move],
        by_layer: bool,
        path: Option<Path>,
    ) -> Result<Ticket, Error> {
        let held = self.waiting.len() + self.carried.len() + self.aside.len();
        if held + moves.len() > self.moves_max || self.batches.len() >= self.batches_max {
            return Err(Error::QueueFull { limit: self.moves_max });
        }
        let (writer, ticket) = self.tickets.take(moves.len());
        if !moves.is_empty() {
            self.waiting.extend(moves);
            let moves = moves.len();
            self.batches.push_back(Batch { writer, moves, taken: 0, ended: 0, by_layer, fence: None, path });
        }
        Ok(ticket)
    }

    /// The index, in `batches`, of the first batch with moves that wait. Batches are taken in order, so it is found from the
    /// back in a few steps.
    pub(super) fn next_batch(&self) -> Option<usize> {
        let taken_whole = |batch: &Batch| batch.taken == batch.moves;
        let index = self.batches.iter().rposition(taken_whole).map_or(0, |index| index + 1);
        (index < self.batches.len()).then_some(index)
    }

    pub(super) fn batch(&mut self, number: u64) -> &mut Batch {
        let index = usize::try_from(number - self.first_batch).expect("few batches are open");
        &mut self.batches[index]
    }

    /// Ends the moves of the oldest flight, which is over, and forgets it.
    pub(super) fn end_oldest(&mut self, now: Time) {
        let flight = self.flights.pop_front().expect("there is one");
        let busy = now.since(self.progress.max(flight.issued));
        self.progress = now;
        if !flight.timed_out {
            let outcome = flight.fault.map_or(Ok(()), Err);
            self.end_moves(&flight, outcome, busy);
        }
    }

    fn end_moves(&mut self, flight: &Flight, outcome: Result<(), MoveFault>, busy: Nanos) {
        let index = usize::try_from(flight.batch - self.first_batch).expect("few batches are open");
        let batch = &mut self.batches[index];
        for carried in self.carried.drain(..flight.moves) {
            batch.writer.end(carried as usize, outcome);
        }
        batch.ended += flight.moves;
        batch.writer.publish(busy, flight.copies);
        self.drop_ended();
    }

    /// Forgets batches from the front whose moves have all ended; their tickets have told.
    pub(super) fn drop_ended(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.ended == batch.moves) {
            self.batches.pop_front();
            self.first_batch += 1;
        }
    }

    /// Ends what waits as `fault`: it never begins.
    pub(super) fn end_waiting(&mut self, fault: MoveFault) {
        if self.waiting.is_empty() && self.aside.is_empty() {
            return;
        }
        self.waiting.clear();
        for batch in &mut self.batches {
            for index in batch.taken..batch.moves {
                if batch.writer.begin(index) {
                    batch.writer.end(index, Err(fault));
                }
            }
            batch.ended += batch.moves - batch.taken;
            batch.taken = batch.moves;
            batch.writer.publish(Nanos::ZERO, 0);
        }
        while let Some(aside) = self.aside.pop_front() {
            self.end_aside(&aside, fault);
        }
        self.drop_ended();
    }

    /// The device is lost: what waits never begins, and of what is under way nobody will know when it ends (B4).
    pub(super) fn lose(&mut self) {
        self.end_waiting(MoveFault::DeviceLost);
        self.abandon(MoveFault::Lost);
    }

    /// Ends a move that was set aside and has left the list.
    pub(super) fn end_aside(&mut self, aside: &Aside, fault: MoveFault) {
        let batch = self.batch(aside.batch);
        if batch.writer.begin(aside.index as usize) {
            batch.writer.end(aside.index as usize, Err(fault));
        }
        batch.ended += 1;
        batch.writer.publish(Nanos::ZERO, 0);
        self.drop_ended();
    }

    /// Ends everything that was begun as `fault`, calls off everything that waits, and keeps flights only as what may still
    /// be writing (B4).
    pub(super) fn abandon(&mut self, fault: MoveFault) {
        for index in 0..self.flights.len() {
            let flight = self.flights[index];
            if !flight.timed_out {
                self.flights[index].timed_out = true;
                self.end_moves(&flight, Err(fault), Nanos::ZERO);
            }
        }
        self.waiting.clear();
        self.aside.clear();
        self.first_batch += self.batches.len() as u64;
        self.batches.clear();
    }
}
