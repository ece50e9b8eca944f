//! A policy that leaves blocks where a cell wants them, and plans as it is told: by itself, or one split.
//! Uses the core's steward. Known by: `two_front::scene`.
//!
//! Plans, and what fronts do when they wait for each other, are the steward's; eviction is not what is measured.

use kv_pager::ids::{BlockId, GroupId, Salt, TierId};
use kv_pager::policy::{
    Decision, LoadPlan, Matched, Need, Policy, Reason, Setting, Steward, StewardSpec, View, Waiting,
};
use kv_pager::sync::Mutex;
use std::ops::Range;
use std::sync::Arc;

/// The first token that is some request's own: blocks of such tokens are dropped, not kept.
pub(super) const OWN_TOKENS: u32 = 1 << 24;

/// The chain that requests share.
pub(super) const SHARED: Salt = Salt(1);
/// The chain that is loaded before them; it stays in host memory.
pub(super) const QUEUED: Salt = Salt(2);

/// What a placement is to do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Orders {
    /// Blocks of the shared chain, from the first on, that stay on the device and in host memory.
    pub(super) kept: [u32; 2],
    /// Whether what is not to stay goes now.
    pub(super) is_clearing: bool,
    /// Which of the matched blocks to load; `None` for the steward's plan.
    pub(super) load: Option<Range<usize>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Placement {
    steward: Steward,
    orders: Arc<Mutex<Orders>>,
    victims: Vec<(u32, Decision)>,
}

impl Placement {
    pub(super) fn new(orders: &Arc<Mutex<Orders>>) -> Self {
        let steward = Steward::new(StewardSpec::default());
        Self { steward, orders: Arc::clone(orders), victims: Vec::new() }
    }

    /// What becomes of an idle block of `tier`; `None` if it stays.
    fn fate(
        view: &View<'_>,
        kept: [u32; 2],
        group: GroupId,
        tier: TierId,
        block: BlockId,
    ) -> Option<Decision> {
        let known = view.block(block);
        let reason = Reason::Coldest;
        if known.tokens.first().is_none_or(|token| token.0 >= OWN_TOKENS) {
            return Some(Decision::Drop { block, tier, reason });
        }
        let stays = match tier {
            TierId::File => true,
            TierId::Host if known.salt == QUEUED => true,
            TierId::Device if known.salt == QUEUED => false,
            _ => known.depth < kept[tier.index()],
        };
        let mut farther = std::iter::successors(tier.farther(), |tier| tier.farther());
        match stays {
            true => None,
            false if farther.any(|farther| view.is_in(block, group, farther)) => {
                Some(Decision::Evict { block, tier, reason })
            }
            false => Some(Decision::Demote { block, tier, reason }),
        }
    }
}

impl Policy for Placement {
    fn name(&self) -> &'static str {
        "placement"
    }

    fn start(&mut self, view: &View<'_>, setting: &Setting<'_>) -> bool {
        self.steward.start(view, setting);
        false
    }

    fn meet(&mut self, view: &View<'_>, waiting: &Waiting) -> usize {
        if self.orders.lock().load.is_some() { 0 } else { self.steward.meet(view, waiting) }
    }

    fn plan(&mut self, view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        let planned = self.steward.plan(view, matched);
        match self.orders.lock().load.clone() {
            None => planned,
            Some(load) => LoadPlan { load, is_from_back: true, plan: None, reason: Reason::Asked, ..planned },
        }
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        let Orders { kept, is_clearing, .. } = *self.orders.lock();
        if !is_clearing {
            return;
        }
        let Need { tier, group, .. } = need;
        let decide = |block| Some((view.block(block).depth, Self::fate(view, kept, group, tier, block)?));
        self.victims.extend(view.coldest(tier, group).filter_map(decide));
        // Leaves go first.
        self.victims.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
        decisions.extend(self.victims.drain(..).map(|(_, decision)| decision));
    }
}
