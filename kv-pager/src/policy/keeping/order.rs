//! Lists through the entries' own links, first in, first out, with removal from the middle.
//! Layer 8. Uses `policy::keeping`. Known by: `slru`, `steward`.
//!
//! - **OR1** following `newer` from `oldest` visits each linked entry once and ends at `newest`; `older` is its reverse.

use super::EntryId;

const NONE: u32 = u32::MAX;

/// One list of entries, oldest first.
#[derive(Debug)]
pub(in crate::policy) struct Order {
    older: Box<[u32]>,
    newer: Box<[u32]>,
    oldest: u32,
    newest: u32,
    len: usize,
}

impl Order {
    /// An empty list for entries below `entries`.
    pub(in crate::policy) fn new(entries: u32) -> Self {
        let links = vec![NONE; entries as usize].into_boxed_slice();
        Self { older: links.clone(), newer: links, oldest: NONE, newest: NONE, len: 0 }
    }

    /// How many entries it holds.
    pub(in crate::policy) fn len(&self) -> usize {
        self.len
    }

    /// The one that came first.
    pub(in crate::policy) fn oldest(&self) -> Option<EntryId> {
        (self.oldest != NONE).then(|| EntryId::new(self.oldest))
    }

    /// Puts an entry at the end. It must not be in the list. O(1).
    pub(in crate::policy) fn push(&mut self, entry: EntryId) {
        self.older[entry.index()] = self.newest;
        self.newer[entry.index()] = NONE;
        match self.newest {
            NONE => self.oldest = entry.as_u32(),
            newest => self.newer[newest as usize] = entry.as_u32(),
        }
        self.newest = entry.as_u32();
        self.len += 1;
    }

    /// Takes an entry out. It must be in the list. O(1).
    pub(in crate::policy) fn remove(&mut self, entry: EntryId) {
        let (older, newer) = (self.older[entry.index()], self.newer[entry.index()]);
        match older {
            NONE => self.oldest = newer,
            older => self.newer[older as usize] = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.older[newer as usize] = older,
        }
        self.len -= 1;
    }

    /// Asserts OR1; O(n), for tests.
    pub(in crate::policy) fn check(&self) {
        let (mut at, mut before, mut count) = (self.oldest, NONE, 0);
        while at != NONE {
            assert_eq!(self.older[at as usize], before, "OR1: entry {at}");
            (before, at, count) = (at, self.newer[at as usize], count + 1);
        }
        assert_eq!((before, count), (self.newest, self.len), "OR1: the end and the length");
    }
}
