//! `cost-aware`: the least expected value goes first, unless the least recently used first is seen to hit more.
//! Layer 8. Uses `duel`, `reuse`. Known by: `arm`.
//!
//! - **CO1** whichever rule is followed, the model goes on learning, and both rules go over the same queues: changing sides
//!   costs nothing but a look at the heads.

use super::duel::Duel;
use super::prices::Prices;
use super::reuse::{Reuse, Rule};
use super::shadow::Footprint;
use super::{Arm, Bounds, Departure, EntryId, Keeping, Slice, Study, Touch, Visit};
use crate::sync::Mutex;
use std::sync::Arc;

/// The arm.
#[derive(Debug)]
pub struct CostAware {
    reuse: Reuse,
    judge: Arc<Judge>,
}

/// The duel, and what it weighs by: it reads names alone, so no other lock need be held meanwhile.
#[derive(Debug)]
struct Judge {
    court: Mutex<Court>,
}

#[derive(Debug)]
struct Court {
    duel: Duel,
    prices: Prices,
    /// Which side was ahead after the last request.
    rule: Rule,
}

impl Court {
    fn hear(&mut self, visit: &Visit<'_>) -> Rule {
        self.rule = self.duel.visit(visit, &self.prices);
        self.rule
    }
}

impl Study for Judge {
    fn read(&self, request: &Footprint<'_>) {
        let Footprint { length, blocks } = *request;
        self.court.lock().hear(&Visit { length, touches: &[], absent: blocks });
    }
}

impl CostAware {
    /// For a tier of these bounds.
    ///
    /// # Panics
    /// As [`Arm::build`].
    pub fn new(bounds: &Bounds) -> Self {
        let court = Court { duel: Duel::new(bounds), prices: Prices::EQUAL, rule: Rule::Recency };
        Self { reuse: Reuse::new(bounds), judge: Arc::new(Judge { court: Mutex::new(court) }) }
    }
}

impl Keeping for CostAware {
    fn name(&self) -> &'static str {
        Arm::CostAware.name()
    }

    fn visit(&mut self, visit: &Visit<'_>) {
        let rule = self.judge.court.lock().hear(visit);
        self.reuse.set_rule(rule);
        self.reuse.visit(visit);
    }

    fn study(&self) -> Option<Arc<dyn Study>> {
        Some(Arc::clone(&self.judge) as Arc<dyn Study>)
    }

    fn first_unknown(&self, visit: &Visit<'_>) -> Option<u32> {
        self.reuse.first_unknown(visit)
    }

    fn visit_slice(&mut self, slice: &Slice<'_>) {
        let rule = self.judge.court.lock().rule;
        self.reuse.set_rule(rule);
        self.reuse.visit_slice(slice);
    }

    fn warm(&self, names: &[u64], departures: usize) {
        self.reuse.warm(names, departures);
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
        self.judge.court.lock().prices = *prices;
        self.reuse.set_prices(prices);
    }

    fn len(&self) -> usize {
        self.reuse.len()
    }

    fn check(&self) {
        self.reuse.check();
    }
}
