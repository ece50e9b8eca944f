//! Shadows: what an arm would hold and hit, on names alone.
//! Layer 8. Uses `policy::keeping`. Known by: `duel`, `pager`, the command line.
//!
//! - **SH1** a request's hits are those at its arrival: the leading run of resident blocks, and all that are resident;
//! - **SH2** then all its blocks are inserted, its leaf used first and its root last, and only then is the tier trimmed to
//!   its capacity, leaf first in the arm's order, nothing of the request protected: what exceeds the capacity keeps its
//!   front;
//! - **SH3** no block is resident without its parent.
//!
//! A shadow costs some hundred bytes a block and no I/O, so a pager can run others beside itself: another arm, twice the
//! memory, or, over a [`Sample`] of the names, a tier of any size ([`WhatIfs`]).

mod belady;
mod sample;
mod tree;
mod what_if;

pub use belady::Belady;
pub use sample::Sample;
pub use what_if::{Question, WhatIfs};

use super::{Arm, Bounds, Departure, EntryId, Keeping, Touch, Visit};
use tree::Tree;

/// One block of a request, by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    /// Its name, or 64 bits of it.
    pub name: u64,
    /// How many blocks of the request come before it.
    pub depth: u32,
}

/// One request, or a sample of its blocks.
#[derive(Clone, Copy, Debug)]
pub struct Footprint<'a> {
    /// Blocks of the whole request.
    pub length: u32,
    /// Blocks, root to leaf.
    pub blocks: &'a [Named],
}

/// What requests found and caused.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Blocks asked for.
    pub references: u64,
    /// Blocks in the leading resident run.
    pub prefix: u64,
    /// Blocks that were resident.
    pub resident: u64,
    /// Blocks evicted.
    pub evictions: u64,
}

impl Tally {
    /// Blocks in the leading resident run, per block asked for.
    pub fn prefix_hit_rate(&self) -> f64 {
        ratio(self.prefix, self.references)
    }

    /// Resident blocks, per block asked for.
    pub fn resident_hit_rate(&self) -> f64 {
        ratio(self.resident, self.references)
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.references += other.references;
        self.prefix += other.prefix;
        self.resident += other.resident;
        self.evictions += other.evictions;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A tier without bytes.
#[derive(Debug)]
pub struct Shadow<K: Keeping + ?Sized = dyn Keeping> {
    keeping: Box<K>,
    tree: Tree,
    touches: Vec<Touch>,
    capacity: usize,
    request_blocks: usize,
    tally: Tally,
}

impl Shadow {
    /// An empty tier of these bounds, kept by `arm`.
    ///
    /// # Panics
    /// As [`Arm::build`].
    pub fn new(arm: Arm, bounds: &Bounds) -> Self {
        Self::with_keeping(arm.build(bounds), bounds)
    }
}

impl<K: Keeping + ?Sized> Shadow<K> {
    /// An empty tier of these bounds, kept by an order of one's own.
    ///
    /// # Panics
    /// As [`Arm::build`].
    pub fn with_keeping(keeping: Box<K>, bounds: &Bounds) -> Self {
        Self {
            keeping,
            tree: Tree::new(bounds.entries()),
            touches: Vec::with_capacity(bounds.request_blocks as usize),
            capacity: bounds.capacity as usize,
            request_blocks: bounds.request_blocks as usize,
            tally: Tally::default(),
        }
    }

    /// Serves one request; gives what it found and caused. O(blocks), but for the order of eviction.
    ///
    /// Of a request longer than [`Bounds::request_blocks`], what exceeds them is counted as asked for and not inserted.
    pub fn request(&mut self, footprint: &Footprint<'_>) -> Tally {
        let found = self.find(footprint.blocks);
        self.take_in(footprint, found, |_| ())
    }

    /// The rest of [`Shadow::request`] after [`Shadow::find`]; tells the names of the blocks that had to go.
    pub(super) fn take_in(
        &mut self,
        footprint: &Footprint<'_>,
        found: Tally,
        evicted: impl FnMut(u64),
    ) -> Tally {
        let mut tally = found;
        let inserted = &footprint.blocks[..footprint.blocks.len().min(self.request_blocks)];
        self.insert(inserted, footprint.length);
        tally.evictions = self.trim(evicted);
        self.tally += tally;
        tally
    }

    /// What all requests found and caused.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The name of the order that keeps it.
    pub fn name(&self) -> &'static str {
        self.keeping.name()
    }

    /// The order that keeps it.
    pub(super) fn keeping_mut(&mut self) -> &mut K {
        &mut self.keeping
    }

    /// How many blocks it holds.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SH1: what these blocks would find.
    pub(super) fn find(&self, blocks: &[Named]) -> Tally {
        let mut tally = Tally { references: blocks.len() as u64, ..Tally::default() };
        for (before, block) in (0..).zip(blocks) {
            if self.tree.find(block.name).is_some() {
                tally.prefix += u64::from(tally.prefix == before);
                tally.resident += 1;
            }
        }
        tally
    }

    /// The first half of SH2.
    fn insert(&mut self, blocks: &[Named], length: u32) {
        self.touches.clear();
        let mut parent = None;
        for &Named { name, depth } in blocks {
            let entry = self.tree.find(name).unwrap_or_else(|| {
                if let Some(parent) = parent {
                    self.keeping.withhold(&[parent]);
                }
                self.tree.insert(name, parent)
            });
            self.touches.push(Touch { entry, name, depth });
            parent = Some(entry);
        }
        self.keeping.visit(&Visit { length, touches: &self.touches, absent: &[] });
        if let Some(leaf) = parent.filter(|&leaf| self.tree.is_leaf(leaf)) {
            self.keeping.offer(&[leaf]);
        }
    }

    /// The second half of SH2.
    fn trim(&mut self, mut evicted: impl FnMut(u64)) -> u64 {
        let mut evictions = 0;
        self.keeping.warm(&[], self.tree.len().saturating_sub(self.capacity));
        while self.tree.len() > self.capacity {
            let victim =
                self.keeping.victim().expect("SH3: a tree that is not empty has a leaf, and it is offered");
            self.keeping.depart(victim, Departure::Evicted);
            evicted(self.tree.name_of(victim));
            if let Some(parent) = self.tree.remove(victim) {
                self.keeping.offer(&[parent]);
            }
            evictions += 1;
        }
        evictions
    }

    /// Asserts what must be true of it; O(n), for tests.
    ///
    /// # Panics
    /// If it is not.
    pub fn check(&self) {
        self.keeping.check();
        self.tree.check();
        assert!(self.tree.len() <= self.capacity, "SH2: {} blocks of {}", self.tree.len(), self.capacity);
        assert_eq!(self.keeping.len(), self.tree.len(), "KE2: the arm knows what the tree holds");
    }
}

/// The entry a tree gives a name.
fn entry_at(index: usize) -> EntryId {
    EntryId::new(u32::try_from(index).expect("entries are counted in 32 bits"))
}
