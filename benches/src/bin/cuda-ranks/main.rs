//! What a lane over several ranks reaches, beside one contiguous copy a rank, all at once, in the same run.
//!
//! Ranks may share a card (`--devices 0,0`): then their bytes share its link, and so do the contiguous copies.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod batches;

use benches::cuda::{CountingAllocator, Report};
use clap::Parser;
use kv_pager::Error;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager_cuda::{open_device, probe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Measures CUDA lanes over several ranks.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many ranks; by default one a device named.
    #[arg(long)]
    ranks: Option<usize>,
    /// The card of each rank; the list is repeated if it is shorter.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    devices: Vec<u32>,
    /// Where the rows go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Batches of each kind; the median counts.
    #[arg(long, default_value_t = 11)]
    repeats: usize,
    /// Shapes, of: llama3-8b, llama3-70b.
    #[arg(long, value_delimiter = ',', default_value = "llama3-8b,llama3-70b")]
    shapes: Vec<String>,
}

fn run(arguments: &Arguments) -> Result<Report, Error> {
    let machine = probe()?;
    let ranks = arguments.ranks.unwrap_or(arguments.devices.len());
    let devices: Vec<u32> = arguments.devices.iter().copied().cycle().take(ranks).collect();
    let cards = devices.iter().map(|ordinal| open_device(*ordinal)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = cards.iter().map(|card| format!("cuda:{} {}", card.ordinal(), card.name())).collect();
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let (major, minor) = machine.driver;
    let card = format!("{ranks} ranks on {}, driver of CUDA {major}.{minor}", names.join(", "));
    println!("{card}");
    let mut report = Report { card, ..Report::default() };
    for name in &arguments.shapes {
        let shape = match name.as_str() {
            "llama3-8b" => "llama3-8b",
            "llama3-70b" => "llama3-70b",
            other => {
                let why = format!("no shape is called {other}");
                return Err(Error::Configuration { setting: "--shapes", why });
            }
        };
        batches::run(&mut report, shape, &cards, (arguments.repeats, &clock))?;
    }
    Ok(report)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    benches::end("cuda-ranks", run(&arguments), arguments.json.as_deref(), Report::print)
}
