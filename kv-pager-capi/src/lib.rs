//! The C ABI of the engine contract (`docs/engine-contract.md`): plain data only, over the pager and the CPU or the CUDA backend.
//!
//! | module | holds |
//! |---|---|
//! | `status` | what a call returns, and what the last failure of a thread was |
//! | `edge` | pointers with lengths, checked and turned into slices; the only dereferences |
//! | `options` | the model, the tiers, the limits and the policy that a pager is opened with |
//! | `policy` | in which order tiers give up blocks, what is loaded, and what it all costs here |
//! | `tenants` | quotas by salt, and what each salt has |
//! | `pager`, `prompt`, `sequence` | the calls of an engine whose device slots the pager owns |
//! | `deliveries`, `plans` | those of an engine that owns its device slots |
//! | `keepers` | prompts that are prefetched, prompts and salts that are held; epochs |
//! | `memory` | the bytes of the memory that plays the device |
//! | `cards` | an engine's tensors on cards as the device, and fences on its streams |
//! | `stats` | counters, occupancy, block events |
//!
//! - **A1** a pointer that is not NULL points to what its type says, for as long as the call lasts; a length says how many of
//!   it there are; what is written through overlaps nothing else that is given;
//! - **A2** a handle was made by this library and not given back since; giving it back ends it;
//! - **A3** no panic leaves the library: it becomes [`KvpStatus::Panic`](status::KvpStatus), and the pager is used no more.
//!
//! A1 and A2 are the caller's, A3 is this crate's. NULL, lengths and numbers out of range are checked in every call, before
//! anything is done. A handle is used by one thread at a time, but for those of pagers, prompts and keepers, which any number may use; a
//! sequence or deliveries in use by another thread are refused.
//!
//! `include/kv_pager.h` is made by `cbindgen` from this crate, and a test fails when it is not what would be made now.

mod cards;
mod deliveries;
mod edge;
mod keepers;
mod memory;
mod options;
mod pager;
mod plans;
mod policy;
mod prompt;
mod sequence;
mod stats;
mod status;
mod tenants;

pub use cards::{KvpCards, KvpPlane, kvp_cards_fence, kvp_cards_wait};
pub use deliveries::{
    KvpBlockAt, KvpDeliveries, KvpDelivery, kvp_deliveries_free, kvp_deliveries_poll, kvp_deliveries_wait,
    kvp_lookup, kvp_offload, kvp_onboard,
};
pub use keepers::{
    KvpKeeper, KvpKept, kvp_advance_epoch, kvp_epoch, kvp_hold, kvp_hold_salt, kvp_keeper_free,
    kvp_keeper_kept, kvp_prefetch, kvp_release_holds,
};
pub use memory::{KvpDeviceMemory, kvp_device_memory, kvp_slot_read, kvp_slot_write};
pub use options::{
    KvpAttention, KvpDType, KvpDeviceLayout, KvpDeviceOwner, KvpEntry, KvpGroup, KvpOptions, KvpU128,
    kvp_options_init,
};
pub use pager::{
    KvpPager, KvpWrittenOut, kvp_invalidate, kvp_invalidate_all, kvp_pager_close, kvp_pager_is_busy,
    kvp_pager_open, kvp_pager_open_on_cards, kvp_pager_poll, kvp_pager_progress, kvp_pager_wait,
    kvp_write_out,
};
pub use plans::{KvpChoice, KvpPlan, KvpUrgency, kvp_observe_prefill, kvp_plan};
pub use policy::{
    KvpFileWrites, KvpKeeping, KvpLoading, KvpPromotion, KvpShadow, kvp_learnt_profile, kvp_set_costs,
    kvp_shadows,
};
pub use prompt::{
    KvpExtraKey, KvpPriority, KvpPrompt, KvpRequest, kvp_prompt_free, kvp_prompt_names, kvp_prompt_prepare,
};
pub use sequence::{
    KvpReport, KvpSequence, KvpStep, KvpStepKind, kvp_sequence_append, kvp_sequence_block_source,
    kvp_sequence_close, kvp_sequence_commit, kvp_sequence_drop, kvp_sequence_fork, kvp_sequence_len,
    kvp_sequence_matched_tokens, kvp_sequence_next_step, kvp_sequence_observe, kvp_sequence_open,
    kvp_sequence_report, kvp_sequence_table, kvp_sequence_truncate, kvp_sequence_wait, kvp_sequence_waits,
};
pub use stats::{
    KvpEvent, KvpEventKind, KvpLaneStats, KvpOccupancy, KvpStats, KvpTier, kvp_drain_events, kvp_lane_stats,
    kvp_occupancy, kvp_stats,
};
pub use status::{KvpErrorCode, KvpStatus, kvp_abi_version, kvp_last_error_code, kvp_last_error_message};
pub use tenants::{
    KvpAllowance, KvpAllowanceKind, KvpQuota, KvpTenant, kvp_clear_quota, kvp_set_quota, kvp_tenants,
};

/// The version of this ABI: another number means that a struct, a function or a constant has changed its meaning. A program
/// compares it with `kvp_abi_version()`; `kvp_options_init` and `kvp_pager_open` refuse another.
pub const KVP_ABI_VERSION: u32 = 5;

/// How many tiers there are: the length of arrays by tier.
pub const KVP_TIERS: usize = 3;

/// The most groups of layers that a model has.
pub const KVP_GROUPS_MAX: usize = 8;

/// "No slot": the entry of a block table whose part is not there. Nothing may be read there.
pub const KVP_SLOT_NONE: u32 = u32::MAX;

/// The fence that is over from the start: what an engine gives whose work is done when its call returns.
pub const KVP_FENCE_OVER: u64 = 0;
