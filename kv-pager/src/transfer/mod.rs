//! The transfer engine: queues, batches and tickets of moves, lane by lane.
//! Layer 7. Uses `ids`, `units`, `clock`, `config`, `tier`. Known by: `pager`.
//!
//! - **E1** a flight is told of exactly once as ended, or once as ended in a way that may go on and at most once more, by a later
//!   poll, as over;
//! - **E2** a lane is given no batch while it has as many bytes under way as the limits allow;
//! - **E3** an urgent demand load starts before others, a demand load before a prefetch, a prefetch before an offload, each kind in the order asked for;
//! - **E4** a flight that waits past its deadline, or whose batch exceeds its own, ends: as cancelled if it had not begun, as timed
//!   out if it had.
//!
//! It returns facts and acts on none: what a flight was for is the pager's business.

mod batch;
mod flight;
mod lane_state;

pub use flight::{Ended, Flight, Outcome, Priority, Purpose};
pub use lane_state::{LaneStats, Worked};

use crate::clock::Time;
use crate::config::Limits;
use crate::ids::{MoveId, TierId};
use crate::tier::{Lane, LaneEnds, Signal};
use crate::units::Bytes;
use lane_state::LaneState;
use std::sync::Arc;

/// All lanes with what waits for them and what is under way.
#[derive(Debug)]
pub struct TransferEngine {
    lanes: Vec<LaneState>,
    by_ends: [[Option<usize>; TierId::COUNT]; TierId::COUNT],
    next_move: u64,
    limits: Limits,
    signal: Arc<Signal>,
}

impl TransferEngine {
    /// An engine over `lanes`; of two with the same ends the later one serves. `slot_bytes` are, by group, what a move
    /// carries. Every end rings `signal`.
    pub fn new(
        lanes: Vec<Arc<dyn Lane>>,
        slot_bytes: &[Bytes],
        limits: &Limits,
        signal: Arc<Signal>,
    ) -> Self {
        let mut by_ends = [[None; TierId::COUNT]; TierId::COUNT];
        for (index, lane) in lanes.iter().enumerate() {
            let LaneEnds { source, target } = lane.ends();
            by_ends[source.index()][target.index()] = Some(index);
        }
        let lanes = lanes.into_iter().map(|lane| LaneState::new(lane, slot_bytes, limits)).collect();
        Self { lanes, by_ends, next_move: 0, limits: *limits, signal }
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
    /// If there is no such lane or its queue has no room: ask first.
    pub fn enqueue(&mut self, source: TierId, target: TierId, mut flight: Flight, now: Time) {
        let lane = self.by_ends[source.index()][target.index()].expect("asked for a lane that is there");
        flight.part.id = MoveId(self.next_move);
        self.next_move += 1;
        // It waits as long as its batch may take.
        flight.deadline = now.after(self.limits.move_deadline);
        self.lanes[lane].enqueue(flight, &self.limits);
    }

    /// Starts what waits, as far as the limits allow. `O(moves started)`.
    pub fn pump(&mut self, now: Time) {
        for lane in &mut self.lanes {
            lane.pump(now, &self.limits, &self.signal);
        }
    }

    /// Whether a prefetch waits in a queue.
    pub fn has_prefetches(&self) -> bool {
        self.lanes.iter().any(LaneState::has_prefetches)
    }

    /// Queues those of the prefetches that are wanted behind the demands, for a request waits for them now. `O(prefetches queued)`.
    pub fn hasten(&mut self, is_wanted: impl Fn(&Flight) -> bool) {
        for lane in &mut self.lanes {
            lane.hasten(&is_wanted, &self.limits);
        }
    }

    /// Moves what has ended to `ended`, lane by lane in the order of submission, until that has `most`. Returns whether it was all.
    /// `O(moves under way)` at most.
    pub fn poll(&mut self, now: Time, most: usize, ended: &mut Vec<Ended>) -> bool {
        let is_all = self.lanes.iter_mut().all(|lane| lane.poll(now, most, ended));
        if self.lanes.iter().any(LaneState::has_more_to_tell) {
            self.signal.ring();
        }
        is_all
    }

    /// Calls off the flights of this lane that `is_meant` names: they end as cancelled, unless they have begun. `O(flights)`.
    pub fn call_off(&mut self, source: TierId, target: TierId, is_meant: impl Fn(&Flight) -> bool) {
        if let Some(lane) = self.by_ends[source.index()][target.index()] {
            self.lanes[lane].call_off(is_meant);
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

    /// Tells of each batch that ended well since the last call, with the ends of its lane.
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
