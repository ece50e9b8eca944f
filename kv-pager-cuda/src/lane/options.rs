//! What a lane is built with.
//! Uses the core's `units`. Known by: `lane`, `backend`, benchmarks.

use super::Path;
use kv_pager::units::{Bytes, Nanos};

/// Limits and sizes of one lane. The defaults are those that DESIGN §7 measured.
#[derive(Clone, Debug)]
pub struct LaneOptions {
    /// Moves that may wait or be under way.
    pub moves_max: usize,
    /// Batches that may wait or be under way.
    pub batches_max: usize,
    /// Staging memory on each card. It holds what the link moves while a kernel of the engine has the multiprocessors:
    /// 256 MiB are what a link of 50 GB/s moves in 5 ms.
    pub staging_bytes: Bytes,
    /// Bytes of a batch's first chunk out of the device, and of its last chunk into it: what the link waits for.
    pub first_chunk_bytes: Bytes,
    /// Bytes of the other chunks, at most.
    pub chunk_bytes: Bytes,
    /// Chunks handed to the device at once; the others wait in the lane's queue, where they can be called off.
    pub chunks_in_flight: usize,
    /// How long nothing may end before what is under way counts as timed out.
    pub stall: Nanos,
    /// Blocks of the copy kernels; `None` takes one a multiprocessor.
    pub kernel_blocks: Option<u32>,
    /// Bytes of a part that a layer-wise onboarding brings in one piece, after two of half that.
    pub layer_piece_bytes: Bytes,
    /// Whether copies go in batches, by `cuMemcpyBatchAsync`, where the driver has it (CUDA 12.8 and later). Without, pieces are
    /// copied one by one, as on an older driver.
    pub batch_copies: bool,
    /// The path for every batch; `None` lets the calibration choose.
    pub path: Option<Path>,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            moves_max: 8192,
            batches_max: 256,
            staging_bytes: Bytes::mib(256),
            first_chunk_bytes: Bytes::mib(8),
            chunk_bytes: Bytes::mib(64),
            chunks_in_flight: 32,
            stall: Nanos::from_millis(5_000),
            kernel_blocks: None,
            layer_piece_bytes: Bytes::new(128 << 10),
            batch_copies: true,
            path: None,
        }
    }
}
