//! `lru`: the least recently used goes first.
//! Layer 8. Uses `queues`. Known by: `arm`, `duel`.
//!
//! - **LR1** what stands in the queue stands by its last use.
//!
//! A request's leaf counts as used first, so a parent is always used later than its children.

use super::queues::Queues;
use super::{Arm, Bounds, Departure, EntryId, Keeping, Visit};

/// The one queue.
const QUEUE: u16 = 0;

/// The stamp of an entry that is not in the tier.
const ABSENT: u64 = 0;

/// The arm.
#[derive(Debug)]
pub(super) struct Lru {
    used: Box<[u64]>,
    offered: Queues,
    stamp: u64,
    len: usize,
}

impl Lru {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let entries = bounds.entries();
        Self {
            used: vec![ABSENT; entries as usize].into_boxed_slice(),
            offered: Queues::new(entries, 1),
            stamp: ABSENT,
            len: 0,
        }
    }
}

impl Keeping for Lru {
    fn name(&self) -> &'static str {
        Arm::Lru.name()
    }

    fn visit(&mut self, visit: &Visit<'_>) {
        for touch in visit.touches.iter().rev() {
            self.stamp += 1;
            let used = &mut self.used[touch.entry.index()];
            self.len += usize::from(*used == ABSENT);
            *used = self.stamp;
            if self.offered.queue_of(touch.entry).is_some() {
                self.offered.insert(QUEUE, touch.entry, self.stamp);
            }
        }
    }

    fn offer(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            let used = self.used[entry.index()];
            assert!(used != ABSENT, "{entry:?} is offered, and was never touched");
            self.offered.insert(QUEUE, entry, used);
        }
    }

    fn withhold(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            self.offered.remove(entry);
        }
    }

    fn victim(&mut self) -> Option<EntryId> {
        self.offered.first(QUEUE).map(|(entry, _)| entry)
    }

    fn depart(&mut self, entry: EntryId, _departure: Departure) {
        let used = std::mem::replace(&mut self.used[entry.index()], ABSENT);
        assert!(used != ABSENT, "{entry:?} departs, and was never touched");
        self.offered.remove(entry);
        self.len -= 1;
    }

    fn len(&self) -> usize {
        self.len
    }

    fn check(&self) {
        self.offered.check();
        assert_eq!(self.len, self.used.iter().filter(|&&used| used != ABSENT).count(), "KE2");
    }
}
