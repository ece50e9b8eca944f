//! File lanes beside raw direct I/O: slots in a random order, cold, on the drive of a directory.
//!
//! `file-lanes DIRECTORY [--device cuda:0] [--json FILE]`, also as a binary that was carried to another machine. Prints a row for
//! each figure, in MiB/s where nothing else is said. Raw is the best over 1 to 32 requests at once, each of one slot, by `pread`
//! and `pwrite` with `O_DIRECT` in as many threads, from and to the same host memory and the same payload file; *checked* is the
//! same with a checksum over each slot. The lane moves as many slots, headers and checksums included, over slots that were full:
//! up to what the pager has under way on a lane, in batches as the pager makes them, one behind the other. Every round is of
//! other slots, so that none finds its slots in a cache that the one before has warmed. With `--device cuda:0` the other end is
//! pinned memory, read and written directly.
//!
//! `--seconds` is shared out among the figures: a drive that is slow is measured with fewer slots, and no less than three rounds.
//! What the run makes in the directory takes `--file-mib` at once, and is removed at the end.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod memory;
mod rates;
mod raw;
mod report;
mod stall;
mod subject;
mod written;

use clap::Parser;
use kv_pager::Error;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::units::Nanos;
use memory::{HostMemory, Other};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Measures the lanes between host memory and files.
#[derive(Debug, Parser)]
struct Arguments {
    /// A directory on the drive; what is made there is removed.
    directory: PathBuf,
    /// Whose memory is the other end: `cpu`, or pinned memory of `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: Other,
    /// Where the rows go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// About how long to measure.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(10..=3600))]
    seconds: u64,
    /// The tier's size.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(512..=65536))]
    file_mib: u64,
    /// Read slots one by one, not several in a call, although the system takes them so (`io_uring`).
    #[arg(long)]
    no_rings: bool,
    /// Threads of a lane.
    #[arg(long)]
    workers: Option<usize>,
    /// Shapes to measure the rates of.
    #[arg(long, value_delimiter = ',', default_value = "llama3-8b,qwen2.5-0.5b,tiny")]
    shapes: Vec<String>,
    /// Which figures, of: rates, stall, written.
    #[arg(long, value_delimiter = ',', default_value = "rates,stall,written")]
    sections: Vec<String>,
}

/// What every section needs.
struct Bench {
    memory: HostMemory,
    directory: PathBuf,
    file_bytes: u64,
    workers: Option<usize>,
    has_rings: bool,
    clock: Arc<dyn Clock>,
    report: Report,
}

fn run(arguments: &Arguments) -> Result<Report, Error> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let memory = HostMemory::new(arguments.device)?;
    let own = tempfile::Builder::new().prefix("file-lanes-").tempdir_in(&arguments.directory);
    let own = own.map_err(|source| Error::Io {
        tier: kv_pager::ids::TierId::File,
        action: format!("{}: cannot make a directory; name one to measure in", arguments.directory.display()),
        source,
    })?;
    let file_bytes = arguments.file_mib << 20;
    let directory = own.path().to_owned();
    let report = Report::new(&arguments.directory, &memory);
    let (workers, has_rings) = (arguments.workers, !arguments.no_rings);
    let mut bench = Bench { memory, directory, file_bytes, workers, has_rings, clock, report };
    println!("{}", bench.report.machine);
    let rates = arguments.sections.iter().any(|section| section == "rates");
    // Rates take most of the time: two figures of each shape. The rest has a share of its own.
    let shapes = if rates { arguments.shapes.len().max(1) as u64 } else { 1 };
    let share = Nanos::from_millis(arguments.seconds * 1000 * 6 / 10 / (shapes * 2));
    for section in &arguments.sections {
        match section.as_str() {
            "rates" => arguments.shapes.iter().try_for_each(|shape| rates::run(&mut bench, shape, share))?,
            "stall" => arguments.shapes.iter().try_for_each(|shape| stall::run(&mut bench, shape))?,
            "written" => [8, 192, 512, 2048].into_iter().try_for_each(|kib| written::run(&mut bench, kib))?,
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
    benches::end("file-lanes", run(&arguments), arguments.json.as_deref(), Report::print)
}

/// The middle of `values`.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
