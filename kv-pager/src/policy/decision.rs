//! What a policy is asked, and what it may answer.
//! Layer 8. Uses `ids`. Known by: `policy`, `pager`.

use crate::ids::{BlockId, GroupId, TierId};
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

/// Slots that must become free.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Need {
    /// In which tier.
    pub tier: TierId,
    /// Of which class.
    pub group: GroupId,
    /// How many.
    pub slots: u32,
}

/// One block of a match.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MatchedBlock {
    /// The block.
    pub block: BlockId,
    /// The nearest tier where its bytes are whole; for a block that is being loaded, the device.
    pub nearest: TierId,
}

/// What was found of a request's prompt.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// The leading blocks that are cached somewhere, in order.
    pub blocks: &'a [MatchedBlock],
    /// Tokens of the whole prompt.
    pub prompt_tokens: usize,
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

/// Which of the matched blocks to load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadPlan {
    /// Places among the matched blocks. Those in it that are below the device are loaded; those out of it are computed, unless
    /// they are on the device.
    pub load: Range<usize>,
    /// Why.
    pub reason: Reason,
}
