//! What a lane's callers and its thread share, and what both do with it.
//! Uses `lane::{books, issue}`. Known by: `lane`, `lane::worker`.

use super::books::Books;
use super::issue::Issuer;
use super::{Direction, LaneOptions, Path};
use crate::device::DeviceTier;
use crate::pinned::PinnedTier;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::sync::{Condvar, Mutex};
use kv_pager::tier::{Health, Move, MoveFault, Ticket, Tier};
use std::sync::Arc;

/// What the callers and the lane's thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) direction: Direction,
    pub(super) device: Arc<DeviceTier>,
    pub(super) host: Arc<PinnedTier>,
    pub(super) options: LaneOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Mutex<State>,
    /// Rings when the thread has something to look after.
    pub(super) bell: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) books: Books,
    pub(super) issuer: Issuer,
    /// No driver call is made while it is set, but to see what is over.
    pub(super) is_quiet: bool,
    pub(super) is_stopping: bool,
    /// The thread waits for the bell.
    pub(super) is_idle: bool,
    /// Bytes a second of late, over all ranks: how long the thread need not look.
    pub(super) bytes_per_s: f64,
    /// How long each rank has worked on chunks, as far as the thread saw.
    pub(super) rank_busy_ns: Vec<u64>,
}

impl Shared {
    pub(super) fn submit(&self, batch: &[Move], by_layer: bool, path: Option<Path>) -> Result<Ticket, Error> {
        self.check_moves(batch)?;
        let mut state = self.state.lock();
        let ticket = state.books.queue(batch, by_layer, path)?;
        let is_stuck = state.books.flights.front().is_some_and(|flight| flight.timed_out);
        if is_stuck && !self.is_lost() {
            state.books.abandon(MoveFault::TimedOut);
        } else {
            self.issue(&mut state);
        }
        self.wake(&mut state);
        Ok(ticket)
    }

    /// X1.
    pub(super) fn check_moves(&self, batch: &[Move]) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::Configuration { setting: "move", why });
        let (sources, targets): (&dyn Tier, &dyn Tier) = match self.direction {
            Direction::Offload => (self.device.as_ref(), self.host.as_ref()),
            Direction::Onboard => (self.host.as_ref(), self.device.as_ref()),
            Direction::Within => (self.device.as_ref(), self.device.as_ref()),
        };
        let (sources, targets) = (sources.classes(), targets.classes());
        for part in batch {
            let group = part.group.index();
            if group >= sources.len() {
                return wrong(format!("group {group} of {}", sources.len()));
            }
            for (slot, class) in [(part.source, sources[group]), (part.target, targets[group])] {
                if slot.as_u32() >= class.slots {
                    return wrong(format!("slot {} of {} in group {group}", slot.as_u32(), class.slots));
                }
            }
        }
        Ok(())
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.device.health(), Health::Lost { .. })
    }

    /// Issues what can be issued. A device that can't be used any more ends everything (N3).
    pub(super) fn issue(&self, state: &mut State) {
        if self.is_lost() {
            state.books.lose();
            return;
        }
        if state.is_quiet {
            return;
        }
        let State { books, issuer, .. } = state;
        let ends = (self.device.as_ref(), self.host.as_ref());
        let issued = issuer.issue(books, ends, (self.direction, &self.options), self.clock.as_ref());
        if let Err(error) = issued {
            self.give_up(state, &error.to_string());
        }
    }

    /// N3: the device is lost. After a fault on one card the driver refuses every call of the process, also those that ask whether
    /// another card is done, while that card goes on with what it was given (seen on two H200s): so nothing that is under way
    /// is known to have ended.
    pub(super) fn give_up(&self, state: &mut State, why: &str) {
        self.device.mark_lost(format!("{}: {why}", self.direction.ends()));
        state.books.lose();
    }

    /// Rings, if the thread sleeps and there is something to look after.
    pub(super) fn wake(&self, state: &mut State) {
        let has_work = !state.books.flights.is_empty() || !state.books.aside.is_empty();
        if state.is_idle && (has_work || state.is_stopping) {
            state.is_idle = false;
            self.bell.notify_one();
        }
    }
}
