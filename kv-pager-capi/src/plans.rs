//! Plans: what an engine that owns its device slots should onboard, and what it reports so that plans are right.
//! Uses `pager`, `prompt`, `status`, `edge`, the core's `policy` and `cost`. Known by: C.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names")]

use crate::edge::given;
use crate::pager::KvpPager;
use crate::prompt::{KvpPrompt, unless_zero};
use crate::status::{Failure, KvpStatus, guarded};
use kv_pager::cost::TokenSpan;
use kv_pager::policy::plan::{Choice, Plan, Prediction, Reasons};
use kv_pager::policy::{LoadPlan, Urgency};
use kv_pager::units::Nanos;
use std::mem::MaybeUninit;

/// What an engine knows when it asks for a plan. All zero is nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpUrgency {
    /// How long from now the last prompt token may take to be computed, in nanoseconds; 0 for no deadline.
    pub deadline_ns: u64,
    /// How long the device is busy before it computes for this request, in nanoseconds; it counts until it is over, or another call says
    /// otherwise, and 0 leaves what was said before.
    pub compute_queue_ns: u64,
    /// How many requests wait for the device beside this one.
    pub waiting: u32,
    /// 0.
    pub reserved: u32,
}

/// What a plan does with the cached blocks that are below the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpChoice {
    /// What the policy was asked to, without costs (`kvp_set_costs`): the times of the plan are 0.
    Asked = 0,
    /// There are none.
    NothingToLoad = 1,
    /// They are loaded.
    Load = 2,
    /// They are computed again.
    Recompute = 3,
    /// The front is computed while the back is loaded.
    TwoFronts = 4,
    /// The front is loaded, then the rest is computed.
    LoadThenCompute = 5,
}

/// What to onboard, and what is expected of it. Times are nanoseconds from now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpPlan {
    /// The first block to onboard.
    pub first_block: usize,
    /// The one after the last: as large as `first_block` if none is to be.
    pub end_block: usize,
    /// How many blocks to onboard at a time where they come from the back; at least 1.
    pub chunk_blocks: usize,
    /// 1 if they are to be onboarded from the last chunk to the first, while what comes before them is computed; 0 if from the first block
    /// on.
    pub is_from_back: u32,
    /// A `KvpChoice`.
    pub choice: u32,
    /// 1 if the policy may make no other choice (`KvpOptions.loading`).
    pub is_forced: u32,
    /// 1 if what follows waits for the loads, not for computing.
    pub is_load_bound: u32,
    /// 1 if the deadline will be missed all the same.
    pub is_late: u32,
    /// 0.
    pub reserved: u32,
    /// Computing what comes before the loaded blocks takes so long.
    pub front_ns: u64,
    /// Loading takes so long, what is queued before it included.
    pub load_ns: u64,
    /// Computing what comes after takes so long.
    pub rest_ns: u64,
    /// When the last token is computed.
    pub finish_ns: u64,
    /// When it would be if all cached blocks were loaded; `UINT64_MAX` if they can't be.
    pub finish_by_load_ns: u64,
    /// When it would be if none were.
    pub finish_by_compute_ns: u64,
    /// When to compute what has not been loaded, in other slots; `UINT64_MAX` for never.
    pub cut_after_ns: u64,
}

impl From<LoadPlan> for KvpPlan {
    fn from(made: LoadPlan) -> Self {
        let Prediction { front, load, rest, finish, finish_by_load, finish_by_compute } =
            made.plan.map(|plan| plan.predicted).unwrap_or_default();
        let reasons = made.plan.map(|plan| plan.reasons);
        let is = |of: fn(&Reasons) -> bool| u32::from(reasons.as_ref().is_some_and(of));
        let cut_after = made.plan.and_then(|plan: Plan| plan.cut_after);
        Self {
            first_block: made.load.start,
            end_block: made.load.end,
            chunk_blocks: made.chunk_blocks,
            is_from_back: u32::from(made.is_from_back),
            choice: number_of(reasons.map(|reasons| reasons.choice)) as u32,
            is_forced: is(|reasons| reasons.is_forced),
            is_load_bound: is(|reasons| reasons.is_load_bound),
            is_late: is(|reasons| reasons.is_late),
            reserved: 0,
            front_ns: front.as_u64(),
            load_ns: load.as_u64(),
            rest_ns: rest.as_u64(),
            finish_ns: finish.as_u64(),
            finish_by_load_ns: finish_by_load.as_u64(),
            finish_by_compute_ns: finish_by_compute.as_u64(),
            cut_after_ns: cut_after.map_or(u64::MAX, Nanos::as_u64),
        }
    }
}

/// The choice by number; `None` where nothing was weighed.
fn number_of(choice: Option<Choice>) -> KvpChoice {
    match choice {
        None => KvpChoice::Asked,
        Some(Choice::NothingToLoad) => KvpChoice::NothingToLoad,
        Some(Choice::Load) => KvpChoice::Load,
        Some(Choice::Recompute) => KvpChoice::Recompute,
        Some(Choice::TwoFronts) => KvpChoice::TwoFronts,
        Some(Choice::LoadThenCompute) => KvpChoice::LoadThenCompute,
    }
}

/// What to onboard of a prompt whose first `device_blocks` blocks the engine has in slots of its own: all of it can be, until something
/// changes. `urgency` may be NULL; what stood in the request about it is not looked at. Asks only: nothing is moved, kept or counted. Never blocks.
/// `KVP_STATUS_CONFIGURATION` if the device slots are the pager's: opening plans there.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_plan(
    pager: Option<&KvpPager>,
    prompt: Option<&KvpPrompt>,
    device_blocks: usize,
    urgency: Option<&KvpUrgency>,
    plan: Option<&mut MaybeUninit<KvpPlan>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        let plan = given(plan, "plan")?;
        let urgency = urgency.map_or_else(Urgency::default, |told| Urgency {
            deadline: unless_zero(told.deadline_ns),
            compute_queue: unless_zero(told.compute_queue_ns),
            waiting: told.waiting,
        });
        plan.write(pager.pager.plan(&prompt.prompt, device_blocks, urgency)?.into());
        Ok(())
    })
}

/// Says that computing the tokens `first..end` of some prompt took so long, in one step: the costs that plans are made by learn from it.
/// A step of fewer tokens than the smallest that was measured, such as one that decodes, teaches nothing. `kvp_sequence_observe` does it
/// for a sequence.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_observe_prefill(
    pager: Option<&KvpPager>,
    first: usize,
    end: usize,
    took_ns: u64,
) -> KvpStatus {
    guarded(|| {
        let pager = given(pager, "pager")?;
        let [start, end] = [first, end].map(|at| u32::try_from(at).ok());
        let span = start.zip(end).filter(|(start, end)| start < end);
        let (start, end) = span.ok_or_else(|| Failure::argument("a step of no tokens, or of too many"))?;
        pager.pager.observe_prefill(TokenSpan::between(start, end), Nanos::new(took_ns));
        Ok(())
    })
}
