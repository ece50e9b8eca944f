// Gather and scatter: parts of scattered device slots, to and from one piece of memory (staging, or pinned host memory).
//
// A warp takes a slice of at most 4 KiB of one fragment of one part: 32 lanes with 8 independent 16-byte loads each, so
// that enough is in flight with few blocks. Nothing is shared between warps, and every 16 bytes have one writer.
// Addresses come from slot numbers, region bases and strides; only slot numbers travel, in the parameters.

typedef unsigned int u32;
typedef unsigned long long u64;

#define MOVES_MAX 480
#define SLICE_UNITS 256

struct Region {
  u64 base;    // address of slot 0
  u64 stride;  // bytes from slot to slot
};

// Mirrors `Job` in kernels/job.rs. A unit is 16 bytes.
struct Job {
  const Region* regions;  // of the first fragment to copy
  u64 part_base;          // address of part 0's first copied byte
  u64 part_stride;        // bytes from part to part
  u64 token_stride;       // bytes from token to token inside a fragment; only where rows are apart
  u64 head_stride;        // bytes from head to head inside a fragment; only where rows are apart
  u32 fragments;          // fragments of each part to copy
  u32 fragment_units;     // units of a fragment
  u32 row_units;          // units of one token and head
  u32 heads;              // heads of a token
  u32 moves;              // parts
  u32 unused;
  u32 device_slots[MOVES_MAX];
  u32 part_slots[MOVES_MAX];
};

template <bool ROWS>
__device__ __forceinline__ u64 device_offset(const Job& job, u32 unit) {
  if (!ROWS) return (u64)unit * 16;
  u32 row = unit / job.row_units, rest = unit - row * job.row_units;
  u32 token = row / job.heads, head = row - token * job.heads;
  return token * job.token_stride + head * job.head_stride + (u64)rest * 16;
}

template <bool GATHER, bool ROWS>
__device__ __forceinline__ void run(const Job& job) {
  u32 lane = threadIdx.x & 31, warp = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, warps = (gridDim.x * blockDim.x) >> 5;
  u32 slices = (job.fragment_units + SLICE_UNITS - 1) / SLICE_UNITS;
  u32 per_move = job.fragments * slices, items = job.moves * per_move;
  for (u32 item = warp; item < items; item += warps) {
    u32 move = item / per_move, rest = item - move * per_move;
    u32 fragment = rest / slices, slice = rest - fragment * slices;
    Region region = job.regions[fragment];
    char* device = (char*)(region.base + region.stride * job.device_slots[move]);
    char* part = (char*)(job.part_base + job.part_stride * job.part_slots[move] + (u64)fragment * job.fragment_units * 16);
    u32 first = slice * SLICE_UNITS + lane;
    uint4 held[SLICE_UNITS / 32];
#pragma unroll
    for (u32 k = 0; k < SLICE_UNITS / 32; k++) {
      u32 unit = first + 32 * k;
      if (unit < job.fragment_units) {
        const char* from = GATHER ? device + device_offset<ROWS>(job, unit) : part + (u64)unit * 16;
        held[k] = __ldcs((const uint4*)from);
      }
    }
#pragma unroll
    for (u32 k = 0; k < SLICE_UNITS / 32; k++) {
      u32 unit = first + 32 * k;
      if (unit < job.fragment_units) {
        char* to = GATHER ? part + (u64)unit * 16 : device + device_offset<ROWS>(job, unit);
        __stcs((uint4*)to, held[k]);
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(512) gather(const __grid_constant__ Job job) { run<true, false>(job); }
extern "C" __global__ void __launch_bounds__(512) scatter(const __grid_constant__ Job job) { run<false, false>(job); }
extern "C" __global__ void __launch_bounds__(512) gather_rows(const __grid_constant__ Job job) { run<true, true>(job); }
extern "C" __global__ void __launch_bounds__(512) scatter_rows(const __grid_constant__ Job job) { run<false, true>(job); }
