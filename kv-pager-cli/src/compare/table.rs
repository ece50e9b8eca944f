//! The comparison as a table for a person.
//! Uses `compare::results`. Known by: `compare`.

use super::results::Results;
use comfy_table::{Cell, CellAlignment, Table, presets};

/// Policies down, capacities across, prefix hit rates within.
pub(super) fn table(results: &Results) -> String {
    let Results { trace, requests, total_blocks, unique_blocks, .. } = results;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let policies = results.policies();
    let capacities = policies.first().into_iter().flat_map(|policy| results.of(policy));
    let header = capacities.map(|arm| number(&arm.capacity_blocks.to_string()));
    table.set_header([Cell::new("prefix hit rate")].into_iter().chain(header).collect::<Vec<_>>());
    for policy in policies {
        let rates = results.of(policy).map(|arm| number(&format!("{:.4}", arm.prefix_hit_rate)));
        table.add_row([Cell::new(policy)].into_iter().chain(rates).collect::<Vec<_>>());
    }
    format!(
        "{trace}: {requests} requests for {total_blocks} blocks, {unique_blocks} of them different; capacity in blocks\n\n{table}"
    )
}

fn number(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
