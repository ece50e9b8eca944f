//! What a policy is asked, and what it may answer.
//! Layer 8. Uses `ids`, `config`, `layout`, `units`, `tier`, `policy::plan`. Known by: `policy`, `pager`.

use super::plan::{Coming, Plan, TierRuns};
use crate::config::Limits;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::layout::{Format, ModelLayout};
use crate::tier::LaneEnds;
use crate::units::Nanos;
use std::ops::Range;

/// Why a decision was made; for reports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It was asked for least recently.
    Coldest,
    /// A copy of it stays farther away.
    CleanCopy,
    /// There is nowhere farther to put it.
    NoTierBelow,
    /// The request asks for it.
    Asked,
    /// The costs say so: what is predicted stands in [`LoadPlan::plan`].
    Cheapest,
    /// Nobody is likely to ask for it, or computing it again costs less than bringing it back.
    NotWorthKeeping,
    /// It was asked for once only, and writes to the file have to be earned.
    NotEarned,
    /// What may be written to the file in a day has been.
    WriteBudget,
    /// Nothing that is not nearer is more likely to be asked for, and lanes stand idle.
    Hot,
    /// Something that is worth clearly more takes its place.
    Outweighed,
    /// Its tenant has more than its quota.
    OverQuota,
}

/// One step that the pager should take. What the invariants forbid at the time is skipped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Decision {
    /// Free the slot; a copy stays farther away.
    Evict {
        /// Whose.
        block: BlockId,
        /// Where.
        tier: TierId,
        /// Why.
        reason: Reason,
    },
    /// Copy it to the next nearer tier.
    Promote {
        /// Whose.
        block: BlockId,
        /// From where.
        tier: TierId,
        /// Why.
        reason: Reason,
    },
    /// Copy it to the next tier, then free the slot.
    Demote {
        /// Whose.
        block: BlockId,
        /// From where.
        tier: TierId,
        /// Why.
        reason: Reason,
    },
    /// Free the slot, though it may be the last copy.
    Drop {
        /// Whose.
        block: BlockId,
        /// Where.
        tier: TierId,
        /// Why.
        reason: Reason,
    },
}

impl Decision {
    /// Whose part it is about.
    pub fn block(&self) -> BlockId {
        match self {
            Self::Evict { block, .. }
            | Self::Demote { block, .. }
            | Self::Drop { block, .. }
            | Self::Promote { block, .. } => *block,
        }
    }
}

/// Slots that must become free.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Need {
    /// In which tier.
    pub tier: TierId,
    /// Of which class.
    pub group: GroupId,
    /// How many.
    pub slots: u32,
    /// How many of the victims the lane to the next tier takes now: naming more to be demoted is of no use.
    pub demotions: u32,
}

/// Lanes between two tiers that stand idle, both ways.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Idle {
    /// From where blocks may be promoted, and to where.
    pub ends: LaneEnds,
    /// Of which class.
    pub group: GroupId,
    /// Slots of the target that are free beyond those that the high watermark asks for.
    pub free: u32,
    /// How many blocks may be promoted now.
    pub most: u32,
}

/// One block of a match.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MatchedBlock {
    /// The block; `NONE` for one that only an engine has, in a slot of its own.
    pub block: BlockId,
    /// The nearest tier where its bytes are whole; for a block that is being loaded, the device.
    pub nearest: TierId,
    /// From where it is being loaded, if it is.
    pub coming_from: Option<TierId>,
}

impl MatchedBlock {
    /// Whether it is on the device, whole.
    pub fn is_ready(&self) -> bool {
        self.nearest == TierId::Device && self.coming_from.is_none()
    }
}

/// What was found of a request's prompt.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// The leading blocks that are cached somewhere, in order.
    pub blocks: &'a [MatchedBlock],
    /// Where those after the ready ones lie, in short: enough for a plan, without a look at every block.
    pub runs: &'a TierRuns,
    /// Which of them are being loaded for others, if any are.
    pub coming: Option<Coming>,
    /// Tokens of the whole prompt.
    pub prompt_tokens: usize,
    /// How many leading blocks every group of layers can go on from as they are on the device.
    pub ready_blocks: usize,
    /// Whether a load may end before the last matched block; not where a group looks through a window, whose parts are kept
    /// only where a request ended.
    pub can_end_early: bool,
    /// How it is to be served.
    pub urgency: Urgency,
}

impl Matched<'_> {
    /// How many blocks were matched.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

/// What an engine tells of a request that the pager can't see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Urgency {
    /// How long from now its last prompt token may take to be computed.
    pub deadline: Option<Nanos>,
    /// How long the device is busy before it computes for this request; `None` lets the pager add up what its open sequences
    /// have still to compute. An engine that owns its device slots opens none: what it says for a plan, or with a prompt that it onboards
    /// or offloads, counts from then on, less what has passed, and `None` leaves what was said before.
    pub compute_queue: Option<Nanos>,
    /// How many requests wait for the device beside this one: what computing costs them is added.
    pub waiting: u32,
}

/// Which of the matched blocks to load, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadPlan {
    /// Places among the matched blocks. Those in it that are below the device are loaded; those out of it are computed, unless
    /// they are on the device.
    pub load: Range<usize>,
    /// Whether what is loaded comes from its end to its start, chunk by chunk, because what comes before it is computed meanwhile.
    pub is_from_back: bool,
    /// Blocks of such a chunk; at least one.
    pub chunk_blocks: usize,
    /// What was planned, by a policy that knows costs.
    pub plan: Option<Plan>,
    /// Why.
    pub reason: Reason,
}

impl LoadPlan {
    /// Loads these blocks, from the first to the last.
    pub const fn of(load: Range<usize>, reason: Reason) -> Self {
        Self { load, is_from_back: false, chunk_blocks: 1, plan: None, reason }
    }
}

/// A sequence whose next block is being loaded while its device has nothing else to compute for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Tokens before that block: all of them are there.
    pub tokens: usize,
    /// Blocks that have not come, from that one on, by the tier they come from.
    pub blocks: [u32; TierId::COUNT],
    /// How it is to be served.
    pub urgency: Urgency,
}

/// A request, told when it is over: what a policy learns from.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Its blocks that are known, from the first on, in order.
    pub blocks: &'a [BlockId],
    /// Blocks of the whole request.
    pub length: u32,
}

/// Slots of one pool that may not be what they were when they were last told.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// Of which tier.
    pub tier: TierId,
    /// Of which class.
    pub group: GroupId,
    /// Which; each once.
    pub slots: &'a [SlotId],
}

/// What stays the same as long as a pager lives.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The model.
    pub model: &'a ModelLayout,
    /// The nearest tier whose slots the pager gives out: not the device where that is the engine's. There, what a request brings is
    /// still on its way when the request is told.
    pub nearest: TierId,
    /// The format of each tier, by [`TierId::index`].
    pub formats: [Format; TierId::COUNT],
    /// The most there may be of everything.
    pub limits: &'a Limits,
}
