//! What can go wrong, and what the caller does about it.
//! Layer 0. Uses `ids`, `units`. Known by: everything.
//!
//! One [`Error`] for the whole core. [`Error::kind`] is all that an engine needs to act; the message tells a person.

use crate::ids::{SequenceId, SlotId, TierId};
use crate::units::Bytes;

/// What an engine does about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Try again once a transfer has ended or a sequence was closed.
    Retry,
    /// The cached bytes are not to be had: compute them.
    Recompute,
    /// The setting or the request can never work; change it.
    Configuration,
    /// The tier's memory is gone; every hit in it is a miss from now on.
    DeviceLost,
    /// The caller, or this library, broke a rule. Nothing has changed.
    Bug,
}

/// Why an operation did not happen. Nothing has changed unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's doc names its fields")]
pub enum Error {
    /// `setting` can't work for the reason `why`, which says what to do.
    #[error("{setting}: {why}")]
    Configuration { setting: &'static str, why: String },

    /// All `capacity` slots of the tier are held or in flight, and no transfer under way frees one.
    #[error("tier {tier} is full: all {capacity} slots are held or in flight; close a sequence, then retry")]
    TierFull { tier: TierId, capacity: u32 },

    /// Slots of the tier will be free once transfers under way have ended.
    #[error("tier {tier} has no free slot yet; retry when a transfer has ended")]
    TierBusy { tier: TierId },

    /// As many sequences as [`Limits::sequences`](crate::config::Limits) are open.
    #[error("{limit} sequences are open, as many as the limit; close one, then retry")]
    TooManySequences { limit: u32 },

    /// As many prefetches, or holds, as [`Reserves`](crate::config::Reserves) allow.
    #[error("{limit} prompts are prefetched, or held, as many as the limit; drop one, then retry")]
    TooManyKept { limit: u32 },

    /// The request has `tokens` tokens, its tenant may have `limit` cached on the device, and nobody else need make room for more.
    #[error(
        "a request of {tokens} tokens exceeds its tenant's quota of {limit}, and no other slot is free; raise the quota"
    )]
    OverQuota { tokens: usize, limit: usize },

    /// No place is left in the table of tenants.
    #[error("{limit} tenants are told apart, as many as Limits::tenants; clear a quota, or raise the limit")]
    TooManyTenants { limit: u32 },

    /// The request has `tokens` tokens, and no more than `limit` fit: in a sequence, or in the device tier.
    #[error(
        "a sequence of {tokens} tokens exceeds the limit of {limit}; raise Limits::sequence_tokens, or the device tier's bytes"
    )]
    SequenceTooLong { tokens: usize, limit: usize },

    /// The engine named a device slot that is not there, twice, or in another call that has not ended.
    #[error("slot {slot:?} is named twice, or is not there, or its move has not ended")]
    SlotInUse { slot: SlotId },

    /// The call does not fit the sequence's state, for the reason `why`.
    #[error("sequence {sequence:?}: {why}")]
    Misuse { sequence: SequenceId, why: &'static str },

    /// A lane's queue of `limit` moves has no room for the batch; nothing of it was started.
    #[error("a lane's queue of {limit} moves is full; retry when a transfer has ended")]
    QueueFull { limit: usize },

    /// A tier's memory could not be had or used.
    #[error("tier {tier}: {action}")]
    Io {
        tier: TierId,
        action: String,
        #[source]
        source: std::io::Error,
    },

    /// `wanted` bytes were asked for, and no more than `available` can be given.
    #[error("tier {tier}: {wanted} wanted, but only {available} can be given here; choose a smaller size")]
    OutOfMemory { tier: TierId, wanted: Bytes, available: Bytes },

    /// The memory of a tier is lost.
    #[error("tier {tier} is lost: {why}")]
    DeviceLost { tier: TierId, why: String },
}

impl Error {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TierFull { .. }
            | Self::TierBusy { .. }
            | Self::TooManySequences { .. }
            | Self::TooManyKept { .. }
            | Self::QueueFull { .. } => ErrorKind::Retry,
            Self::Configuration { .. }
            | Self::SequenceTooLong { .. }
            | Self::OverQuota { .. }
            | Self::TooManyTenants { .. }
            | Self::OutOfMemory { .. } => ErrorKind::Configuration,
            Self::Io { .. } => ErrorKind::Recompute,
            Self::DeviceLost { .. } => ErrorKind::DeviceLost,
            Self::SlotInUse { .. } | Self::Misuse { .. } => ErrorKind::Bug,
        }
    }
}
