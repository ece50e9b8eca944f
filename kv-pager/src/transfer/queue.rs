//! A queue of moves by priority, in which each is found by the slot that it goes to.
//! Layer 7. Uses `ids`, `prefix`. Known by: `transfer`, `pager`.
//!
//! - **TQ1** at most one move to a slot is there, from when it is added until it is taken out;
//! - **TQ2** moves of one priority wait in the order in which they were added, whatever else begins or is taken out;
//! - **TQ3** nothing takes longer the more moves there are; memory grows to what the most at a time have needed, and no farther.
//!
//! A move that has begun waits no longer, but is found until it is taken out: who calls it off need not know how far it has come.
//! Places are linked by priority, and those whose slots fall into one bucket by bucket. There are a few times as many buckets as moves may
//! wait, or as many as slots if those are fewer. Adjacent slots have adjacent buckets: what is copied in one piece is found in one piece.

use super::Priority;
use crate::ids::{BlockId, GroupId, SlotId};
use crate::prefix::Looks;
use std::num::NonZeroU32;

/// How many buckets there are for each move that may wait: few share one.
const BUCKETS_A_MOVE: usize = 4;

/// What a move is asked for by: whose part it brings where. The slot finds it, and the block tells whether it is still that one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Goal {
    /// Whose part it is.
    pub block: BlockId,
    /// Of which group.
    pub group: GroupId,
    /// Where it is to be, in the tier at hand.
    pub slot: SlotId,
}

/// What can wait in a queue.
pub(crate) trait Queued: Copy {
    /// What it is found by.
    fn goal(&self) -> Goal;
    /// Among which others it waits.
    fn priority(&self) -> Priority;
}

/// Where in a queue a move is, until it is taken out: one more than an index, so that empty buckets are zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(NonZeroU32);

impl Place {
    fn at(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("there are fewer moves than slots, and those have names"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What a place is found by: apart from what is there, so that to find one reads little.
#[derive(Clone, Copy, Debug)]
struct Key {
    goal: Goal,
    has_begun: bool,
    /// The next of its bucket, or of those that are free.
    chain: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Node<T> {
    item: T,
    /// How many were added before it: among those that wait equally urgently, the order.
    order: u64,
    /// Its neighbours, while it waits.
    before: Option<Place>,
    after: Option<Place>,
    /// Once it has begun: with which batch, as which of its moves.
    batch: u64,
    index: u32,
}

/// Those that wait equally urgently.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    first: Option<Place>,
    last: Option<Place>,
    len: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    keys: Vec<Key>,
    nodes: Vec<Node<T>>,
    free: Option<Place>,
    lists: [List; Priority::COUNT],
    buckets: Box<[Option<NonZeroU32>]>,
    /// By group: how many slots the groups before it have.
    firsts: Vec<usize>,
    added: u64,
    /// A buffer that is kept.
    found: Vec<Place>,
    looks: Looks,
}

impl<T: Queued> Queue<T> {
    /// An empty one, for moves to slots of these classes, by group, of which `most` may wait. Takes up to 32 bytes for each of those, or 8 for
    /// each slot if that is less; a place takes 56 bytes and what waits there. Whose move is looked at is noted in `looks`.
    pub(crate) fn new(slots: &[u32], most: u32, looks: Looks) -> Self {
        let mut all = 0;
        let mut firsts = Vec::with_capacity(slots.len());
        for slots in slots {
            firsts.push(all);
            all += *slots as usize;
        }
        let buckets = all.min(BUCKETS_A_MOVE * most as usize).max(1).next_power_of_two();
        Self {
            keys: Vec::new(),
            nodes: Vec::new(),
            free: None,
            lists: [List::default(); Priority::COUNT],
            buckets: vec![None; buckets].into_boxed_slice(),
            firsts,
            added: 0,
            found: Vec::new(),
            looks,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.len).sum()
    }

    /// How many wait as urgently as this.
    pub(crate) fn len_of(&self, priority: Priority) -> usize {
        self.lists[priority as usize].len
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first of those that wait as urgently as this.
    pub(crate) fn first(&self, priority: Priority) -> Option<Place> {
        self.lists[priority as usize].first
    }

    /// The first of all that wait.
    pub(crate) fn front(&self) -> Option<Place> {
        self.lists.iter().find_map(|list| list.first)
    }

    /// The one that waits behind that at `place`.
    pub(crate) fn behind(&self, place: Place) -> Option<Place> {
        let Node { item, after, .. } = &self.nodes[place.index()];
        after.or_else(|| self.lists[item.priority() as usize + 1..].iter().find_map(|list| list.first))
    }

    /// All that wait, the most urgent first. Whose moves these are is not noted.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &T> {
        std::iter::successors(self.front(), |place| self.behind(*place))
            .map(|place| &self.nodes[place.index()].item)
    }

    /// What is at `place`.
    pub(crate) fn item(&self, place: Place) -> &T {
        let item = &self.nodes[place.index()].item;
        self.looks.note(item.goal().block);
        item
    }

    /// The batch with which the move at `place` has begun, and which of its moves it is; `None` if it waits.
    pub(crate) fn begun(&self, place: Place) -> Option<(u64, usize)> {
        let Node { batch, index, .. } = self.nodes[place.index()];
        self.keys[place.index()].has_begun.then_some((batch, index as usize))
    }

    /// Where the move that is asked for is, if it is there.
    pub(crate) fn find(&self, goal: Goal) -> Option<Place> {
        self.find_to(goal).filter(|place| self.keys[place.index()].goal.block == goal.block)
    }

    /// Adds one, behind all that are as urgent.
    ///
    /// # Panics
    /// If there is one to the same slot (TQ1).
    pub(crate) fn add(&mut self, item: T) {
        let goal = item.goal();
        assert!(self.find_to(goal).is_none(), "TQ1: {goal:?}, and another move to its slot");
        let bucket = self.bucket(goal);
        let list = item.priority() as usize;
        let before = self.lists[list].last;
        let key = Key { goal, has_begun: false, chain: self.buckets[bucket].map(Place) };
        let node = Node { item, order: self.added, before, after: None, batch: 0, index: 0 };
        self.added += 1;
        let place = if let Some(place) = self.free {
            self.free = self.keys[place.index()].chain;
            self.keys[place.index()] = key;
            self.nodes[place.index()] = node;
            place
        } else {
            self.keys.push(key);
            self.nodes.push(node);
            Place::at(self.nodes.len() - 1)
        };
        self.buckets[bucket] = Some(place.0);
        match before {
            None => self.lists[list].first = Some(place),
            Some(before) => self.nodes[before.index()].after = Some(place),
        }
        self.lists[list].last = Some(place);
        self.lists[list].len += 1;
    }

    /// The move at `place`, which waits, begins: as move `index` of a batch.
    ///
    /// # Panics
    /// If it has begun.
    pub(crate) fn begin(&mut self, place: Place, batch: u64, index: usize) {
        self.leave_list(place);
        self.keys[place.index()].has_begun = true;
        let node = &mut self.nodes[place.index()];
        (node.batch, node.index) = (batch, u32::try_from(index).expect("at most 512 moves are in a batch"));
    }

    /// Takes out what waits at `place`.
    ///
    /// # Panics
    /// If it has begun.
    pub(crate) fn take(&mut self, place: Place) -> T {
        self.leave_list(place);
        self.vacate(place);
        self.nodes[place.index()].item
    }

    /// Takes out the move that is asked for, which has begun.
    ///
    /// # Panics
    /// If there is none, or it waits.
    pub(crate) fn end(&mut self, goal: Goal) {
        let place = self.find(goal).expect("what has begun is there until it ends");
        assert!(self.keys[place.index()].has_begun, "{goal:?} ends, and has not begun");
        self.vacate(place);
    }

    /// Takes out those that are asked for by `goals`, wait, and are meant, and adds them to `taken` in the order in which they wait.
    /// `O(goals)`, and sorts what it finds.
    pub(crate) fn take_found(&mut self, goals: &[Goal], is_meant: impl Fn(&T) -> bool, taken: &mut Vec<T>) {
        let mut found = std::mem::take(&mut self.found);
        let is_taken =
            |place: &Place| !self.keys[place.index()].has_begun && is_meant(&self.nodes[place.index()].item);
        found.extend(goals.iter().filter_map(|goal| self.find(*goal)).filter(is_taken));
        let turn = |place: &Place| {
            let Node { item, order, .. } = &self.nodes[place.index()];
            (item.priority(), *order)
        };
        found.sort_unstable_by_key(turn);
        found.dedup();
        taken.extend(found.drain(..).map(|place| self.take(place)));
        self.found = found;
    }

    /// Whatever goes to this slot, whosever part it brings.
    fn find_to(&self, goal: Goal) -> Option<Place> {
        let first = self.buckets[self.bucket(goal)].map(Place);
        std::iter::successors(first, |at| self.keys[at.index()].chain).find(|at| {
            let found = self.keys[at.index()].goal;
            self.looks.note(found.block);
            (found.group, found.slot) == (goal.group, goal.slot)
        })
    }

    fn bucket(&self, goal: Goal) -> usize {
        (self.firsts[goal.group.index()] + goal.slot.index()) & (self.buckets.len() - 1)
    }

    /// What is at `place` waits no more.
    fn leave_list(&mut self, place: Place) {
        assert!(!self.keys[place.index()].has_begun, "what is at {place:?} has begun");
        let Node { item, before, after, .. } = &self.nodes[place.index()];
        let (list, before, after) = (item.priority() as usize, *before, *after);
        match before {
            None => self.lists[list].first = after,
            Some(before) => self.nodes[before.index()].after = after,
        }
        match after {
            None => self.lists[list].last = before,
            Some(after) => self.nodes[after.index()].before = before,
        }
        self.lists[list].len -= 1;
    }

    /// `place` is found no more, and free.
    fn vacate(&mut self, place: Place) {
        let Key { goal, chain, .. } = self.keys[place.index()];
        let bucket = self.bucket(goal);
        let first = self.buckets[bucket].map(Place);
        if first == Some(place) {
            self.buckets[bucket] = chain.map(|next| next.0);
        } else {
            let mut chained = std::iter::successors(first, |at| self.keys[at.index()].chain);
            let before = chained.find(|at| self.keys[at.index()].chain == Some(place));
            self.keys[before.expect("it is in its bucket").index()].chain = chain;
        }
        self.keys[place.index()].chain = self.free.replace(place);
    }
}

#[cfg(test)]
mod tests;
