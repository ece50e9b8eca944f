//! Keeping: in which order one tier gives up what it holds.
//! Layer 8. Uses `ids`, `units`. Known by: `pager`, the command line.
//!
//! - **KE1** a victim is always an entry that was offered and not withheld since: leaf-first (I6) and holds (I2) are the
//!   caller's to say, and no arm goes round them;
//! - **KE2** an arm knows an entry from its first [`Touch`] until its [`Keeping::depart`], and its counts say so;
//! - **KE3** the same calls give the same victims (I9): no clock, no randomness, no hash that differs from run to run;
//! - **KE4** nothing is allocated after [`Arm::build`] (I8): what an arm remembers of entries that left is bounded too.
//!
//! Time is counted in blocks inserted. So an arm needs no clock, ages stand still while nothing competes for the tier, and
//! the time for which a block can be kept is simply the capacity.
//!
//! An order of one's own takes part like any other:
//!
//! ```
//! use kv_pager::policy::keeping::shadow::{Footprint, Named, Shadow};
//! use kv_pager::policy::keeping::{Arm, Bounds, Departure, EntryId, Keeping, Visit};
//! use std::collections::BTreeSet;
//!
//! /// Evicts by the number of the entry. (A real one allocates nothing in steady state.)
//! #[derive(Debug, Default)]
//! struct ByNumber {
//!     known: BTreeSet<EntryId>,
//!     offered: BTreeSet<EntryId>,
//! }
//!
//! impl Keeping for ByNumber {
//!     fn name(&self) -> &'static str {
//!         "by-number"
//!     }
//!     fn visit(&mut self, visit: &Visit<'_>) {
//!         self.known.extend(visit.touches.iter().map(|touch| touch.entry));
//!     }
//!     fn offer(&mut self, entries: &[EntryId]) {
//!         self.offered.extend(entries);
//!     }
//!     fn withhold(&mut self, entries: &[EntryId]) {
//!         self.offered.retain(|entry| !entries.contains(entry));
//!     }
//!     fn victim(&mut self) -> Option<EntryId> {
//!         self.offered.first().copied()
//!     }
//!     fn depart(&mut self, entry: EntryId, _departure: Departure) {
//!         assert!(self.known.remove(&entry));
//!         self.offered.remove(&entry);
//!     }
//!     fn len(&self) -> usize {
//!         self.known.len()
//!     }
//!     fn check(&self) {
//!         assert!(self.offered.is_subset(&self.known));
//!     }
//! }
//!
//! let bounds = Bounds { capacity: 2, request_blocks: 4, tokens_per_block: 16 };
//! let mut own = Shadow::with_keeping(Box::new(ByNumber::default()), &bounds);
//! let mut lru = Shadow::new(Arm::Lru, &bounds);
//! for name in [1, 2, 3, 1, 2, 3] {
//!     let request = Footprint { length: 1, blocks: &[Named { name, depth: 0 }] };
//!     own.request(&request);
//!     lru.request(&request);
//! }
//! assert!(own.tally().prefix > lru.tally().prefix, "a round of three in two places");
//!
//! // In a live pager it keeps each tier, beside all else that the built-in policy decides.
//! use kv_pager::policy::{Steward, StewardSpec};
//! let policy = Steward::with_keeping(StewardSpec::default(), |_tier, _bounds| Box::new(ByNumber::default()));
//! # drop(policy);
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `lru`, `slru`, `arc`, `s3fifo`, `cost_aware` | the arms |
//! | `queues`, `order`, `ghosts`, `names` | what they are made of: indices into arrays, linked |
//! | `reuse` | the model behind `cost-aware`: how likely is a block's reuse, by what it looks like |
//! | [`shadow`] | an arm run on names alone: what it would have hit |

mod arc;
mod arm;
mod cost_aware;
mod duel;
mod ghosts;
mod lru;
mod names;
mod order;
mod prices;
mod queues;
mod reuse;
mod s3fifo;
pub mod shadow;
mod slru;
#[cfg(test)]
mod tests;

pub use arm::{Arm, UnknownArm};
pub use cost_aware::CostAware;
pub(super) use order::Order;
pub use prices::{DEPTH_BANDS, Prices};

use shadow::{Footprint, Named};
use std::fmt::Debug;
use std::sync;

/// Something a tier holds: an index below [`Bounds::entries`]. A pager's slot, a shadow's node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct EntryId(u32);

impl EntryId {
    /// The entry at `index`.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The bare number.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// Its place in an array of entries.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an arm is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Blocks that the tier holds; at least one.
    pub capacity: u32,
    /// Blocks of the longest request. A shadow holds as many above its capacity until it is trimmed.
    pub request_blocks: u32,
    /// Tokens of a block, so that depths mean the same with blocks of any size; at least one.
    pub tokens_per_block: u32,
}

impl Bounds {
    /// One more than the largest [`EntryId`].
    ///
    /// # Panics
    /// If there are 2^32 - 1 or more.
    pub fn entries(&self) -> u32 {
        let entries = self.capacity.checked_add(self.request_blocks).filter(|&count| count < u32::MAX);
        entries.expect("capacity and the longest request together stay below 2^32 - 1 blocks")
    }
}

/// One block of a request, as it lies in the tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touch {
    /// Where. An entry the arm does not know is inserted; one that it knows was hit.
    pub entry: EntryId,
    /// The block's name, or 64 bits of it: what left is remembered by it. A collision costs a wrong guess, nothing else.
    pub name: u64,
    /// How many blocks of the request come before it.
    pub depth: u32,
}

/// One request, whole: what an arm learns from.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// Blocks of the request, also those that are not in `touches`.
    pub length: u32,
    /// Its blocks in this tier, root to leaf. The leaf counts as used first and the root last.
    pub touches: &'a [Touch],
    /// Its blocks that don't lie in this tier and don't come into it now, root to leaf. Arms that learn from the requests alone
    /// take note of them, the others pass over them.
    pub absent: &'a [Named],
}

impl Visit<'_> {
    /// Names of all its blocks, root to leaf, in the tier or not.
    pub fn named(&self) -> impl Iterator<Item = Named> + '_ {
        let mut touches =
            self.touches.iter().map(|touch| Named { name: touch.name, depth: touch.depth }).peekable();
        let mut absent = self.absent.iter().copied().peekable();
        std::iter::from_fn(move || match (touches.peek(), absent.peek()) {
            (Some(touch), Some(other)) if touch.depth > other.depth => absent.next(),
            (None, _) => absent.next(),
            (Some(_), _) => touches.next(),
        })
    }
}

/// A slice of a request: what one hold of the pager's lock tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// Blocks of the slice, with the length of the whole request.
    pub visit: Visit<'a>,
    /// How many blocks of the request's front the arm knew before any of it was visited ([`Keeping::first_unknown`]).
    pub known: u32,
    /// Whether it is the last slice of the request.
    pub is_last: bool,
}

/// What learns from requests by the names of their blocks alone, so that nobody need hold a lock meanwhile. Contract:
/// **ST1** it is told of each request before any of it is visited, of one at a time.
pub trait Study: Debug + Send + Sync {
    /// Reads the names of a request's blocks, root to leaf. O(blocks).
    fn read(&self, request: &Footprint<'_>);
}

/// Why an entry leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// Room was needed; the block may be asked for again, and is remembered.
    Evicted,
    /// It was erased or damaged: it says nothing about reuse, and is forgotten.
    Invalidated,
    /// It was [admitted](Keeping::admit) before the request was told that brought it, and comes in with that one now: what was remembered of
    /// it until then is remembered again, and its coming is not counted twice. Arms that weigh neither take it as invalidated.
    Withdrawn,
}

/// One tier's order of eviction. Contract, beside KE1 to KE4:
/// **K1** an entry is touched before it is offered, and departs before its index is used for another block;
/// **K2** what was never offered, or is withheld, is no victim; offering or withholding twice changes nothing;
/// **K3** a touched entry stays offered if it was;
/// **K4** [`Keeping::victim`] is `None` only when nothing is offered, and names the same entry until something changes;
/// **K5** the victim stays known and offered until it departs or is withheld: asking moves nothing in the tier.
/// Checked for every arm by the tests beside it.
pub trait Keeping: Debug + Send {
    /// Its name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Takes in a request: hits and insertions, in one go. O(blocks).
    fn visit(&mut self, visit: &Visit<'_>);

    /// What reads the names of requests that are told in slices, if anything does; of those told in one go
    /// [`Keeping::visit`] lets it know.
    fn study(&self) -> Option<sync::Arc<dyn Study>> {
        None
    }

    /// The depth of the first of these blocks that the arm does not know, in the tier or from before: asked of a request in slices,
    /// from the root on until there is one. `None` if it knows them all, or asks nothing of what it knows.
    fn first_unknown(&self, _visit: &Visit<'_>) -> Option<u32> {
        None
    }

    /// Takes in a slice of a request: first those of its blocks that lie in the tier, from the leaf to the root, then the others
    /// likewise; all slices together come to the same as [`Keeping::visit`]. Arms that take in one block after the other need not
    /// tell the two apart. O(blocks of the slice).
    fn visit_slice(&mut self, slice: &Slice<'_>) {
        self.visit(&slice.visit);
    }

    /// Blocks of these names are about to come into the tier or to leave it, and so many in all to leave it: what will be looked up then
    /// may be brought near, for one after the other each would be waited for. Nothing changes by it.
    fn warm(&self, _names: &[u64], _departures: usize) {}

    /// Takes in a block that has come into the tier unasked: a nearer tier gave it up, or an earlier process left it. To most arms
    /// that is a request of its own.
    fn admit(&mut self, arrival: &Touch) {
        self.visit(&Visit { length: arrival.depth + 1, touches: std::slice::from_ref(arrival), absent: &[] });
    }

    /// These entries may be evicted: nothing holds them and no child lies in the tier. O(log offered) each.
    fn offer(&mut self, entries: &[EntryId]);

    /// These may no longer. O(1) each, nearly always.
    fn withhold(&mut self, entries: &[EntryId]);

    /// The entry to evict next. One at a time, for its departure may leave its parent without a child in the tier, and
    /// that parent may be the next.
    fn victim(&mut self) -> Option<EntryId>;

    /// The entry has left the tier.
    ///
    /// # Panics
    /// If the arm does not know the entry.
    fn depart(&mut self, entry: EntryId, departure: Departure);

    /// Whether a copy of the entry lies farther away: it would be loaded, not computed again. Arms that do not weigh costs
    /// ignore it.
    fn set_backed(&mut self, _entry: EntryId, _is_backed: bool) {}

    /// How likely the entry is asked for again at all, in 0..=1; `None` from arms that don't say.
    fn odds(&mut self, _entry: EntryId) -> Option<f64> {
        None
    }

    /// What keeping the entry is worth: how likely it is asked for again before it would have to go, times what having it back costs
    /// then. `None` from arms that don't say, and while the arm evicts by something else.
    fn worth(&mut self, _entry: EntryId) -> Option<f64> {
        None
    }

    /// The same of a block that lies farther away, were it here; by what is remembered of it. `None` if nothing is, too.
    fn worth_of_absent(&mut self, _name: u64) -> Option<f64> {
        None
    }

    /// What it costs to have a block back. Arms that do not weigh costs ignore it.
    fn set_prices(&mut self, _prices: &Prices) {}

    /// How many entries it knows.
    fn len(&self) -> usize;

    /// Whether it knows none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asserts what must be true of it; O(n), for tests.
    fn check(&self);
}
