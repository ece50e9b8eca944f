//! What is to be replayed, checked before anything is built.
//! Uses `args`. Known by: `replay`.
//!
//! - **B1** every request fits the device tier at its full length, so none fails in the middle.

use super::queue::{full_length, stretched};
use crate::args::ReplayArguments;
use crate::device_name::DeviceName;
use crate::failure::Failure;
use crate::machine;
use crate::output;
use kv_pager::cost::{CostModel, Profile};
use kv_pager::ids::GroupId;
use kv_pager::layout::{Format, ModelLayout, shape};
use kv_pager::pager::Pager;
use kv_pager::units::{Bytes, Nanos};
use kv_pager_cpu::FileSpec;
use kv_pager_testkit::engine::{Model, Setting};
use kv_pager_testkit::trace::{Request, TOKENS_PER_ID, Trace};
use kv_pager_testkit::workload::Workload;
use std::fs;
use std::path::Path;

/// Sizes of the tiers in trace blocks where none is given.
pub(super) const DEVICE_TRACE_BLOCKS: u64 = 300;
pub(super) const HOST_TRACE_BLOCKS: u64 = 2_000;
pub(super) const FILE_TRACE_BLOCKS: u64 = 8_000;
/// The model where none is named.
const SHAPE: &str = "tiny";
/// Requests of the built-in workload where no number is given.
const WORKLOAD_REQUESTS: u32 = 1_600;

/// The latest that a request may arrive: half of what a clock can tell.
const LAST_ARRIVAL: Nanos = Nanos::new(u64::MAX / 2);

/// Slots of each tier; a tier without slots is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TierSlots {
    pub(super) device: u32,
    pub(super) host: u32,
    pub(super) file: u32,
}

/// A replay that can begin.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) device: DeviceName,
    pub(super) model: Model,
    pub(super) stream: Trace,
    /// What the stream is, for a person.
    pub(super) stream_name: String,
    pub(super) slots: TierSlots,
    /// What lanes and prefill take here, if it was told.
    pub(super) costs: Option<Costs>,
    /// Tokens of the longest request at its end.
    pub(super) tokens_max: usize,
}

impl Settings {
    /// Reads the stream and sizes the tiers.
    ///
    /// # Errors
    /// [`Failure::Argument`] and [`Failure::Trace`] for what can't work.
    pub(super) fn new(arguments: &ReplayArguments) -> Result<Self, Failure> {
        let device = DeviceName::find(&arguments.device)?;
        let layout = layout(arguments.shape.as_deref().unwrap_or(SHAPE))?;
        let slots = tier_slots(arguments, &layout)?;
        let (stream, stream_name) = stream(arguments)?;
        let tokens_max = check_fit(&stream, &layout, slots.device)?;
        let profile = arguments.profile.as_deref().map(read_profile).transpose()?;
        let costs = profile.map(|profile| Costs::new(profile, arguments, device, &layout)).transpose()?;
        let model = Model::new(layout, Setting::Window, arguments.seed)?;
        Ok(Self { device, model, stream, stream_name, slots, costs, tokens_max })
    }
}

/// What was measured, and what is predicted by it at first.
#[derive(Debug)]
pub(super) struct Costs {
    pub(super) profile: Profile,
    pub(super) model: CostModel,
}

impl Costs {
    /// Those of `profile`. One of another machine or model is where learning starts, and says so; what is learnt is not saved as its.
    fn new(
        profile: Profile,
        arguments: &ReplayArguments,
        device: DeviceName,
        layout: &ModelLayout,
    ) -> Result<Self, Failure> {
        profile.check_model(layout)?;
        let shape = arguments.shape.as_deref().unwrap_or(SHAPE);
        if let Err(error) = profile.check_origin(&machine::name(device)?, shape) {
            if arguments.save_profile.is_some() {
                return Err(Failure::Argument { option: "--save-profile", why: error.to_string() });
            }
            output::note(&format!("kv-pager: {error}; until then what is observed corrects it"));
        }
        let model = CostModel::new(&profile)?;
        Ok(Self { profile, model })
    }

    /// The profile with what `pager` has learnt.
    ///
    /// # Errors
    /// [`Failure::Wrong`] if that is not plausible: the arguments were right.
    pub(super) fn learnt(&self, pager: &Pager) -> Result<Profile, Failure> {
        let model = pager.costs();
        let learnt = model.as_ref().unwrap_or(&self.model).update(&self.profile);
        learnt
            .map_err(|error| Failure::Wrong(format!("--save-profile: what was learnt is not saved: {error}")))
    }
}

/// A profile, checked.
///
/// # Errors
/// [`Failure::Argument`] if it can't be read, [`Failure::Pager`] if it is not plausible.
pub(super) fn read_profile(path: &Path) -> Result<Profile, Failure> {
    if let Some(shipped) = path.to_str().and_then(Profile::shipped) {
        return Ok(shipped);
    }
    let text = fs::read_to_string(path).map_err(|source| {
        let names: Vec<_> = Profile::shipped_names().collect();
        let (path, names) = (path.display(), names.join(", "));
        let why = format!(
            "can't read {path}: {source}; write one with `kv-pager measure --out`, or name one of {names}"
        );
        Failure::Argument { option: "--profile", why }
    })?;
    Ok(Profile::from_json(&text)?)
}

/// The layout of the model called `name`.
///
/// # Errors
/// [`Failure::Argument`] if no such model is known.
pub(super) fn layout(name: &str) -> Result<ModelLayout, Failure> {
    shape(name).ok_or_else(|| Failure::Argument { option: "--shape", why: format!("`{name}` is not known") })
}

/// The stream to serve, and what it is, for a person.
///
/// # Errors
/// [`Failure::Trace`] if the trace can't be replayed, [`Failure::Argument`] if a request of it would never arrive.
pub(super) fn stream(arguments: &ReplayArguments) -> Result<(Trace, String), Failure> {
    let Some(path) = &arguments.trace else {
        let requests = arguments.requests.unwrap_or(WORKLOAD_REQUESTS);
        let stream = Workload::new(arguments.seed, requests).generate();
        return Ok((stream, format!("the built-in workload of seed {}", arguments.seed)));
    };
    let mut stream = Trace::read(path)?;
    stream.truncate(arguments.requests.map_or(usize::MAX, |requests| requests as usize));
    check_arrivals(&stream, arguments.time_scale)?;
    Ok((stream, path.display().to_string()))
}

/// All requests must arrive while there is time left to serve them: clocks count nanoseconds in 64 bits.
fn check_arrivals(stream: &Trace, time_scale: Option<f64>) -> Result<(), Failure> {
    let Some(scale) = time_scale else { return Ok(()) };
    let is_too_late = |request: &Request| stretched(request.arrival, scale) > LAST_ARRIVAL;
    let Some(index) = stream.requests().iter().position(is_too_late) else { return Ok(()) };
    let arrival_ms = stream.requests()[index].arrival.as_u64() / 1_000_000;
    let why = format!(
        "request {} has timestamp {arrival_ms}, and {scale} times as late is over 292 years after the start of the trace; give a \
         smaller --time-scale, or count the timestamps in milliseconds since the start",
        index + 1
    );
    Err(Failure::Argument { option: "--time-scale", why })
}

fn tier_slots(arguments: &ReplayArguments, layout: &ModelLayout) -> Result<TierSlots, Failure> {
    let blocks_per_id = u64::from(TOKENS_PER_ID.div_ceil(layout.tokens_per_block()));
    let slots = |option, given: Option<Bytes>, trace_blocks: u64, slot_bytes: Bytes| {
        let count = given.map_or(trace_blocks * blocks_per_id, |bytes| bytes.div_down(slot_bytes));
        match u32::try_from(count) {
            Ok(0) if given != Some(Bytes::ZERO) || option == "--device-bytes" => {
                let why = format!("not one block of {slot_bytes} fits; give at least {slot_bytes}");
                Err(Failure::Argument { option, why })
            }
            Ok(count) if count < u32::MAX => Ok(count),
            _ => {
                let why = format!(
                    "{count} blocks of {slot_bytes}, and at most {} are counted; give less",
                    u32::MAX - 1
                );
                Err(Failure::Argument { option, why })
            }
        }
    };
    // Without host memory there is no way to a file: unless it was asked for, it is left out too.
    let no_host = arguments.host_bytes == Some(Bytes::ZERO);
    let file_bytes = arguments.file_bytes.or(no_host.then_some(Bytes::ZERO));
    let part = layout.part_bytes(GroupId::FIRST);
    let slot = layout.slot_bytes(GroupId::FIRST, Format::Raw);
    // What headers take is taken from the payloads, so that the tier has the bytes that it was given, and no more.
    let payloads = |bytes: Bytes| {
        let slots = FileSpec::within("", layout, Format::Raw, bytes).slots[0];
        slot.checked_mul(u64::from(slots)).map_or(bytes, |room| room.max(bytes.min(Bytes::new(1))))
    };
    Ok(TierSlots {
        device: slots("--device-bytes", arguments.device_bytes, DEVICE_TRACE_BLOCKS, part)?,
        host: slots("--host-bytes", arguments.host_bytes, HOST_TRACE_BLOCKS, slot)?,
        file: slots("--file-bytes", file_bytes.map(payloads), FILE_TRACE_BLOCKS, slot)?,
    })
}

/// Tokens of the longest request, which must fit the device (B1).
fn check_fit(stream: &Trace, layout: &ModelLayout, device_slots: u32) -> Result<usize, Failure> {
    let longest = stream.requests().iter().enumerate().max_by_key(|(_, request)| full_length(request));
    let Some((index, longest)) = longest else { return Ok(0) };
    let tokens = full_length(longest);
    let blocks = tokens.div_ceil(layout.tokens_per_block() as usize) as u64;
    if blocks > u64::from(device_slots) {
        let part = layout.part_bytes(GroupId::FIRST);
        let has = part.checked_mul(u64::from(device_slots)).unwrap_or_default();
        let needs =
            part.checked_mul(blocks).and_then(|bytes| bytes.round_up(Bytes::mib(1))).unwrap_or_default();
        let why = format!(
            "request {} has {tokens} tokens with its output, {blocks} blocks of {part}; the device tier holds {device_slots} \
             ({has}); give at least {}MiB",
            index + 1,
            needs.div_down(Bytes::mib(1))
        );
        return Err(Failure::Argument { option: "--device-bytes", why });
    }
    Ok(tokens)
}
