//! Measuring all lanes of a machine: one after the other, then each beside its opposite.
//! Layer 6. Uses `ids`, `units`, `error`, `clock`, `tier`, `cost::fit`. Known by: `cost::calibrate`.

use super::both_ways::Measured;
use super::{LaneProbe, wait_for_end};
use crate::clock::Clock;
use crate::cost::LaneProfile;
use crate::cost::fit::fit_lane;
use crate::error::Error;
use crate::tier::{Lane, LaneEnds, Tier};
use crate::units::Nanos;
use std::sync::Arc;

/// The cost of every lane between two different tiers, and how much longer copies take while the opposite lane is busy too, each
/// measured within `budget`, of which a quarter goes to the latter; lanes away from the device first, for what
/// is read must have been written. What the tiers hold is lost. Blocks.
///
/// # Errors
/// [`Error::Io`] if a move fails; [`Error::Configuration`] if a lane is too slow to be measured in its time.
///
/// # Panics
/// If an end of a lane is not among the tiers.
pub fn measure_lanes(
    tiers: &[Arc<dyn Tier>],
    lanes: &[Arc<dyn Lane>],
    budget: Nanos,
    clock: &dyn Clock,
) -> Result<Vec<LaneProfile>, Error> {
    let is_away = |ends: LaneEnds| ends.source < ends.target;
    let mut between: Vec<_> = lanes.iter().filter(|lane| lane.ends().source != lane.ends().target).collect();
    between.sort_by_key(|lane| (!is_away(lane.ends()), lane.ends()));
    let beside = Nanos::new(budget.as_u64() / 4);
    let alone = Nanos::new(budget.as_u64() - beside.as_u64());
    let mut measured = Vec::with_capacity(between.len());
    for lane in between {
        let ends = lane.ends();
        let find = |id| tiers.iter().find(|tier| tier.id() == id).expect("a lane joins the machine's tiers");
        let probe =
            LaneProbe { lane: &**lane, source: &**find(ends.source), target: &**find(ends.target), clock };
        if is_away(ends) {
            probe.fill(wait_for_end)?;
        }
        let cost = fit_lane(&probe.measure(alone, wait_for_end)?).ok_or_else(|| Error::Configuration {
            setting: "lane",
            why: format!("{ends} is too slow to be measured in its time; choose a model with smaller parts"),
        })?;
        measured.push((ends, Measured { probe, cost }));
    }
    measured.sort_by_key(|(ends, _)| *ends);
    let profile = |(ends, of): &(LaneEnds, Measured<'_>)| {
        let opposite = LaneEnds { source: ends.target, target: ends.source };
        let other = measured.iter().find(|(ends, _)| *ends == opposite);
        let both_ways_factor =
            other.map_or(Ok(1.0), |(_, other)| of.slowdown(other, beside, wait_for_end))?;
        Ok(LaneProfile { both_ways_factor, ..LaneProfile::new(*ends, &of.cost) })
    };
    measured.iter().map(profile).collect()
}
