//! `kv-pager measure`: what this machine's lanes and prefill cost.
//!
//! - **A1** nothing is measured before every argument has been checked;
//! - **A2** nothing is left behind but what `--out` names: files that are measured lie in a directory of their own;
//! - **A3** all of it takes less than 20 seconds.

mod engine;
mod report;
mod tiers;

use crate::args::MeasureArguments;
use crate::destination::Destination;
use crate::device_name::DeviceName;
use crate::failure::Failure;
use crate::machine;
use crate::output;
use engine::ReferenceProbe;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::cost::calibrate::{PrefillProbe, measure_lanes, measure_prefill};
use kv_pager::cost::fit::fit_prefill;
use kv_pager::cost::{PrefillProfile, Profile};
use kv_pager::layout::{ModelLayout, shape};
use kv_pager::units::Nanos;
use kv_pager_cuda::{GemmProbe, open_device};
use std::sync::Arc;
use tiers::Tiers;

/// The time for the prefill, and for one of four lanes. A card takes seconds to start, and its longest steps go on for a while
/// after their time.
const CPU_BUDGETS: (Nanos, Nanos) = (Nanos::from_millis(4_000), Nanos::from_millis(2_500));
const CARD_BUDGETS: (Nanos, Nanos) = (Nanos::from_millis(5_000), Nanos::from_millis(1_500));

/// The steps and prompts that a card is measured with. An engine's steps are rarely longer, and what prompts take is a line in what
/// comes before them.
const CARD_STEP_TOKENS_MAX: u32 = 8192;
const CARD_PROMPT_TOKENS_MAX: u32 = 40_960;

/// Runs the command.
///
/// # Errors
/// [`Failure`] that says what to do.
pub(crate) fn measure(arguments: &MeasureArguments) -> Result<(), Failure> {
    let device = DeviceName::find(&arguments.device)?;
    let destination = arguments.out.as_deref().map(Destination::new).transpose()?;
    let layout = shape(&arguments.shape).ok_or_else(|| Failure::Argument {
        option: "--shape",
        why: format!("no shape is called `{}`; see `kv-pager measure --help`", arguments.shape),
    })?;
    let machine = machine::name(device)?;
    let mut probe = prefill_probe(device, &arguments.shape, &layout)?;
    let (prefill_budget, lane_budget) = match device {
        DeviceName::Cpu => CPU_BUDGETS,
        DeviceName::Cuda(_) => CARD_BUDGETS,
    };
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let tiers = Tiers::new(device, &layout, arguments.file_dir.as_deref(), &clock)?;
    let lanes = measure_lanes(&tiers.backend.tiers, &tiers.backend.lanes, lane_budget, &*clock)?;
    let samples = measure_prefill(&mut *probe, prefill_budget, &*clock)?;
    let prefill = fit_prefill(&samples, None).ok_or_else(|| {
        Failure::Wrong("prefill was too slow to be measured in its time; choose a smaller --shape".to_owned())
    })?;
    let profile = Profile {
        version: Profile::VERSION,
        machine,
        model: arguments.shape.clone(),
        lanes,
        prefill: PrefillProfile::new(probe.step_tokens_max(), &prefill),
        // No lane of a backend encodes or decodes, so there is no codec to measure.
        codecs: Vec::new(),
    };
    profile.check()?;
    output::line(&report::report(&profile))?;
    match destination {
        Some(destination) => destination.write(&profile),
        None => Ok(()),
    }
}

/// What computes.
///
/// # Errors
/// [`Failure`] if it can't compute such a model.
fn prefill_probe(
    device: DeviceName,
    name: &str,
    layout: &ModelLayout,
) -> Result<Box<dyn PrefillProbe>, Failure> {
    Ok(match device {
        DeviceName::Cpu => Box::new(ReferenceProbe::new(layout.clone())?),
        DeviceName::Cuda(ordinal) => {
            let (card, model) = (open_device(ordinal)?, (name, layout));
            Box::new(GemmProbe::new(&card, model, CARD_STEP_TOKENS_MAX, CARD_PROMPT_TOKENS_MAX)?)
        }
    })
}
