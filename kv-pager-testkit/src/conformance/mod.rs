//! Conformance: what every tier and every lane must do, for any of them to run.
//! Uses `kv_pager::tier`. Known by: `tests/conformance.rs` of every backend.
//!
//! A backend implements [`LaneHarness`] for each of its lanes, and calls [`check_lane`] with a way to make fresh ones, and
//! [`check_tier`] for each of its tiers. Each claim is a function of its own, for backends that can show only some.

mod lane;
mod tier;

pub use lane::{
    cancelled_moves_touch_nothing, check_lane, l1_a_move_brings_the_bytes,
    l2_a_failure_spoils_only_its_target, l3_tickets_end_with_the_lane, l4_an_open_fence_is_waited_for,
    l6_a_batch_that_does_not_fit_starts_nothing,
};
pub use tier::check_tier;

use kv_pager::ids::{GroupId, SlotId};
use kv_pager::tier::{Lane, Signal, Ticket, Tier};
use kv_pager::units::Nanos;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// An end of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Where bytes come from.
    Source,
    /// Where they go.
    Target,
}

/// A lane under test, with a way to see the bytes at both ends.
pub trait LaneHarness {
    /// The lane.
    fn lane(&self) -> &dyn Lane;

    /// The tier at an end.
    fn tier(&self, end: End) -> &dyn Tier;

    /// Bytes of a part of `group`, without padding.
    fn part_bytes(&self, group: GroupId) -> usize;

    /// Puts `bytes`, a whole part, into a slot.
    fn fill(&self, end: End, group: GroupId, slot: SlotId, bytes: &[u8]);

    /// The part in a slot.
    fn read(&self, end: End, group: GroupId, slot: SlotId) -> Vec<u8>;

    /// Makes the next move out of the source's `slot` fail; false if this lane's can't be made to.
    fn spoil(&self, group: GroupId, slot: SlotId) -> bool;

    /// The most moves that wait in the lane's queue.
    fn moves_queued(&self) -> usize;

    /// Drops the lane; it is not used again.
    fn drop_lane(&mut self);
}

/// Longer than any move of a test takes; a bound for faults, not a measure.
pub const PATIENCE: Nanos = Nanos::from_millis(30_000);

/// Blocks until every move of `ticket` has ended.
///
/// # Panics
/// If they don't within [`PATIENCE`].
pub fn wait(ticket: &Ticket) {
    let signal = Arc::new(Signal::new());
    ticket.attach(&signal);
    loop {
        let seen = signal.count();
        if ticket.is_over() {
            return;
        }
        assert!(signal.wait_past(seen, PATIENCE), "{} of {} moves have ended", ticket.ended(), ticket.len());
    }
}

/// `bytes` bytes that differ for each `seed`.
pub fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(bytes + 8);
    for word in 0..bytes.div_ceil(8) as u64 {
        pattern.extend(xxh3_64_with_seed(&word.to_le_bytes(), seed).to_le_bytes());
    }
    pattern.truncate(bytes);
    pattern
}
