//! Measuring a lane by moving parts over it.
//! Layer 6. Uses `ids`, `units`, `error`, `clock`, `tier`, `cost::fit`. Known by: `cost::calibrate`.

use super::batches::{Batch, batches};
use crate::clock::Clock;
use crate::cost::Load;
use crate::cost::fit::LaneSample;
use crate::error::Error;
use crate::ids::{Fence, GroupId, MoveId, SlotId};
use crate::tier::{Lane, Move, Signal, Ticket, Tier};
use crate::units::{Bytes, Nanos};
use std::sync::Arc;

/// Batches that are timed of each size, at most.
const ROUNDS: usize = 32;
/// One batch may take this share of the budget: then the largest, twice as long, still leaves time for several rounds. A drive is
/// fastest with large batches, so leaving them out would hide what it can do.
const BATCH_SHARE: u64 = 25;

/// A lane that nobody else uses, and the tiers it joins, whose contents may be lost.
#[derive(Clone, Copy, Debug)]
pub struct LaneProbe<'a> {
    /// The lane.
    pub lane: &'a dyn Lane,
    /// Where it comes from: what it reads there must have been written ([`LaneProbe::fill`] of the opposite lane does).
    pub source: &'a dyn Tier,
    /// Where it goes to.
    pub target: &'a dyn Tier,
    /// Tells the time.
    pub clock: &'a dyn Clock,
}

impl LaneProbe<'_> {
    /// Moves every slot of the first group once, that both tiers have, without timing it.
    ///
    /// # Errors
    /// [`Error::Io`] if a move fails.
    pub fn fill(&self, wait: impl Fn(&Ticket)) -> Result<(), Error> {
        let (slots, part_bytes) = self.size();
        let batch = batches(slots, part_bytes).into_iter().rfind(|batch| batch.stride == 1);
        let parts = batch.map_or(1, |batch| batch.parts);
        for first in (0..slots).step_by(parts) {
            self.run(first..slots.min(first + parts), &wait)?;
        }
        Ok(())
    }

    /// Times batches of all sizes until `budget` is spent (M2). `wait` returns when the ticket is over, as
    /// [`wait_for_end`] does.
    ///
    /// # Errors
    /// [`Error::Io`] if a move fails.
    pub fn measure(&self, budget: Nanos, wait: impl Fn(&Ticket)) -> Result<Vec<LaneSample>, Error> {
        let (slots, part_bytes) = self.size();
        let end = self.clock.now().after(budget);
        let mut sizes = batches(slots, part_bytes);
        let mut samples = Vec::with_capacity(ROUNDS * sizes.len());
        for round in 0..=ROUNDS {
            let mut index = 0;
            while index < sizes.len() && self.clock.now() < end {
                let sample = self.time(sizes[index], round, &wait)?;
                // The first round warms up, and shows which batches are too large for the budget.
                if round > 0 {
                    samples.push(sample);
                } else if sample.took.as_u64() > budget.as_u64() / BATCH_SHARE {
                    samples.push(sample);
                    sizes.truncate(index + 1);
                }
                index += 1;
            }
        }
        Ok(samples)
    }

    fn time(&self, batch: Batch, round: usize, wait: impl Fn(&Ticket)) -> Result<LaneSample, Error> {
        let (slots, part_bytes) = self.size();
        let started = self.clock.now();
        let ticket = self.run(batch.places(round, slots), wait)?;
        let took = self.clock.now().since(started);
        let bytes = Bytes::new(part_bytes.as_u64() * batch.parts as u64);
        Ok(LaneSample { load: Load { bytes, copies: ticket.effort().1.max(1) }, took })
    }

    pub(super) fn run(
        &self,
        places: impl Iterator<Item = usize>,
        wait: impl Fn(&Ticket),
    ) -> Result<Ticket, Error> {
        let ticket = self.submit(places)?;
        self.settle(&ticket, wait)?;
        Ok(ticket)
    }

    /// Begins to move what lies in these slots.
    pub(super) fn submit(&self, places: impl Iterator<Item = usize>) -> Result<Ticket, Error> {
        let part = |place: usize| Move {
            id: MoveId(0),
            group: GroupId::FIRST,
            source: SlotId::from_index(place),
            target: SlotId::from_index(place),
            source_fence: Fence::OVER,
            target_fence: Fence::OVER,
        };
        let moves: Vec<Move> = places.map(part).collect();
        self.lane.submit(&moves)
    }

    /// Waits for the end, which must be a good one.
    pub(super) fn settle(&self, ticket: &Ticket, wait: impl Fn(&Ticket)) -> Result<(), Error> {
        wait(ticket);
        for index in 0..ticket.len() {
            let fault = match ticket.outcome(index) {
                Some(Ok(())) => continue,
                Some(Err(fault)) => std::io::Error::other(fault),
                None => std::io::ErrorKind::TimedOut.into(),
            };
            let action = format!("a move over lane {} failed while it was measured", self.lane.ends());
            return Err(Error::Io { tier: self.target.id(), action, source: fault });
        }
        Ok(())
    }

    /// Slots that both tiers have, and bytes on the link: those of the tier farther from the device.
    pub(super) fn size(&self) -> (usize, Bytes) {
        let classes = [self.source, self.target].map(|tier| tier.classes()[GroupId::FIRST.index()]);
        let farther = usize::from(self.target.id() > self.source.id());
        (classes[0].slots.min(classes[1].slots) as usize, classes[farther].slot_bytes)
    }
}

/// Blocks until the ticket is over, or nothing has ended for a minute.
pub fn wait_for_end(ticket: &Ticket) {
    const PATIENCE: Nanos = Nanos::from_millis(60_000);
    let signal = Arc::new(Signal::new());
    ticket.attach(&signal);
    let mut seen = signal.count();
    while !ticket.is_over() && signal.wait_past(seen, PATIENCE) {
        seen = signal.count();
    }
}
