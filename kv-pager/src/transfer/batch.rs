//! A batch: flights that a lane was given together, and what of them has been told.
//! Layer 7. Uses `clock`, `tier`. Known by: `transfer`.

use super::{Ended, Flight, Outcome};
use crate::clock::Time;
use crate::tier::{LaneEnds, MoveFault, Ticket};
use crate::units::Bytes;

/// What has been told of a flight (E1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Nothing,
    TimedOut,
    All,
}

/// A ticket with its flights.
#[derive(Debug)]
pub(super) struct Batch {
    ticket: Ticket,
    flights: Vec<Flight>,
    told: Vec<Told>,
    /// How many moves had ended when we last looked: nothing new, no look.
    seen: usize,
    untold: usize,
    pub(super) deadline: Time,
    is_overdue: bool,
}

impl Batch {
    pub(super) fn new(ticket: Ticket, flights: Vec<Flight>, deadline: Time) -> Self {
        let untold = flights.len();
        let told = vec![Told::Nothing; untold];
        Self { ticket, flights, told, seen: 0, untold, deadline, is_overdue: false }
    }

    /// Tells what has ended since the last look.
    pub(super) fn poll(&mut self, now: Time, ends: LaneEnds, ended: &mut Vec<Ended>) {
        let is_late = now >= self.deadline && !self.is_overdue;
        if is_late {
            self.is_overdue = true;
            self.ticket.cancel();
            for index in 0..self.flights.len() {
                self.ticket.cancel_move(index);
            }
        }
        if self.ticket.ended() == self.seen && !is_late {
            return;
        }
        self.seen = self.ticket.ended();
        for index in 0..self.flights.len() {
            if self.told[index] == Told::All {
                continue;
            }
            let outcome = match (self.ticket.outcome(index), self.told[index]) {
                (Some(_), Told::TimedOut) => Outcome::Over,
                (Some(Ok(())), _) => Outcome::Done,
                // A lane that gave a move up by itself can't say when it is over: its slots stay aside.
                (Some(Err(fault)), _) => Outcome::Failed(fault),
                (None, Told::Nothing) if self.is_overdue => Outcome::Failed(MoveFault::TimedOut),
                (None, _) => continue,
            };
            let gave_up = self.ticket.outcome(index).is_none();
            self.told[index] = if gave_up { Told::TimedOut } else { Told::All };
            if !gave_up {
                self.untold -= 1;
            }
            let flight = self.flights[index];
            ended.push(Ended { source: ends.source, target: ends.target, flight, outcome });
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.untold == 0
    }

    pub(super) fn bytes(&self, slot_bytes: impl Fn(&Flight) -> Bytes) -> Bytes {
        self.flights.iter().map(slot_bytes).sum()
    }

    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The flights of which the end has not been told.
    pub(super) fn open_flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter().zip(&self.told).filter(|(_, told)| **told != Told::All).map(|(flight, _)| flight)
    }

    /// Its buffer, to be used again.
    pub(super) fn into_flights(self) -> Vec<Flight> {
        self.flights
    }
}
