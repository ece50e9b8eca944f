//! Policies: what to load or compute again, and what to evict, demote or drop.
//! Layer 8. Uses `ids`, `clock`, `pool`, `prefix`, `transfer` (queues). Known by: `pager`.
//!
//! A policy sees a read-only [`View`] and returns decisions; it starts nothing. The pager carries out what the invariants
//! allow and skips the rest, so that no policy, however wrong, can lose a byte that is in use (I2) or a parent (I6).
//!
//! ```
//! use kv_pager::policy::{Decision, LoadPlan, Matched, Need, Policy, Reason, View};
//!
//! /// Keeps nothing below the device and loads nothing.
//! #[derive(Debug)]
//! struct Forgetful;
//!
//! impl Policy for Forgetful {
//!     fn name(&self) -> &'static str {
//!         "forgetful"
//!     }
//!     fn plan(&mut self, _view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
//!         LoadPlan { load: matched.len()..matched.len(), reason: Reason::Asked }
//!     }
//!     fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
//!         for block in view.coldest(need.tier, need.group).take(need.slots as usize) {
//!             decisions.push(Decision::Drop { block, tier: need.tier, reason: Reason::Coldest });
//!         }
//!     }
//! }
//! ```

mod decision;
pub mod keeping;
mod lru;
pub mod plan;
mod view;

pub use decision::{Decision, LoadPlan, Matched, MatchedBlock, Need, Reason};
pub use lru::Lru;
pub use view::View;

use std::fmt::Debug;

/// Decides. Contract:
///
/// - **D1** the same calls with the same views give the same decisions (I9);
/// - **D2** `make_room` may return more or fewer decisions than asked for; victims stand in the order in which they should go;
/// - **D3** neither method blocks or does I/O: both run under the pager's lock.
pub trait Policy: Debug + Send {
    /// Its name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Which of the matched blocks to load; the rest, and what comes after, is computed.
    fn plan(&mut self, view: &View<'_>, matched: &Matched<'_>) -> LoadPlan;

    /// Which blocks to move out of a tier, so that `need.slots` become free.
    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>);
}
