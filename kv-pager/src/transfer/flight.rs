//! A flight: one move with what it is for.
//! Layer 7. Uses `ids`, `tier`. Known by: `transfer`, `pager`.

use super::queue::{Goal, Queued};
use crate::clock::Time;
use crate::ids::{BlockId, SlotId, TierId};
use crate::tier::{Move, MoveFault};

/// Which queue of a lane a flight waits in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Priority {
    /// A request of high priority waits for it.
    Urgent = 0,
    /// A request waits for it.
    Demand = 1,
    /// A request may.
    Prefetch = 2,
    /// It makes room.
    Offload = 3,
}

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All of them, the most urgent first.
    pub const ALL: [Self; Self::COUNT] = [Self::Urgent, Self::Demand, Self::Prefetch, Self::Offload];
}

/// What is to happen when a flight has ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// The part becomes resident in its device slot.
    Onboard,
    /// The part becomes resident in its host slot and flies on, to this slot of the device tier.
    Land {
        /// Where it is going.
        device: SlotId,
    },
    /// The part becomes resident in the target, and leaves the source unless it was asked for meanwhile.
    Demote,
    /// The part becomes resident in the target too.
    Replicate,
    /// The part becomes resident in the target too, for it is hot and the lane stood idle.
    Promote,
    /// A shared slot was copied so that a sequence may write.
    CopyOnWrite,
    /// The slots at both ends are as they were: what counts is how long it took.
    Probe,
}

impl Purpose {
    /// Whether the target takes no name: what lands there is no part of a block.
    pub fn is_nameless(self) -> bool {
        matches!(self, Self::CopyOnWrite | Self::Probe)
    }
}

/// One move that waits or is under way.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// What moves.
    pub part: Move,
    /// Whose part it is; `NONE` for a slot without a name.
    pub block: BlockId,
    /// What for.
    pub purpose: Purpose,
    /// How urgent.
    pub priority: Priority,
    /// When it is given up if it has not begun.
    pub deadline: Time,
}

impl Queued for Flight {
    fn goal(&self) -> Goal {
        Goal { block: self.block, group: self.part.group, slot: self.part.target }
    }

    fn priority(&self) -> Priority {
        self.priority
    }
}

/// How a flight ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// The bytes are in the target.
    Done,
    /// They are not. After a fault that [may go on](MoveFault::may_go_on) both ends may still be touched, until
    /// [`Outcome::Over`], which may never come.
    Failed(MoveFault),
    /// A flight that had failed and might go on is known to be over, whichever way.
    Over,
}

/// A flight that ended, and where.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The tier it came from.
    pub source: TierId,
    /// The tier it went to.
    pub target: TierId,
    /// What it was.
    pub flight: Flight,
    /// How it ended.
    pub outcome: Outcome,
}
