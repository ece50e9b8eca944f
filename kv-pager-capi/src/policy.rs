//! The policy: in which order tiers give up blocks, what is loaded, what is written to the file, and what it all costs here.
//! Uses `pager`, `status`, `edge`, the core's `policy` and `cost`. Known by: `options`, C.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names, and take pointers with lengths")]

use crate::edge::{self, given};
use crate::options::{KvpOptions, known};
use crate::pager::KvpPager;
use crate::status::{Failure, KvpStatus, guarded};
use kv_pager::Error;
use kv_pager::cost::{CostModel, Profile};
use kv_pager::policy::keeping::Arm;
use kv_pager::policy::plan::{EngineAbility, Loading};
use kv_pager::policy::{Answer, FileWrites, StewardSpec};
use kv_pager::units::Bytes;
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// In which order a tier gives up what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpKeeping {
    /// The least expected value goes first, by a model that learns from the requests.
    CostAware = 0,
    /// The least recently used goes first.
    Lru = 1,
    /// Used once goes before used twice.
    Slru = 2,
    /// Used once against used twice, shared out by what was asked for after it left.
    Arc = 3,
    /// A small queue for newcomers, a large one for what was asked for while in it.
    S3Fifo = 4,
}

/// What is done with cached blocks that are below the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpLoading {
    /// What takes the least time, by costs (`kvp_set_costs`); without them all are loaded.
    Adaptive = 0,
    /// All are loaded.
    AlwaysLoad = 1,
    /// All are computed again.
    AlwaysRecompute = 2,
}

/// What is written to the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpFileWrites {
    /// All that host memory gives up.
    All = 0,
    /// What was asked for at least twice.
    Earned = 1,
}

/// Whether blocks that are likely to be asked for are brought from the file to host memory before they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpPromotion {
    /// While the lanes between the two stand idle, and no request waits for a load or for room.
    WhileIdle = 0,
    /// Never.
    Never = 1,
}

/// The arms by number.
const KEEPINGS: [(u32, Arm); 5] = [
    (KvpKeeping::CostAware as u32, Arm::CostAware),
    (KvpKeeping::Lru as u32, Arm::Lru),
    (KvpKeeping::Slru as u32, Arm::Slru),
    (KvpKeeping::Arc as u32, Arm::Arc),
    (KvpKeeping::S3Fifo as u32, Arm::S3Fifo),
];

/// What may be written to the file in a day: the policy keeps to it, and the tier to the last byte.
pub(crate) fn write_budget(options: &KvpOptions) -> Option<Bytes> {
    let bytes = options.write_bytes_per_day;
    (bytes > 0).then_some(Bytes::new(bytes))
}

/// The policy that options choose.
pub(crate) fn spec(options: &KvpOptions) -> Result<StewardSpec, Failure> {
    let loadings = [
        (KvpLoading::Adaptive as u32, Loading::Adaptive),
        (KvpLoading::AlwaysLoad as u32, Loading::AlwaysLoad),
        (KvpLoading::AlwaysRecompute as u32, Loading::AlwaysRecompute),
    ];
    let writes =
        [(KvpFileWrites::All as u32, FileWrites::All), (KvpFileWrites::Earned as u32, FileWrites::Earned)];
    Ok(StewardSpec {
        keeping: known("KvpOptions.keeping", options.keeping, &KEEPINGS)?,
        loading: known("KvpOptions.loading", options.loading, &loadings)?,
        file_writes: known("KvpOptions.file_writes", options.file_writes, &writes)?,
        write_bytes_per_day: write_budget(options),
        has_shadows: known("KvpOptions.has_shadows", options.has_shadows, &[(0, false), (1, true)])?,
    })
}

/// Says what moves and prefill take on this machine: plans are made by it from now on, and it is corrected by what lanes,
/// `kvp_sequence_observe` and `kvp_observe_prefill` tell. `profile` is the text that `kv-pager measure --out FILE` writes. `can_overlap` is 1 if the engine
/// computes the front of a prompt while the back is loaded, 0 if not; `step_tokens_max` are the most tokens that it computes in one
/// step.
///
/// # Safety
/// A1: `profile` points to `profile_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_set_costs(
    pager: Option<&KvpPager>,
    profile: *const c_char,
    profile_len: usize,
    can_overlap: u32,
    step_tokens_max: u32,
) -> KvpStatus {
    guarded(|| {
        let pager = given(pager, "pager")?;
        // SAFETY: A1, given on by this function's own contract.
        let text = unsafe { edge::slice(profile.cast::<u8>(), profile_len, "profile") }?;
        let profile = read_profile(text)?;
        let can_overlap = known("can_overlap", can_overlap, &[(0, false), (1, true)])?;
        let costs = CostModel::new(&profile)?;
        pager.pager.set_costs(costs, EngineAbility { can_overlap, step_tokens_max });
        Ok(())
    })
}

fn read_profile(text: &[u8]) -> Result<Profile, Failure> {
    let text = std::str::from_utf8(text)
        .map_err(|error| Failure::argument(format!("profile is no text: {error}")))?;
    Ok(Profile::from_json(text)?)
}

/// Writes `profile`, the text that costs were set with, as it has been corrected by what was observed since: to be saved for the next
/// start on this machine with this model. `text` gets no terminator. If there are more bytes than `capacity`, `len` says how many, and
/// nothing is copied. `KVP_STATUS_CONFIGURATION` if no costs were set, or what was learnt is not plausible.
///
/// # Safety
/// A1: `profile` points to `profile_len` bytes; `text` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_learnt_profile(
    pager: Option<&KvpPager>,
    profile: *const c_char,
    profile_len: usize,
    text: *mut c_char,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, len) = (given(pager, "pager")?, given(len, "len")?);
        // SAFETY: A1, given on by this function's own contract.
        let measured = unsafe { edge::slice(profile.cast::<u8>(), profile_len, "profile") }?;
        // SAFETY: as before.
        let buffer = unsafe { edge::buffer(text.cast::<u8>(), capacity, "text") }?;
        let measured = read_profile(measured)?;
        let costs = pager.pager.costs().ok_or_else(|| Error::Configuration {
            setting: "profile",
            why: "no costs were set, so none were learnt; call kvp_set_costs first".to_owned(),
        })?;
        let learnt = costs.update(&measured)?.to_json();
        edge::put_all(learnt.bytes(), buffer, len)
    })
}

/// What a tier would have hit, had it been kept by another policy or been larger: counts within a sample of the blocks' names, to be read
/// as rates and compared with one another. Each tier is asked about as if it stood alone, and as it is, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpShadow {
    /// In the place of this `KvpTier`.
    pub tier: u32,
    /// Kept by this `KvpKeeping`.
    pub keeping: u32,
    /// With room for so many blocks.
    pub capacity_blocks: u64,
    /// Blocks asked for.
    pub references: u64,
    /// Of those, the ones in the leading run that was there.
    pub prefix_hits: u64,
    /// Of those, all that were there.
    pub resident_hits: u64,
    /// Blocks evicted.
    pub evictions: u64,
}

impl From<Answer> for KvpShadow {
    fn from(answer: Answer) -> Self {
        let keeping = KEEPINGS.iter().find(|(_, arm)| *arm == answer.arm);
        Self {
            tier: answer.tier as u32,
            keeping: keeping.expect("every arm has a number").0,
            capacity_blocks: u64::from(answer.capacity),
            references: answer.tally.references,
            prefix_hits: answer.tally.prefix,
            resident_hits: answer.tally.resident,
            evictions: answer.tally.evictions,
        }
    }
}

/// Copies what the shadows beside the pager would have hit, tier by tier; none if it runs none (`KvpOptions.has_shadows`). If there are
/// more than `capacity`, `len` says how many, and nothing is copied.
///
/// # Safety
/// A1: `shadows` has room for `capacity` shadows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_shadows(
    pager: Option<&KvpPager>,
    shadows: *mut KvpShadow,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, len) = (given(pager, "pager")?, given(len, "len")?);
        // SAFETY: A1, given on by this function's own contract.
        let buffer = unsafe { edge::buffer(shadows, capacity, "shadows") }?;
        let answers = pager.pager.answers();
        edge::put_all(answers.into_iter().map(KvpShadow::from), buffer, len)
    })
}
