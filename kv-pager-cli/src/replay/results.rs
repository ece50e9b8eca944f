//! The results of a replay, as `--json` writes them: names and meanings are a contract.
//! Uses `replay::{outcome, simulated}`. Known by: `replay`, `replay::report`.
//!
//! - **J1** `prompt_tokens` is the sum of all hits and `computed_tokens`;
//! - **J2** what was not measured is null, never zero.

use super::arms_table::ArmResults;
use super::outcome::Outcome;
use super::shadows::ShadowResults;
use super::simulated::VirtualFindings;
use hdrhistogram::Histogram;
use kv_pager::ids::TierId;
use kv_pager::pager::{LaneReport, Stats};
use kv_pager::policy::Answer;
use kv_pager::units::Nanos;
use kv_pager_testkit::engine::VerifierCounts;
use serde::Serialize;

/// A number for each tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct ByTier {
    pub(super) device: u64,
    pub(super) host: u64,
    pub(super) file: u64,
}

impl ByTier {
    fn new(counts: [u64; TierId::COUNT]) -> Self {
        let of = |tier: TierId| counts[tier.index()];
        Self { device: of(TierId::Device), host: of(TierId::Host), file: of(TierId::File) }
    }

    /// The sum.
    pub(super) fn total(self) -> u64 {
        self.device + self.host + self.file
    }
}

/// How a span is distributed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Spans {
    pub(super) mean: f64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
}

impl Spans {
    /// `None` if nothing was recorded (J2).
    fn new(spans: &Histogram<u64>) -> Option<Self> {
        (!spans.is_empty()).then(|| Self {
            mean: spans.mean(),
            p50: spans.value_at_quantile(0.5),
            p90: spans.value_at_quantile(0.9),
            p99: spans.value_at_quantile(0.99),
        })
    }
}

/// What a lane did.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct LaneResults {
    pub(super) name: String,
    /// Batches.
    pub(super) transfers: u64,
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    pub(super) busy_ns: u64,
    /// While busy.
    pub(super) bytes_per_s: Option<f64>,
}

impl LaneResults {
    fn new(report: &LaneReport) -> Self {
        let stats = &report.stats;
        Self {
            name: report.ends.to_string(),
            transfers: stats.batches,
            blocks: stats.moves,
            bytes: stats.bytes.as_u64(),
            busy_ns: stats.busy.as_u64(),
            bytes_per_s: rate(stats.bytes.as_u64(), stats.busy),
        }
    }
}

/// How far predictions were off: |predicted - observed| / observed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct PredictionError {
    pub(super) p50: f64,
    pub(super) p90: f64,
}

/// The results of a replay.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    pub(super) requests: u64,
    pub(super) prompt_tokens: u64,
    pub(super) hit_tokens: ByTier,
    pub(super) computed_tokens: u64,
    /// Those of the computed ones that had been computed before, counted in whole blocks.
    pub(super) recomputed_tokens: u64,
    pub(super) onboarded_blocks: u64,
    /// Brought from the file to the host while lanes stood idle, and their bytes.
    pub(super) promoted_blocks: u64,
    pub(super) promoted_bytes: u64,
    /// Onboarded blocks whose bytes were compared with those first computed.
    pub(super) verified_blocks: Option<u64>,
    /// Blocks with wrong bytes that reached the engine.
    pub(super) mismatched_blocks: Option<u64>,
    /// Blocks that a checksum stopped.
    pub(super) damaged_blocks: Option<u64>,
    pub(super) evictions: ByTier,
    pub(super) drops: u64,
    pub(super) lanes: Vec<LaneResults>,
    pub(super) ttft_ns: Option<Spans>,
    /// Without a cache: measured on `sample_requests` of the requests; in virtual time, of all.
    pub(super) ttft_without_cache_ns: Option<Spans>,
    pub(super) decode_tokens_per_s: Option<f64>,
    pub(super) prediction_error: Option<PredictionError>,
    pub(super) wall_ns: u64,
    /// Of every combination of arms, if all were tried: what stands beside it is the default's then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) arms: Vec<ArmResults>,
    /// What shadows beside the pager would have hit, if they ran.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) shadows: Vec<ShadowResults>,
    /// From the start to the end of the last request, in virtual time.
    pub(super) virtual_ns: Option<u64>,
    /// Requests that were served once more without a cache.
    pub(super) sample_requests: Option<u64>,
    /// Of those, the ones whose logits were not the same, bit for bit.
    pub(super) differing_requests: Option<u64>,
    /// Blocks found on the device whose bytes were compared.
    pub(super) verified_resident_blocks: Option<u64>,
    /// Blocks found in a kept file tier at the start.
    pub(super) recovered_blocks: Option<u64>,
}

/// What the results are made of.
#[derive(Debug)]
pub(super) struct Findings {
    /// With the cache.
    pub(super) cached: Outcome,
    /// Without it, on a sample.
    pub(super) uncached: Outcome,
    pub(super) stats: Stats,
    /// Of the shadows beside it.
    pub(super) answers: Vec<Answer>,
    pub(super) verified: VerifierCounts,
    /// How long the pass with the cache took.
    pub(super) wall: Nanos,
}

impl Results {
    /// Puts findings together.
    pub(super) fn new(findings: &Findings) -> Self {
        let Findings { cached, uncached, stats, answers, verified, wall } = findings;
        let differing =
            uncached.logits.iter().filter(|(index, digest)| cached.logits.get(*index) != Some(*digest));
        Self {
            requests: cached.requests,
            prompt_tokens: cached.prompt_tokens(),
            hit_tokens: ByTier::new(cached.hit_tokens),
            computed_tokens: cached.computed_tokens,
            recomputed_tokens: cached.recomputed_tokens,
            onboarded_blocks: cached.onboarded_blocks,
            promoted_blocks: stats.promoted.parts,
            promoted_bytes: stats.promoted.bytes.as_u64(),
            verified_blocks: Some(verified.verified_blocks),
            mismatched_blocks: Some(verified.mismatched_blocks),
            damaged_blocks: Some(stats.damaged),
            evictions: ByTier::new(stats.evictions),
            drops: stats.drops,
            lanes: stats.lanes.iter().map(LaneResults::new).collect(),
            ttft_ns: Spans::new(&cached.first_token),
            ttft_without_cache_ns: Spans::new(&uncached.first_token),
            decode_tokens_per_s: rate(cached.generated_tokens, *wall),
            prediction_error: cached.records.prediction_error(),
            wall_ns: wall.as_u64(),
            arms: Vec::new(),
            shadows: answers.iter().copied().map(ShadowResults::from).collect(),
            virtual_ns: None,
            sample_requests: Some(uncached.requests),
            differing_requests: Some(differing.count() as u64),
            verified_resident_blocks: Some(verified.verified_resident_blocks),
            recovered_blocks: Some(stats.recovered),
        }
    }

    /// Puts the findings of a virtual replay together, which took `wall`: what only bytes can tell is not known (J2).
    pub(super) fn of_virtual(findings: &VirtualFindings, wall: Nanos) -> Self {
        let VirtualFindings { outcome, without_cache, stats, answers, span, .. } = findings;
        Self {
            requests: outcome.requests,
            prompt_tokens: outcome.prompt_tokens(),
            hit_tokens: ByTier::new(outcome.hit_tokens),
            computed_tokens: outcome.computed_tokens,
            recomputed_tokens: outcome.recomputed_tokens,
            onboarded_blocks: outcome.onboarded_blocks,
            promoted_blocks: stats.promoted.parts,
            promoted_bytes: stats.promoted.bytes.as_u64(),
            verified_blocks: None,
            mismatched_blocks: None,
            damaged_blocks: None,
            evictions: ByTier::new(stats.evictions),
            drops: stats.drops,
            lanes: stats.lanes.iter().map(LaneResults::new).collect(),
            ttft_ns: Spans::new(&outcome.first_token),
            ttft_without_cache_ns: Spans::new(without_cache),
            decode_tokens_per_s: None,
            prediction_error: outcome.records.prediction_error(),
            wall_ns: wall.as_u64(),
            arms: Vec::new(),
            shadows: answers.iter().copied().map(ShadowResults::from).collect(),
            virtual_ns: Some(span.as_u64()),
            sample_requests: None,
            differing_requests: None,
            verified_resident_blocks: None,
            recovered_blocks: None,
        }
    }

    /// Whether wrong bytes or outputs were seen.
    pub(super) fn has_mismatch(&self) -> bool {
        self.mismatched_blocks > Some(0) || self.differing_requests > Some(0)
    }
}

/// `count` in `span`, by the second; `None` if nothing took no time.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 15 digits")]
pub(super) fn rate(count: u64, span: Nanos) -> Option<f64> {
    (span > Nanos::ZERO).then(|| count as f64 / span.as_secs_f64())
}
