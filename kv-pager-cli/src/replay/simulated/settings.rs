//! What is to be replayed in virtual time, checked before anything is built.
//! Uses `args`. Known by: `replay::simulated`.

use super::{Arrivals, Scenario};
use crate::args::ReplayArguments;
use crate::failure::Failure;
use crate::replay::settings::{
    DEVICE_TRACE_BLOCKS, FILE_TRACE_BLOCKS, HOST_TRACE_BLOCKS, layout, read_profile, stream,
};
use kv_pager::config::Promotion;
use kv_pager::cost::Profile;
use kv_pager::cost::machine::VirtualTierSize;
use kv_pager::ids::TierId;
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::units::Bytes;
use kv_pager_cpu::Machine;
use kv_pager_testkit::trace::{TOKENS_PER_ID, TokenSource, Trace};

/// What a slot takes in the pool and in the arm that remembers most, and a record without its tokens; `docs/virtual-time.md` says how
/// that was found.
const SLOT_BYTES: u64 = 260;
const RECORD_BYTES: u64 = 100;
const TOKEN_BYTES: u64 = 4;

/// A virtual replay that can begin.
#[derive(Debug)]
pub(in crate::replay) struct VirtualSettings {
    pub(super) stream: Trace,
    stream_name: String,
    tokens: TokenSource,
    model: ModelLayout,
    profile: Profile,
    tiers: Vec<VirtualTierSize>,
    arrivals: Arrivals,
    promotion: Promotion,
}

impl VirtualSettings {
    /// Reads the profile and the stream, and sizes the tiers.
    ///
    /// # Errors
    /// [`Failure::Argument`], [`Failure::Pager`] and [`Failure::Trace`] for what can't work.
    pub(super) fn new(arguments: &ReplayArguments) -> Result<Self, Failure> {
        let profile =
            arguments.profile.as_deref().map_or_else(|| Ok(Profile::h200_llama3_8b()), read_profile)?;
        let model = layout(arguments.shape.as_ref().unwrap_or(&profile.model))?;
        profile.check_model(&model)?;
        let model = ModelLayout::new(arguments.block_tokens, model.groups().to_vec())?;
        let tiers = tiers(arguments, &model)?;
        check_memory(&tiers, &model, Machine::here().available())?;
        check_lanes(&profile, &tiers)?;
        let (stream, stream_name) = stream(arguments)?;
        check_fit(&stream, &model, tiers[0].bytes)?;
        let arrivals =
            arguments.time_scale.map_or(Arrivals::Closed(arguments.concurrency as usize), Arrivals::Scaled);
        let tokens = TokenSource::new(arguments.seed);
        let promotion = arguments.promotion.promotion();
        Ok(Self { stream, stream_name, tokens, model, profile, tiers, arrivals, promotion })
    }

    pub(super) fn scenario(&self) -> Scenario<'_> {
        let Self { stream, tokens, model, profile, tiers, arrivals, promotion, .. } = self;
        let (tokens, arrivals, promotion) = (*tokens, *arrivals, *promotion);
        Scenario { stream, tokens, model, profile, tiers, arrivals, promotion }
    }

    /// The tier that is farthest from the device.
    pub(super) fn farthest(&self) -> TierId {
        self.tiers.last().map_or(TierId::Device, |tier| tier.tier)
    }

    /// What is replayed on what, for a person.
    pub(super) fn heading(&self) -> String {
        let Self { stream_name, profile, .. } = self;
        let requests = self.stream.requests().len();
        format!(
            "{stream_name}: {requests} requests in virtual time, on {}, {}",
            profile.machine, profile.model
        )
    }
}

/// The tiers: the device's, and those below it that have a byte.
fn tiers(arguments: &ReplayArguments, model: &ModelLayout) -> Result<Vec<VirtualTierSize>, Failure> {
    let blocks_per_id = u64::from(TOKENS_PER_ID.div_ceil(model.tokens_per_block()));
    let bytes = |option, given: Option<Bytes>, trace_blocks: u64| {
        let block = model.block_bytes();
        let bytes = given.or_else(|| block.checked_mul(trace_blocks * blocks_per_id)).unwrap_or_default();
        if bytes < block && (bytes > Bytes::ZERO || option == "--device-bytes") {
            let why = format!("not one block of {block} fits; give at least {block}");
            return Err(Failure::Argument { option, why });
        }
        Ok(bytes)
    };
    // Without host memory there is no way to a file: unless it was asked for, it is left out too.
    let no_host = arguments.host_bytes == Some(Bytes::ZERO);
    let file_bytes = arguments.file_bytes.or(no_host.then_some(Bytes::ZERO));
    let tiers = [
        (TierId::Device, bytes("--device-bytes", arguments.device_bytes, DEVICE_TRACE_BLOCKS)?),
        (TierId::Host, bytes("--host-bytes", arguments.host_bytes, HOST_TRACE_BLOCKS)?),
        (TierId::File, bytes("--file-bytes", file_bytes, FILE_TRACE_BLOCKS)?),
    ];
    let sizes = tiers.into_iter().filter(|(_, bytes)| *bytes > Bytes::ZERO);
    Ok(sizes.map(|(tier, bytes)| VirtualTierSize { tier, bytes, format: Format::Raw }).collect())
}

/// The metadata of all slots must fit in what the machine can give: a failed allocation would end the process.
fn check_memory(tiers: &[VirtualTierSize], model: &ModelLayout, available: Bytes) -> Result<(), Failure> {
    let slots = |size: &VirtualTierSize| {
        size.bytes.div_down(model.block_bytes()).saturating_mul(model.groups().len() as u64)
    };
    let record = RECORD_BYTES + u64::from(model.tokens_per_block()) * TOKEN_BYTES;
    let needs = |size: &VirtualTierSize| {
        // A record is set aside for each device slot.
        let records = if size.tier == TierId::Device { 2 } else { 1 };
        slots(size).saturating_mul(SLOT_BYTES + records * record)
    };
    let all = tiers.iter().map(needs).fold(0, u64::saturating_add);
    let largest = tiers.iter().max_by_key(|size| needs(size)).filter(|_| Bytes::new(all) > available);
    let Some(largest) = largest else { return Ok(()) };
    let option = match largest.tier {
        TierId::Device => "--device-bytes",
        TierId::Host => "--host-bytes",
        TierId::File => "--file-bytes",
    };
    let why = format!(
        "the metadata of its {} slots takes {}, that of all tiers {}, and this machine can give {available}; give less, or larger \
         blocks by --block-tokens",
        slots(largest),
        Bytes::new(needs(largest)),
        Bytes::new(all)
    );
    Err(Failure::Argument { option, why })
}

/// A lane each way between neighbours.
fn check_lanes(profile: &Profile, tiers: &[VirtualTierSize]) -> Result<(), Failure> {
    for pair in tiers.windows(2) {
        let (near, far) = (pair[0].tier, pair[1].tier);
        if near.farther() != Some(far) {
            // What can't be built at all is the pager's to say.
            continue;
        }
        for (source, target) in [(near, far), (far, near)] {
            if !profile.lanes.iter().any(|lane| lane.ends.source == source && lane.ends.target == target) {
                let why = format!(
                    "it has no lane from {source} to {target}; leave the {far} tier out with 0 bytes"
                );
                return Err(Failure::Argument { option: "--profile", why });
            }
        }
    }
    Ok(())
}

/// The longest prompt must fit the device (B1).
fn check_fit(stream: &Trace, model: &ModelLayout, device: Bytes) -> Result<(), Failure> {
    let longest = stream.requests().iter().enumerate().max_by_key(|(_, request)| request.prompt_tokens);
    let Some((index, longest)) = longest else { return Ok(()) };
    let blocks = u64::from(longest.prompt_tokens.div_ceil(model.tokens_per_block()));
    let needs = model.block_bytes().checked_mul(blocks).unwrap_or(Bytes::new(u64::MAX));
    if needs > device {
        let why = format!(
            "the prompt of request {} has {} tokens, {blocks} blocks of {}; the device tier has {device}; give at least {needs}",
            index + 1,
            longest.prompt_tokens,
            model.block_bytes()
        );
        return Err(Failure::Argument { option: "--device-bytes", why });
    }
    Ok(())
}
