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
use crate::ids::TierId;
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

impl Planned {
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
    /// Asks the policy, and cuts the match to what its plan can use (PN1).
    pub(super) fn plan(
        &mut self,
        state: &SequenceState,
        matched: &mut Vec<MatchedBlock>,
        now: Time,
    ) -> Planned {
        self.note_queues();
        let is_windowed = self.windowed_groups().next().is_some();
        let ready_blocks = self.ready_blocks(matched, state.tokens_per_block());
        if state.loads_failed {
            matched.truncate(ready_blocks);
            return Planned { load: LoadPlan::of(0..0, Reason::Asked), compute: 0..0 };
        }
        let urgency = self.course(state).urgency;
        let request = Matched {
            blocks: matched,
            prompt_tokens: state.tokens.len(),
            ready_blocks,
            can_end_early: !is_windowed,
            urgency,
        };
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), now);
        let mut load = self.policy.plan(&view, &request);
        load.load.end = load.load.end.min(matched.len());
        load.load.start = load.load.start.min(load.load.end);
        let is_left_out =
            |(at, found): (usize, &MatchedBlock)| found.nearest != TierId::Device && !load.load.contains(&at);
        if !is_windowed || !matched.iter().enumerate().any(is_left_out) {
            return Planned { load, compute: 0..0 };
        }
        if load.load.end == matched.len() && !load.load.is_empty() {
            let compute = ready_blocks..load.load.start;
            return Planned { load, compute };
        }
        matched.truncate(ready_blocks);
        Planned { load: LoadPlan { plan: load.plan, ..LoadPlan::of(0..0, Reason::Asked) }, compute: 0..0 }
    }

    /// How many leading blocks every group can go on from as they are on the device. `O(blocks * groups)`.
    fn ready_blocks(&self, matched: &[MatchedBlock], size: usize) -> usize {
        let mut ready = matched.iter().take_while(|found| found.nearest == TierId::Device).count();
        loop {
            let missing = self.windowed_groups().find_map(|group| {
                let reach = self.model.reach(group, ready * size);
                let is_missing =
                    |at: &usize| self.nearest_part(matched[*at].block, group) != Some(TierId::Device);
                reach.window.rev().chain(reach.sinks.rev()).find(is_missing)
            });
            match missing {
                Some(at) => ready = at,
                None => return ready,
            }
        }
    }
}
