//! What the bookkeeping costs, in nanoseconds a block; with the feature `peer`, beside `kvbm-logical` in the same process.
//!
//! `cargo run --release -p benches --features peer --bin bookkeeping -- --json FILE`. No byte moves: the device is metadata, and
//! prompts are named outside the timing. Rounds of the two alternate, so that both see the same machine; each figure is the
//! median of its rounds.

#[cfg(feature = "hold-times")]
mod holds;
mod metadata;
mod ours;
#[cfg(feature = "peer")]
mod peer;
mod scenarios;
mod subject;

use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table, presets};
use scenarios::{Rounds, Scenario};
use std::io::Write;
use std::path::PathBuf;

/// What the bookkeeping of kv-pager costs, in nanoseconds a block.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to write `{scenarios: [{name, batch, threads, ours_ns, peer_ns, ratio}]}`; without the peer the last two are null.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure how long the pager's lock is held instead.
    #[cfg(feature = "hold-times")]
    #[arg(long)]
    holds: bool,
    /// Only the scenarios of this name.
    #[arg(long)]
    only: Option<String>,
    /// Only those of this batch.
    #[arg(long)]
    batch: Option<u32>,
    /// Only those of so many threads.
    #[arg(long)]
    threads: Option<u32>,
    /// Rounds of each scenario, instead of its own number.
    #[arg(long)]
    rounds: Option<usize>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    #[cfg(feature = "hold-times")]
    if arguments.holds {
        writeln!(std::io::stdout(), "{}", holds::measure())?;
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["scenario", "batch", "threads", "ns a block", "peer's", "ratio"]);
    let mut rows = Vec::new();
    let meant = |scenario: &Scenario| {
        arguments.only.as_deref().is_none_or(|only| only == scenario.name)
            && arguments.batch.is_none_or(|batch| batch == scenario.batch)
            && arguments.threads.is_none_or(|threads| threads == scenario.threads)
    };
    for scenario in scenarios::all().into_iter().filter(meant) {
        let Scenario { name, batch, threads, rounds, ours, peer } = scenario;
        let rounds = arguments.rounds.unwrap_or(rounds).max(1);
        let (ours_ns, peer_ns) = alternate(rounds, ours(), peer.map(|peer| peer()));
        let ratio = peer_ns.map(|peer_ns| peer_ns / ours_ns);
        let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let or_none =
            |value: Option<f64>| number(value.map_or("-".to_owned(), |value| format!("{value:.1}")));
        table.add_row([
            Cell::new(name),
            number(batch.to_string()),
            number(threads.to_string()),
            number(format!("{ours_ns:.1}")),
            or_none(peer_ns),
            or_none(ratio),
        ]);
        rows.push(serde_json::json!({
            "name": name, "batch": batch, "threads": threads, "ours_ns": ours_ns, "peer_ns": peer_ns, "ratio": ratio,
        }));
    }
    writeln!(std::io::stdout(), "{table}")?;
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&serde_json::json!({ "scenarios": rows }))?)?;
    }
    Ok(())
}

/// Medians of the two, in nanoseconds a block, their rounds taking turns.
fn alternate(rounds: usize, mut ours: Rounds, mut peer: Option<Rounds>) -> (f64, Option<f64>) {
    let mut spans = [Vec::with_capacity(rounds), Vec::with_capacity(rounds)];
    for _ in 0..rounds {
        spans[0].push(ours());
        if let Some(peer) = &mut peer {
            spans[1].push(peer());
        }
    }
    let median = |mut spans: Vec<f64>| {
        spans.sort_unstable_by(f64::total_cmp);
        spans.get(spans.len() / 2).copied()
    };
    let [ours, peer] = spans.map(median);
    (ours.expect("at least one round"), peer)
}
