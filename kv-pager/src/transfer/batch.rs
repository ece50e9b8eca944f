//! A batch: flights that a lane was given together, and what of them has been told.
//! Layer 7. Uses `clock`, `tier`. Known by: `transfer`.

use super::{Ended, Flight, Outcome};
use crate::clock::Time;
use crate::tier::{LaneEnds, MoveFault, Ticket};
use tracing::Span;

/// What has been told of a flight (E1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Nothing,
    TimedOut,
    /// That it failed and may go on: it may be that nobody ever knows when it is over.
    GivenUp,
    All,
}

/// A ticket with its flights.
#[derive(Debug)]
pub(super) struct Batch {
    number: u64,
    ticket: Ticket,
    flights: Vec<Flight>,
    told: Vec<Told>,
    /// How many moves had ended when we last looked: nothing new, no look.
    seen: usize,
    untold: usize,
    /// How many may still touch their slots, as far as has been told.
    open: usize,
    /// How many of the moves that were given up have been told as over.
    concluded: usize,
    deadline: Time,
    is_overdue: bool,
    /// Whether the last look ended before all that had ended was told.
    has_more: bool,
    /// From the submission until nothing of it goes on, for whoever traces.
    span: Span,
}

impl Batch {
    /// The lane's batch of this `number`: each has a higher one than those before it.
    pub(super) fn new(number: u64, ticket: Ticket, flights: Vec<Flight>, deadline: Time, span: Span) -> Self {
        let untold = flights.len();
        let told = vec![Told::Nothing; untold];
        Self {
            number,
            ticket,
            flights,
            told,
            seen: 0,
            untold,
            open: untold,
            concluded: 0,
            deadline,
            is_overdue: false,
            has_more: false,
            span,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// Whether it is late and has not been called off for it.
    fn is_late(&self, now: Time) -> bool {
        now >= self.deadline && !self.is_overdue
    }

    /// At how many flights the next poll looks: none if nothing is new.
    pub(super) fn looks(&self, now: Time) -> usize {
        let is_new =
            self.ticket.ended() != self.seen || self.has_more || self.has_more_to_tell() || self.is_late(now);
        if is_new { self.flights.len() } else { 0 }
    }

    /// Tells what has ended since the last look, until `ended` has `most`. Returns whether it was all.
    pub(super) fn poll(&mut self, now: Time, ends: LaneEnds, most: usize, ended: &mut Vec<Ended>) -> bool {
        if self.looks(now) == 0 {
            return true;
        }
        if self.is_late(now) {
            self.is_overdue = true;
            self.ticket.cancel();
            for index in 0..self.flights.len() {
                self.ticket.cancel_move(index);
            }
        }
        self.seen = self.ticket.ended();
        self.has_more = false;
        for index in 0..self.flights.len() {
            let before = self.told[index];
            let (outcome, told) = match (self.ticket.outcome(index), before) {
                (_, Told::GivenUp) if self.ticket.is_concluded(index) => (Some(Outcome::Over), Told::All),
                (_, Told::All | Told::GivenUp) | (None, Told::TimedOut) => continue,
                (None, Told::Nothing) if !self.is_overdue => continue,
                (None, Told::Nothing) => (Some(Outcome::Failed(MoveFault::TimedOut)), Told::TimedOut),
                (Some(Err(fault)), Told::TimedOut) if fault.may_go_on() => (None, Told::GivenUp),
                (Some(_), Told::TimedOut) => (Some(Outcome::Over), Told::All),
                (Some(Ok(())), Told::Nothing) => (Some(Outcome::Done), Told::All),
                (Some(Err(fault)), Told::Nothing) => {
                    let told = if fault.may_go_on() { Told::GivenUp } else { Told::All };
                    (Some(Outcome::Failed(fault)), told)
                }
            };
            if outcome.is_some() && ended.len() >= most {
                self.has_more = true;
                return false;
            }
            self.told[index] = told;
            self.concluded += usize::from(before == Told::GivenUp);
            self.open -= usize::from(told == Told::All);
            self.untold -= usize::from(told != Told::TimedOut && before != Told::GivenUp);
            if let Some(outcome) = outcome {
                let flight = self.flights[index];
                ended.push(Ended { source: ends.source, target: ends.target, flight, outcome });
            }
        }
        true
    }

    /// Whether every flight was told as ended.
    pub(super) fn is_over(&self) -> bool {
        self.untold == 0
    }

    /// Whether a flight that was given up is known to be over, and was not told so.
    pub(super) fn has_more_to_tell(&self) -> bool {
        self.ticket.concluded() > self.concluded
    }

    /// When it is given up; `None` once it has been.
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.is_overdue).then_some(self.deadline)
    }

    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Calls off flight `index`, of which nothing was told, if it has not begun.
    pub(super) fn call_off(&self, index: usize) {
        assert!(self.told[index] == Told::Nothing, "flight {index}: {:?} was told", self.told[index]);
        self.ticket.cancel_move(index);
    }

    /// The flights that ended well, if there are any and the others were called off before they began.
    pub(super) fn done(&self) -> Option<impl Iterator<Item = &Flight>> {
        let outcome = |index| self.ticket.outcome(index);
        let is_in_order = |index| matches!(outcome(index), Some(Ok(()) | Err(MoveFault::Cancelled)));
        let is_done = move |(index, _): &(usize, &Flight)| outcome(*index) == Some(Ok(()));
        let has_any = (0..self.flights.len()).any(|index| outcome(index) == Some(Ok(())));
        let is_told = has_any && !self.is_overdue && (0..self.flights.len()).all(is_in_order);
        is_told.then(|| self.flights.iter().enumerate().filter(is_done).map(|(_, flight)| flight))
    }

    /// Whether a flight that was given up may still touch its slots. `O(1)`.
    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }

    /// The flights that may still touch their slots.
    pub(super) fn open_flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter().zip(&self.told).filter(|(_, told)| **told != Told::All).map(|(flight, _)| flight)
    }

    /// Its buffer, to be used again.
    pub(super) fn into_flights(self) -> Vec<Flight> {
        self.flights
    }
}
