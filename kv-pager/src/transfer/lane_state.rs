//! One lane's queues and batches.
//! Layer 7. Uses `clock`, `config`, `tier`. Known by: `transfer`.

use super::batch::Batch;
use super::{Ended, Flight, Outcome, Priority};
use crate::clock::Time;
use crate::config::Limits;
use crate::error::ErrorKind;
use crate::tier::{Lane, LaneEnds, Move, MoveFault, Signal};
use crate::units::{Bytes, Nanos};
use std::collections::VecDeque;
use std::sync::Arc;

const PRIORITIES: usize = 4;

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

/// A batch that ended without a fault, and how long the lane worked on it; or batches that it worked on together
/// ([`Lane::works_on_many`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Worked {
    /// Bytes of what was not called off, as the device has them.
    pub bytes: Bytes,
    /// In how many copy calls.
    pub copies: u32,
    /// By the lane's own account.
    pub busy: Nanos,
}

/// So many times the bytes that may be under way a lane has worked on together when that is told though it goes on with others: what is
/// charged to one in place of the other weighs little then.
const TOGETHER_FLIGHTS: u64 = 4;

/// How many batches are remembered until somebody learns from them: the rest is not told.
const WORKED_MAX: usize = 64;

/// A lane with what waits for it and what is under way.
#[derive(Debug)]
pub(super) struct LaneState {
    lane: Arc<dyn Lane>,
    queues: [VecDeque<Flight>; PRIORITIES],
    /// Bytes in each of them.
    queued_bytes: [Bytes; PRIORITIES],
    worked: Vec<Worked>,
    /// Of a lane that works on many: what has ended since it was idle, or since that was told.
    together: Worked,
    batches: Vec<Batch>,
    bytes_in_flight: Bytes,
    /// The most of them, but for one batch.
    bytes_in_flight_max: Bytes,
    /// Moves in a batch: the limit, or fewer after the lane has refused as many with nothing under way.
    batch_moves: usize,
    slot_bytes: Vec<Bytes>,
    /// What the lane would not take, or did not in time, until it is told.
    refused: Vec<(Flight, MoveFault)>,
    /// Those of which a flight failed and may go on, maybe for ever. Each keeps slots, so there are never more than slots.
    given_up: Vec<Batch>,
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
            queued_bytes: [Bytes::ZERO; PRIORITIES],
            worked: Vec::with_capacity(WORKED_MAX),
            together: Worked::default(),
            batches: Vec::new(),
            bytes_in_flight: Bytes::ZERO,
            bytes_in_flight_max: limits.bytes_in_flight,
            batch_moves: limits.batch_moves as usize,
            slot_bytes: slot_bytes.to_vec(),
            refused: Vec::new(),
            given_up: Vec::new(),
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

    pub(super) fn bytes_in_flight(&self) -> Bytes {
        self.bytes_in_flight
    }

    pub(super) fn queued(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    pub(super) fn room(&self, limits: &Limits) -> usize {
        (limits.moves_queued as usize).saturating_sub(self.queued())
    }

    pub(super) fn enqueue(&mut self, flight: Flight, limits: &Limits) {
        assert!(self.room(limits) > 0, "the queue of lane {} is full", self.ends());
        self.queued_bytes[flight.priority as usize] += self.bytes_of(&flight);
        self.queues[flight.priority as usize].push_back(flight);
    }

    fn bytes_of(&self, flight: &Flight) -> Bytes {
        self.slot_bytes[flight.part.group.index()]
    }

    /// `flight` waits no longer.
    fn count_out(&mut self, flight: &Flight) {
        let bytes = self.bytes_of(flight);
        let queued = &mut self.queued_bytes[flight.priority as usize];
        *queued = Bytes::new(queued.as_u64() - bytes.as_u64());
    }

    /// Bytes under way, and of what waits and is as urgent as `priority`.
    pub(super) fn bytes_before(&self, priority: Priority) -> Bytes {
        self.bytes_in_flight + self.queued_bytes[..=priority as usize].iter().copied().sum::<Bytes>()
    }

    /// Calls off what `is_meant` names: what waits ends as cancelled with the next poll, what the lane has not begun yet as soon as
    /// it says so. `O(flights of the lane)`.
    pub(super) fn call_off(&mut self, is_meant: impl Fn(&Flight) -> bool) {
        for priority in 0..PRIORITIES {
            for _ in 0..self.queues[priority].len() {
                let Some(flight) = self.queues[priority].pop_front() else { break };
                if is_meant(&flight) {
                    self.count_out(&flight);
                    self.refused.push((flight, MoveFault::Cancelled));
                } else {
                    self.queues[priority].push_back(flight);
                }
            }
        }
        for batch in &self.batches {
            batch.call_off(&is_meant);
        }
    }

    /// What has been worked on since the last call.
    pub(super) fn take_worked(&mut self) -> impl Iterator<Item = Worked> + '_ {
        self.worked.drain(..)
    }

    pub(super) fn has_prefetches(&self) -> bool {
        !self.queues[Priority::Prefetch as usize].is_empty()
    }

    /// Moves prefetches to the end of the demands, in their order.
    pub(super) fn hasten(&mut self, is_wanted: impl Fn(&Flight) -> bool, limits: &Limits) {
        let prefetches = Priority::Prefetch as usize;
        for _ in 0..self.queues[prefetches].len() {
            let Some(flight) = self.queues[prefetches].pop_front() else { break };
            if is_wanted(&flight) {
                self.count_out(&flight);
                self.enqueue(Flight { priority: Priority::Demand, ..flight }, limits);
            } else {
                self.queues[prefetches].push_back(flight);
            }
        }
    }

    /// Starts batches while there is room for their bytes (E2), the most urgent first (E3).
    pub(super) fn pump(&mut self, now: Time, limits: &Limits, signal: &Arc<Signal>) {
        while self.queued() > 0 && self.bytes_in_flight < limits.bytes_in_flight {
            // What only makes room collects while the lane works: one large batch is cheaper than many small ones.
            let urgent: usize = self.queues[..Priority::Offload as usize].iter().map(VecDeque::len).sum();
            let is_working = self.batches.iter().any(|batch| batch.deadline().is_some());
            if urgent == 0 && is_working && self.queued() < self.batch_moves {
                return;
            }
            let mut flights = self.spare.pop().unwrap_or_default();
            let mut bytes = Bytes::ZERO;
            self.moves.clear();
            'fill: for (queue, queued) in self.queues.iter_mut().zip(&mut self.queued_bytes) {
                while let Some(flight) = queue.front() {
                    let part_bytes = self.slot_bytes[flight.part.group.index()];
                    let sum = bytes + part_bytes;
                    let is_full = flights.len() >= self.batch_moves || sum > limits.batch_bytes;
                    if is_full && !flights.is_empty() {
                        break 'fill;
                    }
                    bytes = sum;
                    self.moves.push(flight.part);
                    flights.push(*flight);
                    queue.pop_front();
                    *queued = Bytes::new(queued.as_u64() - part_bytes.as_u64());
                }
            }
            match self.lane.submit(&self.moves) {
                Ok(ticket) => {
                    ticket.attach(signal);
                    self.batch_moves = (self.batch_moves * 2).min(limits.batch_moves as usize);
                    self.bytes_in_flight += bytes;
                    let span = tracing::debug_span!(
                        "transfer",
                        lane = %self.lane.ends(),
                        moves = flights.len(),
                        bytes = bytes.as_u64(),
                        busy_ns = tracing::field::Empty,
                    );
                    self.batches.push(Batch::new(ticket, flights, now.after(limits.move_deadline), span));
                }
                Err(error) if error.kind() == ErrorKind::Retry => {
                    let is_too_large = self.batches.is_empty() && flights.len() > 1;
                    if is_too_large {
                        self.batch_moves = flights.len() / 2;
                    }
                    while let Some(flight) = flights.pop() {
                        self.queued_bytes[flight.priority as usize] += self.bytes_of(&flight);
                        self.queues[flight.priority as usize].push_front(flight);
                    }
                    self.spare.push(flights);
                    if !is_too_large {
                        return;
                    }
                }
                Err(error) => {
                    let fault = if error.kind() == ErrorKind::DeviceLost {
                        MoveFault::DeviceLost
                    } else {
                        MoveFault::Io
                    };
                    self.refused.extend(flights.drain(..).map(|flight| (flight, fault)));
                    self.spare.push(flights);
                    signal.ring();
                }
            }
        }
    }

    /// Tells what has ended, was refused, or has waited longer than it may (E4), until `ended` has `most`. Returns whether it was all.
    pub(super) fn poll(&mut self, now: Time, most: usize, ended: &mut Vec<Ended>) -> bool {
        if !self.poll_given_up(now, most, ended) {
            return false;
        }
        let ends = self.lane.ends();
        let first = ended.len();
        for priority in 0..PRIORITIES {
            while ended.len() + self.refused.len() < most
                && let Some(late) = self.queues[priority].pop_front_if(|flight| flight.deadline <= now)
            {
                self.count_out(&late);
                self.refused.push((late, MoveFault::Cancelled));
            }
        }
        let told = self.refused.len().min(most.saturating_sub(first));
        ended.extend(self.refused.drain(..told).map(|(flight, fault)| Ended {
            source: ends.source,
            target: ends.target,
            flight,
            outcome: Outcome::Failed(fault),
        }));
        self.stats.failed += told as u64;
        let mut index = 0;
        while index < self.batches.len() {
            let first = ended.len();
            let is_all = self.batches[index].poll(now, ends, most, ended);
            for end in &ended[first..] {
                self.count(end);
            }
            if self.batches[index].is_over() {
                let batch = self.batches.remove(index);
                self.retire(batch);
            } else if is_all {
                index += 1;
            } else {
                return false;
            }
        }
        ended.len() < most || !self.has_ended(now)
    }

    /// Whether something was refused, or has waited longer than it may.
    fn has_ended(&self, now: Time) -> bool {
        let is_late = |queue: &VecDeque<Flight>| queue.front().is_some_and(|flight| flight.deadline <= now);
        !self.refused.is_empty() || self.queues.iter().any(is_late)
    }

    /// Tells which of what was given up is known to be over, until `ended` has `most`. Returns whether it was all.
    fn poll_given_up(&mut self, now: Time, most: usize, ended: &mut Vec<Ended>) -> bool {
        let ends = self.lane.ends();
        let mut index = 0;
        while index < self.given_up.len() {
            let is_all = self.given_up[index].poll(now, ends, most, ended);
            if !self.given_up[index].is_open() {
                let batch = self.given_up.remove(index);
                self.keep_buffer(batch);
            } else if is_all {
                index += 1;
            } else {
                return false;
            }
        }
        true
    }

    /// Whether something is known to be over, and the next poll tells it.
    pub(super) fn has_more_to_tell(&self) -> bool {
        self.given_up.iter().any(Batch::has_more_to_tell)
    }

    /// Counts an end. What is told of for the first time counts as in flight no more: a hung move holds its slots, not the lane.
    fn count(&mut self, end: &Ended) {
        let bytes = self.slot_bytes[end.flight.part.group.index()];
        match end.outcome {
            Outcome::Done => {
                self.stats.moves += 1;
                self.stats.bytes += bytes;
            }
            Outcome::Failed(_) => self.stats.failed += 1,
            Outcome::Over => return,
        }
        self.bytes_in_flight = Bytes::new(self.bytes_in_flight.as_u64() - bytes.as_u64());
    }

    fn retire(&mut self, batch: Batch) {
        let (busy, copies) = batch.ticket().effort();
        self.stats.batches += 1;
        self.stats.busy = self.stats.busy.saturating_add(busy);
        self.stats.copies += u64::from(copies);
        batch.span().record("busy_ns", busy.as_u64());
        if let Some(done) = batch.done() {
            self.together.bytes += done.map(|flight| self.bytes_of(flight)).sum::<Bytes>();
            self.together.copies = self.together.copies.saturating_add(copies);
            self.together.busy = self.together.busy.saturating_add(busy);
        }
        self.tell_worked();
        if batch.is_open() {
            self.given_up.push(batch);
        } else {
            self.keep_buffer(batch);
        }
    }

    /// Has it told what was worked on, unless some of that time may be that of batches under way, or some of theirs its own.
    fn tell_worked(&mut self) {
        let enough = self.bytes_in_flight_max.as_u64().saturating_mul(TOGETHER_FLIGHTS);
        let is_among_others = self.lane.works_on_many() && !self.batches.is_empty();
        if is_among_others && self.together.bytes.as_u64() < enough {
            return;
        }
        let worked = std::mem::take(&mut self.together);
        if worked.bytes > Bytes::ZERO && self.worked.len() < WORKED_MAX {
            self.worked.push(worked);
        }
    }

    fn keep_buffer(&mut self, batch: Batch) {
        let mut flights = batch.into_flights();
        flights.clear();
        self.spare.push(flights);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.queued() > 0
            || !self.refused.is_empty()
            || self.batches.iter().any(|batch| batch.deadline().is_some())
    }

    pub(super) fn next_deadline(&self) -> Time {
        let queued = self.queues.iter().filter_map(|queue| queue.front()).map(|flight| flight.deadline);
        self.batches.iter().filter_map(Batch::deadline).chain(queued).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn flights(&self) -> impl Iterator<Item = &Flight> {
        let refused = self.refused.iter().map(|(flight, _)| flight);
        let open = self.batches.iter().chain(&self.given_up).flat_map(Batch::open_flights);
        self.queues.iter().flatten().chain(refused).chain(open)
    }
}
