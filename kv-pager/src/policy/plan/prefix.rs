//! Where the cached part of a request lies: by group, in runs.
//! Layer 8. Uses `ids`, `units`. Known by: `policy::plan`.

use super::BlockSpan;
use crate::ids::TierId;
use crate::units::Bytes;

/// Adjacent blocks of a prefix whose parts of one group lie in the same tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TierRun {
    /// How many.
    pub blocks: u32,
    /// The nearest tier that has them; `None` if no tier does: they fell out of a window.
    pub tier: Option<TierId>,
}

/// One group's parts of the cached blocks.
#[derive(Clone, Copy, Debug)]
pub struct GroupPrefix<'a> {
    /// How many blocks before a token its layers look at; `None` for all.
    pub window_blocks: Option<u32>,
    /// Bytes of a part as each tier keeps it, by [`TierId::index`]; the device's are the raw ones.
    pub part_bytes: [Bytes; TierId::COUNT],
    /// Where the parts lie, from the first block that can't be resumed from as it is; as many blocks in every group. Beyond
    /// [`GroupPrefix::RUNS_MAX`] runs, the rest counts as lying in the farthest of their tiers.
    pub runs: &'a [TierRun],
}

impl GroupPrefix<'_> {
    /// The most runs that are told apart.
    pub const RUNS_MAX: usize = 16;
}

/// Blocks that are being loaded into the device for another request: they cost no lane anything more, and are there when what is
/// queued is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coming {
    /// From the first of them to the last; what else lies between them counts as well.
    pub blocks: BlockSpan,
    /// The farthest tier that they come from.
    pub from: TierId,
}

/// The cached blocks of a request, of which some lie below the device.
#[derive(Clone, Copy, Debug)]
pub struct Prefix<'a> {
    /// Tokens in a block.
    pub tokens_per_block: u32,
    /// The first blocks, from which every group can resume without a load: `r` of the cost model.
    pub ready_blocks: u32,
    /// Which of the blocks after those are on their way, counted from the first that is not ready. In the runs they lie on the
    /// device.
    pub coming: Option<Coming>,
    /// Each group's parts of the blocks after the ready ones.
    pub groups: &'a [GroupPrefix<'a>],
}

impl Prefix<'_> {
    /// How many blocks after the ready ones are cached.
    pub fn cached_blocks(&self) -> u32 {
        self.groups.first().map_or(0, |group| group.runs.iter().map(|run| run.blocks).sum())
    }
}
