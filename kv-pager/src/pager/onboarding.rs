//! Onboarding: what an engine that owns its device slots should bring there, planned as it is for a sequence.
//! Layer 9. Uses `pager::{core, finding, planning, slices}`, `policy`. Known by: engines.
//!
//! - **OB1** the policy is asked what an opening would ask it, with the same queues and costs: what the engine has is what lies on the
//!   device;
//! - **OB2** what a plan loads can be onboarded until something changes; asking moves, keeps and counts no block.

use super::core::Core;
use super::finding::{self, Grip};
use super::handle::Prompt;
use super::planning::Survey;
use super::{Pager, Shared, slices};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, GroupId, TierId};
use crate::policy::{LoadPlan, Matched, MatchedBlock, Urgency};
use crate::sequence::SequenceState;

/// A block that the engine has.
const OWN: MatchedBlock = MatchedBlock { block: BlockId::NONE, nearest: TierId::Device, coming_from: None };

impl Pager {
    /// Which cached blocks of a prompt to [onboard](Pager::onboard), and which to compute again, when the engine has its first
    /// `device_blocks` blocks in slots of its own: what the policy plans for a sequence that finds as much on the device. All of
    /// `LoadPlan::load` can be onboarded: in that order, or chunk by chunk from its end while the engine computes what comes before it.
    /// The prediction and the reasons, if the policy knows costs, are in `LoadPlan::plan`; there, too, is how long to wait for the loads
    /// before computing pays. `urgency` is what the engine knows of its queue and the request now; a deadline or a queue that it gave
    /// with the request is not looked at. Never blocks, and changes nothing but what is known of that queue. `O(blocks)` in slices of the lock.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the device slots are the pager's: opening plans there.
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = prompt.tokens().len()))]
    pub fn plan(&self, prompt: &Prompt, device_blocks: usize, urgency: Urgency) -> Result<LoadPlan, Error> {
        let shared = &*self.shared;
        shared.core.lock().check_engines()?;
        let now = self.hear(urgency.compute_queue);
        let state = prompt.state(shared.tokens_per_block);
        let ready_blocks = device_blocks.min(shared.model.matchable_blocks(state.tokens.len()));
        let mut matched = finding::find(shared, &state, Grip::Loose);
        cut_to_loadable(shared, &state, &mut matched, ready_blocks);
        matched.resize(matched.len().max(ready_blocks), OWN);
        matched[..ready_blocks].iter_mut().for_each(|own| *own = MatchedBlock { block: own.block, ..OWN });
        let survey = Survey::new(&matched, ready_blocks);
        let request = Matched {
            blocks: &matched,
            runs: &survey.runs,
            coming: None,
            prompt_tokens: state.tokens.len(),
            ready_blocks,
            can_end_early: true,
            urgency,
        };
        let mut plan = shared.core.lock().advise(&request, now);
        plan.load = plan.load.start.max(ready_blocks)..plan.load.end.max(ready_blocks);
        Ok(plan)
    }
}

impl Core {
    /// Asks the policy for an engine, which carries the plan out itself.
    fn advise(&mut self, request: &Matched<'_>, now: Time) -> LoadPlan {
        let plan = self.ask(request, now);
        if plan.plan.is_some_and(|plan| !plan.reasons.is_forced) {
            self.costs.note_plan();
        }
        plan
    }
}

/// Ends a match before the first block after the engine's own that is being moved for somebody else: it can't be onboarded now.
fn cut_to_loadable(shared: &Shared, state: &SequenceState, matched: &mut Vec<MatchedBlock>, own: usize) {
    let mut end = own.min(matched.len());
    slices::repeat(shared, |core| {
        let slice = matched[end..].iter().take(shared.slice_blocks);
        let may_come = |(at, found): &(usize, &MatchedBlock)| {
            core.is_still(state, *at, found.block)
                && !core.index.location(found.block, GroupId::FIRST, TierId::Device).is_some()
        };
        let there = (end..).zip(slice).take_while(may_come).count();
        end += there;
        there < shared.slice_blocks
    });
    matched.truncate(end);
}
