//! `arc`: what was used once against what was used again, shared out by what was missed.
//! Layer 8. Uses `ghosts`, `queues`. Known by: `arm`.
//!
//! - **AR1** entries and ghosts of one side together are no more than the capacity, of both no more than twice that, but
//!   for the request just inserted.
//!
//! As published (Megiddo, Modha 2003), but that only offered entries are victims: where a side has none, the other side
//! gives. A whole request is inserted before anything leaves, so the share moves many steps at a time.

use super::ghosts::Ghosts;
use super::queues::Queues;
use super::{Arm, Bounds, Departure, EntryId, Keeping, Touch, Visit};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
enum Side {
    Once = 0,
    Again = 1,
    Absent = 2,
}

#[derive(Clone, Copy, Debug)]
struct State {
    name: u64,
    stamp: u64,
    side: Side,
}

/// The arm.
#[derive(Debug)]
pub(super) struct Arc {
    states: Box<[State]>,
    offered: Queues,
    /// Entries of each side.
    counts: [usize; 2],
    /// Names that left each side.
    ghosts: [Ghosts<()>; 2],
    /// How many entries used once are wanted: ARC's `p`.
    once_target: usize,
    capacity: usize,
    stamp: u64,
}

impl Arc {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let entries = bounds.entries();
        let capacity = bounds.capacity as usize;
        let absent = State { name: 0, stamp: 0, side: Side::Absent };
        Self {
            states: vec![absent; entries as usize].into_boxed_slice(),
            offered: Queues::new(entries, 2),
            counts: [0; 2],
            ghosts: [Ghosts::new(capacity), Ghosts::new(2 * capacity)],
            once_target: 0,
            capacity,
            stamp: 0,
        }
    }

    /// The side for a block that is inserted; moves the share if it was missed.
    fn side_of_newcomer(&mut self, name: u64) -> Side {
        let [once, again] = self.ghosts.each_ref().map(Ghosts::len);
        if self.ghosts[Side::Once as usize].take(name).is_some() {
            self.once_target = (self.once_target + (again / once).max(1)).min(self.capacity);
            Side::Again
        } else if self.ghosts[Side::Again as usize].take(name).is_some() {
            self.once_target = self.once_target.saturating_sub((once / again).max(1));
            Side::Again
        } else {
            Side::Once
        }
    }

    fn touch(&mut self, touch: &Touch) {
        let side = match self.states[touch.entry.index()].side {
            Side::Absent => self.side_of_newcomer(touch.name),
            side => {
                self.counts[side as usize] -= 1;
                Side::Again
            }
        };
        self.counts[side as usize] += 1;
        self.stamp += 1;
        self.states[touch.entry.index()] = State { name: touch.name, stamp: self.stamp, side };
        if self.offered.queue_of(touch.entry).is_some() {
            self.offered.insert(side as u16, touch.entry, self.stamp);
        }
    }

    /// AR1: the ghosts that are too many are forgotten, oldest first.
    fn forget(&mut self) {
        while self.ghosts[0].len() > 0 && self.counts[0] + self.ghosts[0].len() > self.capacity {
            self.ghosts[0].forget_oldest();
        }
        let total = |arc: &Self| arc.counts.iter().sum::<usize>() + arc.ghosts[0].len() + arc.ghosts[1].len();
        while self.ghosts[1].len() > 0 && total(self) > 2 * self.capacity {
            self.ghosts[1].forget_oldest();
        }
    }
}

impl Keeping for Arc {
    fn name(&self) -> &'static str {
        Arm::Arc.name()
    }

    fn visit(&mut self, visit: &Visit<'_>) {
        for touch in visit.touches.iter().rev() {
            self.touch(touch);
        }
    }

    fn offer(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            let State { stamp, side, .. } = self.states[entry.index()];
            assert!(side != Side::Absent, "{entry:?} is offered, and was never touched");
            self.offered.insert(side as u16, entry, stamp);
        }
    }

    fn withhold(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            self.offered.remove(entry);
        }
    }

    fn victim(&mut self) -> Option<EntryId> {
        let [once, again] = [Side::Once, Side::Again].map(|side| self.offered.first(side as u16));
        let first = if self.counts[0] > self.once_target { once.or(again) } else { again.or(once) };
        first.map(|(entry, _)| entry)
    }

    fn depart(&mut self, entry: EntryId, departure: Departure) {
        let State { name, side, .. } = self.states[entry.index()];
        assert!(side != Side::Absent, "{entry:?} departs, and was never touched");
        self.states[entry.index()].side = Side::Absent;
        self.offered.remove(entry);
        self.counts[side as usize] -= 1;
        if departure == Departure::Evicted {
            self.ghosts[side as usize].insert(name, ());
            self.forget();
        }
    }

    fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    fn check(&self) {
        self.offered.check();
        let count = |side| self.states.iter().filter(|state| state.side == side).count();
        assert_eq!(self.counts, [count(Side::Once), count(Side::Again)], "KE2");
        assert!(self.ghosts[0].len() <= self.capacity, "AR1: {} ghosts used once", self.ghosts[0].len());
        assert!(self.ghosts[1].len() <= 2 * self.capacity, "AR1: {} ghosts used again", self.ghosts[1].len());
    }
}
