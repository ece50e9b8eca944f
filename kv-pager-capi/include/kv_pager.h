/* The C ABI of kv-pager: docs/engine-contract.md says what is called when. Made by cbindgen; do not edit. */

#ifndef KV_PAGER_H
#define KV_PAGER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// The version of this ABI: another number means that a struct, a function or a constant has changed its meaning. A program
// compares it with `kvp_abi_version()`; `kvp_options_init` and `kvp_pager_open` refuse another.
#define KVP_ABI_VERSION 5

// How many tiers there are: the length of arrays by tier.
#define KVP_TIERS 3

// The most groups of layers that a model has.
#define KVP_GROUPS_MAX 8

// "No slot": the entry of a block table whose part is not there. Nothing may be read there.
#define KVP_SLOT_NONE UINT32_MAX

// The fence that is over from the start: what an engine gives whose work is done when its call returns.
#define KVP_FENCE_OVER 0

// What became of a call, and what the caller does about it. Unless it is `OK`, nothing has changed.
enum KvpStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It happened.
  KVP_STATUS_OK = 0,
  // Try again once a transfer has ended or a sequence was closed.
  KVP_STATUS_RETRY = 1,
  // The cached bytes are not to be had: compute them.
  KVP_STATUS_RECOMPUTE = 2,
  // The setting or the request can never work; change it.
  KVP_STATUS_CONFIGURATION = 3,
  // The tier's memory is gone; every hit in it is a miss from now on.
  KVP_STATUS_DEVICE_LOST = 4,
  // The caller, or the library, broke a rule.
  KVP_STATUS_BUG = 5,
  // An argument is NULL, out of range, or of another version of the header.
  KVP_STATUS_ARGUMENT = 6,
  // The buffer is too small; the length that was asked for has been told.
  KVP_STATUS_TOO_SMALL = 7,
  // A broken invariant: do not go on with that pager.
  KVP_STATUS_PANIC = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpStatus KvpStatus;
#else
typedef int32_t KvpStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What the engine does next for a sequence.
enum KvpStepKind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Compute K and V of the tokens `first..end`, through the tables as they are now, then commit.
  KVP_STEP_KIND_COMPUTE = 0,
  // Moves are under way for it; wait, then ask again.
  KVP_STEP_KIND_WAIT = 1,
  // All tokens given so far have been computed or loaded.
  KVP_STEP_KIND_READY = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpStepKind KvpStepKind;
#else
typedef uint32_t KvpStepKind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What happened to a block's copies.
enum KvpEventKind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // A copy can be matched in the tier.
  KVP_EVENT_KIND_STORED = 0,
  // The copy in the tier is gone.
  KVP_EVENT_KIND_REMOVED = 1,
  // All blocks are being erased: what was told before does not count any more.
  KVP_EVENT_KIND_CLEARED = 2,
  // The copy in a tier made room; one farther away stays, of which was told when it was stored.
  KVP_EVENT_KIND_MOVED = 3,
  // One that this header does not know.
  KVP_EVENT_KIND_OTHER = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpEventKind KvpEventKind;
#else
typedef uint32_t KvpEventKind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which failure it was, beside what to do about it.
enum KvpErrorCode
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Nothing has failed on this thread.
  KVP_ERROR_CODE_NONE = 0,
  // An argument is NULL, out of range, or of another version of the header.
  KVP_ERROR_CODE_ARGUMENT = 1,
  // A buffer is too small.
  KVP_ERROR_CODE_TOO_SMALL = 2,
  // A panic was caught.
  KVP_ERROR_CODE_PANIC = 3,
  // A setting can't work.
  KVP_ERROR_CODE_CONFIGURATION = 4,
  // All slots are held: close a sequence.
  KVP_ERROR_CODE_TIER_FULL = 5,
  // Slots will be free once transfers have ended: wait.
  KVP_ERROR_CODE_TIER_BUSY = 6,
  // As many sequences are open as the limit: close one.
  KVP_ERROR_CODE_TOO_MANY_SEQUENCES = 7,
  // The request can never fit.
  KVP_ERROR_CODE_SEQUENCE_TOO_LONG = 8,
  // A device slot is named twice, or is not there, or its move has not ended.
  KVP_ERROR_CODE_SLOT_IN_USE = 9,
  // The call does not fit the sequence's state.
  KVP_ERROR_CODE_MISUSE = 10,
  // A lane's queue is full.
  KVP_ERROR_CODE_QUEUE_FULL = 11,
  // A tier's memory could not be had or used.
  KVP_ERROR_CODE_IO = 12,
  // More memory was asked for than can be given.
  KVP_ERROR_CODE_OUT_OF_MEMORY = 13,
  // The memory of a tier is lost.
  KVP_ERROR_CODE_DEVICE_LOST = 14,
  // A slot is being copied, or another thread uses the handle.
  KVP_ERROR_CODE_IN_USE = 15,
  // Another; the message tells.
  KVP_ERROR_CODE_OTHER = 16,
  // As many prompts are prefetched, or held, as the limit: give one back.
  KVP_ERROR_CODE_TOO_MANY_KEPT = 17,
  // The request is larger than the quota of its salt, and no other slot is free.
  KVP_ERROR_CODE_OVER_QUOTA = 18,
  // No place is left in the table of tenants: clear another's quota.
  KVP_ERROR_CODE_TOO_MANY_TENANTS = 19,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpErrorCode KvpErrorCode;
#else
typedef int32_t KvpErrorCode;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What an allowance counts.
enum KvpAllowanceKind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Nothing: as much as there is.
  KVP_ALLOWANCE_KIND_UNLIMITED = 0,
  // Slots of each group; for a hold, blocks.
  KVP_ALLOWANCE_KIND_SLOTS = 1,
  // Bytes, as the device has them.
  KVP_ALLOWANCE_KIND_BYTES = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpAllowanceKind KvpAllowanceKind;
#else
typedef uint32_t KvpAllowanceKind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which earlier tokens a layer looks at.
enum KvpAttention
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // All of them.
  KVP_ATTENTION_FULL = 0,
  // The last `span_tokens`, the token itself among them, and the first `sink_tokens`.
  KVP_ATTENTION_SLIDING_WINDOW = 1,
  // Those of its own chunk of `span_tokens`.
  KVP_ATTENTION_CHUNKED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpAttention KvpAttention;
#else
typedef uint32_t KvpAttention;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a plan does with the cached blocks that are below the device.
enum KvpChoice
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // What the policy was asked to, without costs (`kvp_set_costs`): the times of the plan are 0.
  KVP_CHOICE_ASKED = 0,
  // There are none.
  KVP_CHOICE_NOTHING_TO_LOAD = 1,
  // They are loaded.
  KVP_CHOICE_LOAD = 2,
  // They are computed again.
  KVP_CHOICE_RECOMPUTE = 3,
  // The front is computed while the back is loaded.
  KVP_CHOICE_TWO_FRONTS = 4,
  // The front is loaded, then the rest is computed.
  KVP_CHOICE_LOAD_THEN_COMPUTE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpChoice KvpChoice;
#else
typedef uint32_t KvpChoice;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The type of one cached value.
enum KvpDType
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // 32-bit float.
  KVP_D_TYPE_F32 = 0,
  // IEEE half.
  KVP_D_TYPE_F16 = 1,
  // bfloat16.
  KVP_D_TYPE_BF16 = 2,
  // 8-bit float, 4 exponent bits.
  KVP_D_TYPE_F8E4M3 = 3,
  // 8-bit float, 5 exponent bits.
  KVP_D_TYPE_F8E5M2 = 4,
  // 8-bit integer, its scales kept by the engine.
  KVP_D_TYPE_I8 = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpDType KvpDType;
#else
typedef uint32_t KvpDType;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a move of the engine's ended.
enum KvpDelivery
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It has not.
  KVP_DELIVERY_UNDER_WAY = 0,
  // Well.
  KVP_DELIVERY_DONE = 1,
  // Not: compute the block, or keep it. The slot is the engine's again.
  KVP_DELIVERY_FAILED = 2,
  // Not, and its slot may still be written or read, nobody knows for how long: leave it alone.
  KVP_DELIVERY_LOST = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpDelivery KvpDelivery;
#else
typedef uint32_t KvpDelivery;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a part lies in device memory.
enum KvpDeviceLayout
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // One region; a part is one piece.
  KVP_DEVICE_LAYOUT_BLOCK_MAJOR = 0,
  // A region for each layer and side.
  KVP_DEVICE_LAYOUT_LAYER_MAJOR = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpDeviceLayout KvpDeviceLayout;
#else
typedef uint32_t KvpDeviceLayout;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Who keeps the free list of the device tier.
enum KvpDeviceOwner
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The pager: sequences are opened, and have tables.
  KVP_DEVICE_OWNER_MANAGED = 0,
  // The engine: it names its slots in `kvp_onboard` and `kvp_offload`.
  KVP_DEVICE_OWNER_ENGINE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpDeviceOwner KvpDeviceOwner;
#else
typedef uint32_t KvpDeviceOwner;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a layer caches for one token.
enum KvpEntry
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // A key and a value for each of `kv_heads` heads of `head_dim` values.
  KVP_ENTRY_KEY_VALUE = 0,
  // One latent vector of `head_dim` values.
  KVP_ENTRY_LATENT = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpEntry KvpEntry;
#else
typedef uint32_t KvpEntry;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What is written to the file.
enum KvpFileWrites
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // All that host memory gives up.
  KVP_FILE_WRITES_ALL = 0,
  // What was asked for at least twice.
  KVP_FILE_WRITES_EARNED = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpFileWrites KvpFileWrites;
#else
typedef uint32_t KvpFileWrites;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// In which order a tier gives up what it holds.
enum KvpKeeping
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The least expected value goes first, by a model that learns from the requests.
  KVP_KEEPING_COST_AWARE = 0,
  // The least recently used goes first.
  KVP_KEEPING_LRU = 1,
  // Used once goes before used twice.
  KVP_KEEPING_SLRU = 2,
  // Used once against used twice, shared out by what was asked for after it left.
  KVP_KEEPING_ARC = 3,
  // A small queue for newcomers, a large one for what was asked for while in it.
  KVP_KEEPING_S3_FIFO = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpKeeping KvpKeeping;
#else
typedef uint32_t KvpKeeping;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What is done with cached blocks that are below the device.
enum KvpLoading
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // What takes the least time, by costs (`kvp_set_costs`); without them all are loaded.
  KVP_LOADING_ADAPTIVE = 0,
  // All are loaded.
  KVP_LOADING_ALWAYS_LOAD = 1,
  // All are computed again.
  KVP_LOADING_ALWAYS_RECOMPUTE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpLoading KvpLoading;
#else
typedef uint32_t KvpLoading;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How important a request is.
enum KvpPriority
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // As any other.
  KVP_PRIORITY_NORMAL = 0,
  // Its loads go before others'. Eviction passes over its blocks twice before it takes them.
  KVP_PRIORITY_HIGH = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpPriority KvpPriority;
#else
typedef uint32_t KvpPriority;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Whether blocks that are likely to be asked for are brought from the file to host memory before they are.
enum KvpPromotion
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // While the lanes between the two stand idle, and no request waits for a load or for room.
  KVP_PROMOTION_WHILE_IDLE = 0,
  // Never.
  KVP_PROMOTION_NEVER = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpPromotion KvpPromotion;
#else
typedef uint32_t KvpPromotion;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A kind of memory; lower is nearer the accelerator. Arrays by tier are in this order.
enum KvpTier
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The accelerator's memory, or what plays its role.
  KVP_TIER_DEVICE = 0,
  // Host memory.
  KVP_TIER_HOST = 1,
  // Files on a local drive.
  KVP_TIER_FILE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KvpTier KvpTier;
#else
typedef uint32_t KvpTier;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Moves that an engine has asked for, one a block. Owned by one thread at a time.
typedef struct KvpDeliveries KvpDeliveries;

// What is prefetched or held, until it is given back. Any thread may use it.
typedef struct KvpKeeper KvpKeeper;

// A pager with its tiers and lanes. Any number of threads may use it.
typedef struct KvpPager KvpPager;

// A request whose blocks are named: hashed once, however often it has to be opened. It holds nothing of the cache.
typedef struct KvpPrompt KvpPrompt;

// An open request. Owned by one thread at a time, and may move between them.
typedef struct KvpSequence KvpSequence;

// A block of a prompt and the engine's slot for it.
typedef struct KvpBlockAt {
  // Which full block of the prompt.
  uint32_t block;
  // The engine's slot.
  uint32_t slot;
} KvpBlockAt;

// How much. All zero is as much as there is.
typedef struct KvpAllowance {
  // A `KvpAllowanceKind`.
  uint32_t kind;
  // 0.
  uint32_t reserved;
  // Slots, below 2^32, or bytes.
  uint64_t amount;
} KvpAllowance;

// Where the blocks that are kept are now.
typedef struct KvpKept {
  // Blocks that are to be kept; for a salt, as many as may be.
  size_t wanted;
  // Blocks that are kept on the device.
  size_t on_device;
  // Blocks that are kept in host memory.
  size_t in_host;
  // Blocks a part of which is on its way.
  size_t moving;
} KvpKept;

// Where the slots of one group lie: plane `p` of slot `s` starts at `base + p * plane_stride + s * slot_stride`. A plane is one layer
// and side of a part, `[tokens, kv_heads, head_dim]`, row-major; keys come before values in each layer.
typedef struct KvpDeviceMemory {
  // Plane 0 of slot 0. It stays there while the pager or one of its sequences lives.
  uint8_t *base;
  // From plane to plane, in bytes.
  size_t plane_stride;
  // From slot to slot, in bytes.
  size_t slot_stride;
  // Bytes of one plane of one slot.
  size_t plane_bytes;
  // Planes of a part: layers times sides.
  size_t planes;
  // Slots of the group.
  size_t slots;
} KvpDeviceMemory;

// The layers of a model that share an attention kind.
typedef struct KvpGroup {
  // A `KvpAttention`.
  uint32_t attention;
  // Tokens of the window or the chunk; 0 for full attention.
  uint32_t span_tokens;
  // Tokens at the start that a window always sees; 0 for the others.
  uint32_t sink_tokens;
  // How many layers.
  uint32_t layers;
  // A `KvpEntry`.
  uint32_t entry;
  // Heads that have keys of their own; 1 for a latent.
  uint32_t kv_heads;
  // Values in one head's key, or in the latent.
  uint32_t head_dim;
  // A `KvpDType`.
  uint32_t dtype;
} KvpGroup;

// 128 bits.
typedef struct KvpU128 {
  // The lower half.
  uint64_t low;
  // The upper half.
  uint64_t high;
} KvpU128;

// How much a salt may have cached, tier by tier. All zero is as much as there is.
typedef struct KvpQuota {
  // On the device.
  struct KvpAllowance device;
  // In host memory.
  struct KvpAllowance host;
  // In the file.
  struct KvpAllowance file;
} KvpQuota;

// What a pager is opened with. `kvp_options_init` fills in the defaults; the model and the device's slots have none. What
// pointers point to is read by `kvp_pager_open` and not kept.
typedef struct KvpOptions {
  // `KVP_ABI_VERSION`.
  uint32_t abi_version;
  // `sizeof(KvpOptions)`.
  uint32_t struct_bytes;
  // The groups of layers.
  const struct KvpGroup *groups;
  // How many groups, and how many counts each of the three arrays of slots below has.
  size_t groups_len;
  // Tokens in a block: 1 to 4,096.
  uint32_t tokens_per_block;
  // A `KvpDeviceOwner`.
  uint32_t device_owner;
  // A `KvpDeviceLayout`.
  uint32_t device_layout;
  // Sequences that may be open.
  uint32_t sequences_max;
  // Tokens in one sequence at most.
  uint32_t sequence_tokens_max;
  // Moves that wait in one lane's queues at most.
  uint32_t moves_queued_max;
  // Moves in one batch, 1 to 512.
  uint32_t batch_moves_max;
  // Block events that wait to be read at most; the oldest give way.
  uint32_t events_max;
  // Blocks that one turn at the pager's lock handles, 1 to 512.
  uint32_t slice_blocks_max;
  // Salts that are told apart as tenants, at most 1,023.
  uint32_t tenants_max;
  // Prefetches at a time.
  uint32_t prefetches_max;
  // Holds at a time.
  uint32_t holds_max;
  // A `KvpKeeping`.
  uint32_t keeping;
  // A `KvpLoading`.
  uint32_t loading;
  // A `KvpFileWrites`.
  uint32_t file_writes;
  // A `KvpPromotion`.
  uint32_t promotion;
  // 1 for shadows beside the pager, which tell what every policy, and the one that keeps with twice the memory, would have hit in
  // each tier (`kvp_shadows`); 0 for none.
  uint32_t has_shadows;
  // Device slots by group.
  const uint32_t *device_slots;
  // Slots of host memory by group, or NULL for no such tier.
  const uint32_t *host_slots;
  // Slots of the file tier by group, or NULL for no such tier. It needs host memory.
  const uint32_t *file_slots;
  // The directory of the file tier, in the bytes of the file system; no NUL is needed.
  const char *file_directory;
  // How many bytes.
  size_t file_directory_len;
  // What makes bytes of this model useless to another: a hash of its weights and layout.
  struct KvpU128 fingerprint;
  // The key of all names; a file is found again only with the same.
  struct KvpU128 hash_key;
  // Which of the weights of this fingerprint are loaded: what `kvp_epoch` said last.
  uint64_t epoch;
  // Bytes in one batch at most.
  uint64_t batch_bytes_max;
  // Bytes that one lane has been given and has not moved yet, at most.
  uint64_t bytes_in_flight_max;
  // How long a move may take before it is given up, in nanoseconds.
  uint64_t move_deadline_ns;
  // Share of free slots below which eviction starts.
  double watermark_low;
  // Share of free slots at which eviction stops.
  double watermark_high;
  // Share of a tier's slots that all prefetches together may fill ahead of need.
  double prefetched_share;
  // Share of a tier's slots that all holds together may keep from eviction.
  double held_share;
  // The most bytes of blocks that are written to the file in a day, whatever asks for it; an hour's share may be saved up and written at
  // once, which a new file begins with, and one that is opened again does not. 0 for no limit.
  uint64_t write_bytes_per_day;
  // What a salt may have cached, unless it has a quota of its own (`kvp_set_quota`).
  struct KvpQuota quota;
} KvpOptions;

// Where one layer's keys, or values, or latents lie on a card: value `d` of head `h` of token `t` of slot `s` is at
// `base + s * slot_stride + t * token_stride + h * head_stride + d * sizeof(value)`.
typedef struct KvpPlane {
  // The device address of slot 0.
  uint64_t base;
  // From slot to slot, in bytes.
  uint64_t slot_stride;
  // From token to token, in bytes.
  uint64_t token_stride;
  // From head to head, in bytes.
  uint64_t head_stride;
} KvpPlane;

// The engine's tensors on its cards. What pointers point to is read by `kvp_pager_open_on_cards` and not kept; the tensors stay
// while the pager, or one of its sequences or deliveries, lives.
typedef struct KvpCards {
  // The cards by the driver's numbers, one rank each. Where there are several, each has its share of the heads, those of rank 0
  // first; where there are more ranks than heads, heads are repeated.
  const uint32_t *devices;
  // How many: 1 to 64.
  size_t devices_len;
  // Of each rank in turn, each group's planes: by layer, keys before values, and one plane a layer for latents.
  const struct KvpPlane *planes;
  // How many, of all ranks together.
  size_t planes_len;
} KvpCards;

// What a shutdown has written.
typedef struct KvpWrittenOut {
  // Blocks of the host's that the file has now, and had not.
  uint64_t blocks;
  // Blocks of the host's that the file has not: there was no room for them, or no time, or what is written to the file kept them
  // from it (`KvpOptions.file_writes`, `write_bytes_per_day`).
  uint64_t left;
  // Whether all that the file has survives a loss of power, too. If not, the time ran out before the drive said so; what was
  // written survives the process all the same.
  bool is_durable;
} KvpWrittenOut;

// What an engine knows when it asks for a plan. All zero is nothing.
typedef struct KvpUrgency {
  // How long from now the last prompt token may take to be computed, in nanoseconds; 0 for no deadline.
  uint64_t deadline_ns;
  // How long the device is busy before it computes for this request, in nanoseconds; it counts until it is over, or another call says
  // otherwise, and 0 leaves what was said before.
  uint64_t compute_queue_ns;
  // How many requests wait for the device beside this one.
  uint32_t waiting;
  // 0.
  uint32_t reserved;
} KvpUrgency;

// What to onboard, and what is expected of it. Times are nanoseconds from now.
typedef struct KvpPlan {
  // The first block to onboard.
  size_t first_block;
  // The one after the last: as large as `first_block` if none is to be.
  size_t end_block;
  // How many blocks to onboard at a time where they come from the back; at least 1.
  size_t chunk_blocks;
  // 1 if they are to be onboarded from the last chunk to the first, while what comes before them is computed; 0 if from the first block
  // on.
  uint32_t is_from_back;
  // A `KvpChoice`.
  uint32_t choice;
  // 1 if the policy may make no other choice (`KvpOptions.loading`).
  uint32_t is_forced;
  // 1 if what follows waits for the loads, not for computing.
  uint32_t is_load_bound;
  // 1 if the deadline will be missed all the same.
  uint32_t is_late;
  // 0.
  uint32_t reserved;
  // Computing what comes before the loaded blocks takes so long.
  uint64_t front_ns;
  // Loading takes so long, what is queued before it included.
  uint64_t load_ns;
  // Computing what comes after takes so long.
  uint64_t rest_ns;
  // When the last token is computed.
  uint64_t finish_ns;
  // When it would be if all cached blocks were loaded; `UINT64_MAX` if they can't be.
  uint64_t finish_by_load_ns;
  // When it would be if none were.
  uint64_t finish_by_compute_ns;
  // When to compute what has not been loaded, in other slots; `UINT64_MAX` for never.
  uint64_t cut_after_ns;
} KvpPlan;

// What a tier would have hit, had it been kept by another policy or been larger: counts within a sample of the blocks' names, to be read
// as rates and compared with one another. Each tier is asked about as if it stood alone, and as it is, too.
typedef struct KvpShadow {
  // In the place of this `KvpTier`.
  uint32_t tier;
  // Kept by this `KvpKeeping`.
  uint32_t keeping;
  // With room for so many blocks.
  uint64_t capacity_blocks;
  // Blocks asked for.
  uint64_t references;
  // Of those, the ones in the leading run that was there.
  uint64_t prefix_hits;
  // Of those, all that were there.
  uint64_t resident_hits;
  // Blocks evicted.
  uint64_t evictions;
} KvpShadow;

// Something beside tokens that the bytes of a block depend on: an adapter (at token 0), an image (where it stands).
typedef struct KvpExtraKey {
  // Its hash, made by the engine.
  uint64_t key;
  // The token from which on it matters.
  uint32_t at_token;
  // 0.
  uint32_t reserved;
} KvpExtraKey;

// A request. All zero, but for tokens, is one in the cache of salt 0, of the usual priority, whose blocks stay as long as any.
typedef struct KvpRequest {
  // Its tokens.
  const uint32_t *tokens;
  // How many.
  size_t tokens_len;
  // What else its blocks depend on; NULL if nothing does.
  const struct KvpExtraKey *extra_keys;
  // How many of them.
  size_t extra_keys_len;
  // Whose cache it is in.
  uint64_t salt;
  // How long after it has closed its blocks are given up that only such requests have used, in nanoseconds; 0 for never. Where the
  // engine owns the slots: after the last call that brought or offloaded them, or ended the request.
  uint64_t time_to_live_ns;
  // How long from its opening its last prompt token may take to be computed, in nanoseconds; 0 for no deadline.
  uint64_t deadline_ns;
  // How long the device is busy before it computes for this request; 0 lets the pager add up what its open sequences have still
  // to compute.
  uint64_t compute_queue_ns;
  // How many requests wait for the device beside this one.
  uint32_t waiting;
  // A `KvpPriority`.
  uint32_t priority;
} KvpRequest;

// A step.
typedef struct KvpStep {
  // What to do.
  KvpStepKind kind;
  // The first token to compute; 0 unless something is to be computed.
  size_t first;
  // The one after the last.
  size_t end;
} KvpStep;

// What became of a sequence so far.
typedef struct KvpReport {
  // Tokens of blocks that were cached, by the tier they came from.
  uint64_t hit_tokens[3];
  // Tokens that the engine computed.
  uint64_t computed_tokens;
} KvpReport;

// Counters since the pager was opened.
typedef struct KvpStats {
  // Slots freed to make room, by tier.
  uint64_t evictions[3];
  // Blocks whose last copy went.
  uint64_t drops;
  // Parts that a checksum stopped.
  uint64_t damaged;
  // Loads that did not end well: their blocks were computed.
  uint64_t failed_loads;
  // Blocks found in a file tier of an earlier process.
  uint64_t recovered;
} KvpStats;

// What one lane has done.
typedef struct KvpLaneStats {
  // The `KvpTier` that bytes come from.
  uint32_t source;
  // The `KvpTier` that they go to.
  uint32_t target;
  // Batches that are over.
  uint64_t batches;
  // Moves that ended well.
  uint64_t moves;
  // Bytes of those.
  uint64_t bytes;
  // How long the lane worked, by its own account.
  uint64_t busy_ns;
  // In how many copy calls.
  uint64_t copies;
  // Moves that failed, were cancelled or timed out.
  uint64_t failed;
} KvpLaneStats;

// How many slots of a class are in each state.
typedef struct KvpOccupancy {
  // Nothing of value.
  uint32_t free;
  // Being written.
  uint32_t filling;
  // Holds the whole part of a named block.
  uint32_t resident;
  // Resident, and being copied away to make room.
  uint32_t leaving;
  // A move into or out of it timed out, and may still touch it.
  uint32_t quarantined;
  // Known to be bad.
  uint32_t retired;
} KvpOccupancy;

// Something that happened to a block's copies. What its kind has no use for is 0.
typedef struct KvpEvent {
  // What happened.
  KvpEventKind kind;
  // A `KvpTier`: of what has moved on, where its nearest copy is now.
  uint32_t tier;
  // The block's name.
  struct KvpU128 name;
  // The parent's of what was stored, if it has one.
  struct KvpU128 parent;
  // A `KvpTier`: where it was that has moved on.
  uint32_t source;
  // Whether it has.
  bool has_parent;
} KvpEvent;

// What one salt has.
typedef struct KvpTenant {
  // The salt, unless it is those that found no place in the table, all together.
  uint64_t salt;
  // Whether it is one salt: 1, or 0 for those that found no place.
  uint32_t has_salt;
  // 0.
  uint32_t reserved;
  // By tier: slots that hold its blocks, or are being filled with them, all groups together.
  uint64_t slots[3];
  // By tier: their bytes.
  uint64_t bytes[3];
  // By tier: how many slots it may have; `UINT64_MAX` without a quota, or a tier.
  uint64_t quota_slots[3];
} KvpTenant;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A fence at what the engine has queued so far on `streams`, one `CUstream` a rank: for `kvp_sequence_commit`,
// `kvp_sequence_close` and all else that takes one. Does not block. `KVP_STATUS_RETRY` if too many are under way;
// `KVP_STATUS_CONFIGURATION` if a stream is capturing a graph.
//
// # Safety
// A1: `streams` points to `streams_len` handles. CA2.
KvpStatus kvp_cards_fence(const struct KvpPager *pager, void *const *streams, size_t streams_len, uint64_t *fence);

// Makes what is queued on `stream`, a `CUstream` of `rank`, from now on wait for `fence`: one of `kvp_sequence_waits`, or of
// `kvp_cards_fence`. Does not block the host.
//
// # Safety
// CA2.
KvpStatus kvp_cards_wait(const struct KvpPager *pager,
                         uint32_t rank,
                         void *stream,
                         uint64_t fence);

// How far a prompt is cached below the device: for each of its leading blocks the nearest tier, a `KvpTier`. If there are more than
// `capacity`, `len` says how many, and nothing is copied.
//
// # Safety
// A1: `tiers` has room for `capacity` numbers.
KvpStatus kvp_lookup(const struct KvpPager *pager,
                     const struct KvpPrompt *prompt,
                     uint32_t *tiers,
                     size_t capacity,
                     size_t *len);

// Brings cached blocks of the prompt into the engine's slots, which are written after the compute behind `fence`, the last that uses
// them, and are the pager's until `deliveries` says how their moves ended. Never blocks.
//
// # Safety
// A1: `blocks` points to `blocks_len` blocks.
KvpStatus kvp_onboard(const struct KvpPager *pager,
                      const struct KvpPrompt *prompt,
                      const struct KvpBlockAt *blocks,
                      size_t blocks_len,
                      uint64_t fence,
                      struct KvpDeliveries **deliveries);

// Copies blocks of the prompt out of the engine's slots, which the compute behind `fence` writes, into the host. The call that gives the
// last full block of the prompt, or no block at all, ends the request: the policy is told of it. Never blocks.
//
// # Safety
// A1: `blocks` points to `blocks_len` blocks.
KvpStatus kvp_offload(const struct KvpPager *pager,
                      const struct KvpPrompt *prompt,
                      const struct KvpBlockAt *blocks,
                      size_t blocks_len,
                      uint64_t fence,
                      struct KvpDeliveries **deliveries);

// How each move stands, a `KvpDelivery` in the order asked for. If there are more than `capacity`, `len` says how many, and nothing
// is copied.
//
// # Safety
// A1: `outcomes` has room for `capacity` numbers.
KvpStatus kvp_deliveries_poll(const struct KvpDeliveries *deliveries,
                              uint32_t *outcomes,
                              size_t capacity,
                              size_t *len);

// Blocks until something has ended since the last look, or for `timeout_ns`. Says in `has_progressed`, unless it is NULL, whether
// something did.
KvpStatus kvp_deliveries_wait(const struct KvpDeliveries *deliveries,
                              uint64_t timeout_ns,
                              bool *has_progressed);

// Gives deliveries back. Moves that have not ended stay under way, and their slots the pager's until they end. NULL is allowed.
KvpStatus kvp_deliveries_free(struct KvpDeliveries *deliveries);

// Begins to bring the cached blocks of a queued request nearer. Give it back with `kvp_keeper_free` after the request is opened, or to
// call it off. Never blocks.
KvpStatus kvp_prefetch(const struct KvpPager *pager,
                       const struct KvpPrompt *prompt,
                       struct KvpKeeper **keeper);

// Keeps the full blocks of the prompt in a `KvpTier`, the host or the device, or nearer, until `kvp_keeper_free`. Never blocks.
KvpStatus kvp_hold(const struct KvpPager *pager,
                   const struct KvpPrompt *prompt,
                   uint32_t tier,
                   struct KvpKeeper **keeper);

// Keeps what a salt has cached, and what it comes to have, in a `KvpTier`, the host or the device, or nearer, until
// `kvp_keeper_free`: so many blocks (`KVP_ALLOWANCE_KIND_SLOTS`) or bytes, each after its parent, first come, first held. Never
// blocks.
KvpStatus kvp_hold_salt(const struct KvpPager *pager,
                        uint64_t salt,
                        uint32_t tier,
                        struct KvpAllowance most,
                        struct KvpKeeper **keeper);

// Where the blocks that are kept are now.
KvpStatus kvp_keeper_kept(const struct KvpKeeper *keeper, struct KvpKept *kept);

// Gives a prefetch or a hold back; what it has brought stays cached like anything else. NULL is allowed.
KvpStatus kvp_keeper_free(struct KvpKeeper *keeper);

// Releases all holds of a salt; their handles are given back all the same. Says in `released`, unless it is NULL, how many it was.
KvpStatus kvp_release_holds(const struct KvpPager *pager,
                            uint64_t salt,
                            size_t *released);

// The epoch that requests are named in, to be given as `KvpOptions.epoch` next time.
KvpStatus kvp_epoch(const struct KvpPager *pager, uint64_t *epoch);

// Begins a new epoch: the weights have changed, and no block that was cached before is found. Says in `epoch`, unless it is NULL,
// which.
KvpStatus kvp_advance_epoch(const struct KvpPager *pager,
                            uint64_t *epoch);

// Where the device slots of a group lie, if the CPU's memory plays the device.
KvpStatus kvp_device_memory(const struct KvpPager *pager, uint32_t group, struct KvpDeviceMemory *memory);

// Copies bytes out of a plane of a device slot, from byte `offset` of the plane on. A slot that a lane is writing is refused.
//
// # Safety
// A1: `bytes` has room for `len` bytes.
KvpStatus kvp_slot_read(const struct KvpPager *pager,
                        uint32_t group,
                        uint32_t slot,
                        size_t plane,
                        size_t offset,
                        uint8_t *bytes,
                        size_t len);

// Copies bytes into a plane of a device slot, from byte `offset` of the plane on; the others stay. A slot that a lane is copying is
// refused.
//
// # Safety
// A1: `bytes` points to `len` bytes.
KvpStatus kvp_slot_write(const struct KvpPager *pager,
                         uint32_t group,
                         uint32_t slot,
                         size_t plane,
                         size_t offset,
                         const uint8_t *bytes,
                         size_t len);

// Fills in the defaults. Give `KVP_ABI_VERSION` and `sizeof(KvpOptions)` as the caller's header has them; if the library's are
// others, that is an error, and nothing is written.
KvpStatus kvp_options_init(struct KvpOptions *options,
                           uint32_t abi_version,
                           uint32_t struct_bytes);

// Makes the tiers and a pager over them, and takes in what a file tier has kept. Blocks until all memory is touched.
//
// # Safety
// A1: as `kv_pager.h` says of `KvpOptions`.
KvpStatus kvp_pager_open(const struct KvpOptions *options, struct KvpPager **pager);

// Makes the tiers over an engine's tensors on cards, pinned host memory and a file if there is one, and a pager over them. Blocks
// while memory is touched and copies of every size are measured: seconds, in which nothing else may write the tensors.
//
// `KVP_STATUS_CONFIGURATION` says what is missing where there is no CUDA or no such card. Host memory must be asked for.
// `KvpOptions.device_layout` is not looked at: the planes say how the tensors lie.
//
// # Safety
// A1: as `kv_pager.h` says of `KvpOptions` and `KvpCards`.
KvpStatus kvp_pager_open_on_cards(const struct KvpOptions *options,
                                  const struct KvpCards *cards,
                                  struct KvpPager **pager);

// Gives the pager back. Sequences, prompts and deliveries may be given back before or after; what is under way is called off or
// waited for when the last of them goes. Nothing is written to the file because of it: see `kvp_write_out`. NULL is allowed.
KvpStatus kvp_pager_close(struct KvpPager *pager);

// Where the pager stands; take it before a call that may have to wait, and give it to `kvp_pager_wait`.
KvpStatus kvp_pager_progress(const struct KvpPager *pager, uint64_t *seen);

// Blocks until something has ended or was closed since `seen` was taken, or for `timeout_ns`. Says in `has_progressed`, unless it
// is NULL, whether something did.
KvpStatus kvp_pager_wait(const struct KvpPager *pager,
                         uint64_t seen,
                         uint64_t timeout_ns,
                         bool *has_progressed);

// Takes in what has ended and starts what waits, as every other call does. For an idle engine that does not wait.
KvpStatus kvp_pager_poll(const struct KvpPager *pager);

// Whether any move waits or is under way.
KvpStatus kvp_pager_is_busy(const struct KvpPager *pager, bool *is_busy);

// Erases all blocks of a salt, durably. Says in `erased`, unless it is NULL, how many it was. Blocks on I/O where there is a file
// tier.
KvpStatus kvp_invalidate(const struct KvpPager *pager,
                         uint64_t salt,
                         uint64_t *erased);

// Erases all blocks, as `kvp_invalidate` does those of one salt.
KvpStatus kvp_invalidate_all(const struct KvpPager *pager, uint64_t *erased);

// Writes out what host memory holds and the file has not, and makes it durable, all of it for at most `timeout_ns`. Call it when
// all sequences are closed. Does nothing where there is no file tier. `written` may be NULL.
KvpStatus kvp_write_out(const struct KvpPager *pager,
                        uint64_t timeout_ns,
                        struct KvpWrittenOut *written);

// What to onboard of a prompt whose first `device_blocks` blocks the engine has in slots of its own: all of it can be, until something
// changes. `urgency` may be NULL; what stood in the request about it is not looked at. Asks only: nothing is moved, kept or counted. Never blocks.
// `KVP_STATUS_CONFIGURATION` if the device slots are the pager's: opening plans there.
KvpStatus kvp_plan(const struct KvpPager *pager,
                   const struct KvpPrompt *prompt,
                   size_t device_blocks,
                   const struct KvpUrgency *urgency,
                   struct KvpPlan *plan);

// Says that computing the tokens `first..end` of some prompt took so long, in one step: the costs that plans are made by learn from it.
// A step of fewer tokens than the smallest that was measured, such as one that decodes, teaches nothing. `kvp_sequence_observe` does it
// for a sequence.
KvpStatus kvp_observe_prefill(const struct KvpPager *pager,
                              size_t first,
                              size_t end,
                              uint64_t took_ns);

// Says what moves and prefill take on this machine: plans are made by it from now on, and it is corrected by what lanes,
// `kvp_sequence_observe` and `kvp_observe_prefill` tell. `profile` is the text that `kv-pager measure --out FILE` writes. `can_overlap` is 1 if the engine
// computes the front of a prompt while the back is loaded, 0 if not; `step_tokens_max` are the most tokens that it computes in one
// step.
//
// # Safety
// A1: `profile` points to `profile_len` bytes.
KvpStatus kvp_set_costs(const struct KvpPager *pager,
                        const char *profile,
                        size_t profile_len,
                        uint32_t can_overlap,
                        uint32_t step_tokens_max);

// Writes `profile`, the text that costs were set with, as it has been corrected by what was observed since: to be saved for the next
// start on this machine with this model. `text` gets no terminator. If there are more bytes than `capacity`, `len` says how many, and
// nothing is copied. `KVP_STATUS_CONFIGURATION` if no costs were set, or what was learnt is not plausible.
//
// # Safety
// A1: `profile` points to `profile_len` bytes; `text` has room for `capacity` bytes.
KvpStatus kvp_learnt_profile(const struct KvpPager *pager,
                             const char *profile,
                             size_t profile_len,
                             char *text,
                             size_t capacity,
                             size_t *len);

// Copies what the shadows beside the pager would have hit, tier by tier; none if it runs none (`KvpOptions.has_shadows`). If there are
// more than `capacity`, `len` says how many, and nothing is copied.
//
// # Safety
// A1: `shadows` has room for `capacity` shadows.
KvpStatus kvp_shadows(const struct KvpPager *pager,
                      struct KvpShadow *shadows,
                      size_t capacity,
                      size_t *len);

// Names the blocks of a request. Takes no lock. What its pointers point to is not kept. Give it back with `kvp_prompt_free`.
//
// # Safety
// A1: the pointers in `request` point to as much as the lengths beside them say.
KvpStatus kvp_prompt_prepare(const struct KvpPager *pager,
                             const struct KvpRequest *request,
                             struct KvpPrompt **prompt);

// Copies the names of the prompt's full blocks, in order. If there are more than `capacity`, `len` says how many, and nothing is
// copied.
//
// # Safety
// A1: `names` has room for `capacity` names.
KvpStatus kvp_prompt_names(const struct KvpPrompt *prompt,
                           struct KvpU128 *names,
                           size_t capacity,
                           size_t *len);

// Gives a prompt back. NULL is allowed.
void kvp_prompt_free(struct KvpPrompt *prompt);

// Opens a sequence for a prompt: matches its prefix, holds or loads what was found, and takes device slots for the rest. Never
// blocks. End it with `kvp_sequence_close` or `kvp_sequence_drop`.
KvpStatus kvp_sequence_open(const struct KvpPager *pager,
                            const struct KvpPrompt *prompt,
                            struct KvpSequence **sequence);

// What to do next. A range to compute has at most `tokens_max` tokens, at least one. Read the tables after this call: they may
// have changed.
KvpStatus kvp_sequence_next_step(const struct KvpSequence *sequence,
                                 size_t tokens_max,
                                 struct KvpStep *step);

// The block table of a group: one device slot for each block that the tokens reach, in order; `KVP_SLOT_NONE` where a window
// needs none. It is the sequence's own and good until `next_step`, `commit`, `append`, `truncate`, `close` or `drop`.
KvpStatus kvp_sequence_table(const struct KvpSequence *sequence,
                             uint32_t group,
                             const uint32_t **slots,
                             size_t *len);

// Fences of other sequences' compute that wrote what was found on the device: the engine's stream waits for them before it reads.
// Good as long as a table is.
KvpStatus kvp_sequence_waits(const struct KvpSequence *sequence,
                             const uint64_t **fences,
                             size_t *len);

// Says that K and V of the tokens `first..end`, the range of the last step or a front of it, are in the slots once `fence` is over.
KvpStatus kvp_sequence_commit(const struct KvpSequence *sequence,
                              size_t first,
                              size_t end,
                              uint64_t fence);

// Says that computing the tokens `first..end` took so long, in one step: the costs that plans are made by learn from it. A step of
// fewer tokens than the smallest that was measured, such as one that decodes, teaches nothing.
KvpStatus kvp_sequence_observe(const struct KvpSequence *sequence,
                               size_t first,
                               size_t end,
                               uint64_t took_ns);

// Adds tokens, and takes the slots that they need; all or nothing.
//
// # Safety
// A1: `tokens` points to `tokens_len` tokens.
KvpStatus kvp_sequence_append(const struct KvpSequence *sequence, const uint32_t *tokens, size_t tokens_len);

// Another sequence with the same tokens, which shares all blocks. Not between a step to compute and its commit.
KvpStatus kvp_sequence_fork(const struct KvpSequence *sequence, struct KvpSequence **child);

// Gives up all tokens from `tokens` on; their slots may be reused once `fence`, the last compute that uses them, is over.
KvpStatus kvp_sequence_truncate(const struct KvpSequence *sequence,
                                size_t tokens,
                                uint64_t fence);

// Blocks until something has ended since the last `next_step`, or for `timeout_ns`. Says in `has_progressed`, unless it is NULL,
// whether something did.
KvpStatus kvp_sequence_wait(const struct KvpSequence *sequence,
                            uint64_t timeout_ns,
                            bool *has_progressed);

// How many tokens it has been given.
KvpStatus kvp_sequence_len(const struct KvpSequence *sequence, size_t *tokens);

// How many leading tokens were found cached when it was opened, wherever; what fails to load is computed all the same.
KvpStatus kvp_sequence_matched_tokens(const struct KvpSequence *sequence, size_t *tokens);

// What became of it so far.
KvpStatus kvp_sequence_report(const struct KvpSequence *sequence, struct KvpReport *report);

// The tier that the bytes of block `block` came from: a `KvpTier`; or `UINT32_MAX` if this sequence computes them, or waits for
// them still.
KvpStatus kvp_sequence_block_source(const struct KvpSequence *sequence,
                                    size_t block,
                                    uint32_t *tier);

// Ends it: its blocks stay cached, its slots may be reused once `fence`, the last compute that uses them, is over. NULL is allowed.
KvpStatus kvp_sequence_close(struct KvpSequence *sequence,
                             uint64_t fence);

// Ends it behind the last fence that it was given. Compute that was launched and not committed needs `kvp_sequence_close`. NULL is
// allowed.
KvpStatus kvp_sequence_drop(struct KvpSequence *sequence);

// Copies the counters.
KvpStatus kvp_stats(const struct KvpPager *pager, struct KvpStats *stats);

// Copies the counters of each lane. If there are more than `capacity`, `len` says how many, and nothing is copied.
//
// # Safety
// A1: `lanes` has room for `capacity` lanes.
KvpStatus kvp_lane_stats(const struct KvpPager *pager, struct KvpLaneStats *lanes, size_t capacity, size_t *len);

// Copies how many slots of a group a tier has in each state; all are 0 where there is no such tier.
KvpStatus kvp_occupancy(const struct KvpPager *pager, uint32_t tier, uint32_t group, struct KvpOccupancy *occupancy);

// Takes the oldest block events, as many as fit, and says how many those were and the number of the first. Numbers have no gaps, but
// for events that were lost because nobody took them in time. Ends when `len` is less than `capacity`.
//
// # Safety
// A1: `events` has room for `capacity` events.
KvpStatus kvp_drain_events(const struct KvpPager *pager,
                           struct KvpEvent *events,
                           size_t capacity,
                           size_t *len,
                           uint64_t *first);

// The version of the ABI that this library has.
uint32_t kvp_abi_version(void);

// Which failure the last one on this thread was. A call that went well leaves it as it is.
KvpErrorCode kvp_last_error_code(void);

// Copies the message of the last failure on this thread, as much of it as fits, and a NUL. Returns the length of all of it in
// bytes, without the NUL; `buffer` may be NULL if `capacity` is 0.
//
// # Safety
// A1: `buffer` has room for `capacity` bytes.
size_t kvp_last_error_message(char *buffer,
                              size_t capacity);

// Gives a salt a quota of its own, in place of `KvpOptions.quota`. Nothing is evicted by it; the next room is made of what is too
// much.
KvpStatus kvp_set_quota(const struct KvpPager *pager,
                        uint64_t salt,
                        const struct KvpQuota *quota);

// Takes the quota of its own from a salt, which has that of `KvpOptions.quota` again.
KvpStatus kvp_clear_quota(const struct KvpPager *pager, uint64_t salt);

// What each salt has that has a block, or a quota of its own. If there are more than `capacity`, `len` says how many, and nothing
// is copied.
//
// # Safety
// A1: `tenants` has room for `capacity` of them.
KvpStatus kvp_tenants(const struct KvpPager *pager,
                      struct KvpTenant *tenants,
                      size_t capacity,
                      size_t *len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KV_PAGER_H */
