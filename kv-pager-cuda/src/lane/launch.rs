//! Launching: the copy kernels on a chunk's parts.
//! Uses `driver`, `kernels`, `lane::{chunk, rank}`. Known by: `lane::carry`, whose rules X1 to X4 hold here too.
#![expect(unsafe_code, reason = "kernels go by addresses")]

use super::Direction;
use super::chunk::{Chunk, LayerPiece, chunk_count, units};
use super::rank::RankLane;
use crate::device::DeviceTier;
use crate::driver::{DriverError, Kernel, RawStream};
use crate::kernels::{Job, THREADS};
use kv_pager::ids::GroupId;

impl RankLane {
    /// All of a job but where the parts lie: by default one after the other.
    pub(super) fn fill_job(
        &self,
        chunk: &Chunk<'_>,
        tier: &DeviceTier,
        piece: Option<LayerPiece>,
        job: &mut Job,
    ) {
        let rank = &tier.ranks()[self.index];
        let plan = &rank.plans[chunk.group.index()];
        let piece = piece.unwrap_or(LayerPiece { fragment_first: 0, fragments: plan.fragments() });
        let count = chunk.device_slots.len();
        job.regions = rank.tables[chunk.group.index()] + 16 * u64::from(piece.fragment_first);
        job.fragments = piece.fragments;
        job.fragment_units = units(plan.fragment_bytes);
        if let Some(rows) = &plan.rows {
            job.heads = rows.heads;
            job.row_units = units(rows.row_bytes);
            job.token_stride = rows.token_stride;
            job.head_stride = rows.head_stride;
        }
        job.moves = chunk_count(chunk);
        job.device_slots[..count].copy_from_slice(chunk.device_slots);
        for (index, slot) in job.part_slots[..count].iter_mut().enumerate() {
            *slot = u32::try_from(index).expect("a chunk has at most MOVES_MAX parts");
        }
    }

    pub(super) fn launch(
        &self,
        group: GroupId,
        tier: &DeviceTier,
        job: &Job,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        self.launch_one(group, tier, job, (self.direction, stream))
    }

    pub(super) fn launch_one(
        &self,
        group: GroupId,
        tier: &DeviceTier,
        job: &Job,
        (direction, stream): (Direction, RawStream),
    ) -> Result<(), DriverError> {
        let rank = &tier.ranks()[self.index];
        let kernels = rank.kernels.as_ref().expect("paths with kernels are taken only where there are some");
        let has_rows = rank.plans[group.index()].rows.is_some();
        let kernel: &Kernel = match (direction, has_rows) {
            (Direction::Offload, false) => &kernels.gather,
            (Direction::Offload, true) => &kernels.gather_rows,
            (_, false) => &kernels.scatter,
            (_, true) => &kernels.scatter_rows,
        };
        let warps = job.moves * job.fragments * job.fragment_units.div_ceil(256);
        let blocks = self.blocks.min(warps.div_ceil(THREADS / 32)).max(1);
        // SAFETY: J1 for the layout; X1: slots in range of the table's regions and of the parts; X2; X3; X4.
        unsafe { kernel.launch((blocks, THREADS), job, stream) }
    }
}
