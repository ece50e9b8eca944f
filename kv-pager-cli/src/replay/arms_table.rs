//! Every combination of arms beside each other, for a person and for `--json`.
//! Known by: `replay`.

use super::arms::Arms;
use super::results::{ByTier, Results, Spans};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

/// The results of one combination of arms.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ArmResults {
    policy: &'static str,
    load: &'static str,
    pub(super) ttft_ns: Option<Spans>,
    hit_tokens: ByTier,
    computed_tokens: u64,
    recomputed_tokens: u64,
    wall_ns: u64,
    #[serde(skip)]
    pub(super) arms: Arms,
}

impl ArmResults {
    pub(super) fn new(arms: Arms, results: &Results) -> Self {
        Self {
            policy: arms.keeping.name(),
            load: arms.load.name(),
            ttft_ns: results.ttft_ns,
            hit_tokens: results.hit_tokens,
            computed_tokens: results.computed_tokens,
            recomputed_tokens: results.recomputed_tokens,
            wall_ns: results.wall_ns,
            arms,
        }
    }
}

/// Mean and 99th percentile of the time to first token of all combinations, the default last, and by how much the default is above
/// the lowest of each.
pub(super) fn table(all: &[ArmResults]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = ["policy", "load", "mean, ms", "p99, ms", "found", "computed"];
    table.set_header(header.into_iter().map(Cell::new).collect::<Vec<_>>());
    for arm in all {
        let Some(spans) = arm.ttft_ns else { continue };
        let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row(vec![
            Cell::new(arm.policy),
            Cell::new(arm.load),
            number(format!("{:.1}", spans.mean / 1e6)),
            number(format!("{:.1}", p99(&spans) / 1e6)),
            number(arm.hit_tokens.total().to_string()),
            number(arm.computed_tokens.to_string()),
        ]);
    }
    let above = |of: fn(&Spans) -> f64| {
        let values = || all.iter().filter_map(|arm| arm.ttft_ns.as_ref()).map(of);
        let least = values().min_by(f64::total_cmp).unwrap_or(1.0);
        let default = all.iter().find(|arm| arm.arms.is_default()).and_then(|arm| arm.ttft_ns.as_ref());
        default.map_or(0.0, |spans| of(spans) / least - 1.0) * 100.0
    };
    format!(
        "{table}\n\nthe default is above the lowest by {:.2} % in the mean, and by {:.2} % at p99",
        above(|spans| spans.mean),
        above(p99)
    )
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a span stay below 2^53")]
fn p99(spans: &Spans) -> f64 {
    spans.p99 as f64
}
