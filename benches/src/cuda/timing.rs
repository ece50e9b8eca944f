//! Timing: from the call until the ticket is over, as a caller sees it.
//! Uses the lanes. Known by: binaries.

use super::allocations;
use kv_pager::clock::Clock;
use kv_pager::tier::{Lane, Move, Ticket};
use kv_pager_cuda::{CudaLane, Path};

/// What one kind of batch took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timed {
    /// Median nanoseconds from the call until the last move has ended.
    pub whole_ns: u64,
    /// Median nanoseconds until the call returned, with all driver calls made.
    pub host_ns: u64,
    /// The most allocations of a call, over all threads, from the third batch on.
    pub allocations: u64,
}

/// The middle of `values`.
///
/// # Panics
/// If there are none.
pub fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Looks until `is_over`.
pub fn spin_until(is_over: impl Fn() -> bool) {
    while !is_over() {
        std::hint::spin_loop();
    }
}

/// Submits `moves` again and again.
///
/// # Panics
/// If the lane refuses a batch or a move fails: then there is nothing to measure.
pub fn time_batches(
    lane: &CudaLane,
    moves: &[Move],
    path: Option<Path>,
    (repeats, clock): (usize, &dyn Clock),
) -> Timed {
    let mut whole = Vec::with_capacity(repeats);
    let mut host = Vec::with_capacity(repeats);
    let mut allocated = 0;
    for repeat in 0..repeats + 2 {
        let before = allocations();
        let start = clock.now();
        let ticket = match path {
            None => lane.submit(moves),
            Some(path) => lane.submit_by_path(moves, path),
        };
        let ticket = ticket.expect("an idle lane has room");
        let called = clock.now().since(start).as_u64();
        let after = allocations();
        spin_until(|| ticket.is_over());
        let took = clock.now().since(start).as_u64();
        assert_well(&ticket);
        if repeat >= 2 {
            whole.push(took);
            host.push(called);
            allocated = allocated.max(after - before);
        }
    }
    Timed { whole_ns: median(&mut whole), host_ns: median(&mut host), allocations: allocated }
}

/// All moves ended well.
fn assert_well(ticket: &Ticket) {
    for index in 0..ticket.len() {
        assert_eq!(ticket.outcome(index), Some(Ok(())), "move {index}");
    }
}
