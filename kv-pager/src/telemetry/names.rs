//! The names of all metrics, their kinds, units and meanings.
//! Layer 10. Known by: `telemetry`.

use metrics::Unit;

/// What kind a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Tells how values are distributed.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit, where the name does not say it.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
}

const fn counter(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, unit, labels, meaning }
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, labels, meaning }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: Unit::Seconds, labels, meaning }
}

/// All metrics, as `docs/telemetry.md` has them.
pub const METRICS: &[Metric] = &[
    counter("kv_pager_requests_total", Unit::Count, &[], "Requests that were opened."),
    counter("kv_pager_query_tokens_total", Unit::Count, &[], "Tokens of the prompts of opened requests."),
    counter(
        "kv_pager_hit_tokens_total",
        Unit::Count,
        &["tier"],
        "Prompt tokens whose blocks were cached, by the tier they came from, of closed requests.",
    ),
    counter(
        "kv_pager_hit_bytes_total",
        Unit::Bytes,
        &["tier"],
        "Bytes of the hits' blocks, as the device has them.",
    ),
    counter(
        "kv_pager_computed_tokens_total",
        Unit::Count,
        &[],
        "Tokens that the engine computed, of closed requests.",
    ),
    gauge(
        "kv_pager_tokens_per_second",
        Unit::CountPerSecond,
        &["source"],
        "Tokens of requests closed since the last publication, by source: found or computed.",
    ),
    gauge("kv_pager_open_sequences", Unit::Count, &[], "Sequences that are open."),
    histogram(
        "kv_pager_first_token_seconds",
        &[],
        "From when a request was opened to when all tokens of its prompt were found there.",
    ),
    counter("kv_pager_dropped_blocks_total", Unit::Count, &[], "Blocks whose last copy went."),
    counter("kv_pager_damaged_parts_total", Unit::Count, &[], "Parts that a checksum stopped."),
    counter(
        "kv_pager_failed_loads_total",
        Unit::Count,
        &[],
        "Loads that did not end well; their blocks were computed.",
    ),
    counter(
        "kv_pager_cut_loads_total",
        Unit::Count,
        &[],
        "Loads given up because computing was sooner: called off, or left to go on for others.",
    ),
    counter(
        "kv_pager_promoted_parts_total",
        Unit::Count,
        &[],
        "Parts brought from the file to host memory before anybody asked for them, while lanes stood idle.",
    ),
    counter(
        "kv_pager_promoted_bytes_total",
        Unit::Bytes,
        &[],
        "Bytes of those parts, as the device has them.",
    ),
    counter(
        "kv_pager_recovered_blocks_total",
        Unit::Count,
        &[],
        "Blocks found in a tier that outlived an earlier process.",
    ),
    counter(
        "kv_pager_plans_total",
        Unit::Count,
        &["plan"],
        "Plans made with measured costs, by what was done with what was cached below the device.",
    ),
    counter(
        "kv_pager_plan_regret_nanoseconds_total",
        Unit::Nanoseconds,
        &[],
        "How much later requests finished than the better of loading all and computing all would have.",
    ),
    gauge("kv_pager_tier_slots", Unit::Count, &["tier", "state"], "Slots of a tier, by state."),
    gauge("kv_pager_tier_used_bytes", Unit::Bytes, &["tier"], "Bytes of a tier's slots that are not free."),
    gauge("kv_pager_tier_capacity_bytes", Unit::Bytes, &["tier"], "Bytes of all slots of a tier."),
    counter(
        "kv_pager_evictions_total",
        Unit::Count,
        &["tier", "reason"],
        "Slots freed to make room, by tier and reason.",
    ),
    counter("kv_pager_lane_moves_total", Unit::Count, &["lane"], "Moves that ended well."),
    counter(
        "kv_pager_lane_failed_moves_total",
        Unit::Count,
        &["lane"],
        "Moves that failed, were cancelled or timed out.",
    ),
    counter("kv_pager_lane_batches_total", Unit::Count, &["lane"], "Batches that are over."),
    counter("kv_pager_lane_copies_total", Unit::Count, &["lane"], "Copy calls of a lane."),
    counter(
        "kv_pager_lane_bytes_total",
        Unit::Bytes,
        &["lane"],
        "Bytes of the moves that ended well, as the device has them.",
    ),
    counter(
        "kv_pager_lane_busy_nanoseconds_total",
        Unit::Nanoseconds,
        &["lane"],
        "How long a lane worked, by its own account.",
    ),
    gauge("kv_pager_lane_queued_moves", Unit::Count, &["lane"], "Moves that wait for a lane."),
    gauge(
        "kv_pager_lane_in_flight_bytes",
        Unit::Bytes,
        &["lane"],
        "Bytes that a lane was given and that have not ended.",
    ),
    histogram(
        "kv_pager_lane_move_seconds",
        &["lane"],
        "From when a move was asked for to when its good end was seen, waiting included.",
    ),
];

/// Tells the current recorder of all of them.
pub(super) fn describe() {
    for Metric { name, kind, unit, meaning, .. } in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *unit, *meaning),
            Kind::Gauge => metrics::describe_gauge!(*name, *unit, *meaning),
            Kind::Histogram => metrics::describe_histogram!(*name, *unit, *meaning),
        }
    }
}
