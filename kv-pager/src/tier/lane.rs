//! A lane: a directed link between two tiers that moves batches of parts.
//! Layer 5. Uses `ids`, `error`, `tier::ticket`. Known by: `transfer`, every backend.

use super::Ticket;
use crate::error::Error;
use crate::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The tiers a lane joins; both may be the same (a copy within the device).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LaneEnds {
    /// Where bytes come from.
    pub source: TierId,
    /// Where they go.
    pub target: TierId,
}

impl fmt::Display for LaneEnds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}->{}", self.source, self.target)
    }
}

/// One part to be copied. Plain data: it may travel to another process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Move {
    /// Its number, for logs and for messages between processes.
    pub id: MoveId,
    /// The class of both slots.
    pub group: GroupId,
    /// Where the part lies.
    pub source: SlotId,
    /// Where it goes; its old bytes are lost as soon as the move begins.
    pub target: SlotId,
    /// The compute that writes the source: it is read after that.
    pub source_fence: Fence,
    /// The compute that still reads the target: it is written after that.
    pub target_fence: Fence,
}

/// A directed link between two tiers. Contract, checked by the testkit's conformance suite:
///
/// - **L1** a move that ended well left the source's bytes in the target, whole;
/// - **L2** a move that failed spoils only its own target;
/// - **L3** a ticket always ends, also when the lane is dropped: what was not begun ends as cancelled;
/// - **L4** a move begins after both its fences are over;
/// - **L5** a move that ended as timed out or lost may still be reading its source and writing its target, for ever unless its
///   ticket says that it is concluded; every other end is final;
/// - **L6** submitting a batch allocates a constant amount, whatever its length, but for the ticket's byte a move.
pub trait Lane: fmt::Debug + Send + Sync {
    /// The tiers it joins.
    fn ends(&self) -> LaneEnds;

    /// Starts every move, in order, without blocking; the ticket tells of each as it ends, and can be cancelled.
    /// Adjacent slots at both ends are copied in one piece where the lane can.
    ///
    /// # Errors
    /// [`Error::QueueFull`] if the queue has no room for all of them; then nothing was started.
    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error>;

    /// Whether it works on several batches at once, as a drive does with many requests: the time that [`Ticket::effort`] tells of each is
    /// right then in sum over those that were under way together, and not of one alone.
    fn works_on_many(&self) -> bool {
        false
    }

    /// As [`Lane::submit`], for a reader that takes one layer after the other: a lane that can brings the first layers of
    /// all parts first, and [`Ticket::layer_fence`] tells of each as it comes.
    ///
    /// # Errors
    /// As for [`Lane::submit`].
    fn submit_by_layer(&self, batch: &[Move]) -> Result<Ticket, Error> {
        self.submit(batch)
    }
}
