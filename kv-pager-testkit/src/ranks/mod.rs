//! Ranks: several devices that hold a slice of every block each, behind one tier and one lane.
//! Uses `kv_pager::tier`, `tagged`. Known by: `remote`, tests of several ranks.
//!
//! A rank has tiers and lanes of its own, in this process or in another ([`remote`](crate::remote)). To the pager they are one:
//!
//! - **RA1** a move ends when all ranks have ended it, and well only if all have;
//! - **RA2** of different faults the worst is told: one after which a slice may still be written before all others, so that no
//!   slot is used again while any rank may touch it (I2);
//! - **RA3** a rank that is slow, or never answers, holds up the moves that it has, and no other rank: they are given what comes
//!   later, as much as waits here;
//! - **RA4** a fence is over when it is on all ranks, and a tier is as well as its worst rank's.

mod books;
mod lane;
mod machine;
mod tier;

pub use lane::RankedLane;
pub use machine::{Rank, RankedMachine};
pub use tier::RankedTier;
