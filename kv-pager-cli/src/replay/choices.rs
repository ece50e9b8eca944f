//! The map of choices: which plan wins, by cached context and tokens to have back.
//! Known by: `replay`.

use super::records::name;
use crate::report::replay::ChoiceFigures;
use kv_pager::cost::{ByLane, CostModel};
use kv_pager::ids::TierId;
use kv_pager::layout::ModelLayout;
use kv_pager::policy::plan::{
    Aim, Choice, EngineAbility, GroupPrefix, Loading, PlanRequest, Prefix, TierRun, plan,
};
use kv_pager::units::Nanos;

const CONTEXT_TOKENS: [u32; 9] = [0, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 49_152, 65_536];
const PREFIX_TOKENS: [u32; 9] = [128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768];
/// Tokens after what is cached.
const NEW_TOKENS: u32 = 256;

/// What would be chosen for tokens that lie in `tier`, behind a context on the device, on an idle machine.
pub(super) fn choices(
    costs: &CostModel,
    model: &ModelLayout,
    engine: EngineAbility,
    tier: TierId,
) -> ChoiceFigures {
    let plans = [Choice::Load, Choice::Recompute, Choice::TwoFronts, Choice::LoadThenCompute];
    let size = model.tokens_per_block();
    let bytes = model.block_bytes();
    let winner = |context: u32, tokens: u32| {
        let runs = [TierRun { blocks: tokens.div_ceil(size), tier: Some(tier) }];
        let groups = [GroupPrefix { window_blocks: None, part_bytes: [bytes; TierId::COUNT], runs: &runs }];
        let ready_blocks = context.div_ceil(size);
        let made = plan(&PlanRequest {
            costs,
            prefix: Prefix { tokens_per_block: size, ready_blocks, coming: None, groups: &groups },
            tokens: (ready_blocks + runs[0].blocks) * size + NEW_TOKENS,
            queues: &ByLane::default(),
            compute_queue: Nanos::ZERO,
            engine,
            deadline: None,
            aim: Aim::Latency,
            loading: Loading::Adaptive,
        });
        plans.iter().position(|choice| *choice == made.reasons.choice)
    };
    let row = |tokens: u32| CONTEXT_TOKENS.map(|context| winner(context, tokens)).to_vec();
    ChoiceFigures {
        context_tokens: CONTEXT_TOKENS.map(u64::from).to_vec(),
        prefix_tokens: PREFIX_TOKENS.map(u64::from).to_vec(),
        plans: plans.map(|choice| name(choice).to_owned()).to_vec(),
        winners: PREFIX_TOKENS.map(row).to_vec(),
    }
}
