//! The seams to memory: tiers with slots, and lanes that copy between two of them.
//! Layer 5. Uses `ids`, `units`, `error`, `layout`, `sync`. Known by: `transfer`, `pager`, every backend.
//!
//! No seam assumes that a slot is addressable memory, or that a lane's workers share this process: moves and their
//! outcomes are plain data with numbers. Only lanes touch bytes; a tier says what it has and whether a fence is over.

mod lane;
mod persistence;
mod signal;
mod ticket;
mod ticket_pool;

pub use lane::{Lane, LaneEnds, Move};
pub use persistence::{BlockLabel, Persistence, RecoveredBlock};
pub use signal::{Signal, WakerPlace};
pub use ticket::{MoveFault, Ticket, TicketWriter};
pub use ticket_pool::TicketPool;

use crate::ids::{Fence, TierId};
use crate::layout::Format;
use crate::units::Bytes;
use std::fmt::Debug;

/// The slots a tier has for the parts of one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotClass {
    /// How many slots; their names are `0..slots`.
    pub slots: u32,
    /// Bytes of one, as they are kept.
    pub slot_bytes: Bytes,
}

/// Whether a tier can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Health {
    /// It works.
    Well,
    /// What it holds can be read; nothing more goes in.
    ReadOnly {
        /// For people.
        why: String,
    },
    /// All that it held is lost.
    Lost {
        /// For people.
        why: String,
    },
}

/// Slots in one kind of memory. Contract, checked by the testkit's conformance suite:
///
/// - **T1** `classes` is constant, with one entry for each group of the model, in order;
/// - **T2** a fence that was over stays over, and [`Fence::OVER`] always is;
/// - **T3** no method blocks on I/O, the device or another thread.
pub trait Tier: Debug + Send + Sync {
    /// Which kind of memory it is.
    fn id(&self) -> TierId;

    /// Its slots, by group.
    fn classes(&self) -> &[SlotClass];

    /// How it keeps a part's bytes.
    fn format(&self) -> Format;

    /// Whether the work behind `fence` is done. A fence it has never heard of is not.
    fn is_fence_over(&self, fence: Fence) -> bool;

    /// Whether it can be used.
    fn health(&self) -> Health;

    /// What it offers if its slots outlive the process.
    fn persistence(&self) -> Option<&dyn Persistence>;
}
