//! The results of a replay as the figures of a report.
//! Uses `replay::results`, `report`. Known by: `replay`.

use super::results::{LaneResults, Results, Spans};
use crate::report::replay::{LaneFigures, ReplayFigures, TtftFigures};

/// What the results tell; figures over time are for who records them.
pub(super) fn figures(results: &Results, heading: &str) -> ReplayFigures {
    let ttft = [("with the cache", results.ttft_ns), ("without it", results.ttft_without_cache_ns)];
    let ttft = ttft.into_iter().filter_map(|(name, spans)| Some(ttft_figures(name, spans?)));
    let hits = results.hit_tokens;
    ReplayFigures {
        summary: format!(
            "{heading}. Of {} prompt tokens {} were found on the device, {} in the host tier and {} in the file tier.",
            results.prompt_tokens, hits.device, hits.host, hits.file
        ),
        ttft: ttft.collect(),
        lanes: results.lanes.iter().map(lane_figures).collect(),
        evictions: [results.evictions.device, results.evictions.host, results.evictions.file],
        drops: results.drops,
        ..ReplayFigures::default()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of nanoseconds is not negative"
)]
fn ttft_figures(name: &str, spans: Spans) -> TtftFigures {
    TtftFigures {
        arm: name.to_owned(),
        mean_p50_p90_p99_ns: [spans.mean as u64, spans.p50, spans.p90, spans.p99],
    }
}

fn lane_figures(lane: &LaneResults) -> LaneFigures {
    LaneFigures {
        name: lane.name.clone(),
        bytes: lane.bytes,
        transfers: lane.transfers,
        bytes_per_s: lane.bytes_per_s,
    }
}
