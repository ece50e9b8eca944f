//! What passes between a scheduler and a worker.
//! Known by: `remote`.
//!
//! The first half of each direction is what the design asks of any channel: moves, what became of each, fences reached; that a worker
//! is lost is the end of the channel. The rest is the engine's compute, and a test's will.

use crate::tagged::{Fate, MachineSpec, Tag};
use kv_pager::ids::{Epoch, Fence, GroupId, SlotId};
use kv_pager::layout::ModelLayout;
use kv_pager::tier::{Move, MoveFault};
use serde::{Deserialize, Serialize};

/// A message with the pager's life that it belongs to, and its number within that life and direction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) epoch: Epoch,
    pub(super) number: u64,
    pub(super) body: T,
}

/// What a worker is made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The model.
    pub model: ModelLayout,
    /// Its tiers.
    pub spec: MachineSpec,
    /// Who decides when something happens.
    pub pace: Pace,
}

/// Who decides when something happens on a worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Pace {
    /// The test: moves end when [`ToWorker::Advance`] says so.
    Told,
    /// The worker: moves whose fences are over are carried out at once.
    Own,
}

/// From the scheduler.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant's doc names its fields")]
pub enum ToWorker {
    /// A life begins, with fresh memory. Always the first message of an epoch.
    Begin(Setup),
    /// Moves for a lane, one of [`Machine::lanes`](crate::tagged::Machine::lanes).
    Submit { lane: u32, batch: u64, moves: Vec<Move> },
    /// Compute writes tags.
    Write { fence: Fence, group: GroupId, slot: SlotId, first: u32, tags: Vec<Tag> },
    /// Compute reads tags, which must then be `expected`.
    Read { fence: Fence, group: GroupId, slot: SlotId, first: u32, expected: Vec<Tag>, what: String },
    /// Compute goes on until `until` is over.
    Compute { until: Fence },
    /// The next moves of a lane end so.
    Advance { lane: u32, count: u64, fate: Fate },
    /// What has stalled on a lane ends.
    Release { lane: u32 },
    /// To be answered with [`FromWorker::Settled`].
    Settle { request: u64 },
}

/// From a worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant's doc names its fields")]
pub enum FromWorker {
    /// What became of a move.
    Ended { batch: u64, index: u32, outcome: Result<(), MoveFault> },
    /// All compute up to `fence` is done.
    Reached { fence: Fence },
    /// All that was asked before has happened and was told.
    Settled { request: u64 },
    /// A byte was wrong, or a rule was broken; the worker ends.
    Wrong { what: String },
}
