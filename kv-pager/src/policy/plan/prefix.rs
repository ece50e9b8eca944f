//! Where the cached part of a request lies: by group, in runs.
//! Layer 8. Uses `ids`, `units`. Known by: `policy::plan`.

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

/// The cached blocks of a request, of which some lie below the device.
#[derive(Clone, Copy, Debug)]
pub struct Prefix<'a> {
    /// Tokens in a block.
    pub tokens_per_block: u32,
    /// The first blocks, from which every group can resume without a load: `r` of the cost model.
    pub ready_blocks: u32,
    /// Each group's parts of the blocks after those.
    pub groups: &'a [GroupPrefix<'a>],
}

impl Prefix<'_> {
    /// How many blocks after the ready ones are cached.
    pub fn cached_blocks(&self) -> u32 {
        self.groups.first().map_or(0, |group| group.runs.iter().map(|run| run.blocks).sum())
    }
}
