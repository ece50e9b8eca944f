//! `cost-aware`: the least expected value goes first, unless the least recently used first is seen to hit more.
//! Layer 8. Uses `duel`, `reuse`. Known by: `arm`.
//!
//! - **CO1** whichever rule is followed, the model goes on learning, and both rules go over the same queues: changing sides
//!   costs nothing but a look at the heads.

use super::duel::Duel;
use super::prices::Prices;
use super::reuse::Reuse;
use super::{Arm, Bounds, Departure, EntryId, Keeping, Touch, Visit};

/// The arm.
#[derive(Debug)]
pub struct CostAware {
    reuse: Reuse,
    duel: Duel,
    prices: Prices,
}

impl CostAware {
    /// For a tier of these bounds.
    ///
    /// # Panics
    /// As [`Arm::build`].
    pub fn new(bounds: &Bounds) -> Self {
        Self { reuse: Reuse::new(bounds), duel: Duel::new(bounds), prices: Prices::EQUAL }
    }
}

impl Keeping for CostAware {
    fn name(&self) -> &'static str {
        Arm::CostAware.name()
    }

    fn visit(&mut self, visit: &Visit<'_>) {
        let rule = self.duel.visit(visit, &self.prices);
        self.reuse.set_rule(rule);
        self.reuse.visit(visit);
    }

    fn admit(&mut self, arrival: &Touch) {
        self.reuse.admit(arrival);
    }

    fn odds(&mut self, entry: EntryId) -> Option<f64> {
        self.reuse.odds(entry)
    }

    fn worth(&mut self, entry: EntryId) -> Option<f64> {
        self.reuse.worth(entry)
    }

    fn worth_of_absent(&mut self, name: u64) -> Option<f64> {
        self.reuse.worth_of_absent(name)
    }

    fn offer(&mut self, entries: &[EntryId]) {
        self.reuse.offer(entries);
    }

    fn withhold(&mut self, entries: &[EntryId]) {
        self.reuse.withhold(entries);
    }

    fn victim(&mut self) -> Option<EntryId> {
        self.reuse.victim()
    }

    fn depart(&mut self, entry: EntryId, departure: Departure) {
        self.reuse.depart(entry, departure);
    }

    fn set_backed(&mut self, entry: EntryId, is_backed: bool) {
        self.reuse.set_backed(entry, is_backed);
    }

    fn set_prices(&mut self, prices: &Prices) {
        self.prices = *prices;
        self.reuse.set_prices(prices);
    }

    fn len(&self) -> usize {
        self.reuse.len()
    }

    fn check(&self) {
        self.reuse.check();
    }
}
