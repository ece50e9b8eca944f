//! `slru`: what was used once goes before what was used again; each half in order of use.
//! Layer 8. Uses `order`, `queues`. Known by: `arm`.
//!
//! - **SL1** at most half the capacity is protected; the protected entry that was used least recently makes room for the
//!   next, and is on probation again, as if just used.

use super::order::Order;
use super::queues::Queues;
use super::{Arm, Bounds, Departure, EntryId, Keeping, Visit};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
enum Segment {
    Probation = 0,
    Protected = 1,
    Absent = 2,
}

#[derive(Clone, Copy, Debug)]
struct State {
    stamp: u64,
    segment: Segment,
}

/// The arm.
#[derive(Debug)]
pub(super) struct Slru {
    states: Box<[State]>,
    protected: Order,
    protected_max: usize,
    offered: Queues,
    stamp: u64,
    len: usize,
}

impl Slru {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let entries = bounds.entries();
        Self {
            states: vec![State { stamp: 0, segment: Segment::Absent }; entries as usize].into_boxed_slice(),
            protected: Order::new(entries),
            protected_max: (bounds.capacity / 2).max(1) as usize,
            offered: Queues::new(entries, 2),
            stamp: 0,
            len: 0,
        }
    }

    /// Puts an entry at the recent end of a segment.
    fn place(&mut self, entry: EntryId, segment: Segment) {
        self.stamp += 1;
        self.states[entry.index()] = State { stamp: self.stamp, segment };
        if segment == Segment::Protected {
            self.protected.push(entry);
        }
        if self.offered.queue_of(entry).is_some() {
            self.offered.insert(segment as u16, entry, self.stamp);
        }
    }

    fn use_again(&mut self, entry: EntryId, segment: Segment) {
        if segment == Segment::Protected {
            self.protected.remove(entry);
        }
        self.place(entry, Segment::Protected);
        if self.protected.len() > self.protected_max {
            let demoted = self.protected.oldest().expect("SL1: over the limit, so not empty");
            self.protected.remove(demoted);
            self.place(demoted, Segment::Probation);
        }
    }
}

impl Keeping for Slru {
    fn name(&self) -> &'static str {
        Arm::Slru.name()
    }

    fn visit(&mut self, visit: &Visit<'_>) {
        for touch in visit.touches.iter().rev() {
            match self.states[touch.entry.index()].segment {
                Segment::Absent => {
                    self.len += 1;
                    self.place(touch.entry, Segment::Probation);
                }
                segment => self.use_again(touch.entry, segment),
            }
        }
    }

    fn offer(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            let State { stamp, segment } = self.states[entry.index()];
            assert!(segment != Segment::Absent, "{entry:?} is offered, and was never touched");
            self.offered.insert(segment as u16, entry, stamp);
        }
    }

    fn withhold(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            self.offered.remove(entry);
        }
    }

    fn victim(&mut self) -> Option<EntryId> {
        let first = |segment| self.offered.first(segment as u16);
        first(Segment::Probation).or_else(|| first(Segment::Protected)).map(|(entry, _)| entry)
    }

    fn depart(&mut self, entry: EntryId, _departure: Departure) {
        let segment = std::mem::replace(&mut self.states[entry.index()].segment, Segment::Absent);
        assert!(segment != Segment::Absent, "{entry:?} departs, and was never touched");
        if segment == Segment::Protected {
            self.protected.remove(entry);
        }
        self.offered.remove(entry);
        self.len -= 1;
    }

    fn len(&self) -> usize {
        self.len
    }

    fn check(&self) {
        self.offered.check();
        self.protected.check();
        assert!(self.protected.len() <= self.protected_max, "SL1: {} protected", self.protected.len());
        let count = |segment| self.states.iter().filter(|state| state.segment == segment).count();
        assert_eq!(self.protected.len(), count(Segment::Protected), "SL1");
        assert_eq!(self.len, count(Segment::Probation) + count(Segment::Protected), "KE2");
    }
}
