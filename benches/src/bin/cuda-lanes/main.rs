//! What the lanes between a card and pinned memory reach, beside one contiguous copy in the same run.
//!
//! Prints a table and writes `--json FILE`. Needs a CUDA device; says so where there is none.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod beside_gemm;
mod both_ways;
mod by_layer;
mod start;
mod transfers;

use benches::cuda::{Contiguous, CountingAllocator, Report};
use clap::Parser;
use kv_pager::Error;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager_cuda::{Device, LaneOptions, open_device, probe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Measures the CUDA lanes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which card.
    #[arg(long, default_value_t = 0)]
    device: u32,
    /// Where the rows go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Batches of each kind; the median counts.
    #[arg(long, default_value_t = 15)]
    repeats: usize,
    /// Which sections to run, of: start, transfers, both, layers, gemm.
    #[arg(long, value_delimiter = ',', default_value = "start,transfers,both,layers,gemm")]
    sections: Vec<String>,
    /// Staging memory of a lane, chunks, the first chunk; in MiB.
    #[arg(long, value_delimiter = ',', num_args = 3, default_values_t = [256, 64, 8])]
    staging: Vec<u64>,
    /// Blocks of the copy kernels; one a multiprocessor by default.
    #[arg(long)]
    blocks: Option<u32>,
    /// Copy pieces one by one, as on a driver that has no batch copies.
    #[arg(long)]
    no_batch_copies: bool,
    /// GiB of pinned memory that the start is measured with.
    #[arg(long, default_value_t = 16)]
    pinned_gib: u64,
}

/// What every section needs.
struct Bench {
    device: Arc<Device>,
    clock: Arc<dyn Clock>,
    limit: Contiguous,
    lanes: LaneOptions,
    repeats: usize,
    report: Report,
}

/// The largest batch: 256 parts of 2 MiB.
const LIMIT_BYTES: usize = 512 << 20;

fn run(arguments: &Arguments) -> Result<Report, Error> {
    let machine = probe()?;
    let device = open_device(arguments.device)?;
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let mib = |index: usize| kv_pager::units::Bytes::mib(arguments.staging[index]);
    let lanes = LaneOptions {
        staging_bytes: mib(0),
        chunk_bytes: mib(1),
        first_chunk_bytes: mib(2),
        kernel_blocks: arguments.blocks,
        batch_copies: !arguments.no_batch_copies,
        ..LaneOptions::default()
    };
    let card = format!("{}, driver of CUDA {}.{}", device.name(), machine.driver.0, machine.driver.1);
    println!("{card}");
    let limit = Contiguous::new(&device, LIMIT_BYTES);
    let report = Report { card, ..Report::default() };
    let mut bench = Bench { device, clock, limit, lanes, repeats: arguments.repeats, report };
    for section in &arguments.sections {
        match section.as_str() {
            "start" => start::run(&mut bench, arguments.pinned_gib << 30)?,
            "transfers" => transfers::run(&mut bench)?,
            "both" => both_ways::run(&mut bench)?,
            "layers" => by_layer::run(&mut bench)?,
            "gemm" => beside_gemm::run(&mut bench)?,
            other => {
                let why = format!("no section is called {other}");
                return Err(Error::Configuration { setting: "--sections", why });
            }
        }
    }
    Ok(bench.report)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    benches::end("cuda-lanes", run(&arguments), arguments.json.as_deref(), Report::print)
}

/// Bytes a second, in 1e9.
#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn rate(bytes: u64, nanoseconds: u64) -> f64 {
    bytes as f64 / nanoseconds as f64
}
