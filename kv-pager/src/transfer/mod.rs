//! The transfer engine: queues, batches and tickets of moves, lane by lane.
//! Layer 7. Uses `ids`, `units`, `clock`, `config`, `prefix`, `tier`. Known by: `pager`.
//!
//! - **E1** a flight is told of exactly once as ended, or once as ended in a way that may go on and at most once more, by a later
//!   poll, as over;
//! - **E2** a lane is given no batch while it has as many bytes under way as the limits allow;
//! - **E3** an urgent demand load starts before others, a demand load before a prefetch, a prefetch before an offload, each kind in the order asked for;
//! - **E4** a flight that waits past its deadline, or whose batch exceeds its own, ends: as cancelled if it had not begun, as timed
//!   out if it had;
//! - **E5** at most one flight of a lane goes to a slot at a time: until it was told of as ended, is called off or refused, the slot is what
//!   it is found by;
//! - **E6** however much waits and is under way, one call handles no more than is named or allowed: a poll looks at 512 moves of the
//!   batches of which something is new, and in one hold of the lock 256 moves begin, or one batch. What is left is for the next.
//!
//! It returns facts and acts on none: what a flight was for is the pager's business.

mod batch;
mod flight;
mod lane_state;
mod queue;

pub(crate) use queue::{Place, Queue, Queued};

pub use flight::{Ended, Flight, Outcome, Priority, Purpose};
pub use lane_state::{LaneStats, Worked};
pub use queue::Goal;

use crate::clock::Time;
use crate::config::Limits;
use crate::ids::{MoveId, TierId};
use crate::prefix::Looks;
use crate::tier::{Lane, LaneEnds, Signal};
use crate::units::Bytes;
use lane_state::{LaneState, MOVES_A_HOLD, MOVES_A_POLL};
use std::sync::Arc;

/// All lanes with what waits for them and what is under way.
#[derive(Debug)]
pub struct TransferEngine {
    lanes: Vec<LaneState>,
    by_ends: [[Option<usize>; TierId::COUNT]; TierId::COUNT],
    next_move: u64,
    limits: Limits,
    signal: Arc<Signal>,
    /// How many moves may begin in this hold of the lock still (E6).
    startable: usize,
}

impl TransferEngine {
    /// An engine over `lanes`; of two with the same ends the later one serves. `slot_bytes` are, by group, what a move
    /// carries, and `slots`, by tier and group, how many a move can go to. Every end rings `signal`; whose
    /// moves that wait are looked at is noted in `looks`.
    pub(crate) fn new(
        lanes: Vec<Arc<dyn Lane>>,
        slot_bytes: &[Bytes],
        slots: &[Vec<u32>; TierId::COUNT],
        limits: &Limits,
        signal: Arc<Signal>,
        looks: &Looks,
    ) -> Self {
        let mut by_ends = [[None; TierId::COUNT]; TierId::COUNT];
        for (index, lane) in lanes.iter().enumerate() {
            let LaneEnds { source, target } = lane.ends();
            by_ends[source.index()][target.index()] = Some(index);
        }
        let state = |lane: Arc<dyn Lane>| {
            let slots = &slots[lane.ends().target.index()];
            LaneState::new(lane, slot_bytes, slots, limits, looks.clone())
        };
        let lanes = lanes.into_iter().map(state).collect();
        Self { lanes, by_ends, next_move: 0, limits: *limits, signal, startable: MOVES_A_HOLD }
    }

    /// The pager's lock is taken: as many moves may begin as in any hold (E6).
    pub fn begin_hold(&mut self) {
        self.startable = MOVES_A_HOLD;
    }

    /// Whether there is a lane with these ends.
    pub fn has_lane(&self, source: TierId, target: TierId) -> bool {
        self.by_ends[source.index()][target.index()].is_some()
    }

    /// How many more flights the queue of this lane takes.
    pub fn room(&self, source: TierId, target: TierId) -> usize {
        self.by_ends[source.index()][target.index()].map_or(0, |lane| self.lanes[lane].room(&self.limits))
    }

    /// How many flights wait for this lane. `O(1)`.
    pub fn queued(&self, source: TierId, target: TierId) -> usize {
        self.by_ends[source.index()][target.index()].map_or(0, |lane| self.lanes[lane].queued())
    }

    /// Whether nothing waits for this lane, and nothing is under way on it. `O(1)`.
    pub fn is_idle(&self, source: TierId, target: TierId) -> bool {
        self.by_ends[source.index()][target.index()].is_none_or(|lane| !self.lanes[lane].is_busy())
    }

    /// Bytes that this lane was given and that have not ended. `O(1)`.
    pub fn bytes_in_flight(&self, source: TierId, target: TierId) -> Bytes {
        self.by_ends[source.index()][target.index()]
            .map_or(Bytes::ZERO, |lane| self.lanes[lane].bytes_in_flight())
    }

    /// Queues a flight; [`TransferEngine::pump`] starts it.
    ///
    /// # Panics
    /// If there is no such lane or its queue has no room: ask first. If a flight of this lane goes to the same slot (E5).
    pub fn enqueue(&mut self, source: TierId, target: TierId, mut flight: Flight, now: Time) {
        let lane = self.by_ends[source.index()][target.index()].expect("asked for a lane that is there");
        flight.part.id = MoveId(self.next_move);
        self.next_move += 1;
        // It waits as long as its batch may take.
        flight.deadline = now.after(self.limits.move_deadline);
        self.lanes[lane].enqueue(flight, &self.limits);
    }

    /// Starts what waits, as far as the limits allow. Returns whether that was all that can start now; if not, it rings, so that somebody
    /// goes on (E6). `O(moves started)`.
    pub fn pump(&mut self, now: Time) -> bool {
        let Self { lanes, limits, signal, startable, .. } = self;
        let is_all = lanes.iter_mut().all(|lane| lane.pump(now, limits, signal, startable));
        if !is_all {
            signal.ring();
        }
        is_all
    }

    /// Whether a prefetch waits in a queue.
    pub fn has_prefetches(&self) -> bool {
        self.lanes.iter().any(LaneState::has_prefetches)
    }

    /// Queues those of the prefetches of this lane that are asked for by `goals` behind the demands, in the order in which they wait: a
    /// request waits for them now. `O(goals)`, and sorts what it finds.
    pub fn hasten(&mut self, source: TierId, target: TierId, goals: &[Goal]) {
        if let Some(lane) = self.by_ends[source.index()][target.index()] {
            self.lanes[lane].hasten(goals);
        }
    }

    /// Moves what has ended to `ended`, lane by lane in the order of submission, until that has `most` or enough was looked at (E6). Returns
    /// whether it was all. `O(moves looked at + batches under way)`.
    pub fn poll(&mut self, now: Time, most: usize, ended: &mut Vec<Ended>) -> bool {
        let mut looks = MOVES_A_POLL;
        let is_all = self.lanes.iter_mut().all(|lane| lane.poll(now, most, &mut looks, ended));
        if self.lanes.iter().any(LaneState::has_more_to_tell) {
            self.signal.ring();
        }
        is_all
    }

    /// Calls off the flights of this lane that are asked for by `goals`, if `is_meant` says so: they end as cancelled, unless they have
    /// begun. `O(goals)`, and sorts what it finds.
    pub fn call_off(
        &mut self,
        source: TierId,
        target: TierId,
        goals: &[Goal],
        is_meant: impl Fn(&Flight) -> bool,
    ) {
        if let Some(lane) = self.by_ends[source.index()][target.index()] {
            self.lanes[lane].call_off(goals, is_meant);
        }
    }

    /// Bytes that this lane moves before a new flight of `priority`: those under way, and those that wait as urgently.
    pub fn bytes_before(&self, source: TierId, target: TierId, priority: Priority) -> Bytes {
        let lane = self.by_ends[source.index()][target.index()];
        lane.map_or(Bytes::ZERO, |lane| self.lanes[lane].bytes_before(priority))
    }

    /// Bytes that this lane has moved so far.
    pub fn bytes_moved(&self, source: TierId, target: TierId) -> Bytes {
        let lane = self.by_ends[source.index()][target.index()];
        lane.map_or(Bytes::ZERO, |lane| self.lanes[lane].stats().bytes)
    }

    /// Tells of each batch that ended well since the last call, or of those that a lane worked on together, with the ends of the lane.
    pub fn take_worked(&mut self, mut tell: impl FnMut(LaneEnds, Worked)) {
        for lane in &mut self.lanes {
            let ends = lane.ends();
            lane.take_worked().for_each(|worked| tell(ends, worked));
        }
    }

    /// Whether anything waits or is under way.
    pub fn is_busy(&self) -> bool {
        self.lanes.iter().any(LaneState::is_busy)
    }

    /// The earliest deadline of a batch under way.
    pub fn next_deadline(&self) -> Time {
        self.lanes.iter().map(LaneState::next_deadline).min().unwrap_or(Time::NEVER)
    }

    /// What each lane has done so far.
    pub fn stats(&self) -> impl Iterator<Item = (LaneEnds, LaneStats)> + '_ {
        self.lanes.iter().map(|lane| (lane.ends(), lane.stats()))
    }

    /// All flights that wait or are under way, with the ends of their lane; for checks.
    pub fn flights(&self) -> impl Iterator<Item = (LaneEnds, &Flight)> {
        self.lanes.iter().flat_map(|lane| lane.flights().map(|flight| (lane.ends(), flight)))
    }
}

#[cfg(test)]
mod tests;
