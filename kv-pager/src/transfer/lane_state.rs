//! One lane's queue and batches.
//! Layer 7. Uses `clock`, `config`, `prefix`, `tier`. Known by: `transfer`.

use super::batch::Batch;
use super::queue::{Goal, Place, Queue, Queued};
use super::{Ended, Flight, Outcome, Priority};
use crate::clock::Time;
use crate::config::Limits;
use crate::error::ErrorKind;
use crate::prefix::Looks;
use crate::tier::{Lane, LaneEnds, Move, MoveFault, Signal, Ticket};
use crate::units::{Bytes, Nanos};
use std::collections::VecDeque;
use std::sync::Arc;

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

/// How many moves one poll looks at in batches of which something is new: no batch has more.
pub(super) const MOVES_A_POLL: usize = 512;
/// How many moves begin in one hold of the lock, unless the first batch has more.
pub(super) const MOVES_A_HOLD: usize = 256;

/// A lane with what waits for it and what is under way.
#[derive(Debug)]
pub(super) struct LaneState {
    lane: Arc<dyn Lane>,
    /// What waits, and what is under way, until it is told of, called off or refused (E5).
    queue: Queue<Flight>,
    /// Bytes that wait, by priority.
    queued_bytes: [Bytes; Priority::COUNT],
    worked: Vec<Worked>,
    /// Of a lane that works on many: what has ended since it was idle, or since that was told.
    together: Worked,
    /// Whether one failed meanwhile.
    is_spoiled: bool,
    /// By number.
    batches: Vec<Batch>,
    submitted: u64,
    bytes_in_flight: Bytes,
    /// The most of them, but for one batch.
    bytes_in_flight_max: Bytes,
    /// Moves in a batch: the limit, or fewer after the lane has refused as many with nothing under way.
    batch_moves: usize,
    slot_bytes: Vec<Bytes>,
    /// What the lane would not take, or did not in time, until it is told.
    refused: VecDeque<(Flight, MoveFault)>,
    /// Those of which a flight failed and may go on, maybe for ever. Each keeps slots, so there are never more than slots.
    given_up: Vec<Batch>,
    /// Kept buffers: no batch allocates its flights anew.
    spare: Vec<Vec<Flight>>,
    moves: Vec<Move>,
    found: Vec<Flight>,
    stats: LaneStats,
}

impl LaneState {
    /// `slots` are, by group, those of the target.
    pub(super) fn new(
        lane: Arc<dyn Lane>,
        slot_bytes: &[Bytes],
        slots: &[u32],
        limits: &Limits,
        looks: Looks,
    ) -> Self {
        Self {
            lane,
            queue: Queue::new(slots, limits.moves_queued, looks),
            queued_bytes: [Bytes::ZERO; Priority::COUNT],
            worked: Vec::with_capacity(WORKED_MAX),
            together: Worked::default(),
            is_spoiled: false,
            batches: Vec::new(),
            submitted: 0,
            bytes_in_flight: Bytes::ZERO,
            bytes_in_flight_max: limits.bytes_in_flight,
            batch_moves: limits.batch_moves as usize,
            slot_bytes: slot_bytes.to_vec(),
            refused: VecDeque::new(),
            given_up: Vec::new(),
            spare: Vec::new(),
            moves: Vec::with_capacity(limits.batch_moves as usize),
            found: Vec::new(),
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
        self.queue.len()
    }

    pub(super) fn room(&self, limits: &Limits) -> usize {
        (limits.moves_queued as usize).saturating_sub(self.queued())
    }

    pub(super) fn enqueue(&mut self, flight: Flight, limits: &Limits) {
        assert!(self.room(limits) > 0, "the queue of lane {} is full", self.ends());
        self.add(flight);
    }

    fn add(&mut self, flight: Flight) {
        self.queued_bytes[flight.priority as usize] += self.bytes_of(&flight);
        self.queue.add(flight);
    }

    /// Takes out a flight that waits.
    fn take(&mut self, place: Place) -> Flight {
        let flight = self.queue.take(place);
        self.count_out(&flight);
        flight
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

    /// Calls off the flights that are asked for by `goals` and that `is_meant` says are: what waits ends as cancelled with the next poll,
    /// what the lane has not begun yet as soon as it says so. `O(goals)`, and sorts what it finds.
    pub(super) fn call_off(&mut self, goals: &[Goal], is_meant: impl Fn(&Flight) -> bool) {
        for place in goals.iter().filter_map(|goal| self.queue.find(*goal)) {
            if let Some((number, index)) = self.queue.begun(place)
                && is_meant(self.queue.item(place))
            {
                let batch = self.batches.binary_search_by_key(&number, Batch::number);
                self.batches[batch.expect("something of it is untold")].call_off(index);
            }
        }
        let mut found = std::mem::take(&mut self.found);
        self.queue.take_found(goals, is_meant, &mut found);
        for flight in found.drain(..) {
            self.count_out(&flight);
            self.refused.push_back((flight, MoveFault::Cancelled));
        }
        self.found = found;
    }

    /// What has been worked on since the last call.
    pub(super) fn take_worked(&mut self) -> impl Iterator<Item = Worked> + '_ {
        self.worked.drain(..)
    }

    pub(super) fn has_prefetches(&self) -> bool {
        self.queue.len_of(Priority::Prefetch) > 0
    }

    /// Moves those of the prefetches that are asked for by `goals` to the end of the demands, in the order in which they wait.
    /// `O(goals)`, and sorts what it finds.
    pub(super) fn hasten(&mut self, goals: &[Goal]) {
        let mut found = std::mem::take(&mut self.found);
        self.queue.take_found(goals, |flight| flight.priority == Priority::Prefetch, &mut found);
        for flight in found.drain(..) {
            self.count_out(&flight);
            self.add(Flight { priority: Priority::Demand, ..flight });
        }
        self.found = found;
    }

    /// Starts batches while there is room for their bytes (E2), the most urgent first (E3), and none but the first of a hold has more moves
    /// than are `left` of what may begin in it (E6). Returns whether that was all that can start.
    pub(super) fn pump(
        &mut self,
        now: Time,
        limits: &Limits,
        signal: &Arc<Signal>,
        left: &mut usize,
    ) -> bool {
        while !self.queue.is_empty() && self.bytes_in_flight < limits.bytes_in_flight {
            // What only makes room collects while the lane works: one large batch is cheaper than many small ones.
            let is_urgent = self.queued() > self.queue.len_of(Priority::Offload);
            let is_working = self.batches.iter().any(|batch| batch.deadline().is_some());
            if !is_urgent && is_working && self.queued() < self.batch_moves {
                return true;
            }
            let mut flights = self.spare.pop().unwrap_or_default();
            let mut bytes = Bytes::ZERO;
            self.moves.clear();
            for flight in self.queue.waiting() {
                let sum = bytes + self.bytes_of(flight);
                let is_full = flights.len() >= self.batch_moves || sum > limits.batch_bytes;
                if is_full && !flights.is_empty() {
                    break;
                }
                bytes = sum;
                self.moves.push(flight.part);
                flights.push(*flight);
            }
            if flights.len() > *left && *left < MOVES_A_HOLD {
                flights.clear();
                self.spare.push(flights);
                return false;
            }
            match self.lane.submit(&self.moves) {
                Ok(ticket) => {
                    ticket.attach(signal);
                    *left = left.saturating_sub(flights.len());
                    self.batch_moves = (self.batch_moves * 2).min(limits.batch_moves as usize);
                    self.bytes_in_flight += bytes;
                    self.begin(ticket, flights, bytes, now.after(limits.move_deadline));
                }
                Err(error) if error.kind() == ErrorKind::Retry => {
                    let is_too_large = self.batches.is_empty() && flights.len() > 1;
                    if is_too_large {
                        self.batch_moves = flights.len() / 2;
                    }
                    flights.clear();
                    self.spare.push(flights);
                    if !is_too_large {
                        return true;
                    }
                }
                Err(error) => {
                    *left = left.saturating_sub(flights.len());
                    let is_lost = error.kind() == ErrorKind::DeviceLost;
                    self.refuse(flights, if is_lost { MoveFault::DeviceLost } else { MoveFault::Io });
                    signal.ring();
                }
            }
        }
        true
    }

    /// The lane has taken on `flights`, the first that wait.
    fn begin(&mut self, ticket: Ticket, flights: Vec<Flight>, bytes: Bytes, deadline: Time) {
        self.submitted += 1;
        for (index, flight) in flights.iter().enumerate() {
            let place = self.queue.first(flight.priority).expect("nobody has taken it meanwhile");
            self.queue.begin(place, self.submitted, index);
            self.count_out(flight);
        }
        let span = tracing::debug_span!(
            "transfer",
            lane = %self.lane.ends(),
            moves = flights.len(),
            bytes = bytes.as_u64(),
            busy_ns = tracing::field::Empty,
        );
        self.batches.push(Batch::new(self.submitted, ticket, flights, deadline, span));
    }

    /// The lane does not take on `flights`, the first that wait.
    fn refuse(&mut self, mut flights: Vec<Flight>, fault: MoveFault) {
        for flight in flights.drain(..) {
            let place = self.queue.first(flight.priority).expect("nobody has taken it meanwhile");
            self.take(place);
            self.refused.push_back((flight, fault));
        }
        self.spare.push(flights);
    }

    /// Tells what has ended, was refused, or has waited longer than it may (E4), until `ended` has `most`, or `looks`, which is counted
    /// down, is not enough for the next batch (E6). Returns whether it was all.
    pub(super) fn poll(&mut self, now: Time, most: usize, looks: &mut usize, ended: &mut Vec<Ended>) -> bool {
        if !self.poll_given_up(now, most, looks, ended) {
            return false;
        }
        let ends = self.lane.ends();
        let first = ended.len();
        for priority in Priority::ALL {
            while ended.len() + self.refused.len() < most
                && let Some(place) = self.queue.first(priority)
                && self.queue.item(place).deadline <= now
            {
                let late = self.take(place);
                self.refused.push_back((late, MoveFault::Cancelled));
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
            let Some(left) = looks.checked_sub(self.batches[index].looks(now)) else { return false };
            *looks = left;
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
        !self.refused.is_empty() || self.oldest().any(|flight| flight.deadline <= now)
    }

    /// Those that have waited longest, by priority.
    fn oldest(&self) -> impl Iterator<Item = &Flight> {
        Priority::ALL
            .into_iter()
            .filter_map(|priority| self.queue.first(priority))
            .map(|at| self.queue.item(at))
    }

    /// Tells which of what was given up is known to be over, until `ended` has `most`, or `looks` is not enough. Returns whether it was all.
    fn poll_given_up(&mut self, now: Time, most: usize, looks: &mut usize, ended: &mut Vec<Ended>) -> bool {
        let ends = self.lane.ends();
        let mut index = 0;
        while index < self.given_up.len() {
            let Some(left) = looks.checked_sub(self.given_up[index].looks(now)) else { return false };
            *looks = left;
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

    /// Counts an end. What is told of for the first time counts as in flight no more, and is not to be called off: a hung move holds its
    /// slots, not the lane.
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
        self.queue.end(end.flight.goal());
        self.bytes_in_flight = Bytes::new(self.bytes_in_flight.as_u64() - bytes.as_u64());
    }

    fn retire(&mut self, batch: Batch) {
        let (busy, copies) = batch.ticket().effort();
        self.stats.batches += 1;
        self.stats.busy = self.stats.busy.saturating_add(busy);
        self.stats.copies += u64::from(copies);
        batch.span().record("busy_ns", busy.as_u64());
        match batch.done() {
            Some(done) => {
                self.together.bytes += done.map(|flight| self.bytes_of(flight)).sum::<Bytes>();
                self.together.copies = self.together.copies.saturating_add(copies);
                self.together.busy = self.together.busy.saturating_add(busy);
            }
            None => self.is_spoiled = true,
        }
        self.tell_worked();
        if batch.is_open() {
            self.given_up.push(batch);
        } else {
            self.keep_buffer(batch);
        }
    }

    /// Has it told what was worked on, unless some of that time may be that of batches under way, or some of theirs its own. Where one of
    /// them failed, nobody knows how much of the others' time it was charged for.
    fn tell_worked(&mut self) {
        let enough = self.bytes_in_flight_max.as_u64().saturating_mul(TOGETHER_FLIGHTS);
        let is_working = self.batches.iter().any(|batch| batch.deadline().is_some());
        if self.lane.works_on_many() && is_working && self.together.bytes.as_u64() < enough {
            return;
        }
        let (worked, is_spoiled) = (std::mem::take(&mut self.together), std::mem::take(&mut self.is_spoiled));
        if !is_spoiled && worked.bytes > Bytes::ZERO && self.worked.len() < WORKED_MAX {
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
        let queued = self.oldest().map(|flight| flight.deadline);
        self.batches.iter().filter_map(Batch::deadline).chain(queued).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn flights(&self) -> impl Iterator<Item = &Flight> {
        let refused = self.refused.iter().map(|(flight, _)| flight);
        let open = self.batches.iter().chain(&self.given_up).flat_map(Batch::open_flights);
        self.queue.waiting().chain(refused).chain(open)
    }
}
