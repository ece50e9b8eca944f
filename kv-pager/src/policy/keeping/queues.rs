//! Queues of offered entries, each sorted by when its entries took their place.
//! Layer 8. Uses `policy::keeping`. Known by: every arm.
//!
//! - **Q1** an entry stands in at most one queue;
//! - **Q2** in a queue, left is earlier and right is later, all the way down;
//! - **Q3** no entry has a higher priority than the one above it, and `first` is the leftmost.
//!
//! An entry is offered long after it was last used, as soon as its last child has left, so it must be put between those
//! already there. A treap does it in place, with three links an entry and any number of queues over one array; entries
//! are put in from the front, where a chain that is evicted block by block puts each next parent: a step or two.

use super::EntryId;

/// No entry.
const NONE: u32 = u32::MAX;

/// No queue.
const NOWHERE: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    stamp: u64,
    left: u32,
    right: u32,
    up: u32,
    queue: u16,
}

const LOOSE: Node = Node { stamp: 0, left: NONE, right: NONE, up: NONE, queue: NOWHERE };

#[derive(Clone, Copy, Debug)]
struct Ends {
    root: u32,
    first: u32,
}

/// Several queues over the same entries.
#[derive(Debug)]
pub(super) struct Queues {
    nodes: Box<[Node]>,
    queues: Box<[Ends]>,
}

impl Queues {
    /// `queues` empty queues for entries below `entries`.
    pub(super) fn new(entries: u32, queues: u16) -> Self {
        Self {
            nodes: vec![LOOSE; entries as usize].into_boxed_slice(),
            queues: vec![Ends { root: NONE, first: NONE }; usize::from(queues)].into_boxed_slice(),
        }
    }

    /// The queue in which the entry stands.
    pub(super) fn queue_of(&self, entry: EntryId) -> Option<u16> {
        let queue = self.nodes[entry.index()].queue;
        (queue != NOWHERE).then_some(queue)
    }

    /// The earliest entry of a queue, and its stamp. O(1).
    pub(super) fn first(&self, queue: u16) -> Option<(EntryId, u64)> {
        let first = self.queues[usize::from(queue)].first;
        (first != NONE).then(|| (EntryId::new(first), self.nodes[first as usize].stamp))
    }

    /// Puts an entry into a queue by its stamp; one that stands in a queue is moved. O(log n), O(1) near the front.
    ///
    /// Stamps of a queue differ.
    pub(super) fn insert(&mut self, queue: u16, entry: EntryId, stamp: u64) {
        self.remove(entry);
        let entry = entry.as_u32();
        let Ends { root, first } = self.queues[usize::from(queue)];
        let up = if root == NONE { NONE } else { self.place_below(first, stamp) };
        self.nodes[entry as usize] = Node { stamp, up, queue, ..LOOSE };
        if up == NONE {
            self.queues[usize::from(queue)] = Ends { root: entry, first: entry };
            return;
        }
        if stamp < self.nodes[up as usize].stamp {
            self.nodes[up as usize].left = entry;
            if up == first {
                self.queues[usize::from(queue)].first = entry;
            }
        } else {
            self.nodes[up as usize].right = entry;
        }
        while self.nodes[entry as usize].up != NONE {
            let up = self.nodes[entry as usize].up;
            if priority(up) >= priority(entry) {
                break;
            }
            self.rotate_up(entry);
        }
    }

    /// Takes an entry out of its queue, if it stands in one. O(1) expected.
    pub(super) fn remove(&mut self, entry: EntryId) {
        let entry = entry.as_u32();
        let queue = self.nodes[entry as usize].queue;
        if queue == NOWHERE {
            return;
        }
        if self.queues[usize::from(queue)].first == entry {
            self.queues[usize::from(queue)].first = self.successor_of_first(entry);
        }
        loop {
            let Node { left, right, .. } = self.nodes[entry as usize];
            match (left, right) {
                (NONE, child) | (child, NONE) => {
                    self.replace(entry, child);
                    break;
                }
                (left, right) => self.rotate_up(if priority(left) > priority(right) { left } else { right }),
            }
        }
        self.nodes[entry as usize] = LOOSE;
    }

    /// The leaf place for `stamp`, searched from the front: up the left edge while that is earlier, then down.
    fn place_below(&self, first: u32, stamp: u64) -> u32 {
        let mut at = first;
        loop {
            let up = self.nodes[at as usize].up;
            if up == NONE || self.nodes[up as usize].stamp > stamp {
                break;
            }
            at = up;
        }
        loop {
            let node = self.nodes[at as usize];
            let below = if stamp < node.stamp { node.left } else { node.right };
            if below == NONE {
                return at;
            }
            at = below;
        }
    }

    fn successor_of_first(&self, first: u32) -> u32 {
        let Node { right, up, .. } = self.nodes[first as usize];
        if right == NONE {
            return up;
        }
        let mut at = right;
        while self.nodes[at as usize].left != NONE {
            at = self.nodes[at as usize].left;
        }
        at
    }

    /// Puts `new` (or nothing) where `old` hangs.
    fn replace(&mut self, old: u32, new: u32) {
        let Node { up, queue, .. } = self.nodes[old as usize];
        if new != NONE {
            self.nodes[new as usize].up = up;
        }
        if up == NONE {
            self.queues[usize::from(queue)].root = new;
        } else if self.nodes[up as usize].left == old {
            self.nodes[up as usize].left = new;
        } else {
            self.nodes[up as usize].right = new;
        }
    }

    /// Exchanges an entry with the one above it; Q2 stays.
    fn rotate_up(&mut self, entry: u32) {
        let above = self.nodes[entry as usize].up;
        self.replace(above, entry);
        let inner = if self.nodes[above as usize].left == entry {
            let inner = std::mem::replace(&mut self.nodes[entry as usize].right, above);
            self.nodes[above as usize].left = inner;
            inner
        } else {
            let inner = std::mem::replace(&mut self.nodes[entry as usize].left, above);
            self.nodes[above as usize].right = inner;
            inner
        };
        if inner != NONE {
            self.nodes[inner as usize].up = above;
        }
        self.nodes[above as usize].up = entry;
    }

    /// Asserts Q1 to Q3; O(n), for tests. Gives the number of entries in all queues.
    pub(super) fn check(&self) -> usize {
        let mut total = 0;
        for (queue, ends) in self.queues.iter().enumerate() {
            let (mut at, mut last, mut came_from) = (ends.root, None, NONE);
            while at != NONE {
                let Node { left, right, up, stamp, queue: own } = self.nodes[at as usize];
                assert!(usize::from(own) == queue, "Q1: entry {at} of queue {own} hangs in queue {queue}");
                assert!(
                    up == NONE || priority(up) >= priority(at),
                    "Q3: entry {at} is above its better {up}"
                );
                if came_from == up && left != NONE {
                    (came_from, at) = (at, left);
                    continue;
                }
                if came_from == up || came_from == left {
                    assert!(last.is_some() || at == ends.first, "Q3: {at} is first, not {}", ends.first);
                    assert!(last.is_none_or(|last| last < stamp), "Q2: entry {at} stands too late");
                    (last, total) = (Some(stamp), total + 1);
                    if right != NONE {
                        (came_from, at) = (at, right);
                        continue;
                    }
                }
                (came_from, at) = (at, up);
            }
        }
        let standing = self.nodes.iter().filter(|node| node.queue != NOWHERE).count();
        assert_eq!(standing, total, "Q1: entries that stand somewhere");
        total
    }
}

/// Which of two entries stands above: as good as random, and the same in every run.
fn priority(entry: u32) -> u32 {
    let mixed = (entry ^ (entry >> 16)).wrapping_mul(0x7feb_352d);
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x846c_a68b);
    mixed ^ (mixed >> 16)
}

#[cfg(test)]
mod tests {
    use super::{EntryId, Queues};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn each_queue_is_sorted(steps in prop::collection::vec((0_u32..30, 0_u16..3, 0_u64..1000), 0..200)) {
            let mut queues = Queues::new(30, 3);
            let mut model: [BTreeSet<(u64, u32)>; 3] = Default::default();
            for (entry, queue, stamp) in steps {
                // Stamps of a queue differ.
                let stamp = stamp * 30 + u64::from(entry);
                for set in &mut model {
                    set.retain(|&(_, other)| other != entry);
                }
                if stamp.is_multiple_of(3) {
                    queues.remove(EntryId::new(entry));
                } else {
                    queues.insert(queue, EntryId::new(entry), stamp);
                    model[usize::from(queue)].insert((stamp, entry));
                }
                prop_assert_eq!(queues.check(), model.iter().map(BTreeSet::len).sum::<usize>());
                for queue in 0..3 {
                    let first = queues.first(queue).map(|(entry, stamp)| (stamp, entry.as_u32()));
                    prop_assert_eq!(first, model[usize::from(queue)].first().copied());
                }
            }
        }
    }
}
