//! Real prefill products beside real lanes on a card: plans against every split tried by force, predictions against what happened.
//!
//! Prints a table and writes `--json FILE`. Needs a CUDA device with cuBLAS; says so where there is none. Takes up to `--seconds`
//! on the card. Steps of every length have been computed once before anything is timed, so that no request pays for loading kernels.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod beside;
mod card;

use benches::two_front::{Pace, Results, Scene, SceneSpec, contest, grid};
use card::{CardGround, Keeper};
use clap::Parser;
use kv_pager::Error;
use kv_pager::clock::{Clock, MonotonicClock, Time};
use kv_pager::config::Config;
use kv_pager::cost::calibrate::{measure_lanes, measure_prefill};
use kv_pager::cost::fit::fit_prefill;
use kv_pager::cost::{CostModel, PrefillProfile, Profile};
use kv_pager::layout::{DeviceLayout, ModelLayout, shape};
use kv_pager::pager::Backend;
use kv_pager::units::Nanos;
use kv_pager_cpu::FileSpec;
use kv_pager_cuda::{
    CudaBackend, CudaBackendBuilder, CudaFileSpec, GemmProbe, Inner, OwnedSlots, open_device, probe,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Compares plans with splits.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which card.
    #[arg(long, default_value_t = 0)]
    device: u32,
    /// Where the results go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the file tier lies, in a directory of its own that is removed at the end [default: where temporary files are].
    #[arg(long)]
    file_dir: Option<PathBuf>,
    /// Rounds that count of every split; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Rounds beyond the third are left out where all would take longer than this.
    #[arg(long, default_value_t = 200)]
    seconds: u64,
    /// Only these cells, by number.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<usize>,
}

/// The model that is computed.
const SHAPE: &str = "llama3-8b";
/// The longest step, and the longest prompt: of the grid, with new tokens.
const STEP_TOKENS_MAX: u32 = 2048;
const PROMPT_TOKENS_MAX: u32 = 18_432;
/// Slots of 2 MiB: the shared chain, what is queued, and some of a request's own; in the file the shared chain.
const DEVICE_SLOTS: u32 = 4096;
const HOST_SLOTS: u32 = 4096;
const FILE_SLOTS: u32 = 1280;
const LANE_BUDGET: Nanos = Nanos::from_millis(1_500);
const PREFILL_BUDGET: Nanos = Nanos::from_millis(5_000);
const ROUNDS_MIN: usize = 3;

fn build(
    model: &ModelLayout,
    device: u32,
    directory: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<CudaBackend, Error> {
    let Config { fingerprint, hash_key, .. } = Config::default();
    let file = FileSpec::new(directory, vec![FILE_SLOTS]);
    let owned = OwnedSlots { slots: vec![DEVICE_SLOTS], layout: DeviceLayout::LayerMajor, inner: Inner::Nhd };
    CudaBackendBuilder::new(model.clone(), vec![device], vec![HOST_SLOTS])
        .with_file(CudaFileSpec::new(file, fingerprint, hash_key.0))
        .build(&owned, clock)
}

/// What this machine takes.
fn measure(
    backend: &CudaBackend,
    prefill: &mut GemmProbe,
    (machine, clock): (&str, &dyn Clock),
) -> Result<Profile, Error> {
    let lanes = measure_lanes(&backend.tiers(), &backend.lanes(), LANE_BUDGET, clock)?;
    let samples = measure_prefill(prefill, PREFILL_BUDGET, clock)?;
    let cost = fit_prefill(&samples, None).ok_or_else(|| Error::Configuration {
        setting: "prefill",
        why: "this card is too slow to be measured in its time".to_owned(),
    })?;
    let profile = Profile {
        version: Profile::VERSION,
        machine: machine.to_owned(),
        model: SHAPE.to_owned(),
        lanes,
        prefill: PrefillProfile::new(STEP_TOKENS_MAX, &cost),
        codecs: Vec::new(),
    };
    profile.check()?;
    Ok(profile)
}

fn run(arguments: &Arguments, directory: &Path) -> Result<Results, Error> {
    let machine = probe()?;
    let device = open_device(arguments.device)?;
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let card = format!("{}, driver of CUDA {}.{}", device.name(), machine.driver.0, machine.driver.1);
    println!("{card}");
    let model = shape(SHAPE).expect("known");
    let mut prefill = GemmProbe::new(&device, (SHAPE, &model), STEP_TOKENS_MAX, PROMPT_TOKENS_MAX)?;
    let backend = build(&model, arguments.device, directory, &clock)?;
    let profile = measure(&backend, &mut prefill, (&card, &*clock))?;
    println!("measured after {:.1} s", clock.now().since(Time::START).as_secs_f64());
    let mut gemms = prefill.into_gemms();
    let [beside_onboard, beside_offload] = beside::slow_downs(&backend, &mut gemms, &*clock)?.map(Some);
    println!("a step takes {beside_onboard:.3?} longer beside loads, {beside_offload:.3?} beside copies out");
    let spec = SceneSpec {
        model,
        step_tokens_max: STEP_TOKENS_MAX,
        costs: CostModel::new(&profile)?,
        backend: Backend { tiers: backend.tiers(), lanes: backend.lanes() },
        clock: Arc::clone(&clock),
    };
    let all = grid();
    let is_chosen = |index: &usize| arguments.cells.is_empty() || arguments.cells.contains(index);
    let cells: Vec<_> = (0..all.len()).filter(is_chosen).map(|index| all[index]).collect();
    let mut ground = CardGround::new(gemms, Arc::clone(&clock));
    ground.warm(STEP_TOKENS_MAX, PROMPT_TOKENS_MAX)?;
    println!("steps of every length computed after {:.1} s", clock.now().since(Time::START).as_secs_f64());
    let mut scene = Scene::new(spec, &cells, &mut ground)?;
    let _keeper = Keeper::start(scene.pager().clone());
    println!("blocks in place after {:.1} s", clock.now().since(Time::START).as_secs_f64());
    let mut results =
        Results { card, profile: Some(profile), beside_onboard, beside_offload, ..Results::default() };
    let pace = Pace { rounds: arguments.rounds, rounds_min: ROUNDS_MIN.min(arguments.rounds) };
    let first = clock.now();
    let whole_ns = (arguments.seconds * 1_000_000_000).saturating_sub(first.as_ns());
    for (index, cell) in cells.iter().enumerate() {
        // Each cell may use up its share and what those before it have left.
        let share_ns = whole_ns * (index as u64 + 1) / cells.len() as u64;
        let may_go_on = || clock.now().since(first).as_u64() < share_ns;
        let mut result = contest(&mut scene, cell, pace, &mut ground, may_go_on)?;
        result.learnt = scene
            .pager()
            .costs()
            .zip(results.profile.as_ref())
            .map(|(costs, measured)| costs.update(measured))
            .transpose()?;
        println!("{}", result.line().join(" | "));
        results.add(result);
    }
    results.seconds = clock.now().since(Time::START).as_secs_f64();
    Ok(results)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let parent = arguments.file_dir.clone().unwrap_or_else(std::env::temp_dir);
    let directory = match tempfile::Builder::new().prefix("two-front-").tempdir_in(&parent) {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("two-front: {}: {error}", parent.display());
            return ExitCode::FAILURE;
        }
    };
    benches::end("two-front", run(&arguments, directory.path()), arguments.json.as_deref(), |results| {
        println!("\n{}\n{}\n{:.0} s in all", results.card, results.table(), results.seconds);
    })
}
