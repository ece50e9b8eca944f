//! Planning: what the policy wants of a match, within what the model allows.
//! Layer 9. Uses `policy`. Known by: `pager`.
//!
//! - **PN1** what is computed again starts where every group of layers can go on, and what is loaded lets every group go on at its
//!   end, whatever the policy says;
//! - **PN2** a sequence whose load did not come, and that opens again for it, goes on from what is on the device.
//!
//! Groups that look through a window keep parts only where requests ended. So between two such points a front can be computed
//! only from a place where their windows lie on the device, and a load must end where the match does.

use super::core::Core;
use crate::clock::Time;
use crate::ids::{GroupId, TierId};
use crate::layout::ModelLayout;
use crate::policy::plan::{BlockSpan, Coming, TierRuns};
use crate::policy::{LoadPlan, Matched, MatchedBlock, Reason, View};
use crate::sequence::SequenceState;
use std::ops::Range;

/// What is done with a matched block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// It is used if it is on the device, and computed otherwise.
    AsItIs,
    /// It is loaded if it is not on the device.
    Load,
    /// It is computed, though parts of it may be on the device.
    Compute,
}

/// A plan that can be carried out.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) load: LoadPlan,
    compute: Range<usize>,
}

/// A match in short: all that a plan depends on, so that the lock is not held for each of its blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// How many leading blocks every group can go on from as they are on the device.
    pub(super) ready_blocks: usize,
    /// How many are on the device.
    pub(super) on_device: usize,
    /// From the first that is not, or is still coming there, to the last.
    below: Range<usize>,
    /// Where those after the ready ones lie.
    pub(super) runs: TierRuns,
    /// Which of them are being loaded for others.
    coming: Option<Coming>,
}

impl Survey {
    /// What there is to say of `matched`. `O(blocks)` after the ready ones, which lie on the device.
    pub(super) fn new(matched: &[MatchedBlock], ready_blocks: usize) -> Self {
        let rest = &matched[ready_blocks..];
        let is_below = |found: &MatchedBlock| !found.is_ready();
        let below = rest.iter().position(is_below).zip(rest.iter().rposition(is_below));
        Self {
            ready_blocks,
            on_device: ready_blocks + rest.iter().filter(|found| found.nearest == TierId::Device).count(),
            below: below.map_or(0..0, |(first, last)| ready_blocks + first..ready_blocks + last + 1),
            runs: TierRuns::new(rest.iter().map(|found| Some(found.nearest))),
            coming: coming(rest, ready_blocks),
        }
    }
}

/// Which of `rest`, the first of which is at `first`, are on their way to the device.
fn coming(rest: &[MatchedBlock], first: usize) -> Option<Coming> {
    let mut coming = None::<Coming>;
    for (at, found) in rest.iter().enumerate() {
        let Some(from) = found.coming_from else { continue };
        let place = u32::try_from(first + at).expect("a prompt has fewer than 2^32 blocks");
        let known = coming.get_or_insert(Coming { blocks: BlockSpan { start: place, end: place }, from });
        known.blocks.end = place + 1;
        known.from = known.from.max(from);
    }
    coming
}

impl Planned {
    /// Nothing is loaded or computed that is on the device.
    pub(super) const NOTHING: Self = Self { load: LoadPlan::of(0..0, Reason::Asked), compute: 0..0 };

    /// Whether the part of `group` of the block at `at` is needed, of a match of `end` blocks: for what comes after it, or to compute
    /// a front.
    pub(super) fn needs(&self, model: &ModelLayout, group: GroupId, at: usize, end: usize) -> bool {
        let size = model.tokens_per_block() as usize;
        let is_seen_at = |blocks: usize| model.reach(group, blocks * size).contains(at);
        model.is_full(group) || is_seen_at(end) || !self.compute.is_empty() && is_seen_at(self.compute.start)
    }

    /// What is done with the block at `at`.
    pub(super) fn part(&self, at: usize) -> Part {
        match at {
            at if self.compute.contains(&at) => Part::Compute,
            at if self.load.load.contains(&at) => Part::Load,
            _ => Part::AsItIs,
        }
    }
}

impl Core {
    /// A match in short. `O(blocks * groups)`.
    pub(super) fn survey(&self, matched: &[MatchedBlock], size: usize) -> Survey {
        Survey::new(matched, self.ready_blocks(matched, size))
    }

    /// Asks the policy, and cuts the match to what its plan can use (PN1). Looks at no block.
    pub(super) fn plan(
        &mut self,
        state: &SequenceState,
        matched: &mut Vec<MatchedBlock>,
        survey: &Survey,
        now: Time,
    ) -> Planned {
        let is_windowed = self.windowed_groups().next().is_some();
        let ready_blocks = survey.ready_blocks;
        if state.loads_failed {
            matched.truncate(ready_blocks);
            return Planned::NOTHING;
        }
        let urgency = self.course(state).urgency;
        let request = Matched {
            blocks: matched,
            runs: &survey.runs,
            coming: survey.coming,
            prompt_tokens: state.tokens.len(),
            ready_blocks,
            can_end_early: !is_windowed,
            urgency,
        };
        let load = self.ask(&request, now);
        let Range { start, end } = survey.below;
        let is_any_left_out = start < end && (start < load.load.start || end > load.load.end);
        if !is_windowed || !is_any_left_out {
            return Planned { load, compute: 0..0 };
        }
        if load.load.end == matched.len() && !load.load.is_empty() {
            let compute = ready_blocks..load.load.start;
            return Planned { load, compute };
        }
        matched.truncate(ready_blocks);
        Planned { load: LoadPlan { plan: load.plan, ..LoadPlan::of(0..0, Reason::Asked) }, compute: 0..0 }
    }

    /// Asks the policy what to load, as the queues are now.
    pub(super) fn ask(&mut self, request: &Matched<'_>, now: Time) -> LoadPlan {
        self.note_queues();
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), now);
        let mut plan = self.policy.plan(&view, request);
        plan.load.end = plan.load.end.min(request.len());
        plan.load.start = plan.load.start.min(plan.load.end);
        plan
    }

    /// How many leading blocks every group can go on from as they are on the device. `O(blocks * groups)`.
    fn ready_blocks(&self, matched: &[MatchedBlock], size: usize) -> usize {
        let mut ready = matched.iter().take_while(|found| found.is_ready()).count();
        loop {
            let missing = self.windowed_groups().find_map(|group| {
                let reach = self.model.reach(group, ready * size);
                let is_missing = |at: &usize| {
                    let part = self.find_part(matched[*at].block, group);
                    part.is_none_or(|part| !part.is_ready())
                };
                reach.window.rev().chain(reach.sinks.rev()).find(is_missing)
            });
            match missing {
                Some(at) => ready = at,
                None => return ready,
            }
        }
    }
}
