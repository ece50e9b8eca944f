//! The pool of an engine that owns its device slots.
//! Known by: `external`.
//!
//! - **BP1** a slot is not allocated before the ticket of the last call that named it has ended;
//! - **BP2** a slot whose move may go on is never allocated again;
//! - **BP3** each slot carries the fence of the last compute that uses it, for whoever gets it next.

use kv_pager::ids::{Fence, SlotId};
use kv_pager::pager::Delivery;

/// The number of one slot's stay with the pager: from the call that named it to the end of its move.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotTicket(u64);

#[derive(Clone, Copy, Debug)]
struct Slot {
    ticket: Option<SlotTicket>,
    last_use: Fence,
}

/// Device slots of an engine: those that are free, and what is known of all.
#[derive(Debug)]
pub struct BlockPool {
    slots: Vec<Slot>,
    /// The last is taken first: what was given back too early is reused at once.
    free: Vec<SlotId>,
    tickets: u64,
}

impl BlockPool {
    /// A pool of so many free slots.
    pub fn new(slots: usize) -> Self {
        let unused = Slot { ticket: None, last_use: Fence::OVER };
        let free = (0..slots).map(SlotId::from_index).collect();
        Self { slots: vec![unused; slots], free, tickets: 0 }
    }

    /// Takes a free slot, if there is one, with the fence that whoever writes it waits for (BP3).
    ///
    /// # Panics
    /// If a ticket on it has not ended (BP1): the engine gave it back too early.
    pub fn allocate(&mut self) -> Option<(SlotId, Fence)> {
        let slot = self.free.pop()?;
        let Slot { ticket, last_use } = self.slots[slot.index()];
        assert!(ticket.is_none(), "BP1: {slot:?} is reused before its {ticket:?} has ended");
        Some((slot, last_use))
    }

    /// A call has named `slot`: it is the pager's until the ticket has ended.
    ///
    /// # Panics
    /// If one on it has not ended.
    pub fn lend(&mut self, slot: SlotId) -> SlotTicket {
        let Slot { ticket, .. } = &mut self.slots[slot.index()];
        assert!(ticket.is_none(), "BP1: {slot:?} is named before its {ticket:?} has ended");
        self.tickets += 1;
        *ticket.insert(SlotTicket(self.tickets))
    }

    /// The move at `slot` has ended so; after one that may go on the ticket stays (BP2).
    ///
    /// # Panics
    /// If that was not its ticket, or the move has not ended.
    pub fn end(&mut self, slot: SlotId, ticket: SlotTicket, outcome: Delivery) {
        let noted = &mut self.slots[slot.index()].ticket;
        assert!(*noted == Some(ticket), "{slot:?} has {noted:?}, not {ticket:?}");
        match outcome {
            Delivery::Done | Delivery::Failed => *noted = None,
            Delivery::Lost => {}
            Delivery::UnderWay => panic!("{ticket:?} of {slot:?} has not ended"),
        }
    }

    /// Whether a ticket is on `slot`.
    pub fn is_lent(&self, slot: SlotId) -> bool {
        self.slots[slot.index()].ticket.is_some()
    }

    /// The engine has done with `slot` but for the compute up to `last_use`. That it may be reused is looked at when it is.
    pub fn give_back(&mut self, slot: SlotId, last_use: Fence) {
        self.slots[slot.index()].last_use = last_use;
        self.free.push(slot);
    }

    /// How many slots are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }
}
