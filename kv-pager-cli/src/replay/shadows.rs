//! What the shadows beside a replay's pager would have hit: for `--json`, and for a person.
//! Known by: `replay`.
//!
//! Rates are of a sample of the names, each tier being asked about as if it stood alone.

use comfy_table::{Cell, CellAlignment, Table, presets};
use kv_pager::policy::Answer;
use serde::Serialize;

/// One tier that might have been.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct ShadowResults {
    pub(super) tier: String,
    pub(super) policy: &'static str,
    pub(super) capacity_blocks: u32,
    /// The sample's share of the blocks asked for.
    sampled_references: u64,
    pub(super) prefix_hit_rate: f64,
    resident_hit_rate: f64,
    /// Of the sample's blocks.
    evictions: u64,
}

impl From<Answer> for ShadowResults {
    fn from(answer: Answer) -> Self {
        let Answer { tier, arm, capacity, tally } = answer;
        Self {
            tier: tier.to_string(),
            policy: arm.name(),
            capacity_blocks: capacity,
            sampled_references: tally.references,
            prefix_hit_rate: tally.prefix_hit_rate(),
            resident_hit_rate: tally.resident_hit_rate(),
            evictions: tally.evictions,
        }
    }
}

/// All of them, tier by tier.
pub(super) fn table(all: &[ShadowResults]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = ["shadow of", "policy", "blocks", "prefix hits", "resident hits"];
    table.set_header(header.into_iter().map(Cell::new).collect::<Vec<_>>());
    for shadow in all {
        let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row(vec![
            Cell::new(&shadow.tier),
            Cell::new(shadow.policy),
            number(shadow.capacity_blocks.to_string()),
            number(format!("{:.3}", shadow.prefix_hit_rate)),
            number(format!("{:.3}", shadow.resident_hit_rate)),
        ]);
    }
    table
}
