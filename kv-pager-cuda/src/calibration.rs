//! Calibration: which path is the fastest for batches of each size, measured on this card.
//! Uses `lane`, `device`, `pinned`. Known by: `backend`.
//!
//! - **L1** after it, device slots hold the bytes that they held before: what goes in is what was just taken out;
//! - **L2** a path that takes multiprocessors from the engine has to be faster by a fifth.
//!
//! It runs before the pager has a slot in use, on the lanes themselves, so that it measures what they will do.

use crate::device::DeviceTier;
use crate::lane::{CudaLane, Direction, Path, SizeClass};
use crate::pinned::PinnedTier;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use kv_pager::tier::{Move, Signal, Ticket, Tier};
use kv_pager::units::Nanos;
use serde::Serialize;
use std::sync::Arc;

/// How long a batch of one size takes by one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Measured {
    /// Which group of layers.
    pub group: usize,
    /// Whether into the device.
    pub is_onboard: bool,
    /// Parts in the batch.
    pub parts: usize,
    /// The path.
    pub path: Path,
    /// The least time seen, from the call to the ticket's end.
    pub time_ns: u64,
}

/// What was measured, and what was chosen for it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calibration {
    /// All measurements, in order.
    pub measured: Vec<Measured>,
}

/// Batches of each size and path.
const REPEATS: usize = 4;
/// A path that was this many times slower than the best at one size is not tried at larger ones.
const HOPELESS: u64 = 4;
/// How long one batch may take.
const PATIENCE: Nanos = Nanos::from_millis(10_000);

impl Calibration {
    /// Measures the two lanes and lets each choose.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if a batch fails or does not end.
    pub fn run(
        (device, host): (&DeviceTier, &PinnedTier),
        (onboard, offload): (&CudaLane, &CudaLane),
        clock: &dyn Clock,
    ) -> Result<Self, Error> {
        let mut calibration = Self::default();
        for group in (0..device.classes().len()).map(GroupId::from_index) {
            let capacity =
                device.classes()[group.index()].slots.min(host.classes()[group.index()].slots) as usize;
            let mut hopeless = [[false; Path::ALL.len()]; 2];
            for (class, parts) in SizeClass::PARTS.into_iter().enumerate() {
                let parts = parts.min(capacity);
                for (lane, hopeless) in [offload, onboard].into_iter().zip(&mut hopeless) {
                    let abilities = lane.abilities();
                    let plain = if abilities.kernels { Path::Gather } else { Path::Batch };
                    run(offload, &batch(group, parts, Direction::Offload), plain, clock)?;
                    let mut times = [u64::MAX; Path::ALL.len()];
                    for (index, path) in Path::ALL.into_iter().enumerate() {
                        if abilities.serve(path) && !hopeless[index] {
                            let moves = batch(group, parts, lane.direction());
                            for _ in 0..REPEATS {
                                times[index] = times[index].min(run(lane, &moves, path, clock)?);
                            }
                            let is_onboard = lane.direction() == Direction::Onboard;
                            let (group, time_ns) = (group.index(), times[index]);
                            calibration.measured.push(Measured { group, is_onboard, parts, path, time_ns });
                        }
                    }
                    let best = times.iter().min().copied().unwrap_or(u64::MAX);
                    for (hopeless, time) in hopeless.iter_mut().zip(times) {
                        *hopeless = *hopeless || time / HOPELESS > best;
                    }
                    lane.choose(group.index(), class, fastest(times));
                }
            }
        }
        Ok(calibration)
    }
}

/// L2.
fn fastest(times: [u64; Path::ALL.len()]) -> Path {
    let cost = |(path, time): &(Path, u64)| {
        if *path == Path::ZeroCopy { time.saturating_add(time / 5) } else { *time }
    };
    Path::ALL.into_iter().zip(times).min_by_key(cost).map_or(Path::Runs, |(path, _)| path)
}

/// Every part between a device slot and the host slot of the same number; device slots are taken from both ends in turn, so
/// that they are not adjacent.
fn batch(group: GroupId, parts: usize, direction: Direction) -> Vec<Move> {
    let one = |index: usize| {
        let device = if index.is_multiple_of(2) { index } else { parts - 1 - (parts % 2) - (index - 1) };
        let (device, host) = (SlotId::from_index(device.min(parts - 1)), SlotId::from_index(index));
        let (source, target) = match direction {
            Direction::Offload => (device, host),
            Direction::Onboard | Direction::Within => (host, device),
        };
        let id = MoveId(index as u64);
        Move { id, group, source, target, source_fence: Fence::OVER, target_fence: Fence::OVER }
    };
    (0..parts).map(one).collect()
}

/// Nanoseconds from the call until the last move has ended.
fn run(lane: &CudaLane, moves: &[Move], path: Path, clock: &dyn Clock) -> Result<u64, Error> {
    let start = clock.now();
    let ticket = lane.submit_by_path(moves, path)?;
    wait(&ticket)?;
    Ok(clock.now().since(start).as_u64())
}

fn wait(ticket: &Ticket) -> Result<(), Error> {
    let signal = Arc::new(Signal::new());
    ticket.attach(&signal);
    let lost = |why: String| Error::DeviceLost { tier: TierId::Device, why };
    while !ticket.is_over() {
        let seen = signal.count();
        if !ticket.is_over() && !signal.wait_past(seen, PATIENCE) {
            return Err(lost("a batch of the calibration did not end".to_owned()));
        }
    }
    match (0..ticket.len()).find_map(|index| ticket.outcome(index)?.err()) {
        None => Ok(()),
        Some(fault) => Err(lost(format!("a batch of the calibration failed: {fault}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{batch, fastest};
    use crate::lane::{Direction, Path};
    use kv_pager::ids::GroupId;
    use std::collections::HashSet;

    #[test]
    fn a_batch_uses_each_slot_once() {
        for parts in [1, 2, 3, 8, 31, 32, 33, 128] {
            let moves = batch(GroupId::FIRST, parts, Direction::Offload);
            let sources: HashSet<_> = moves.iter().map(|part| part.source.index()).collect();
            assert_eq!(sources, (0..parts).collect(), "{parts} parts");
        }
    }

    #[test]
    fn zero_copy_has_to_be_clearly_faster() {
        assert_eq!(fastest([100, 90, 50, 45]), Path::Gather);
        assert_eq!(fastest([100, 90, 50, 40]), Path::ZeroCopy);
        assert_eq!(fastest([100, u64::MAX, u64::MAX, u64::MAX]), Path::Runs);
    }
}
