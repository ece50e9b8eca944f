//! Measuring how much two opposite lanes slow each other down.
//! Layer 6. Uses `units`, `error`, `tier`, `cost`. Known by: `cost::calibrate`.
//!
//! - **BW1** while a batch is timed, the opposite lane works from before its start to after its end: it has been given three times as
//!   much work;
//! - **BW2** the two batches have no slot in common.
//!
//! Batches alone and beside take turns, and what counts is the median of their ratios, so that a machine that is slow for a second
//! is slow for both.

use super::LaneProbe;
use crate::cost::{LaneCost, LaneProfile, Load, real};
use crate::error::Error;
use crate::tier::Ticket;
use crate::units::{Bytes, Nanos};

/// Ratios that are taken, at most.
const ROUNDS: usize = 15;
/// How much more work the opposite lane has (BW1).
const BESIDE: f64 = 3.0;
/// Rounds that should fit the budget: each is a batch alone, and one beside another of three times its length.
const ROUNDS_WANTED: f64 = 6.0;
/// The most parts in a batch, below any lane's limit.
const PARTS_MAX: u32 = 4096;

/// A lane that is measured, and what it was found to take alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured<'a> {
    pub(super) probe: LaneProbe<'a>,
    pub(super) cost: LaneCost,
}

impl Measured<'_> {
    fn busy_ns(&self, parts: u32) -> f64 {
        let (_, part_bytes) = self.probe.size();
        let bytes = Bytes::new(part_bytes.as_u64() * u64::from(parts));
        let chunks = bytes.as_u64().div_ceil(self.cost.chunk_bytes().as_u64().max(1));
        self.cost.busy_ns(Load { bytes, copies: u32::try_from(chunks).unwrap_or(u32::MAX) })
    }

    /// The fewest parts that take so long, of at most so many.
    fn parts_for(&self, span_ns: f64, parts_max: u32) -> Option<u32> {
        (1..=parts_max).find(|parts| self.busy_ns(*parts) >= span_ns)
    }

    /// How many times longer a batch takes while `beside`, the opposite lane, is busy too; 1 if the budget or the tiers are too small
    /// to tell.
    ///
    /// # Errors
    /// [`Error::Io`] if a move fails.
    pub(super) fn slowdown(
        &self,
        beside: &Self,
        budget: Nanos,
        wait: impl Fn(&Ticket) + Copy,
    ) -> Result<f64, Error> {
        let Some((parts, others)) = self.sizes(beside, real::from_nanos(budget)) else { return Ok(1.0) };
        let (mine, theirs) = (0..parts as usize, parts as usize..(parts + others) as usize);
        let clock = self.probe.clock;
        let end = clock.now().after(budget);
        let timed = || {
            let started = clock.now();
            self.probe.run(mine.clone(), wait)?;
            Ok::<_, Error>(real::from_nanos(clock.now().since(started)))
        };
        let mut ratios = Vec::with_capacity(ROUNDS);
        while ratios.len() < ROUNDS && clock.now() < end {
            let alone_ns = timed()?;
            let other = beside.probe.submit(theirs.clone())?;
            let beside_ns = timed()?;
            beside.probe.settle(&other, wait)?;
            ratios.push(beside_ns / alone_ns.max(1.0));
        }
        ratios.sort_by(f64::total_cmp);
        let median = ratios.get(ratios.len() / 2).copied().unwrap_or(1.0);
        Ok(median.clamp(1.0, LaneProfile::BOTH_WAYS_MAX))
    }

    /// Parts of the batch that is timed, and of that beside it: as many as fit the budget and the tiers.
    fn sizes(&self, beside: &Self, budget_ns: f64) -> Option<(u32, u32)> {
        let (slots, _) = self.probe.size();
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        let span_ns = budget_ns / ROUNDS_WANTED / (2.0 + BESIDE);
        let longest = std::iter::successors(Some(1_u32), |parts| parts.checked_mul(2));
        let fitting = longest.take_while(|parts| *parts <= PARTS_MAX.min(slots / 2));
        let fitting: Vec<u32> =
            fitting.take_while(|parts| *parts == 1 || self.busy_ns(*parts) <= span_ns).collect();
        fitting.into_iter().rev().find_map(|parts| {
            let others = beside.parts_for(BESIDE * self.busy_ns(parts), PARTS_MAX.min(slots - parts))?;
            Some((parts, others))
        })
    }
}
