//! Belady's bound: what a tier could hit if it knew all that is to come.
//! Layer 8. Uses `shadow`. Known by: the command line.
//!
//! - **BE1** it evicts the block whose next use is farthest away, of those with the same next use the deepest.
//!
//! Whoever uses a block uses its parent, so a parent's next use is never later than its children's, and BE1 is leaf-first.
//! Offline: it reads the stream once for the next uses, and serves it in a second pass.

use super::{Footprint, Tally};
use std::collections::{BinaryHeap, HashMap};

/// Used no more.
const NEVER: u32 = u32::MAX;

/// A stream of requests with each block's next use. Serves any number of capacities.
#[derive(Debug, Default)]
pub struct Belady {
    references: Vec<Reference>,
    /// Where each request ends in `references`.
    ends: Vec<usize>,
    /// Which number a name has.
    numbers: HashMap<u64, u32>,
    /// By number: the last reference to it.
    latest: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Reference {
    number: u32,
    depth: u32,
    /// The request that uses the block next.
    next_request: u32,
}

/// A resident block's claim to be evicted; stale if the block has been used since.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    next_request: u32,
    depth: u32,
    number: u32,
}

impl Belady {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next request. O(blocks).
    ///
    /// # Panics
    /// If there are 2^32 - 1 requests or blocks.
    pub fn push(&mut self, footprint: &Footprint<'_>) {
        let request = u32::try_from(self.ends.len()).expect("requests are counted in 32 bits");
        for block in footprint.blocks {
            let next_number = u32::try_from(self.latest.len()).expect("blocks are counted in 32 bits");
            let number = *self.numbers.entry(block.name).or_insert(next_number);
            if number == next_number {
                self.latest.push(self.references.len());
            } else {
                let before = std::mem::replace(&mut self.latest[number as usize], self.references.len());
                self.references[before].next_request = request;
            }
            self.references.push(Reference { number, depth: block.depth, next_request: NEVER });
        }
        self.ends.push(self.references.len());
    }

    /// How many different blocks the stream names.
    pub fn unique_blocks(&self) -> usize {
        self.latest.len()
    }

    /// Serves the whole stream with a tier of `capacity` blocks. O(n log n).
    ///
    /// # Panics
    /// Never: each resident block has a claim to be evicted.
    pub fn serve(&self, capacity: u32) -> Tally {
        let mut tally = Tally::default();
        // By number: the next use of a resident block.
        let mut resident: Vec<Option<u32>> = vec![None; self.latest.len()];
        let mut count = 0_usize;
        let mut claims = BinaryHeap::new();
        let mut start = 0;
        for &end in &self.ends {
            let request = &self.references[start..end];
            start = end;
            let is_resident = |reference: &&Reference| resident[reference.number as usize].is_some();
            tally.references += request.len() as u64;
            tally.prefix += request.iter().take_while(is_resident).count() as u64;
            tally.resident += request.iter().filter(is_resident).count() as u64;
            for &Reference { number, depth, next_request } in request {
                count += usize::from(resident[number as usize].replace(next_request).is_none());
                claims.push(Claim { next_request, depth, number });
            }
            while count > capacity as usize {
                let Claim { next_request, number, .. } =
                    claims.pop().expect("each resident block has a claim");
                let place = &mut resident[number as usize];
                if *place == Some(next_request) {
                    *place = None;
                    count -= 1;
                    tally.evictions += 1;
                }
            }
        }
        tally
    }
}
