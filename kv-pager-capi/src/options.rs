//! Options: the model, the tiers, the limits and the policy that a pager is opened with.
//! Uses `edge`, `policy`, `tenants`, the core's `layout` and `config`, the CPU backend. Known by: `pager`.
#![expect(
    unsafe_code,
    reason = "functions of the C ABI keep their names; options hold pointers with lengths"
)]

use crate::edge;
use crate::policy::{self, KvpFileWrites, KvpKeeping, KvpLoading, KvpPromotion};
use crate::status::{Failure, KvpStatus, guarded};
use crate::tenants::KvpQuota;
use kv_pager::Config;
use kv_pager::config::{DeviceOwner, Limits, Promotion, Reserves, Watermarks};
use kv_pager::ids::{HashKey, ModelEpoch, ModelFingerprint};
use kv_pager::layout::{Attention, DType, DeviceLayout, Entry, KvGroup, ModelLayout};
use kv_pager::policy::StewardSpec;
use kv_pager::units::{Bytes, Nanos};
use kv_pager_cpu::{CpuSpec, FileSpec};
use std::ffi::{OsStr, c_char};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

/// 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct KvpU128 {
    /// The lower half.
    pub low: u64,
    /// The upper half.
    pub high: u64,
}

impl KvpU128 {
    pub(crate) fn get(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

impl From<u128> for KvpU128 {
    #[expect(clippy::cast_possible_truncation, reason = "each half of a u128 is a u64")]
    fn from(value: u128) -> Self {
        Self { low: value as u64, high: (value >> 64) as u64 }
    }
}

/// Which earlier tokens a layer looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpAttention {
    /// All of them.
    Full = 0,
    /// The last `span_tokens`, the token itself among them, and the first `sink_tokens`.
    SlidingWindow = 1,
    /// Those of its own chunk of `span_tokens`.
    Chunked = 2,
}

/// What a layer caches for one token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpEntry {
    /// A key and a value for each of `kv_heads` heads of `head_dim` values.
    KeyValue = 0,
    /// One latent vector of `head_dim` values.
    Latent = 1,
}

/// The type of one cached value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpDType {
    /// 32-bit float.
    F32 = 0,
    /// IEEE half.
    F16 = 1,
    /// bfloat16.
    Bf16 = 2,
    /// 8-bit float, 4 exponent bits.
    F8E4m3 = 3,
    /// 8-bit float, 5 exponent bits.
    F8E5m2 = 4,
    /// 8-bit integer, its scales kept by the engine.
    I8 = 5,
}

/// Who keeps the free list of the device tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpDeviceOwner {
    /// The pager: sequences are opened, and have tables.
    Managed = 0,
    /// The engine: it names its slots in `kvp_onboard` and `kvp_offload`.
    Engine = 1,
}

/// How a part lies in device memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpDeviceLayout {
    /// One region; a part is one piece.
    BlockMajor = 0,
    /// A region for each layer and side.
    LayerMajor = 1,
}

/// The layers of a model that share an attention kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpGroup {
    /// A `KvpAttention`.
    pub attention: u32,
    /// Tokens of the window or the chunk; 0 for full attention.
    pub span_tokens: u32,
    /// Tokens at the start that a window always sees; 0 for the others.
    pub sink_tokens: u32,
    /// How many layers.
    pub layers: u32,
    /// A `KvpEntry`.
    pub entry: u32,
    /// Heads that have keys of their own; 1 for a latent.
    pub kv_heads: u32,
    /// Values in one head's key, or in the latent.
    pub head_dim: u32,
    /// A `KvpDType`.
    pub dtype: u32,
}

/// What a pager is opened with. `kvp_options_init` fills in the defaults; the model and the device's slots have none. What
/// pointers point to is read by `kvp_pager_open` and not kept.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(C)]
pub struct KvpOptions {
    /// `KVP_ABI_VERSION`.
    pub abi_version: u32,
    /// `sizeof(KvpOptions)`.
    pub struct_bytes: u32,
    /// The groups of layers.
    pub groups: *const KvpGroup,
    /// How many groups, and how many counts each of the three arrays of slots below has.
    pub groups_len: usize,
    /// Tokens in a block: 1 to 4,096.
    pub tokens_per_block: u32,
    /// A `KvpDeviceOwner`.
    pub device_owner: u32,
    /// A `KvpDeviceLayout`.
    pub device_layout: u32,
    /// Sequences that may be open.
    pub sequences_max: u32,
    /// Tokens in one sequence at most.
    pub sequence_tokens_max: u32,
    /// Moves that wait in one lane's queues at most.
    pub moves_queued_max: u32,
    /// Moves in one batch, 1 to 512.
    pub batch_moves_max: u32,
    /// Block events that wait to be read at most; the oldest give way.
    pub events_max: u32,
    /// Blocks that one turn at the pager's lock handles, 1 to 512.
    pub slice_blocks_max: u32,
    /// Salts that are told apart as tenants, at most 1,023.
    pub tenants_max: u32,
    /// Prefetches at a time.
    pub prefetches_max: u32,
    /// Holds at a time.
    pub holds_max: u32,
    /// A `KvpKeeping`.
    pub keeping: u32,
    /// A `KvpLoading`.
    pub loading: u32,
    /// A `KvpFileWrites`.
    pub file_writes: u32,
    /// A `KvpPromotion`.
    pub promotion: u32,
    /// 1 for shadows beside the pager, which tell what every policy, and the one that keeps with twice the memory, would have hit in
    /// each tier (`kvp_shadows`); 0 for none.
    pub has_shadows: u32,
    /// Device slots by group.
    pub device_slots: *const u32,
    /// Slots of host memory by group, or NULL for no such tier.
    pub host_slots: *const u32,
    /// Slots of the file tier by group, or NULL for no such tier. It needs host memory.
    pub file_slots: *const u32,
    /// The directory of the file tier, in the bytes of the file system; no NUL is needed.
    pub file_directory: *const c_char,
    /// How many bytes.
    pub file_directory_len: usize,
    /// What makes bytes of this model useless to another: a hash of its weights and layout.
    pub fingerprint: KvpU128,
    /// The key of all names; a file is found again only with the same.
    pub hash_key: KvpU128,
    /// Which of the weights of this fingerprint are loaded: what `kvp_epoch` said last.
    pub epoch: u64,
    /// Bytes in one batch at most.
    pub batch_bytes_max: u64,
    /// Bytes that one lane has been given and has not moved yet, at most.
    pub bytes_in_flight_max: u64,
    /// How long a move may take before it is given up, in nanoseconds.
    pub move_deadline_ns: u64,
    /// Share of free slots below which eviction starts.
    pub watermark_low: f64,
    /// Share of free slots at which eviction stops.
    pub watermark_high: f64,
    /// Share of a tier's slots that all prefetches together may fill ahead of need.
    pub prefetched_share: f64,
    /// Share of a tier's slots that all holds together may keep from eviction.
    pub held_share: f64,
    /// The most bytes of blocks that are written to the file in a day, whatever asks for it; an hour's share may be saved up and written at
    /// once, which a new file begins with, and one that is opened again does not. 0 for no limit.
    pub write_bytes_per_day: u64,
    /// What a salt may have cached, unless it has a quota of its own (`kvp_set_quota`).
    pub quota: KvpQuota,
}

/// Checks that a caller's header is this library's.
fn check_version(abi_version: u32, struct_bytes: u32) -> Result<(), Failure> {
    let (known, known_bytes) = (crate::KVP_ABI_VERSION, size_of::<KvpOptions>());
    if abi_version == known && struct_bytes as usize == known_bytes {
        return Ok(());
    }
    Err(Failure::argument(format!(
        "the caller has ABI version {abi_version} and options of {struct_bytes} bytes, the library version {known} and \
         {known_bytes}: build both from one kv_pager.h, and call kvp_options_init first"
    )))
}

/// Fills in the defaults. Give `KVP_ABI_VERSION` and `sizeof(KvpOptions)` as the caller's header has them; if the library's are
/// others, that is an error, and nothing is written.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_options_init(
    options: Option<&mut MaybeUninit<KvpOptions>>,
    abi_version: u32,
    struct_bytes: u32,
) -> KvpStatus {
    guarded(|| {
        let options = edge::given(options, "options")?;
        check_version(abi_version, struct_bytes)?;
        let (limits, marks, reserves) = (Limits::default(), Watermarks::default(), Reserves::default());
        options.write(KvpOptions {
            abi_version,
            struct_bytes,
            groups: ptr::null(),
            groups_len: 0,
            tokens_per_block: 16,
            device_owner: KvpDeviceOwner::Managed as u32,
            device_layout: KvpDeviceLayout::BlockMajor as u32,
            sequences_max: limits.sequences,
            sequence_tokens_max: limits.sequence_tokens,
            moves_queued_max: limits.moves_queued,
            batch_moves_max: limits.batch_moves,
            events_max: limits.events,
            slice_blocks_max: limits.slice_blocks,
            tenants_max: u32::from(limits.tenants),
            prefetches_max: reserves.prefetches,
            holds_max: reserves.holds,
            keeping: KvpKeeping::CostAware as u32,
            loading: KvpLoading::Adaptive as u32,
            file_writes: KvpFileWrites::All as u32,
            promotion: KvpPromotion::WhileIdle as u32,
            has_shadows: 0,
            device_slots: ptr::null(),
            host_slots: ptr::null(),
            file_slots: ptr::null(),
            file_directory: ptr::null(),
            file_directory_len: 0,
            fingerprint: KvpU128::default(),
            hash_key: KvpU128::default(),
            epoch: 0,
            batch_bytes_max: limits.batch_bytes.as_u64(),
            bytes_in_flight_max: limits.bytes_in_flight.as_u64(),
            move_deadline_ns: limits.move_deadline.as_u64(),
            watermark_low: marks.low,
            watermark_high: marks.high,
            prefetched_share: reserves.prefetched_share,
            held_share: reserves.held_share,
            write_bytes_per_day: 0,
            quota: KvpQuota::UNLIMITED,
        });
        Ok(())
    })
}

/// The value whose number it is.
pub(crate) fn known<T: Copy>(name: &str, number: u32, values: &[(u32, T)]) -> Result<T, Failure> {
    let found = values.iter().find(|(of, _)| *of == number).map(|(_, value)| *value);
    found.ok_or_else(|| Failure::argument(format!("{name} {number} is not one of the header's")))
}

fn group(given: &KvpGroup) -> Result<KvGroup, Failure> {
    let KvpGroup { span_tokens, sink_tokens, layers, kv_heads, head_dim, .. } = *given;
    let attentions = [
        (KvpAttention::Full as u32, Attention::Full),
        (
            KvpAttention::SlidingWindow as u32,
            Attention::SlidingWindow { window_tokens: span_tokens, sink_tokens },
        ),
        (KvpAttention::Chunked as u32, Attention::Chunked { chunk_tokens: span_tokens }),
    ];
    let entries = [
        (KvpEntry::KeyValue as u32, Entry::KeyValue { kv_heads, head_dim }),
        (KvpEntry::Latent as u32, Entry::Latent { dim: head_dim }),
    ];
    let dtypes = [
        (KvpDType::F32 as u32, DType::F32),
        (KvpDType::F16 as u32, DType::F16),
        (KvpDType::Bf16 as u32, DType::BF16),
        (KvpDType::F8E4m3 as u32, DType::F8E4M3),
        (KvpDType::F8E5m2 as u32, DType::F8E5M2),
        (KvpDType::I8 as u32, DType::I8),
    ];
    Ok(KvGroup {
        attention: known("KvpGroup.attention", given.attention, &attentions)?,
        layers,
        entry: known("KvpGroup.entry", given.entry, &entries)?,
        dtype: known("KvpGroup.dtype", given.dtype, &dtypes)?,
    })
}

/// What a pager is made of.
pub(crate) struct Settings {
    pub(crate) spec: CpuSpec,
    pub(crate) config: Config,
    pub(crate) policy: StewardSpec,
}

/// Reads options.
///
/// # Safety
/// A1: unless NULL, `options` points to as many bytes as its `struct_bytes` says, eight at least, and the pointers in it to as
/// much as the lengths beside them say.
pub(crate) unsafe fn read(options: *const KvpOptions) -> Result<Settings, Failure> {
    if options.is_null() || !options.is_aligned() {
        return Err(Failure::argument("options is NULL or not aligned"));
    }
    // SAFETY: A1: the first eight bytes are there in every version.
    let [abi_version, struct_bytes] = unsafe { options.cast::<[u32; 2]>().read() };
    check_version(abi_version, struct_bytes)?;
    // SAFETY: A1, and as long as this version's, as was just checked.
    let options = unsafe { &*options };
    // SAFETY: A1.
    let groups = unsafe { edge::slice(options.groups, options.groups_len, "KvpOptions.groups") }?;
    let model = ModelLayout::new(
        options.tokens_per_block,
        groups.iter().map(group).collect::<Result<Vec<_>, Failure>>()?,
    )?;
    let counts = |start: *const u32, name| {
        // SAFETY: A1: as many counts as groups.
        unsafe { edge::slice(start, groups.len(), name) }.map(<[u32]>::to_vec)
    };
    let optional = |start: *const u32, name| (!start.is_null()).then(|| counts(start, name)).transpose();
    let layouts = [
        (KvpDeviceLayout::BlockMajor as u32, DeviceLayout::BlockMajor),
        (KvpDeviceLayout::LayerMajor as u32, DeviceLayout::LayerMajor),
    ];
    let owners = [
        (KvpDeviceOwner::Managed as u32, DeviceOwner::Managed),
        (KvpDeviceOwner::Engine as u32, DeviceOwner::Engine),
    ];
    let promotions = [
        (KvpPromotion::WhileIdle as u32, Promotion::WhileIdle),
        (KvpPromotion::Never as u32, Promotion::Never),
    ];
    let fingerprint = ModelFingerprint(options.fingerprint.get());
    let spec = CpuSpec {
        fingerprint,
        hash_key: options.hash_key.get(),
        device_layout: known("KvpOptions.device_layout", options.device_layout, &layouts)?,
        host_slots: optional(options.host_slots, "KvpOptions.host_slots")?,
        file: match optional(options.file_slots, "KvpOptions.file_slots")? {
            // SAFETY: A1.
            Some(slots) => Some(FileSpec {
                write_bytes_per_day: policy::write_budget(options),
                ..FileSpec::new(unsafe { directory(options) }?, slots)
            }),
            None => None,
        },
        ..CpuSpec::new(model, counts(options.device_slots, "KvpOptions.device_slots")?)
    };
    let config = Config {
        fingerprint,
        hash_key: HashKey(options.hash_key.get()),
        epoch: ModelEpoch(options.epoch),
        limits: Limits {
            sequences: options.sequences_max,
            sequence_tokens: options.sequence_tokens_max,
            moves_queued: options.moves_queued_max,
            batch_moves: options.batch_moves_max,
            batch_bytes: Bytes::new(options.batch_bytes_max),
            bytes_in_flight: Bytes::new(options.bytes_in_flight_max),
            move_deadline: Nanos::new(options.move_deadline_ns),
            events: options.events_max,
            slice_blocks: options.slice_blocks_max,
            // What is too large for its type is too large for the limit on it, and refused with that message.
            tenants: u16::try_from(options.tenants_max).unwrap_or(u16::MAX),
        },
        watermarks: Watermarks { low: options.watermark_low, high: options.watermark_high },
        reserves: Reserves {
            prefetches: options.prefetches_max,
            prefetched_share: options.prefetched_share,
            holds: options.holds_max,
            held_share: options.held_share,
        },
        quota: options.quota.get()?,
        device_owner: known("KvpOptions.device_owner", options.device_owner, &owners)?,
        promotion: known("KvpOptions.promotion", options.promotion, &promotions)?,
    };
    Ok(Settings { spec, config, policy: policy::spec(options)? })
}

/// # Safety
/// A1: the directory's name is as long as is said.
unsafe fn directory(options: &KvpOptions) -> Result<PathBuf, Failure> {
    let (start, len) = (options.file_directory.cast::<u8>(), options.file_directory_len);
    // SAFETY: A1, given on by this function's own contract.
    let name = unsafe { edge::slice(start, len, "KvpOptions.file_directory") }?;
    if name.is_empty() || name.contains(&0) {
        return Err(Failure::argument("KvpOptions.file_directory is empty, or has a NUL in it"));
    }
    Ok(PathBuf::from(OsStr::from_bytes(name)))
}
