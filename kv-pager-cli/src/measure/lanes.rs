//! Measuring all lanes, one after the other.
//! Uses `measure::tiers`. Known by: `measure`.

use super::tiers::Tiers;
use crate::failure::Failure;
use kv_pager::clock::Clock;
use kv_pager::cost::LaneProfile;
use kv_pager::cost::calibrate::{LaneProbe, wait_for_end};
use kv_pager::cost::fit::fit_lane;
use kv_pager::units::Nanos;

/// The cost of every lane, each measured within `budget`.
///
/// # Errors
/// [`Failure`] if a move fails, or a lane is too slow to be measured.
pub(super) fn measure_lanes(
    tiers: &Tiers,
    clock: &dyn Clock,
    budget: Nanos,
) -> Result<Vec<LaneProfile>, Failure> {
    let mut profiles = Vec::new();
    for lane in tiers.lanes() {
        let ends = lane.ends();
        let (source, target) = (tiers.tier(ends.source), tiers.tier(ends.target));
        let probe = LaneProbe { lane: &*lane, source: &*source, target: &*target, clock };
        if ends.source < ends.target {
            probe.fill(wait_for_end)?;
        }
        let samples = probe.measure(budget, wait_for_end)?;
        let cost = fit_lane(&samples).ok_or_else(|| {
            let why = format!("lane {ends} is too slow to be measured in its time; choose a smaller --shape");
            Failure::Wrong(why)
        })?;
        profiles.push(LaneProfile::new(ends, &cost));
    }
    profiles.sort_by_key(|profile| profile.ends);
    Ok(profiles)
}
