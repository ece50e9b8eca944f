//! The results of a replay as the figures of a report.
//! Uses `replay::results`, `report`. Known by: `replay`.

use super::Replayed;
use super::results::{LaneResults, Spans};
use super::shadows::ShadowResults;
use crate::report::replay::{LaneFigures, ReplayFigures, ShadowFigures, TtftFigures};

/// What was found, request by request and in sum.
pub(super) fn figures(replayed: &Replayed) -> ReplayFigures {
    let Replayed { results, records, choice, heading, .. } = replayed;
    let arms = &results.arms;
    let with_cache = (arms.is_empty()).then_some(("with the cache".to_owned(), results.ttft_ns));
    let by_arm = arms.iter().map(|arm| (arm.arms.to_string(), arm.ttft_ns));
    let without = match results.sample_requests {
        Some(requests) => format!("without, {requests} of them"),
        None => "without a cache".to_owned(),
    };
    let without = (without, results.ttft_without_cache_ns);
    let ttft = by_arm.chain(with_cache).chain([without]);
    let ttft = ttft.filter_map(|(name, spans)| Some(ttft_figures(&name, spans?)));
    let hits = results.hit_tokens;
    ReplayFigures {
        summary: format!(
            "{heading}. Of {} prompt tokens {} were found on the device, {} in the host tier and {} in the file tier.",
            results.prompt_tokens, hits.device, hits.host, hits.file
        ),
        hits: records.hits(),
        ttft: ttft.collect(),
        lanes: results.lanes.iter().map(lane_figures).collect(),
        evictions: [results.evictions.device, results.evictions.host, results.evictions.file],
        drops: results.drops,
        file_bytes_written: records.file_bytes(),
        predictions: records.predictions(),
        shadows: results.shadows.iter().map(shadow_figures).collect(),
        choice: choice.clone(),
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

fn shadow_figures(shadow: &ShadowResults) -> ShadowFigures {
    ShadowFigures {
        tier: shadow.tier.clone(),
        kept: format!("{}, {} blocks", shadow.policy, shadow.capacity_blocks),
        prefix_hit_rate: shadow.prefix_hit_rate,
    }
}
