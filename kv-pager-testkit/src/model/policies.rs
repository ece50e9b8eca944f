//! The policies that the model is run with: the built-in ones, with and without costs, and one that decides at random.
//! Known by: `model`.

use crate::random::Random;
use kv_pager::Pager;
use kv_pager::cost::{CostModel, LaneCost, LaneProfile, Profile};
use kv_pager::ids::{SlotId, TierId};
use kv_pager::policy::keeping::Arm;
use kv_pager::policy::plan::{EngineAbility, Loading};
use kv_pager::policy::{
    Decision, FileWrites, Idle, LoadPlan, Lru, Matched, Need, Policy, Reason, Steward, StewardSpec, View,
    Waiting,
};
use kv_pager::tier::LaneEnds;
use kv_pager::units::Bytes;

/// How many policies are tried.
pub const POLICIES: usize = 8;

/// One of [`POLICIES`].
pub(super) fn policy(number: usize) -> Box<dyn Policy> {
    let steward = |keeping, loading, file_writes, has_shadows| {
        let spec = StewardSpec { keeping, loading, file_writes, write_bytes_per_day: None, has_shadows };
        Box::new(Steward::new(spec)) as Box<dyn Policy>
    };
    match number {
        0 => Box::new(Lru),
        1 => Box::new(Steward::default()),
        2 => steward(Arm::CostAware, Loading::Adaptive, FileWrites::All, true),
        3 => steward(Arm::Slru, Loading::AlwaysLoad, FileWrites::All, false),
        4 => steward(Arm::Arc, Loading::AlwaysRecompute, FileWrites::Earned, false),
        5 => steward(Arm::S3Fifo, Loading::Adaptive, FileWrites::Earned, false),
        6 => Box::new(Steward::new(StewardSpec {
            keeping: Arm::Lru,
            write_bytes_per_day: Some(Bytes::new(4096)),
            ..StewardSpec::default()
        })),
        _ => Box::new(Whim { random: Random::new(1) }),
    }
}

/// Costs that make all choices win somewhere: a block takes about as long to load as to compute.
pub(super) fn set_costs(number: usize, pager: &Pager) {
    if number < 2 {
        return;
    }
    let mut profile = Profile::h200_llama3_8b();
    let lane = |source, target| {
        let cost = LaneCost::uniform(1_000.0, 1_000.0, 2e5, Bytes::new(1_024));
        LaneProfile::new(LaneEnds { source, target }, &cost)
    };
    profile.lanes = vec![
        lane(TierId::Host, TierId::Device),
        lane(TierId::Device, TierId::Host),
        lane(TierId::File, TierId::Host),
        lane(TierId::Host, TierId::File),
    ];
    let costs = CostModel::new(&profile).expect("plausible");
    pager.set_costs(costs, EngineAbility { can_overlap: number != 6, step_tokens_max: 16 });
}

/// Decides at random, also what can't be done.
#[derive(Debug)]
struct Whim {
    random: Random,
}

impl Whim {
    fn below(&mut self, bound: usize) -> usize {
        self.random.below(u32::try_from(bound).expect("small")) as usize
    }
}

impl Policy for Whim {
    fn name(&self) -> &'static str {
        "whim"
    }

    fn meet(&mut self, _view: &View<'_>, _waiting: &Waiting) -> usize {
        self.below(4)
    }

    fn plan(&mut self, _view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        let start = self.below(matched.len() + 1);
        let end = start + self.below(matched.len() + 2 - start);
        let is_from_back = self.below(2) == 0;
        let chunk_blocks = 1 + self.below(3);
        LoadPlan { is_from_back, chunk_blocks, ..LoadPlan::of(start..end, Reason::Asked) }
    }

    fn promote(&mut self, view: &View<'_>, idle: &Idle, decisions: &mut Vec<Decision>) {
        let Idle { ends, group, most, .. } = *idle;
        let reason = Reason::Hot;
        let colder = view.coldest(ends.target, group).take(self.below(3));
        decisions.extend(colder.map(|block| Decision::Evict { block, tier: ends.target, reason }));
        let slots = view.capacity(ends.source, group) as usize;
        for _ in 0..self.below(most as usize + 2) {
            let block = view.block_in(ends.source, group, SlotId::from_index(self.below(slots)));
            let tier = if self.below(8) == 0 { ends.target } else { ends.source };
            match self.below(8) {
                _ if !block.is_some() => {}
                0 => decisions.push(Decision::Drop { block, tier, reason }),
                1 => decisions.push(Decision::Demote { block, tier, reason }),
                _ => decisions.push(Decision::Promote { block, tier, reason }),
            }
        }
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        let Need { tier, group, slots, .. } = need;
        for block in view.coldest(tier, group) {
            if decisions.len() >= slots as usize {
                break;
            }
            let reason = Reason::Coldest;
            match self.below(8) {
                0 | 1 => {}
                2..=4 => decisions.push(Decision::Demote { block, tier, reason }),
                5 | 6 => decisions.push(Decision::Evict { block, tier, reason }),
                _ => decisions.push(Decision::Drop { block, tier, reason }),
            }
        }
    }
}
