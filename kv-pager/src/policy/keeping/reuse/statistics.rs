//! What became of the blocks of each category.
//! Layer 8. Uses `reuse::category`. Known by: `reuse`.
//!
//! - **ST1** a block counts once as tried for each use, and at most once as returned after it;
//! - **ST2** old counts fade: a category's are halved when it has been tried [`TRIALS_MAX`] times.
//!
//! A category of which little is known borrows from its coarse one, and that from all blocks together, as if it had been
//! tried so many times more with their results. So finer categories cost nothing where they tell nothing apart; and while
//! nothing is known all look alike, so that age alone decides and the least recently used goes first.

use super::category::Category;

/// Trials after which a category's counts are halved.
const TRIALS_MAX: f64 = 200_000.0;

/// How many trials of its own outweigh what a category borrows from its coarse one.
const FINE_BORROWS: f64 = 100.0;

/// How many outweigh what a coarse category borrows from all.
const COARSE_BORROWS: f64 = 300.0;

#[derive(Clone, Copy, Default, Debug)]
struct Cell {
    trials: f64,
    returns: f64,
    /// Sum of the ages at which they returned.
    ages: f64,
}

impl Cell {
    fn count_trial(&mut self) {
        self.trials += 1.0;
        if self.trials > TRIALS_MAX {
            *self = Self { trials: self.trials / 2.0, returns: self.returns / 2.0, ages: self.ages / 2.0 };
        }
    }

    /// With `trials` trials more, and the results that `other` had in as many.
    fn borrowing(self, other: Self, trials: f64) -> Self {
        let share = if other.trials > 0.0 { trials / other.trials } else { 0.0 };
        Self {
            trials: self.trials + share * other.trials,
            returns: self.returns + share * other.returns,
            ages: self.ages + share * other.ages,
        }
    }

    fn count_return(&mut self, age: f64) {
        self.returns += 1.0;
        self.ages += age;
    }
}

/// How likely blocks of a category are to return, and how soon.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Outlook {
    /// The share that returns at all.
    pub(super) share: f64,
    /// How fast those do that do: returns per unit of age, as of a constant hazard.
    pub(super) rate: f64,
    /// The share of those still to return that does so within one horizon.
    pub(super) within_horizon: f64,
}

impl Outlook {
    /// The chance that a block which has not returned for `age` returns within one horizon from now.
    pub(super) fn chance(&self, age: f64) -> f64 {
        self.ever(age) * self.within_horizon
    }

    /// The chance that it returns at all.
    pub(super) fn ever(&self, age: f64) -> f64 {
        let to_return = self.share * (-self.rate * age).exp();
        to_return / (1.0 - self.share + to_return).max(1e-9)
    }
}

/// The counts of all categories.
#[derive(Debug)]
pub(super) struct Statistics {
    fine: Box<[Cell]>,
    coarse: Box<[Cell]>,
    all: Cell,
}

impl Statistics {
    pub(super) fn new() -> Self {
        Self {
            fine: vec![Cell::default(); Category::COUNT].into_boxed_slice(),
            coarse: vec![Cell::default(); Category::COARSE].into_boxed_slice(),
            all: Cell::default(),
        }
    }

    /// A block of the category was used: it may return.
    pub(super) fn count_trial(&mut self, category: Category) {
        self.fine[category.index()].count_trial();
        self.coarse[category.coarse()].count_trial();
        self.all.count_trial();
    }

    /// A block of the category returned at that age.
    pub(super) fn count_return(&mut self, category: Category, age: f64) {
        self.fine[category.index()].count_return(age);
        self.coarse[category.coarse()].count_return(age);
        self.all.count_return(age);
    }

    /// What is to be expected of the category's blocks.
    pub(super) fn outlook(&self, category: Category, horizon: f64) -> Outlook {
        let coarse = self.coarse[category.coarse()].borrowing(self.all, COARSE_BORROWS);
        let Cell { trials, returns, ages } = self.fine[category.index()].borrowing(coarse, FINE_BORROWS);
        if returns <= 0.0 {
            return Outlook::default();
        }
        let rate = returns / ages;
        Outlook { share: returns / trials, rate, within_horizon: 1.0 - (-rate * horizon).exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Category, Statistics};

    #[test]
    fn chances_fall_with_age_and_follow_what_was_seen() {
        let mut statistics = Statistics::new();
        let (seldom, often) = (Category::from_index(0), Category::from_index(60));
        for trial in 0..1_000_000 {
            statistics.count_trial(seldom);
            statistics.count_trial(often);
            if trial % 2 == 0 {
                statistics.count_return(often, 50.0);
            }
            if trial % 100 == 0 {
                statistics.count_return(seldom, 50.0);
            }
        }
        let chance = |category, age| statistics.outlook(category, 100.0).chance(age);
        assert!(chance(often, 0.0) > 10.0 * chance(seldom, 0.0));
        assert!(chance(often, 0.0) > chance(often, 100.0) && chance(often, 100.0) > 0.0);
        assert!((chance(often, 0.0) - 0.5 * (1.0 - f64::exp(-2.0))).abs() < 1e-3, "the formula");
    }

    #[test]
    fn an_unknown_category_borrows_and_nothing_known_is_no_chance() {
        let mut statistics = Statistics::new();
        let [known, sibling, stranger] = [0, 1, 100].map(Category::from_index);
        assert!(statistics.outlook(known, 10.0).chance(0.0).abs() < 1e-9);
        for _ in 0..10 {
            statistics.count_trial(known);
            statistics.count_return(known, 5.0);
        }
        let chance = |category| statistics.outlook(category, 10.0).chance(0.0);
        assert!((chance(known) - chance(sibling)).abs() < 1e-9);
        assert!((chance(known) - chance(stranger)).abs() < 1e-9);
    }
}
