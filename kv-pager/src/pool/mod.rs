//! The pool: which slots of one tier's class are free, filling, resident or leaving, and who forbids their eviction.
//! Layer 2. Uses `ids`. Known by: `prefix` and above.
//!
//! - **P1** every slot is in exactly one state, and the counts of the states add up to the capacity (I1);
//! - **P2** a slot that is held, or read or written by a move, is neither free nor in the order (I2);
//! - **P3** the order holds exactly the resident slots that no sequence holds, least recently used first;
//! - **P4** free slots are those of the free map: taken lowest run first, so that what is stored together lies together.
//!
//! All that is known of a slot lives in its own record, made when the pool is: nothing here allocates.

mod changes;
mod free;
mod order;
mod state;
mod tiers;

pub use free::FreeMap;
pub use order::Coldest;
pub use state::{SlotCounts, SlotState};
pub use tiers::TierPools;

use crate::ids::{BlockId, Fence, SlotId};
use changes::Changes;
use order::Links;

/// What is known of one slot: 32 bytes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: SlotState,
    /// Whether requests have resumed, ended or branched where it is needed. Of slots that hold something.
    is_resumable: bool,
    /// Sequences that use it.
    holds: u32,
    /// Moves that read or write it.
    movers: u32,
    /// Whose part it holds; `NONE` while unnamed.
    block: BlockId,
    links: Links,
    /// The compute that wrote it or, while it is to be filled by a move, still uses it.
    fence: Fence,
}

/// The slots of one class of one tier.
#[derive(Debug)]
pub struct SlotPool {
    slots: Vec<Slot>,
    free: FreeMap,
    order: order::Order,
    counts: SlotCounts,
    changes: Changes,
}

impl SlotPool {
    /// A pool of `capacity` free slots. Allocates 32 bytes and a bit a slot.
    pub fn new(capacity: u32) -> Self {
        let empty = Slot {
            state: SlotState::Free,
            is_resumable: false,
            holds: 0,
            movers: 0,
            block: BlockId::NONE,
            links: Links::UNLINKED,
            fence: Fence::OVER,
        };
        Self {
            slots: vec![empty; capacity as usize],
            free: FreeMap::new(capacity),
            order: order::Order::new(),
            counts: SlotCounts::all_free(capacity),
            changes: Changes::default(),
        }
    }

    /// From now on notes which slots change: what they hold, or whether they may be evicted. Allocates 5 bytes a slot.
    pub fn follow_changes(&mut self) {
        self.changes.follow(self.capacity());
    }

    /// How many slots have changed since they were last told.
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Moves at most `count` slots that have changed since they were last told to `into`, oldest change first.
    pub fn take_changes(&mut self, count: usize, into: &mut Vec<SlotId>) {
        self.changes.take(count, into);
    }

    /// `slots` are the first that are told, in this order, if changes are followed. `O(capacity)`.
    pub fn tell_first(&mut self, slots: impl Iterator<Item = SlotId>) {
        self.changes.put_first(slots);
    }

    /// How many slots there are.
    pub fn capacity(&self) -> u32 {
        self.free.capacity()
    }

    /// How many slots are in each state. `O(1)`.
    pub fn counts(&self) -> SlotCounts {
        self.counts
    }

    /// The state of `slot`.
    pub fn state(&self, slot: SlotId) -> SlotState {
        self.slots[slot.index()].state
    }

    /// Whose part `slot` holds or is about to; `NONE` while unnamed.
    pub fn block(&self, slot: SlotId) -> BlockId {
        self.slots[slot.index()].block
    }

    /// How many sequences hold `slot`.
    pub fn holds(&self, slot: SlotId) -> u32 {
        self.slots[slot.index()].holds
    }

    /// Whether a move reads or writes `slot`.
    pub fn is_moving(&self, slot: SlotId) -> bool {
        self.slots[slot.index()].movers > 0
    }

    /// Whether `slot` holds the whole part of `block`, and nobody uses it: no sequence, no move.
    pub fn is_idle(&self, slot: SlotId, block: BlockId) -> bool {
        let record = &self.slots[slot.index()];
        record.state == SlotState::Resident
            && record.block == block
            && record.holds == 0
            && record.movers == 0
    }

    /// How many moves read or write `slot`.
    pub fn movers(&self, slot: SlotId) -> u32 {
        self.slots[slot.index()].movers
    }

    /// The names of all slots.
    pub fn slots(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..self.slots.len()).map(SlotId::from_index)
    }

    /// The compute that wrote `slot`, or is still to use it before it is filled: who reads or fills it waits for that.
    pub fn fence(&self, slot: SlotId) -> Fence {
        self.slots[slot.index()].fence
    }

    /// Takes `count` free slots, in as few runs as the free map shows quickly, and gives each to `taken` in ascending
    /// order within a run. They are filling, and neither held nor moving yet. False, and nothing taken, if there are fewer.
    pub fn take(&mut self, count: u32, mut taken: impl FnMut(SlotId)) -> bool {
        if self.counts.of(SlotState::Free) < count {
            return false;
        }
        let Self { slots, free, counts, .. } = self;
        free.take(count, |slot| {
            slots[slot.index()].state = SlotState::Filling;
            taken(slot);
        });
        counts.shift(SlotState::Free, SlotState::Filling, count);
        true
    }

    /// Takes `count` free slots as [`SlotPool::take`] does, each held by the sequence that asks for them.
    pub fn take_held(&mut self, count: u32, mut taken: impl FnMut(SlotId)) -> bool {
        if self.counts.of(SlotState::Free) < count {
            return false;
        }
        let Self { slots, free, counts, .. } = self;
        free.take(count, |slot| {
            let record = &mut slots[slot.index()];
            record.state = SlotState::Filling;
            record.holds = 1;
            taken(slot);
        });
        counts.shift(SlotState::Free, SlotState::Filling, count);
        true
    }

    /// Takes this very slot: one that a tier has kept from an earlier process, or that is to be retired. False if it is not there or not free.
    pub fn take_this(&mut self, slot: SlotId) -> bool {
        if slot.index() >= self.slots.len() || !self.free.is_free(slot) {
            return false;
        }
        self.free.remove(slot);
        self.slots[slot.index()].state = SlotState::Filling;
        self.counts.shift(SlotState::Free, SlotState::Filling, 1);
        true
    }

    /// A sequence begins to use `slot`. One that was leaving is resident again: the hit came first.
    ///
    /// A quarantined one is held by who shares a table that it still stands in.
    ///
    /// # Panics
    /// If the slot is free or retired.
    pub fn hold(&mut self, slot: SlotId) {
        let record = &mut self.slots[slot.index()];
        match record.state {
            SlotState::Filling | SlotState::Resident | SlotState::Quarantined => {}
            SlotState::Leaving => {
                record.state = SlotState::Resident;
                self.counts.shift(SlotState::Leaving, SlotState::Resident, 1);
            }
            state => panic!("slot {slot:?} is {state:?} and can't be held"),
        }
        if record.links.is_linked() {
            self.order.unlink(&mut self.slots, slot);
            self.changes.note(slot);
        }
        self.slots[slot.index()].holds += 1;
    }

    /// A sequence begins to use `slot` as [`SlotPool::hold`] does, if a whole part is there. Returns the fence of the compute that
    /// wrote it; `None`, and no hold, if the slot is filling.
    ///
    /// # Panics
    /// If the slot is free or retired.
    #[inline]
    pub fn hold_whole(&mut self, slot: SlotId) -> Option<Fence> {
        let record = &mut self.slots[slot.index()];
        let fence = record.fence;
        if record.state == SlotState::Filling {
            return None;
        }
        if record.state == SlotState::Resident && !record.links.is_linked() {
            record.holds += 1;
        } else {
            self.hold(slot);
        }
        Some(fence)
    }

    /// A sequence has done with `slot`. A resident one that nobody else holds becomes the most recently used of the order;
    /// an unnamed one that nobody else uses becomes free.
    ///
    /// # Panics
    /// If nobody holds the slot.
    pub fn release(&mut self, slot: SlotId) {
        let record = &mut self.slots[slot.index()];
        assert!(record.holds > 0, "slot {slot:?} ({:?}) is released, but nobody holds it", record.state);
        record.holds -= 1;
        if record.holds == 0 && record.state == SlotState::Resident {
            self.order.link_last(&mut self.slots, slot);
            self.changes.note(slot);
        } else {
            self.free_unused(slot);
        }
    }

    /// A move begins to read or write `slot`.
    ///
    /// # Panics
    /// If the slot is free, quarantined or retired.
    pub fn begin_move(&mut self, slot: SlotId) {
        let record = &mut self.slots[slot.index()];
        assert!(
            matches!(record.state, SlotState::Filling | SlotState::Resident | SlotState::Leaving),
            "slot {slot:?} is {:?} and can't be moved",
            record.state
        );
        record.movers += 1;
    }

    /// A move has ended at `slot`, whichever way. An unnamed or quarantined slot that nobody uses any more becomes free.
    ///
    /// # Panics
    /// If no move is at the slot.
    pub fn end_move(&mut self, slot: SlotId) {
        let record = &mut self.slots[slot.index()];
        assert!(record.movers > 0, "slot {slot:?} ({:?}): a move ended that had not begun", record.state);
        record.movers -= 1;
        self.free_unused(slot);
    }

    /// Frees `slot` if its bytes have no name and nobody uses it.
    fn free_unused(&mut self, slot: SlotId) {
        let record = &self.slots[slot.index()];
        let is_nameless =
            matches!(record.state, SlotState::Filling | SlotState::Quarantined) && !record.block.is_some();
        if is_nameless && record.holds == 0 && record.movers == 0 {
            self.free(slot);
        }
    }

    /// Says that `slot`, still filling, will hold a part of `block`, so that it outlives its holders.
    ///
    /// # Panics
    /// If the slot is not filling.
    pub fn reserve(&mut self, slot: SlotId, block: BlockId) {
        let record = &mut self.slots[slot.index()];
        assert!(record.state == SlotState::Filling, "slot {slot:?} is {:?}, not filling", record.state);
        record.block = block;
        self.changes.note(slot);
    }

    /// Takes `slot` from the block it was reserved for: the fill failed. If nobody uses it, it becomes free.
    ///
    /// # Panics
    /// If the slot is not filling.
    pub fn unreserve(&mut self, slot: SlotId) {
        self.reserve(slot, BlockId::NONE);
        self.free_unused(slot);
    }

    /// `slot` now holds the whole part of `block`, written by the compute behind `fence`. Held or not, it can be matched;
    /// [`SlotPool::settle_idle`] puts it in the order.
    ///
    /// # Panics
    /// If the slot is not filling.
    pub fn settle(&mut self, slot: SlotId, block: BlockId, fence: Fence) {
        let record = &mut self.slots[slot.index()];
        assert!(record.state == SlotState::Filling, "slot {slot:?} is {:?}, not filling", record.state);
        record.state = SlotState::Resident;
        record.block = block;
        record.fence = fence;
        self.counts.shift(SlotState::Filling, SlotState::Resident, 1);
        self.changes.note(slot);
    }

    /// Puts `slot` in the order, as the most recently used, if it is resident, unheld and not there yet.
    pub fn settle_idle(&mut self, slot: SlotId) {
        let record = &self.slots[slot.index()];
        if record.state == SlotState::Resident && record.holds == 0 && !record.links.is_linked() {
            self.order.link_last(&mut self.slots, slot);
            self.changes.note(slot);
        }
    }

    /// Says that the compute behind `fence` writes `slot`, which is filling, or uses it before a move fills it.
    ///
    /// # Panics
    /// If the slot is not filling.
    pub fn note_use(&mut self, slot: SlotId, fence: Fence) {
        let record = &mut self.slots[slot.index()];
        assert!(record.state == SlotState::Filling, "slot {slot:?} is {:?}, not filling", record.state);
        record.fence = fence;
    }

    /// Makes `slot` the most recently used of the order, if it is in it.
    pub fn touch(&mut self, slot: SlotId) {
        if self.slots[slot.index()].links.is_linked() {
            self.order.unlink(&mut self.slots, slot);
            self.order.link_last(&mut self.slots, slot);
        }
    }

    /// The part in `slot` is being copied away to make room.
    ///
    /// # Panics
    /// If the slot is not resident, or is held.
    pub fn leave(&mut self, slot: SlotId) {
        let record = &mut self.slots[slot.index()];
        assert!(record.state == SlotState::Resident, "slot {slot:?} is {:?}, not resident", record.state);
        assert!(record.holds == 0, "slot {slot:?} has {} holds and can't leave", record.holds);
        record.state = SlotState::Leaving;
        self.counts.shift(SlotState::Resident, SlotState::Leaving, 1);
        self.changes.note(slot);
        if self.slots[slot.index()].links.is_linked() {
            self.order.unlink(&mut self.slots, slot);
        }
    }

    /// The part in `slot` stays after all. It becomes the least recently used of the order.
    ///
    /// # Panics
    /// If the slot is not leaving.
    pub fn stay(&mut self, slot: SlotId) {
        let record = &mut self.slots[slot.index()];
        assert!(record.state == SlotState::Leaving, "slot {slot:?} is {:?}, not leaving", record.state);
        record.state = SlotState::Resident;
        self.counts.shift(SlotState::Leaving, SlotState::Resident, 1);
        self.order.link_first(&mut self.slots, slot);
        self.changes.note(slot);
    }

    /// Frees `slot`, whose bytes nobody needs any more.
    ///
    /// # Panics
    /// If the slot is held, moving, or already free.
    pub fn free(&mut self, slot: SlotId) {
        self.vacate(slot, SlotState::Free);
        self.free.put(slot);
    }

    /// Sets `slot`, which was filling, aside: a move that timed out may still be writing it. It becomes free when its holders
    /// and that move are gone.
    ///
    /// # Panics
    /// If the slot is not filling, or no move is at it.
    pub fn quarantine(&mut self, slot: SlotId) {
        let record = &mut self.slots[slot.index()];
        assert!(record.state == SlotState::Filling, "slot {slot:?} is {:?}, not filling", record.state);
        assert!(record.movers > 0, "slot {slot:?} has no move that could be late");
        record.state = SlotState::Quarantined;
        record.block = BlockId::NONE;
        self.counts.shift(SlotState::Filling, SlotState::Quarantined, 1);
        self.changes.note(slot);
    }

    /// Takes `slot` out of service for good: it is known to be bad.
    ///
    /// # Panics
    /// If the slot is held, moving, or already free.
    pub fn retire(&mut self, slot: SlotId) {
        self.vacate(slot, SlotState::Retired);
    }

    /// Notes that requests may go on from where `slot` is needed, until it holds something else.
    pub fn mark_resumable(&mut self, slot: SlotId) {
        self.slots[slot.index()].is_resumable = true;
    }

    /// Whether that was noted of what `slot` holds.
    pub fn is_resumable(&self, slot: SlotId) -> bool {
        self.slots[slot.index()].is_resumable
    }

    /// The resident slots that no sequence holds, least recently used first. `O(1)` a step.
    pub fn coldest(&self) -> Coldest<'_> {
        self.order.coldest(&self.slots)
    }

    /// The same from `slot` on, if it is one of them; all of them otherwise. `O(1)` a step.
    pub fn coldest_from(&self, slot: SlotId) -> Coldest<'_> {
        let is_one = slot.is_some() && self.slots[slot.index()].links.is_linked();
        if is_one { Coldest::from(&self.slots, slot) } else { self.coldest() }
    }

    fn vacate(&mut self, slot: SlotId, into: SlotState) {
        let record = &self.slots[slot.index()];
        let from = record.state;
        assert!(
            record.holds == 0,
            "slot {slot:?} ({from:?}) has {} holds and can't be vacated",
            record.holds
        );
        assert!(
            record.movers == 0,
            "slot {slot:?} ({from:?}) has {} moves at it and can't be vacated",
            record.movers
        );
        assert!(from != SlotState::Free, "slot {slot:?} is freed twice");
        if record.links.is_linked() {
            self.order.unlink(&mut self.slots, slot);
        }
        let record = &mut self.slots[slot.index()];
        record.state = into;
        record.is_resumable = false;
        record.block = BlockId::NONE;
        record.fence = Fence::OVER;
        self.counts.shift(from, into, 1);
        self.changes.note(slot);
    }

    /// Asserts P1–P4. `O(capacity)`; for tests.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub fn check(&self) {
        let mut counts = SlotCounts::default();
        let mut linked = 0_u32;
        for (index, record) in self.slots.iter().enumerate() {
            let slot = SlotId::from_index(index);
            counts.add(record.state);
            let in_order = record.state == SlotState::Resident && record.holds == 0;
            assert!(
                in_order == record.links.is_linked(),
                "P3: slot {slot:?} is {record:?}, and {} the order",
                if record.links.is_linked() { "in" } else { "not in" }
            );
            linked += u32::from(in_order);
            assert!(
                self.free.is_free(slot) == (record.state == SlotState::Free),
                "P4: slot {slot:?} is {:?}, but the free map says otherwise",
                record.state
            );
            if matches!(record.state, SlotState::Free | SlotState::Retired) {
                assert!(record.holds == 0 && record.movers == 0, "P2: slot {slot:?} is {record:?}");
                assert!(!record.is_resumable, "slot {slot:?} holds nothing to go on from");
            }
        }
        assert!(counts == self.counts, "P1: counted {counts:?}, kept {:?}", self.counts);
        assert!(self.coldest().count() == linked as usize, "P3: the order is broken");
        self.free.check();
    }
}

#[cfg(test)]
mod tests;
