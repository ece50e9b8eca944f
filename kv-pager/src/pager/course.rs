//! The course of a plan: what was predicted for a sequence, and what happened.
//! Layer 9. Uses `clock`, `units`, `policy`. Known by: `pager`, engines.
//!
//! - **CO1** what a sequence has still to compute is counted in the device's queue until it is computed or closed;
//! - **CO2** a sequence is counted as waiting for lanes from when its next step is to wait until it is another, or it is closed.

use super::core::Core;
use super::stats::PlanCounts;
use crate::clock::Time;
use crate::cost::TokenSpan;
use crate::policy::plan::{Choice, Outcome, Plan};
use crate::policy::{LoadPlan, Urgency};
use crate::sequence::SequenceState;
use crate::units::Nanos;
use std::ops::Range;

/// A plan, and what came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// What was planned when the sequence was opened.
    pub plan: Plan,
    /// What happened until its prompt was there: its loads and its whole time as the pager saw them, computing as far as the engine
    /// reported it.
    pub outcome: Outcome,
}

/// What is kept of a sequence beside its state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) urgency: Urgency,
    plan: Option<Plan>,
    opened: Time,
    /// When what has not been loaded is computed instead, and when even while others compute: the deadline leaves no more time.
    cut_at: Time,
    latest: Time,
    /// What it has still to compute, as predicted (CO1).
    work: Nanos,
    outcome: Outcome,
    is_finished: bool,
    /// While it waits for moves, with nothing to compute meanwhile (CO2): what it has to compute then.
    blocked: Option<Nanos>,
    /// Whether a request opened it, not a fork.
    pub(super) is_request: bool,
    /// Whether the time to its first token has been recorded; once, also where it is opened again.
    is_told: bool,
}

/// How late the loads of a sequence are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lateness {
    InTime,
    /// The time they were given is over.
    Late,
    /// It is over twice, or the deadline leaves no more than the time to compute them.
    Overdue,
}

impl Course {
    /// When what has not been loaded is computed though others compute.
    fn overdue_at(&self) -> Time {
        self.latest.min(self.cut_at.after(self.cut_at.since(self.opened)))
    }

    /// When its loads become later than they are at `now`, if it waits for any.
    fn next_lateness(&self, now: Time) -> Time {
        let later = [self.cut_at, self.overdue_at()].into_iter().filter(|at| *at > now);
        later.min().filter(|_| self.blocked.is_some()).unwrap_or(Time::NEVER)
    }

    /// How late its loads are at `now`.
    pub(super) fn lateness(&self, now: Time) -> Lateness {
        if now >= self.overdue_at() {
            Lateness::Overdue
        } else if now >= self.cut_at {
            Lateness::Late
        } else {
            Lateness::InTime
        }
    }

    pub(super) const NONE: Self = Self {
        urgency: Urgency { deadline: None, compute_queue: None, waiting: 0 },
        plan: None,
        opened: Time::START,
        cut_at: Time::NEVER,
        latest: Time::NEVER,
        work: Nanos::ZERO,
        outcome: Outcome { front: Nanos::ZERO, load: Nanos::ZERO, rest: Nanos::ZERO, finish: Nanos::ZERO },
        is_finished: false,
        blocked: None,
        is_request: false,
        is_told: false,
    };
}

impl Core {
    pub(super) fn course(&mut self, state: &SequenceState) -> &mut Course {
        &mut self.courses[state.id.index()]
    }

    /// A plan begins. A sequence that is opened again because its loads did not come goes on with the one it had, and computes all
    /// that is not there.
    pub(super) fn begin_course(&mut self, state: &SequenceState, plan: &LoadPlan, now: Time) {
        self.drop_course(state);
        if state.loads_failed {
            let resumed = state.matched_blocks * state.tokens_per_block();
            let work = self.costs.prefill(token_span(&(resumed..state.tokens.len())));
            self.costs.add_planned(work);
            let course = self.course(state);
            (course.work, course.cut_at, course.latest) = (work, Time::NEVER, Time::NEVER);
            return;
        }
        let planned = plan.plan.map_or(Nanos::ZERO, |made| {
            let ready = usize::try_from(made.front.start).expect("no more than there are blocks");
            self.work_beside(state, ready, &plan.load)
        });
        self.costs.add_planned(planned);
        if let Some(plan) = &plan.plan {
            self.counters.plans.count(plan.reasons.choice);
            if !plan.reasons.is_forced {
                self.costs.note_plan();
            }
        }
        if !self.course(state).is_request {
            self.count_opened(state.tokens.len());
        }
        let after = |cut: fn(Plan) -> Option<Nanos>| {
            plan.plan.and_then(cut).map_or(Time::NEVER, |after| now.after(after))
        };
        let course = self.course(state);
        *course = Course {
            urgency: course.urgency,
            plan: plan.plan,
            opened: now,
            cut_at: after(|plan| plan.cut_after),
            latest: after(|plan| plan.latest),
            work: planned,
            is_request: true,
            is_told: course.is_told,
            ..Course::NONE
        };
    }

    /// What is to be computed of a sequence whose first `ready` blocks are there, if those in `load` are loaded: where a group looks through a
    /// window, that can be more than the plan says.
    fn work_beside(&self, state: &SequenceState, ready: usize, load: &Range<usize>) -> Nanos {
        let size = state.tokens_per_block();
        let load = if load.is_empty() { ready..ready } else { load.start.max(ready)..load.end.max(ready) };
        let front = self.costs.prefill(token_span(&(ready * size..load.start * size)));
        front.saturating_add(self.costs.prefill(token_span(&(load.end * size..state.tokens.len()))))
    }

    /// These blocks, which were to be loaded, are computed instead (CO1).
    pub(super) fn note_cut(&mut self, state: &SequenceState, blocks: Range<usize>) {
        if self.course(state).plan.is_none() {
            return;
        }
        let size = state.tokens_per_block();
        let work = self.costs.prefill(token_span(&(blocks.start * size..blocks.end * size)));
        self.costs.add_planned(work);
        let course = self.course(state);
        course.work = course.work.saturating_add(work);
    }

    /// What it has still to compute will not be computed.
    pub(super) fn drop_course(&mut self, state: &SequenceState) {
        self.note_waits(state, false);
        let work = std::mem::replace(&mut self.course(state).work, Nanos::ZERO);
        self.costs.drop_planned(work);
    }

    /// Its next step is to wait for moves, or is not (CO2).
    pub(super) fn note_waits(&mut self, state: &SequenceState, waits: bool) {
        let course = self.course(state);
        let blocked = waits.then_some(course.work);
        let before = std::mem::replace(&mut course.blocked, blocked);
        self.costs.note_waiting(before, blocked);
    }

    /// A fork waits for the loads of its parent no longer than that would.
    pub(super) fn fork_course(&mut self, state: &SequenceState, child: &SequenceState) {
        let Course { opened, cut_at, latest, .. } = *self.course(state);
        *self.course(child) = Course { opened, cut_at, latest, ..Course::NONE };
    }

    /// When the loads that a sequence waits for become later than they are now: then it may have something to compute.
    pub(super) fn next_lateness(&self) -> Time {
        let times = self.courses.iter().map(|course| course.next_lateness(self.now));
        times.min().unwrap_or(Time::NEVER)
    }

    /// What other open sequences have still to compute, as predicted.
    pub(super) fn others_work(&mut self, state: &SequenceState) -> Nanos {
        let work = self.course(state).work;
        Nanos::new(self.costs.planned().as_u64().saturating_sub(work.as_u64()))
    }

    /// That of it which they can compute now: those that wait for moves can't.
    pub(super) fn others_startable(&mut self, state: &SequenceState) -> Nanos {
        let &mut Course { work, blocked, .. } = self.course(state);
        let own = if blocked.is_some() { Nanos::ZERO } else { work };
        Nanos::new(self.costs.startable().as_u64().saturating_sub(own.as_u64()))
    }

    /// These tokens have been computed.
    pub(super) fn note_computed(&mut self, state: &SequenceState, computed: &Range<usize>) {
        let Some(plan) = self.course(state).plan else { return };
        let span = token_span(computed);
        if span.start < plan.rest.end() {
            let work = self.costs.prefill(span).min(self.course(state).work);
            self.costs.drop_planned(work);
            let course = self.course(state);
            course.work = Nanos::new(course.work.as_u64() - work.as_u64());
        }
    }

    /// A load that the sequence waited for, or will need, has come.
    pub(super) fn note_loaded(&mut self, state: &SequenceState, now: Time) {
        let course = self.course(state);
        course.outcome.load = now.since(course.opened);
    }

    /// All tokens given so far are there. Counts when that was, the first time.
    pub(super) fn note_ready(&mut self, state: &SequenceState, now: Time) {
        self.drop_course(state);
        let course = self.course(state);
        if std::mem::replace(&mut course.is_finished, true) {
            return;
        }
        course.outcome.finish = now.since(course.opened);
        let (plan, outcome) = (course.plan, course.outcome);
        if course.is_request && !std::mem::replace(&mut course.is_told, true) {
            self.spans.record_first_token(outcome.finish);
        }
        let has_computing = outcome.front > Nanos::ZERO || outcome.rest > Nanos::ZERO;
        if let Some(plan) = plan.filter(|_| has_computing) {
            self.counters.plans.regret =
                self.counters.plans.regret.saturating_add(outcome.regret(&plan.predicted));
        }
    }

    /// The engine says how long it computed.
    pub(super) fn observe(&mut self, state: &SequenceState, computed: &Range<usize>, took: Nanos) {
        let span = token_span(computed);
        if let Some(model) = &mut self.costs.model {
            model.observe_prefill(span, took);
        }
        let course = self.course(state);
        let is_rest = course.plan.is_none_or(|plan| span.start >= plan.rest.start);
        let part = if is_rest { &mut course.outcome.rest } else { &mut course.outcome.front };
        *part = part.saturating_add(took);
    }

    pub(super) fn forecast(&self, state: &SequenceState) -> Option<Forecast> {
        let course = &self.courses[state.id.index()];
        let plan = course.plan.filter(|_| course.is_finished)?;
        Some(Forecast { plan, outcome: course.outcome })
    }
}

fn token_span(tokens: &Range<usize>) -> TokenSpan {
    let fits = |count: usize| u32::try_from(count).expect("a sequence has fewer than 2^32 tokens");
    TokenSpan::between(fits(tokens.start), fits(tokens.end))
}

impl PlanCounts {
    fn count(&mut self, choice: Choice) {
        let counted = match choice {
            Choice::NothingToLoad => return,
            Choice::Load => &mut self.loads,
            Choice::Recompute => &mut self.recomputes,
            Choice::TwoFronts => &mut self.two_fronts,
            Choice::LoadThenCompute => &mut self.loads_then_computes,
        };
        *counted += 1;
    }
}
