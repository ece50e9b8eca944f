//! The ledger: what following the model has cost against last use since the start, and whether more may be risked.
//! Layer 8. Uses `reuse`, `duel::{recency, score}`. Known by: `duel`.
//!
//! - **DU6** a tier that follows the model has hit what last use would have but for [`BUDGET`] of all references, or it follows it
//!   no more until it has;
//! - **DU7** what may be lost yet counts as lost: the blocks exposed, times the share of such blocks that were asked for.
//!
//! A score tells who is better only once something was lost, and what the tier has given up by then is lost later, whichever order
//! it follows. With the share at one, DU6 would hold whatever comes (see `recency`); but most of what the model gives up is never
//! asked for, so at one it would hardly be followed at all. The share starts at one and is learned.

use super::super::reuse::Rule;
use super::recency::Settled;
use super::score::Score;

/// Hits per reference that may be lost.
const BUDGET: f64 = 0.0035;

/// References for which the budget is granted in advance: few streams are over sooner, and none could be learned from without.
const ADVANCE: f64 = 20_000.0;

/// Exposed blocks that count as asked for until so many have shown what becomes of them.
const ASKED_IN_ADVANCE: f64 = 150.0;

/// How much more than the share that was asked for may be asked for: what the model gives up next is worth more than what it gave
/// up first.
const CAUTION: f64 = 2.0;

/// How much of the credit must be free before the model is followed, so that it isn't left at once again.
const FREE_AGAIN: f64 = 0.2;

/// A request, in blocks of the sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Its blocks.
    pub(super) references: f64,
    /// What having them all is worth.
    pub(super) worth: f64,
    /// What the tier's hits are worth, less recency's.
    pub(super) lead: f64,
    /// What became of exposed blocks.
    pub(super) settled: Settled,
    /// How much of what was seen of such blocks before still counts.
    pub(super) fade: f64,
}

/// The sums since the start.
#[derive(Debug)]
pub(super) struct Ledger {
    references: f64,
    worth: f64,
    lead: f64,
    /// Exposed blocks that were asked for, fading.
    asked: f64,
    /// Exposed blocks that were not, fading.
    gone: f64,
    /// References of the sample for which the budget is granted in advance.
    advance: f64,
}

impl Ledger {
    /// For a sample that has this share of the references.
    pub(super) fn new(share: f64) -> Self {
        let advance = ADVANCE * share;
        Self { references: 0.0, worth: 0.0, lead: 0.0, asked: 0.0, gone: 0.0, advance }
    }

    /// Enters a request.
    pub(super) fn add(&mut self, entry: &Request) {
        self.references += entry.references;
        self.worth += entry.worth;
        self.lead += entry.lead;
        self.asked = self.asked * entry.fade + f64::from(entry.settled.asked);
        self.gone = self.gone * entry.fade + f64::from(entry.settled.gone);
    }

    /// Whether the model may be followed with so many blocks at stake, where `rule` was followed until now.
    pub(super) fn is_covered(&self, rule: Rule, at_stake: f64, score: &Score) -> bool {
        let price = self.worth / self.references;
        let credit = self.lead + BUDGET * price * self.references.max(self.advance);
        let stake = self.share_asked() * price * at_stake;
        match rule {
            Rule::Value => stake <= credit,
            Rule::Recency => stake < (1.0 - FREE_AGAIN) * credit && score.spread() < credit + score.ahead(),
        }
    }

    /// The share of exposed blocks that are asked for, with caution.
    fn share_asked(&self) -> f64 {
        let asked = self.asked + ASKED_IN_ADVANCE;
        (CAUTION * asked / (asked + self.gone)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::reuse::Rule;
    use super::super::recency::Settled;
    use super::super::score::Score;
    use super::{ADVANCE, BUDGET, Ledger, Request};

    fn request(references: f64, lead: f64, settled: Settled) -> Request {
        Request { references, worth: references, lead, settled, fade: 1.0 }
    }

    #[test]
    fn what_is_at_stake_counts_as_lost_until_it_is_known_what_becomes_of_it() {
        let (mut ledger, score) = (Ledger::new(1.0), Score::new(100));
        ledger.add(&request(1_000.0, 0.0, Settled::default()));
        let credit = BUDGET * ADVANCE;
        assert!(ledger.is_covered(Rule::Value, credit - 1.0, &score));
        assert!(!ledger.is_covered(Rule::Value, credit + 1.0, &score));
        assert!(!ledger.is_covered(Rule::Recency, credit - 1.0, &score), "it would be left at once again");
        ledger.add(&request(1_000.0, 0.0, Settled { asked: 0, gone: 3_000 }));
        assert!(ledger.is_covered(Rule::Value, 5.0 * credit, &score));
    }

    #[test]
    fn what_was_lost_is_won_back_before_more_is_risked() {
        let (mut ledger, score) = (Ledger::new(1.0), Score::new(100));
        ledger.add(&request(10_000.0, -80.0, Settled { asked: 80, gone: 0 }));
        assert!(!ledger.is_covered(Rule::Value, 0.0, &score));
        ledger.add(&request(10_000.0, 70.0, Settled::default()));
        assert!(ledger.is_covered(Rule::Value, 50.0, &score));
    }

    #[test]
    fn the_budget_grows_with_the_references_and_a_sample_has_its_share_of_it() {
        let (mut whole, mut half, score) = (Ledger::new(1.0), Ledger::new(0.5), Score::new(100));
        for (ledger, references) in [(&mut whole, 100_000.0), (&mut half, 1_000.0)] {
            ledger.add(&request(references, 0.0, Settled::default()));
        }
        assert!(whole.is_covered(Rule::Value, BUDGET * 100_000.0 - 1.0, &score));
        assert!(!half.is_covered(Rule::Value, BUDGET * ADVANCE * 0.5 + 1.0, &score));
    }

    #[test]
    fn prices_change_nothing_when_all_are_alike() {
        let (mut ledger, score) = (Ledger::new(1.0), Score::new(100));
        let cheap = Request { worth: 100.0, lead: -1.0, ..request(1_000.0, 0.0, Settled::default()) };
        ledger.add(&cheap);
        let credit = BUDGET * ADVANCE - 10.0;
        assert!(ledger.is_covered(Rule::Value, credit - 1.0, &score));
        assert!(!ledger.is_covered(Rule::Value, credit + 1.0, &score));
    }
}
