//! Deliveries: what an engine that owns its device slots waits for, and the register of slots that are named in calls under way.
//! Layer 9. Uses `pager::{core, slices}`. Known by: `pager::external`, engines.
//!
//! - **DL1** each move that was asked for ends once: who asked sees that, and who has dropped what was asked for is forgotten.

use super::core::Core;
use super::external::BlockAt;
use super::slices;
use super::{Pager, Progress};
use crate::ids::SlotId;
use crate::units::Nanos;
use std::collections::HashMap;

/// How a move of the engine's ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Delivery {
    /// It has not.
    UnderWay,
    /// Well.
    Done,
    /// Not: compute the block, or keep it. The slot is the engine's again.
    Failed,
    /// Not, and its slot may still be written or read, nobody knows for how long: leave it alone.
    Lost,
}

/// Moves that an engine has asked for, one a block. Dropping it leaves them under way; their slots are the pager's until they end.
#[derive(Debug)]
pub struct Deliveries {
    pager: Pager,
    seen: Progress,
    slots: Vec<SlotId>,
    /// What each slot is waited for as.
    tickets: Vec<u64>,
    outcomes: Vec<Delivery>,
}

impl Deliveries {
    /// Moves at the slots of `named` that were asked for since `seen`, and what each is waited for as.
    pub(super) fn new(pager: &Pager, seen: Progress, named: &[BlockAt], tickets: Vec<u64>) -> Self {
        Self {
            pager: pager.clone(),
            seen,
            slots: named.iter().map(|at| at.slot).collect(),
            outcomes: vec![Delivery::UnderWay; tickets.len()],
            tickets,
        }
    }

    /// How each move stands, in the order asked for.
    pub fn poll(&mut self) -> &[Delivery] {
        self.seen = self.pager.progress();
        self.pager.poll();
        let slice = self.pager.shared.slice_blocks;
        let mut slices = self.outcomes.chunks_mut(slice).zip(self.tickets.chunks(slice));
        slices::repeat(&self.pager.shared, |core| {
            let Some((outcomes, tickets)) = slices.next() else { return true };
            for (outcome, ticket) in outcomes.iter_mut().zip(tickets) {
                if *outcome == Delivery::UnderWay {
                    *outcome = core.take_delivery(*ticket);
                }
            }
            false
        });
        &self.outcomes
    }

    /// Whether all have ended.
    pub fn is_over(&mut self) -> bool {
        self.poll().iter().all(|outcome| *outcome != Delivery::UnderWay)
    }

    /// Blocks until something has ended since the last look, or for `timeout`. Returns whether it did.
    pub fn wait(&self, timeout: Nanos) -> bool {
        self.pager.wait(self.seen, timeout)
    }

    /// The engine's slots, in the order asked for.
    pub fn slots(&self) -> &[SlotId] {
        &self.slots
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        let mut slices = self.tickets.chunks(self.pager.shared.slice_blocks);
        slices::repeat(&self.pager.shared, |core| {
            let Some(slice) = slices.next() else { return true };
            for ticket in slice {
                core.register.forget(*ticket);
            }
            false
        });
    }
}

/// Which engine's slots are named in calls under way, and how those that ended did.
#[derive(Debug, Default)]
pub(super) struct Register {
    next: u64,
    /// By slot: the ticket, and which onboard ordered the move, if one did.
    tickets: HashMap<SlotId, (u64, Option<u64>)>,
    outcomes: HashMap<u64, Delivery>,
    /// By onboard: how many of its loads have not ended.
    loads: HashMap<u64, u32>,
}

impl Register {
    /// A name for an onboard.
    pub(super) fn begin_onboard(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn expect(&mut self, slot: SlotId, onboard: Option<u64>) -> u64 {
        self.next += 1;
        self.tickets.insert(slot, (self.next, onboard));
        self.outcomes.insert(self.next, Delivery::UnderWay);
        if let Some(onboard) = onboard {
            *self.loads.entry(onboard).or_default() += 1;
        }
        self.next
    }

    pub(super) fn settled(&mut self, outcome: Delivery) -> u64 {
        self.next += 1;
        self.outcomes.insert(self.next, outcome);
        self.next
    }

    pub(super) fn end(&mut self, slot: SlotId, outcome: Delivery) {
        let Some((ticket, onboard)) = self.tickets.remove(&slot) else { return };
        if let Some(kept) = self.outcomes.get_mut(&ticket) {
            *kept = outcome;
        }
        let Some(onboard) = onboard else { return };
        let left = self.loads.get_mut(&onboard).expect("counted when the load was ordered");
        *left -= 1;
        if *left == 0 {
            self.loads.remove(&onboard);
        }
    }

    /// How many onboards have loads that have not ended.
    pub(super) fn onboards(&self) -> u32 {
        u32::try_from(self.loads.len()).unwrap_or(u32::MAX)
    }

    fn forget(&mut self, ticket: u64) {
        self.outcomes.remove(&ticket);
    }
}

impl Core {
    fn take_delivery(&mut self, ticket: u64) -> Delivery {
        let outcome = self.register.outcomes.get(&ticket).copied().unwrap_or(Delivery::Failed);
        if outcome != Delivery::UnderWay {
            self.register.forget(ticket);
        }
        outcome
    }
}
