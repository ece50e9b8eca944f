//! The order of eviction: an intrusive list through the slots' own records, least recently used first.
//! Layer 2. Uses `ids`. Known by: `pool`.
//!
//! - **O1** following `next` from the head visits each linked slot once and ends at the tail; `prev` is its reverse.
//!
//! Blocks are touched and released leaf first, root last, so a parent is always warmer than its children and the coldest
//! slot of the order is a leaf: evicting from its head keeps prefixes whole without looking at the tree.

use super::Slot;
use crate::ids::SlotId;

/// A slot's neighbours in the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    /// Itself, when it is the first; `NONE` when it is not in the order.
    prev: SlotId,
    /// `NONE` when it is the last.
    next: SlotId,
}

impl Links {
    pub(super) const UNLINKED: Self = Self { prev: SlotId::NONE, next: SlotId::NONE };

    pub(super) fn is_linked(self) -> bool {
        self.prev.is_some()
    }
}

/// The ends of the list.
#[derive(Debug)]
pub(super) struct Order {
    first: SlotId,
    last: SlotId,
}

impl Order {
    pub(super) fn new() -> Self {
        Self { first: SlotId::NONE, last: SlotId::NONE }
    }

    pub(super) fn link_last(&mut self, slots: &mut [Slot], slot: SlotId) {
        let before = self.last;
        slots[slot.index()].links =
            Links { prev: if before.is_some() { before } else { slot }, next: SlotId::NONE };
        if before.is_some() {
            slots[before.index()].links.next = slot;
        } else {
            self.first = slot;
        }
        self.last = slot;
    }

    pub(super) fn link_first(&mut self, slots: &mut [Slot], slot: SlotId) {
        let after = self.first;
        slots[slot.index()].links = Links { prev: slot, next: after };
        if after.is_some() {
            slots[after.index()].links.prev = slot;
        } else {
            self.last = slot;
        }
        self.first = slot;
    }

    pub(super) fn unlink(&mut self, slots: &mut [Slot], slot: SlotId) {
        let Links { prev, next } = slots[slot.index()].links;
        let is_first = prev == slot;
        if is_first {
            self.first = next;
        } else {
            slots[prev.index()].links.next = next;
        }
        if next.is_some() {
            slots[next.index()].links.prev = if is_first { next } else { prev };
        } else {
            self.last = if is_first { SlotId::NONE } else { prev };
        }
        slots[slot.index()].links = Links::UNLINKED;
    }

    pub(super) fn coldest<'a>(&self, slots: &'a [Slot]) -> Coldest<'a> {
        Coldest { slots, next: self.first }
    }
}

/// Walks the order from its least recently used slot.
#[derive(Clone, Debug)]
pub struct Coldest<'a> {
    slots: &'a [Slot],
    next: SlotId,
}

impl<'a> Coldest<'a> {
    /// From a slot on that is linked.
    pub(super) fn from(slots: &'a [Slot], slot: SlotId) -> Self {
        Self { slots, next: slot }
    }
}

impl Iterator for Coldest<'_> {
    type Item = SlotId;

    fn next(&mut self) -> Option<SlotId> {
        let slot = self.next;
        if !slot.is_some() {
            return None;
        }
        self.next = self.slots[slot.index()].links.next;
        Some(slot)
    }
}
