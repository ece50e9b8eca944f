//! A loader: from what was matched of a prompt to the plan for it.
//! Layer 8. Uses `ids`, `layout`, `units`, `cost`, `policy::{decision, plan}`. Known by: policies, `pager`.

use super::{Aim, Coming, EngineAbility, GroupPrefix, Loading, Plan, PlanRequest, Prefix, plan};
use crate::cost::{ByLane, CostModel};
use crate::ids::{GroupId, TierId};
use crate::layout::{Attention, Format, ModelLayout};
use crate::policy::Matched;
use crate::units::{Bytes, Nanos};

/// How things stand when a request comes.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What moves and prefill take here.
    pub costs: &'a CostModel,
    /// How long each lane is busy with what is before it.
    pub queues: &'a ByLane<Nanos>,
    /// How long the device is busy with what is before it.
    pub compute_queue: Nanos,
    /// How long from now the last token may take.
    pub deadline: Option<Nanos>,
    /// What to make small.
    pub aim: Aim,
}

/// What is the same for all requests of a pager: its model as its tiers keep it, its engine, and which plans it may make.
#[derive(Clone, Debug)]
pub struct Loader {
    tokens_per_block: u32,
    /// By group: blocks in the window, bytes of a part by tier.
    groups: Vec<(Option<u32>, [Bytes; TierId::COUNT])>,
    engine: EngineAbility,
    loading: Loading,
}

impl Loader {
    /// A loader for this model, in tiers of these formats.
    pub fn new(
        model: &ModelLayout,
        formats: [Format; TierId::COUNT],
        engine: EngineAbility,
        loading: Loading,
    ) -> Self {
        let part_bytes = |group: GroupId, tier: TierId| match tier {
            TierId::Device => model.part_bytes(group),
            TierId::Host | TierId::File => model.slot_bytes(group, formats[tier.index()]),
        };
        let tokens_per_block = model.tokens_per_block();
        let groups = model.group_ids().map(|group| {
            let window_blocks =
                window_tokens(model.group(group).attention).map(|tokens| tokens.div_ceil(tokens_per_block));
            (window_blocks, TierId::ALL.map(|tier| part_bytes(group, tier)))
        });
        Self { tokens_per_block, groups: groups.collect(), engine, loading }
    }

    /// The engine can do something else from now on.
    pub fn set_engine(&mut self, engine: EngineAbility) {
        self.engine = engine;
    }

    /// The plan for what was matched: its blocks are places among the matched ones. `O(runs)`, without heap.
    ///
    /// # Panics
    /// If the prompt has 2^32 tokens or more, or fewer than the matched blocks.
    pub fn plan(&self, matched: &Matched<'_>, situation: &Situation<'_>) -> Plan {
        let ready = matched.ready_blocks;
        let runs = matched.runs.as_slice();
        let mut groups = [GroupPrefix { window_blocks: None, part_bytes: [Bytes::ZERO; 3], runs };
            ModelLayout::GROUPS_MAX];
        for (group, &(window_blocks, part_bytes)) in groups.iter_mut().zip(&self.groups) {
            (group.window_blocks, group.part_bytes) = (window_blocks, part_bytes);
        }
        let fits = |count: usize| u32::try_from(count).expect("a prompt has fewer than 2^32 tokens");
        plan(&PlanRequest {
            costs: situation.costs,
            prefix: Prefix {
                tokens_per_block: self.tokens_per_block,
                ready_blocks: fits(ready),
                coming: matched
                    .coming
                    .map(|coming| Coming { blocks: coming.blocks.after(fits(ready)), ..coming }),
                groups: &groups[..self.groups.len()],
            },
            tokens: fits(matched.prompt_tokens),
            queues: situation.queues,
            compute_queue: situation.compute_queue,
            engine: self.engine,
            deadline: situation.deadline,
            aim: situation.aim,
            loading: self.loading,
        })
    }
}

/// How far back layers of this kind look; a chunk is at most that. The sinks of a window are few and not counted.
fn window_tokens(attention: Attention) -> Option<u32> {
    match attention {
        Attention::Full => None,
        Attention::SlidingWindow { window_tokens, .. } => Some(window_tokens),
        Attention::Chunked { chunk_tokens } => Some(chunk_tokens),
        Attention::State => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Aim, ByLane, CostModel, EngineAbility, Format, Loader, Loading, Matched, Nanos, Situation, TierId,
    };
    use crate::cost::Profile;
    use crate::ids::BlockId;
    use crate::layout::shape;
    use crate::policy::plan::TierRuns;
    use crate::policy::{MatchedBlock, Urgency};

    #[test]
    fn what_is_matched_is_ready_loaded_or_computed() {
        let tiers = [(100, TierId::Device), (300, TierId::Host), (100, TierId::File)];
        let tiers = tiers.into_iter().flat_map(|(blocks, tier)| std::iter::repeat_n(tier, blocks));
        let block =
            |(index, nearest)| MatchedBlock { block: BlockId::from_index(index), nearest, coming_from: None };
        let blocks: Vec<MatchedBlock> = tiers.enumerate().map(block).collect();
        let runs = TierRuns::new(blocks.iter().skip(100).map(|found| Some(found.nearest)));
        let matched = Matched {
            blocks: &blocks,
            runs: &runs,
            coming: None,
            prompt_tokens: 500 * 16 + 90,
            ready_blocks: 100,
            can_end_early: true,
            urgency: Urgency::default(),
        };
        let costs = CostModel::new(&Profile::h200_llama3_8b()).expect("shipped");
        let situation = Situation {
            costs: &costs,
            queues: &ByLane::default(),
            compute_queue: Nanos::ZERO,
            deadline: None,
            aim: Aim::Latency,
        };
        let model = shape("llama3-8b").expect("known");
        let engine = EngineAbility { can_overlap: true, step_tokens_max: 8192 };
        let loaded = |loading| {
            let made = Loader::new(&model, [Format::Raw; 3], engine, loading).plan(&matched, &situation);
            (made.front.start, made.load.end, made.load.blocks(), made.rest.end())
        };
        assert_eq!(loaded(Loading::AlwaysLoad), (100, 500, 400, 8090));
        assert_eq!(loaded(Loading::AlwaysRecompute), (100, 100, 0, 8090));
        let (start, end, blocks, tokens) = loaded(Loading::Adaptive);
        assert_eq!((start, tokens), (100, 8090));
        assert!(
            end <= 500 && (200..=400).contains(&blocks),
            "the host's blocks come, the file's perhaps: {blocks}"
        );
    }
}
