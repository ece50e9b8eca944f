//! Metrics of one tier.
//! Layer 10. Uses `ids`, `pager`, `pool`. Known by: `telemetry`.

use super::gauge;
use crate::ids::TierId;
use crate::pager::{Stats, TierReport};
use crate::pool::SlotState;
use metrics::{Counter, Gauge};
use std::fmt;

pub(super) struct TierMetrics {
    tier: TierId,
    /// By state.
    slots: [Gauge; SlotState::ALL.len()],
    used: Gauge,
    capacity: Gauge,
    /// Demoted, clean, dropped.
    evictions: [Counter; 3],
}

impl fmt::Debug for TierMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TierMetrics").field("tier", &self.tier).finish_non_exhaustive()
    }
}

fn state_name(state: SlotState) -> &'static str {
    match state {
        SlotState::Free => "free",
        SlotState::Filling => "filling",
        SlotState::Resident => "resident",
        SlotState::Leaving => "leaving",
        SlotState::Quarantined => "quarantined",
        SlotState::Retired => "retired",
    }
}

impl TierMetrics {
    pub(super) fn new(tier: TierId) -> Self {
        let name = tier.to_string();
        let slots = |state| metrics::gauge!("kv_pager_tier_slots", "tier" => name.clone(), "state" => state_name(state));
        let evictions = |reason| metrics::counter!("kv_pager_evictions_total", "tier" => name.clone(), "reason" => reason);
        Self {
            tier,
            slots: SlotState::ALL.map(slots),
            used: metrics::gauge!("kv_pager_tier_used_bytes", "tier" => name.clone()),
            capacity: metrics::gauge!("kv_pager_tier_capacity_bytes", "tier" => name.clone()),
            evictions: ["demoted", "clean", "dropped"].map(evictions),
        }
    }

    pub(super) fn publish(&self, report: &TierReport, stats: &Stats) {
        for (metric, slots) in self.slots.iter().zip(report.slots) {
            metric.set(gauge(slots));
        }
        self.used.set(gauge(report.used_bytes.as_u64()));
        self.capacity.set(gauge(report.capacity_bytes.as_u64()));
        let evictions = &stats.evictions_by_reason[self.tier.index()];
        let counts = [evictions.demoted, evictions.clean, evictions.dropped];
        for (metric, count) in self.evictions.iter().zip(counts) {
            metric.absolute(count);
        }
    }
}
