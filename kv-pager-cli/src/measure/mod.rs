//! `kv-pager measure`: what this machine's lanes and prefill cost.
//!
//! - **A1** nothing is measured before every argument has been checked;
//! - **A2** nothing is left behind but what `--out` names: files that are measured lie in a directory of their own;
//! - **A3** all of it takes less than 20 seconds.

mod engine;
mod lanes;
mod report;
mod tiers;

use crate::args::MeasureArguments;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::output;
use engine::ReferenceProbe;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::cost::calibrate::measure_prefill;
use kv_pager::cost::fit::fit_prefill;
use kv_pager::cost::{PrefillProfile, Profile};
use kv_pager::layout::shape;
use kv_pager::units::Nanos;
use std::sync::Arc;
use tiers::Tiers;

/// The time for one lane, and for the prefill.
const LANE_BUDGET: Nanos = Nanos::from_millis(2_500);
const PREFILL_BUDGET: Nanos = Nanos::from_millis(4_000);

/// Runs the command.
///
/// # Errors
/// [`Failure`] that says what to do.
pub(crate) fn measure(arguments: &MeasureArguments) -> Result<(), Failure> {
    if arguments.device != "cpu" {
        let why = format!("`{}` can't be measured by this build; only cpu can", arguments.device);
        return Err(Failure::Argument { option: "--device", why });
    }
    let destination = arguments.out.as_deref().map(Destination::new).transpose()?;
    let layout = shape(&arguments.shape).ok_or_else(|| Failure::Argument {
        option: "--shape",
        why: format!("no shape is called `{}`; see `kv-pager measure --help`", arguments.shape),
    })?;
    let mut probe = ReferenceProbe::new(layout.clone())?;
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let tiers = Tiers::new(&layout, arguments.file_dir.as_deref(), &clock)?;
    let lanes = lanes::measure_lanes(&tiers, &*clock, LANE_BUDGET)?;
    let samples = measure_prefill(&mut probe, PREFILL_BUDGET, &*clock)?;
    let prefill = fit_prefill(&samples, None).ok_or_else(|| {
        Failure::Wrong("prefill was too slow to be measured in its time; choose a smaller --shape".to_owned())
    })?;
    let profile = Profile {
        version: Profile::VERSION,
        machine: machine(),
        model: arguments.shape.clone(),
        lanes,
        prefill: PrefillProfile::new(engine::STEP_TOKENS_MAX, &prefill),
        codecs: Vec::new(),
    };
    profile.check()?;
    output::line(&report::report(&profile))?;
    match destination {
        Some(destination) => destination.write(&profile),
        None => Ok(()),
    }
}

/// This machine, for people.
fn machine() -> String {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{} {}, {threads} threads", std::env::consts::OS, std::env::consts::ARCH)
}
