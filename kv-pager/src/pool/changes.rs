//! Changes: which slots may not be what they were when somebody last asked.
//! Layer 2. Uses `ids`. Known by: `pool`.
//!
//! - **CH1** a slot stands in the list at most once, so the list is never longer than the pool, and nothing allocates;
//! - **CH2** where nobody follows, a change costs one comparison.
//!
//! A policy that keeps an order of its own follows the pool by it: it looks at what is there now, so it can't be confused by
//! what happened in between.

use crate::ids::SlotId;
use std::collections::VecDeque;

/// The slots that changed, oldest change first.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: VecDeque<SlotId>,
    /// By slot; empty while nobody follows.
    is_noted: Box<[bool]>,
}

impl Changes {
    /// Notes changes from now on, in a pool of `capacity` slots.
    pub(super) fn follow(&mut self, capacity: u32) {
        self.waiting = VecDeque::with_capacity(capacity as usize);
        self.is_noted = vec![false; capacity as usize].into_boxed_slice();
    }

    /// `slot` has changed. `O(1)`.
    pub(super) fn note(&mut self, slot: SlotId) {
        if let Some(is_noted) = self.is_noted.get_mut(slot.index())
            && !std::mem::replace(is_noted, true)
        {
            self.waiting.push_back(slot);
        }
    }

    /// `first` are told before all that waits, in this order.
    pub(super) fn put_first(&mut self, first: impl Iterator<Item = SlotId>) {
        let others = std::mem::take(&mut self.waiting);
        // What was allocated stays.
        self.waiting = VecDeque::with_capacity(others.capacity());
        self.is_noted.fill(false);
        first.chain(others).for_each(|slot| self.note(slot));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Moves at most `count` of them to `into`.
    pub(super) fn take(&mut self, count: usize, into: &mut Vec<SlotId>) {
        for slot in self.waiting.drain(..count.min(self.waiting.len())) {
            self.is_noted[slot.index()] = false;
            into.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Changes, SlotId};

    #[test]
    fn what_is_put_first_is_told_first_and_once() {
        let slot = SlotId::from_index;
        let mut changes = Changes::default();
        changes.follow(5);
        [0, 1, 2, 3].map(slot).into_iter().for_each(|slot| changes.note(slot));
        changes.put_first([2, 4, 0].map(slot).into_iter());
        let mut told = Vec::new();
        changes.take(9, &mut told);
        assert_eq!(told, [2, 4, 0, 1, 3].map(slot));
    }

    #[test]
    fn a_slot_is_told_once_in_the_order_of_its_first_change() {
        let slot = SlotId::from_index;
        let mut changes = Changes::default();
        changes.note(slot(1));
        changes.follow(4);
        for index in [3, 1, 3, 2] {
            changes.note(slot(index));
        }
        let mut told = Vec::new();
        changes.take(2, &mut told);
        assert_eq!(told, [slot(3), slot(1)]);
        changes.note(slot(3));
        changes.take(9, &mut told);
        assert_eq!(told, [slot(3), slot(1), slot(2), slot(3)]);
    }
}
