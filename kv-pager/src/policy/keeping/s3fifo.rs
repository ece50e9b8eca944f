//! `s3fifo`: a small queue for newcomers and a large one for what was used while in it, both first in, first out.
//! Layer 8. Uses `ghosts`, `queues`. Known by: `arm`.
//!
//! - **S31** the small queue gives while it has more than a tenth of the capacity, or the large one has nothing offered;
//! - **S32** a newcomer that left the small queue a short while ago goes to the large one at once.
//!
//! As published (Yang et al. 2023), but that the queues' heads are their oldest *offered* entries: a block whose children
//! are in the tier is not looked at until they have left, and then stands where it always stood.

use super::ghosts::Ghosts;
use super::queues::Queues;
use super::{Arm, Bounds, Departure, EntryId, Keeping, Visit};

/// Uses that are counted, at most.
const USES_MAX: u8 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
enum Queue {
    Small = 0,
    Large = 1,
    Absent = 2,
}

#[derive(Clone, Copy, Debug)]
struct State {
    name: u64,
    stamp: u64,
    queue: Queue,
    /// Since it came into its queue.
    uses: u8,
}

/// The arm.
#[derive(Debug)]
pub(super) struct S3Fifo {
    states: Box<[State]>,
    offered: Queues,
    counts: [usize; 2],
    small_target: usize,
    ghosts: Ghosts<()>,
    stamp: u64,
}

impl S3Fifo {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let entries = bounds.entries();
        let absent = State { name: 0, stamp: 0, queue: Queue::Absent, uses: 0 };
        let small_target = (bounds.capacity / 10) as usize;
        Self {
            states: vec![absent; entries as usize].into_boxed_slice(),
            offered: Queues::new(entries, 2),
            counts: [0; 2],
            small_target,
            ghosts: Ghosts::new(bounds.capacity as usize - small_target),
            stamp: 0,
        }
    }

    /// Puts an entry at the end of a queue.
    fn place(&mut self, entry: EntryId, queue: Queue, uses: u8) {
        self.stamp += 1;
        let state = &mut self.states[entry.index()];
        if state.queue != Queue::Absent {
            self.counts[state.queue as usize] -= 1;
        }
        self.counts[queue as usize] += 1;
        (state.stamp, state.queue, state.uses) = (self.stamp, queue, uses);
        if self.offered.queue_of(entry).is_some() {
            self.offered.insert(queue as u16, entry, self.stamp);
        }
    }
}

impl Keeping for S3Fifo {
    fn name(&self) -> &'static str {
        Arm::S3Fifo.name()
    }

    fn visit(&mut self, visit: &Visit<'_>) {
        for touch in visit.touches.iter().rev() {
            let state = &mut self.states[touch.entry.index()];
            if state.queue == Queue::Absent {
                state.name = touch.name;
                let has_returned = self.ghosts.take(touch.name).is_some();
                self.place(touch.entry, if has_returned { Queue::Large } else { Queue::Small }, 0);
            } else {
                state.uses = (state.uses + 1).min(USES_MAX);
            }
        }
    }

    fn offer(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            let State { stamp, queue, .. } = self.states[entry.index()];
            assert!(queue != Queue::Absent, "{entry:?} is offered, and was never touched");
            self.offered.insert(queue as u16, entry, stamp);
        }
    }

    fn withhold(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            self.offered.remove(entry);
        }
    }

    /// Moves what was used on the way; each use is spent once.
    fn victim(&mut self) -> Option<EntryId> {
        loop {
            let [small, large] = [Queue::Small, Queue::Large].map(|queue| self.offered.first(queue as u16));
            let is_small_over = self.counts[Queue::Small as usize] > self.small_target;
            if let Some((entry, _)) = small.filter(|_| is_small_over || large.is_none()) {
                if self.states[entry.index()].uses <= 1 {
                    return Some(entry);
                }
                self.place(entry, Queue::Large, 0);
            } else {
                let (entry, _) = large?;
                let uses = self.states[entry.index()].uses;
                if uses == 0 {
                    return Some(entry);
                }
                self.place(entry, Queue::Large, uses - 1);
            }
        }
    }

    fn depart(&mut self, entry: EntryId, departure: Departure) {
        let State { name, queue, .. } = self.states[entry.index()];
        assert!(queue != Queue::Absent, "{entry:?} departs, and was never touched");
        self.states[entry.index()].queue = Queue::Absent;
        self.offered.remove(entry);
        self.counts[queue as usize] -= 1;
        if departure == Departure::Evicted && queue == Queue::Small {
            self.ghosts.insert(name, ());
        }
    }

    fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    fn check(&self) {
        self.offered.check();
        let count = |queue| self.states.iter().filter(|state| state.queue == queue).count();
        assert_eq!(self.counts, [count(Queue::Small), count(Queue::Large)], "KE2");
    }
}
