//! Metrics of requests, and of what became of blocks.
//! Layer 10. Uses `ids`, `pager`, `units`. Known by: `telemetry`.

use super::{gauge, hand_on};
use crate::ids::TierId;
use crate::pager::{Spans, Stats};
use crate::units::Nanos;
use metrics::{Counter, Gauge, Histogram};
use std::fmt;

pub(super) struct RequestMetrics {
    requests: Counter,
    query_tokens: Counter,
    hit_tokens: [Counter; TierId::COUNT],
    hit_bytes: [Counter; TierId::COUNT],
    computed_tokens: Counter,
    found_per_second: Gauge,
    computed_per_second: Gauge,
    open_sequences: Gauge,
    first_token: Histogram,
    dropped: Counter,
    damaged: Counter,
    failed_loads: Counter,
    cut_loads: Counter,
    promoted_parts: Counter,
    promoted_bytes: Counter,
    recovered: Counter,
    /// Loads, recomputes, two fronts, loads then computes.
    plans: [Counter; 4],
    regret: Counter,
    /// Tokens found and computed, up to the last publication.
    tokens_before: [u64; 2],
}

impl fmt::Debug for RequestMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RequestMetrics")
            .field("tokens_before", &self.tokens_before)
            .finish_non_exhaustive()
    }
}

impl RequestMetrics {
    pub(super) fn new() -> Self {
        let by_tier = |name| TierId::ALL.map(|tier| metrics::counter!(name, "tier" => tier.to_string()));
        let plan = |plan| metrics::counter!("kv_pager_plans_total", "plan" => plan);
        let rate = |source| metrics::gauge!("kv_pager_tokens_per_second", "source" => source);
        Self {
            requests: metrics::counter!("kv_pager_requests_total"),
            query_tokens: metrics::counter!("kv_pager_query_tokens_total"),
            hit_tokens: by_tier("kv_pager_hit_tokens_total"),
            hit_bytes: by_tier("kv_pager_hit_bytes_total"),
            computed_tokens: metrics::counter!("kv_pager_computed_tokens_total"),
            found_per_second: rate("found"),
            computed_per_second: rate("computed"),
            open_sequences: metrics::gauge!("kv_pager_open_sequences"),
            first_token: metrics::histogram!("kv_pager_first_token_seconds"),
            dropped: metrics::counter!("kv_pager_dropped_blocks_total"),
            damaged: metrics::counter!("kv_pager_damaged_parts_total"),
            failed_loads: metrics::counter!("kv_pager_failed_loads_total"),
            cut_loads: metrics::counter!("kv_pager_cut_loads_total"),
            promoted_parts: metrics::counter!("kv_pager_promoted_parts_total"),
            promoted_bytes: metrics::counter!("kv_pager_promoted_bytes_total"),
            recovered: metrics::counter!("kv_pager_recovered_blocks_total"),
            plans: ["load", "recompute", "two_fronts", "load_then_compute"].map(plan),
            regret: metrics::counter!("kv_pager_plan_regret_nanoseconds_total"),
            tokens_before: [0; 2],
        }
    }

    pub(super) fn publish(&mut self, stats: &Stats, spans: &Spans, since: Nanos) {
        self.requests.absolute(stats.requests);
        self.query_tokens.absolute(stats.query_tokens);
        for tier in TierId::ALL {
            self.hit_tokens[tier.index()].absolute(stats.hit_tokens[tier.index()]);
            self.hit_bytes[tier.index()].absolute(stats.hit_bytes[tier.index()].as_u64());
        }
        self.computed_tokens.absolute(stats.computed_tokens);
        self.open_sequences.set(f64::from(stats.open_sequences));
        hand_on(spans.first_token(), &self.first_token);
        let tokens = [stats.hit_tokens.iter().sum(), stats.computed_tokens];
        if since > Nanos::ZERO {
            let rate = |place: usize| gauge(tokens[place] - self.tokens_before[place]) / since.as_secs_f64();
            self.found_per_second.set(rate(0));
            self.computed_per_second.set(rate(1));
            self.tokens_before = tokens;
        }
        self.dropped.absolute(stats.drops);
        self.damaged.absolute(stats.damaged);
        self.failed_loads.absolute(stats.failed_loads);
        self.cut_loads.absolute(stats.cut_loads);
        self.promoted_parts.absolute(stats.promoted.parts);
        self.promoted_bytes.absolute(stats.promoted.bytes.as_u64());
        self.recovered.absolute(stats.recovered);
        let plans = &stats.plans;
        let made = [plans.loads, plans.recomputes, plans.two_fronts, plans.loads_then_computes];
        for (counter, made) in self.plans.iter().zip(made) {
            counter.absolute(made);
        }
        self.regret.absolute(plans.regret.as_u64());
    }
}
