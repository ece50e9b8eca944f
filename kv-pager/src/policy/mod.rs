//! Policies: what to load or compute again, and what to evict, demote or drop.
//! Layer 8. Uses `ids`, `clock`, `layout`, `pool`, `prefix`, `cost`. Known by: `pager`.
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
//!         LoadPlan::of(matched.len()..matched.len(), Reason::Asked)
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
mod steward;
mod view;

pub use decision::{
    Changed, Decision, Idle, LoadPlan, Matched, MatchedBlock, Need, Reason, Setting, Told, Urgency, Waiting,
};
pub use lru::Lru;
pub use steward::{Answer, FileWrites, Steward, StewardSpec};
pub use view::{Prospects, View};

use crate::ids::{BlockId, GroupId, TierId};
use keeping::Study;
use std::fmt::Debug;
use std::sync::Arc;

/// Decides. Contract:
///
/// - **D1** the same calls with the same views give the same decisions (I9);
/// - **D2** `make_room` may return more or fewer decisions than asked for; victims stand in the order in which they should go;
/// - **D3** no method blocks or does I/O: all run under the pager's lock;
/// - **D4** `plan` looks at the runs of a match, not at every block of it;
/// - **D5** `visit` looks at no more than [`Limits::slice_blocks`](crate::config::Limits) blocks a call: it is called until all is
///   taken in, and others get the lock in between.
pub trait Policy: Debug + Send {
    /// Its name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// The pager is built: memory for what is kept of its slots is taken now. Says whether [`Policy::follow`] and [`Policy::visit`]
    /// are to be called.
    fn start(&mut self, _view: &View<'_>, _setting: &Setting<'_>) -> bool {
        false
    }

    /// These slots may hold something else, or may be evicted when they could not, or the other way round. Told before
    /// [`Policy::make_room`] and [`Policy::visit`], though not always to the last slot: what is decided on must be looked at.
    fn follow(&mut self, _view: &View<'_>, _changed: &Changed<'_>) {}

    /// A request is about to be told: what is to read the names of its blocks before [`Policy::visit`], without the lock.
    fn study(&mut self, _view: &View<'_>) -> Option<Arc<dyn Study>> {
        None
    }

    /// A request has been served: its blocks are where the view says, or on their way there ([`Setting::nearest`]). Each request is told
    /// once, when its sequence is closed or its last block is offloaded, and no other until it is taken in. Takes in a slice of it (D5), and says whether that was the last; until then it is called again
    /// with the same request. In between, blocks may have been evicted, and every other method may have been called.
    fn visit(&mut self, _view: &View<'_>, _told: &Told<'_>) -> bool {
        true
    }

    /// How many of the blocks that a sequence waits for are to be computed instead, from the first on; those whose load can
    /// still be called off are.
    fn meet(&mut self, _view: &View<'_>, _waiting: &Waiting) -> usize {
        0
    }

    /// Whether [`Pager::write_out`](crate::Pager::write_out) may write the part of `block` that host memory has to the file, where room
    /// is not short. Asked when it chooses what to write, and once more just before each write, when what is under way is counted as
    /// written. Ancestors that the block needs there, and that the file has not, come along unasked.
    fn may_write_out(&mut self, _view: &View<'_>, _block: BlockId, _group: GroupId) -> bool {
        true
    }

    /// What other policies, or other sizes of memory, would have hit, if it runs such shadows. Allocates.
    fn answers(&self) -> Vec<Answer> {
        Vec::new()
    }

    /// Asserts what must be true of what it keeps. `O(slots)`; for tests.
    ///
    /// # Panics
    /// If it is not.
    fn check(&self) {}

    /// Which of the matched blocks to load; the rest, and what comes after, is computed.
    fn plan(&mut self, view: &View<'_>, matched: &Matched<'_>) -> LoadPlan;

    /// Which blocks to bring nearer while lanes stand idle ([`Decision::Promote`], parents before their children), and which to
    /// evict for it beyond the free slots, each just before the block that comes in its place: if that may not come, nothing goes. Asked
    /// often, so that most calls should do little.
    fn promote(&mut self, _view: &View<'_>, _idle: &Idle, _decisions: &mut Vec<Decision>) {}

    /// A victim that was named is passed over, for a request of high priority has used it: it is to stay about as long as if it had been
    /// used just now, though nobody has. It is passed over no more than twice for each such request, however soon it is named again. In
    /// [`View::coldest`] it is the warmest.
    fn pass_over(&mut self, _view: &View<'_>, _block: BlockId, _tier: TierId, _group: GroupId) {}

    /// Which blocks to move out of a tier, so that `need.slots` become free.
    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>);
}
