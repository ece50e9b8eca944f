//! The arguments: names and meanings are a contract.
//! Known by: every command.
//!
//! An option is here once it is served, never before.

use crate::compare::Contestant;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kv_pager::config::Promotion;
use kv_pager::layout::shape_names;
use kv_pager::policy::keeping::Arm;
use kv_pager::policy::plan::Loading;
use kv_pager::units::Bytes;
use std::path::PathBuf;

/// A paged KV cache over device memory, host memory and files.
#[derive(Debug, Parser)]
#[command(name = "kv-pager", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure what this machine's lanes and prefill cost, in less than 20 seconds.
    Measure(MeasureArguments),
    /// Serve a request stream with a reference engine, and check every block that comes back.
    Replay(ReplayArguments),
    /// Tell what each keeping policy would hit on a request stream, by capacity.
    Compare(CompareArguments),
    /// Tell what a file tier holds, and whether it is whole.
    Inspect(InspectArguments),
}

/// Options of `measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArguments {
    /// What computes and holds the nearest tier: cpu, or a card such as cuda:0, whose prefill is measured by its matrix
    /// products.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,

    /// Measure files on DIR's drive, in a directory of their own that is removed at the end [default: where temporary files are].
    #[arg(long, value_name = "DIR")]
    pub(crate) file_dir: Option<PathBuf>,

    /// The model whose cache layout is used.
    #[arg(long, value_name = "NAME", default_value = "tiny", value_parser = clap::builder::PossibleValuesParser::new(shape_names()))]
    pub(crate) shape: String,

    /// Write the profile to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Options of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// A trace (.jsonl, plain or zstd) with timestamp, `input_length`, `output_length` and `hash_ids`; the built-in workload if
    /// left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Serve the first N requests [default: all of a trace, 1600 of the built-in workload].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) requests: Option<u32>,

    /// Keep the trace's arrivals, X times as far apart; without it, a request arrives when one has ended.
    #[arg(long, value_name = "X", value_parser = positive)]
    pub(crate) time_scale: Option<f64>,

    /// Decides the tokens, the model's weights and the built-in workload.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The model whose cache layout is used [default: tiny; with --virtual, the profile's].
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(shape_names()))]
    pub(crate) shape: Option<String>,

    /// Serve in virtual time, on a machine that takes what a profile says: nothing is computed, no byte is kept.
    #[arg(long = "virtual", conflicts_with_all = ["device", "file_dir", "threads"])]
    pub(crate) is_virtual: bool,

    /// What lanes and prefill take: a file as `measure --out` writes it, or one of the profiles that come along: h200-llama3-8b,
    /// h200-llama3-8b-fast-drive, h200-llama3-8b-measured, h200-qwen2.5-0.5b-measured [default with --virtual:
    /// h200-llama3-8b].
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) profile: Option<PathBuf>,

    /// Write the profile to FILE as it was corrected by what was observed, for the next start; FILE may be the one that was read. It
    /// must be of this machine and model.
    #[arg(long, value_name = "FILE", requires = "profile", conflicts_with = "is_virtual")]
    pub(crate) save_profile: Option<PathBuf>,

    /// What holds the nearest tier: cpu, or a card such as cuda:0.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,

    /// Size of the device tier, such as 64MiB [default: 300 trace blocks of 512 tokens].
    #[arg(long, value_name = "BYTES")]
    pub(crate) device_bytes: Option<Bytes>,

    /// Size of the host tier; 0 leaves it out [default: 2000 trace blocks].
    #[arg(long, value_name = "BYTES")]
    pub(crate) host_bytes: Option<Bytes>,

    /// Size of the file tier; 0 leaves it out [default: 8000 trace blocks].
    #[arg(long, value_name = "BYTES")]
    pub(crate) file_bytes: Option<Bytes>,

    /// Keep the file tier in DIR and reopen what is there; without it, a temporary directory that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) file_dir: Option<PathBuf>,

    /// What decides which blocks stay near: lru, slru, arc, s3fifo or cost-aware.
    #[arg(long, value_name = "NAME", default_value_t = Arm::CostAware)]
    pub(crate) policy: Arm,

    /// What is done with what is cached below the device. Adaptive needs costs: with --virtual they are the machine's, otherwise
    /// those of --profile; without, every hit is loaded.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = LoadName::Adaptive)]
    pub(crate) load: LoadName,

    /// What host memory gives up goes to the file: all of it, or what was asked for at least twice.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = FileWritesName::All)]
    pub(crate) file_writes: FileWritesName,

    /// The most that is written to the file in a day, an hour's share at once, but not over a file that is reopened [default: no limit].
    #[arg(long, value_name = "BYTES")]
    pub(crate) write_bytes_per_day: Option<Bytes>,

    /// Whether hot blocks come from the file to host memory while the lanes between them stand idle. It takes measured costs: those of
    /// --profile, or with --virtual the machine's.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = PromotionName::WhileIdle)]
    pub(crate) promotion: PromotionName,

    /// Serve the stream once for every combination of --policy and --load, and compare them.
    #[arg(long, requires = "is_virtual", conflicts_with_all = ["policy", "load"])]
    pub(crate) all_arms: bool,

    /// Run shadows beside the pager, and tell what every other policy, and this one with twice the memory, would have hit in each
    /// tier.
    #[arg(long, conflicts_with = "all_arms")]
    pub(crate) shadows: bool,

    /// Tokens of a block of the virtual machine's: large ones are simulated faster.
    #[arg(long, value_name = "N", requires = "is_virtual", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) block_tokens: u32,

    /// Requests that are served at the same time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) concurrency: u32,

    /// Threads that compute.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,

    /// Write the results to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with charts to FILE, as HTML that needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Write the pager's metrics to FILE, as Prometheus's text: at the end and, in real time, every 5 seconds.
    #[arg(long, value_name = "FILE", conflicts_with = "all_arms")]
    pub(crate) metrics: Option<PathBuf>,
}

/// Options of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// A trace (.jsonl, plain or zstd), as for replay; the built-in workload if left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Take the first N requests [default: all of a trace, 8000 of the built-in workload].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) requests: Option<u32>,

    /// Decides the built-in workload.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The policies: lru, slru, arc, s3fifo, cost-aware, and belady, the bound.
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "lru,slru,arc,s3fifo,cost-aware,belady"
    )]
    pub(crate) policies: Vec<Contestant>,

    /// The capacities, in blocks of 512 tokens [default: 0.5 % to 50 % of the stream's different blocks].
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) capacity_blocks: Vec<u32>,

    /// Write the results to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with charts to FILE, as HTML that needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Options of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The tier's directory; all of them, in any order, if it is spread over several.
    #[arg(value_name = "DIR", required = true)]
    pub(crate) directories: Vec<PathBuf>,

    /// Read every payload, and end with status 1 when something is damaged.
    #[arg(long)]
    pub(crate) verify: bool,

    /// Read every payload, retire the slots that are damaged, and make superblocks and files whole again; no process may be using the
    /// tier.
    #[arg(long)]
    pub(crate) repair: bool,

    /// Write the results to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// When blocks are promoted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum PromotionName {
    /// While lanes stand idle.
    WhileIdle,
    /// Never.
    Never,
}

impl PromotionName {
    /// What a pager calls it.
    pub(crate) fn promotion(self) -> Promotion {
        match self {
            Self::WhileIdle => Promotion::WhileIdle,
            Self::Never => Promotion::Never,
        }
    }
}

/// The ways of loading that can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LoadName {
    /// Load, compute again, or both at once: what is predicted to be soonest.
    Adaptive,
    /// Load every hit.
    AlwaysLoad,
    /// Compute all that is not on the device.
    AlwaysRecompute,
}

impl LoadName {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Adaptive, Self::AlwaysLoad, Self::AlwaysRecompute];

    /// What a policy calls it.
    pub(crate) fn loading(self) -> Loading {
        match self {
            Self::Adaptive => Loading::Adaptive,
            Self::AlwaysLoad => Loading::AlwaysLoad,
            Self::AlwaysRecompute => Loading::AlwaysRecompute,
        }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::AlwaysLoad => "always-load",
            Self::AlwaysRecompute => "always-recompute",
        }
    }
}

/// The ways of writing to the file that can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum FileWritesName {
    /// All that is demoted.
    All,
    /// What was asked for at least twice.
    Earned,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("it must be a number above 0, such as 0.5 or 3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for wrong in [
            &["replay", "--requests", "0"][..],
            &["replay", "--time-scale", "nan"],
            &["replay", "--time-scale", "-1"],
            &["replay", "--device-bytes", "1.5GiB"],
            &["replay", "--shape", "unheard-of"],
            &["replay", "--policy", "none"],
            &["replay", "--virtual", "--file-dir", "kept"],
            &["replay", "--virtual", "--device", "cpu"],
            &["replay", "--all-arms"],
            &["replay", "--virtual", "--all-arms", "--policy", "lru"],
            &["replay", "--virtual", "--all-arms", "--metrics", "metrics.txt"],
            &["replay", "--virtual", "--all-arms", "--shadows"],
            &["replay", "--block-tokens", "64"],
            &["replay", "--load", "sometimes"],
            &["replay", "--save-profile", "learnt.json"],
            &["replay", "--virtual", "--profile", "measured.json", "--save-profile", "learnt.json"],
            &["replay", "--file-writes", "none"],
            &["measure", "--shape", "unheard-of"],
            &["compare", "--policies", "lru,none"],
            &["compare", "--capacity-blocks", "0"],
            &["inspect"],
            &["sing"],
        ] {
            let arguments = ["kv-pager"].iter().chain(wrong);
            assert!(Arguments::try_parse_from(arguments).is_err(), "{wrong:?}");
        }
    }
}
