//! One lane's queues and batches.
//! Layer 7. Uses `clock`, `config`, `tier`. Known by: `transfer`.

use super::batch::Batch;
use super::{Ended, Flight};
use crate::clock::Time;
use crate::config::Limits;
use crate::tier::{Lane, LaneEnds, Move, Signal};
use crate::units::{Bytes, Nanos};
use std::collections::VecDeque;
use std::sync::Arc;

const PRIORITIES: usize = 3;

/// What a lane has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LaneStats {
    /// Batches that are over.
    pub batches: u64,
    /// Moves that ended well.
    pub moves: u64,
    /// Bytes of those.
    pub bytes: Bytes,
    /// How long the lane worked, by its own account.
    pub busy: Nanos,
    /// In how many copy calls.
    pub copies: u64,
    /// Moves that failed, were cancelled or timed out.
    pub failed: u64,
}

/// A lane with what waits for it and what is under way.
#[derive(Debug)]
pub(super) struct LaneState {
    lane: Arc<dyn Lane>,
    queues: [VecDeque<Flight>; PRIORITIES],
    batches: Vec<Batch>,
    bytes_in_flight: Bytes,
    slot_bytes: Vec<Bytes>,
    /// Kept buffers: no batch allocates its flights anew.
    spare: Vec<Vec<Flight>>,
    moves: Vec<Move>,
    stats: LaneStats,
}

impl LaneState {
    pub(super) fn new(lane: Arc<dyn Lane>, slot_bytes: &[Bytes], limits: &Limits) -> Self {
        Self {
            lane,
            queues: std::array::from_fn(|_| VecDeque::new()),
            batches: Vec::new(),
            bytes_in_flight: Bytes::ZERO,
            slot_bytes: slot_bytes.to_vec(),
            spare: Vec::new(),
            moves: Vec::with_capacity(limits.batch_moves as usize),
            stats: LaneStats::default(),
        }
    }

    pub(super) fn ends(&self) -> LaneEnds {
        self.lane.ends()
    }

    pub(super) fn stats(&self) -> LaneStats {
        self.stats
    }

    fn queued(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    pub(super) fn room(&self, limits: &Limits) -> usize {
        (limits.moves_queued as usize).saturating_sub(self.queued())
    }

    pub(super) fn enqueue(&mut self, flight: Flight, limits: &Limits) {
        assert!(self.room(limits) > 0, "the queue of lane {} is full", self.ends());
        self.queues[flight.priority as usize].push_back(flight);
    }

    /// Starts batches while there is room for their bytes (E2), the most urgent first (E3).
    pub(super) fn pump(&mut self, now: Time, limits: &Limits, signal: &Arc<Signal>) {
        while self.queued() > 0 && self.bytes_in_flight < limits.bytes_in_flight {
            let mut flights = self.spare.pop().unwrap_or_default();
            let mut bytes = Bytes::ZERO;
            self.moves.clear();
            'fill: for queue in &mut self.queues {
                while let Some(flight) = queue.front() {
                    let sum = bytes + self.slot_bytes[flight.part.group.index()];
                    let is_full = flights.len() == limits.batch_moves as usize || sum > limits.batch_bytes;
                    if is_full && !flights.is_empty() {
                        break 'fill;
                    }
                    bytes = sum;
                    self.moves.push(flight.part);
                    flights.push(*flight);
                    queue.pop_front();
                }
            }
            match self.lane.submit(&self.moves) {
                Ok(ticket) => {
                    ticket.attach(signal);
                    self.bytes_in_flight += bytes;
                    self.batches.push(Batch::new(ticket, flights, now.after(limits.move_deadline)));
                }
                Err(_full) => {
                    while let Some(flight) = flights.pop() {
                        self.queues[flight.priority as usize].push_front(flight);
                    }
                    self.spare.push(flights);
                    return;
                }
            }
        }
    }

    pub(super) fn poll(&mut self, now: Time, ended: &mut Vec<Ended>) {
        let ends = self.lane.ends();
        let mut index = 0;
        while index < self.batches.len() {
            let first = ended.len();
            self.batches[index].poll(now, ends, ended);
            for end in &ended[first..] {
                match end.outcome {
                    super::Outcome::Done => {
                        self.stats.moves += 1;
                        self.stats.bytes += self.slot_bytes[end.flight.part.group.index()];
                    }
                    super::Outcome::Failed(_) => self.stats.failed += 1,
                    super::Outcome::Over => {}
                }
            }
            if self.batches[index].is_over() {
                let batch = self.batches.remove(index);
                self.retire(batch);
            } else {
                index += 1;
            }
        }
    }

    fn retire(&mut self, batch: Batch) {
        let bytes = batch.bytes(|flight| self.slot_bytes[flight.part.group.index()]);
        self.bytes_in_flight = Bytes::new(self.bytes_in_flight.as_u64() - bytes.as_u64());
        let (busy, copies) = batch.ticket().effort();
        self.stats.batches += 1;
        self.stats.busy = self.stats.busy.saturating_add(busy);
        self.stats.copies += u64::from(copies);
        let mut flights = batch.into_flights();
        flights.clear();
        self.spare.push(flights);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.queued() > 0 || !self.batches.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Time {
        self.batches.iter().map(|batch| batch.deadline).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.queues.iter().flatten().chain(self.batches.iter().flat_map(Batch::open_flights))
    }
}
