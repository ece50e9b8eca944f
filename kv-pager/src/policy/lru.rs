//! Least recently used: the first policy, and the yardstick of the others.
//! Layer 8. Uses `ids`, `policy`. Known by: the command line, tests.
//!
//! Whole requests are touched leaf first, root last, so the coldest blocks are leaves and prefixes stay whole. What a tier
//! gives up goes to the next one, unless it is there; every hit is loaded.

use super::{Decision, LoadPlan, Matched, Need, Policy, Reason, View};
use crate::ids::TierId;

/// Evicts what was asked for least recently; loads every hit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lru;

impl Policy for Lru {
    fn name(&self) -> &'static str {
        "lru"
    }

    fn plan(&mut self, _view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        LoadPlan::of(0..matched.len(), Reason::Asked)
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        let Need { tier, group, slots, .. } = need;
        let below = tier.farther();
        for block in view.coldest(tier, group).take(slots as usize) {
            decisions.push(match below {
                Some(below) if view.is_in(block, group, below) => {
                    Decision::Evict { block, tier, reason: Reason::CleanCopy }
                }
                Some(_) if view.can_demote_from(tier) => {
                    Decision::Demote { block, tier, reason: Reason::Coldest }
                }
                _ if tier != TierId::File && view.is_in(block, group, TierId::File) => {
                    Decision::Evict { block, tier, reason: Reason::CleanCopy }
                }
                _ => Decision::Drop { block, tier, reason: Reason::NoTierBelow },
            });
        }
    }
}
