//! What the bookkeeping costs, in nanoseconds a block.
//!
//! `cargo run --release -p benches --bin bookkeeping -- --json FILE`. No byte moves: the device is metadata, and prompts are
//! named outside the timing. Each figure is the median of its rounds.

mod metadata;
mod scenarios;

use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table, presets};
use scenarios::Scenario;
use std::io::Write;
use std::path::PathBuf;

/// What the bookkeeping of kv-pager costs, in nanoseconds a block.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to write `{scenarios: [{name, batch, threads, ours_ns}]}`.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only the scenarios of this name.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["scenario", "batch", "ns a block"]);
    let mut rows = Vec::new();
    for Scenario { name, batch, run } in scenarios::all() {
        if arguments.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let ours_ns = run();
        let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(name), number(batch.to_string()), number(format!("{ours_ns:.1}"))]);
        rows.push(serde_json::json!({ "name": name, "batch": batch, "threads": 1, "ours_ns": ours_ns }));
    }
    writeln!(std::io::stdout(), "{table}")?;
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&serde_json::json!({ "scenarios": rows }))?)?;
    }
    Ok(())
}
