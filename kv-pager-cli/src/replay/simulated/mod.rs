//! `replay --virtual`: the same pager, over a machine in virtual time that takes what a profile says.
//! Uses `replay::{arms, outcome, settings}`. Known by: `replay`.
//!
//! - **B1** the prompt of every request fits the device tier, so each can be served;
//! - **B2** the same scenario and policy give the same findings (I9): nothing here asks the machine for the time.
//!
//! Requests are prompts: what would be generated is neither computed nor kept. Times without a cache are those of the same
//! compute server with nothing to find.

mod arrivals;
mod computed;
mod course;
mod job;
mod settings;
mod uncached;

pub(super) use arrivals::Arrivals;
pub(super) use settings::VirtualSettings;

use super::Replayed;
use super::arms::Arms;
use super::arms_table::ArmResults;
use super::choices::choices;
use super::metrics::Metrics;
use super::outcome::Outcome;
use super::pass::progress_bar;
use super::results::Results;
use crate::args::ReplayArguments;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use course::{Course, Ended};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::config::Promotion;
use kv_pager::cost::machine::VirtualTierSize;
use kv_pager::cost::{CostModel, Profile};
use kv_pager::layout::ModelLayout;
use kv_pager::pager::Stats;
use kv_pager::policy::plan::EngineAbility;
use kv_pager::policy::{Answer, Policy};
use kv_pager::units::Nanos;
use kv_pager_testkit::trace::{TokenSource, Trace};

/// What is served on what, but for the policy: the same for all arms that are to be compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario<'a> {
    pub(super) stream: &'a Trace,
    /// What ids stand for.
    pub(super) tokens: TokenSource,
    pub(super) model: &'a ModelLayout,
    /// What lanes and prefill take.
    pub(super) profile: &'a Profile,
    /// The device tier, and those below it.
    pub(super) tiers: &'a [VirtualTierSize],
    pub(super) arrivals: Arrivals,
    /// Whether hot blocks come nearer while lanes stand idle.
    pub(super) promotion: Promotion,
}

/// Who watches a virtual replay.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pub(super) interrupt: &'a Interrupt,
    pub(super) progress: &'a ProgressBar,
}

/// What a virtual replay found.
#[derive(Debug)]
pub(super) struct VirtualFindings {
    pub(super) outcome: Outcome,
    /// Nanoseconds to the first token, had there been no cache.
    pub(super) without_cache: Histogram<u64>,
    pub(super) stats: Stats,
    /// Of the shadows beside the pager.
    pub(super) answers: Vec<Answer>,
    /// From the start to the end of the last request.
    pub(super) span: Nanos,
    /// Whether its metrics could be written, if they were wanted.
    pub(super) metrics: Result<(), Failure>,
}

impl Scenario<'_> {
    /// Serves the stream under `policy`, and writes the pager's metrics if they are wanted. `O(blocks asked for and moved)`;
    /// holds the metadata of every slot.
    ///
    /// # Errors
    /// [`Failure::Pager`] if tiers, profile and model do not fit together or a request does not fit the device (B1),
    /// [`Failure::Interrupted`] if someone asks to stop.
    pub(super) fn run(
        &self,
        policy: Box<dyn Policy>,
        watch: &Watch<'_>,
        metrics: Option<Destination>,
    ) -> Result<VirtualFindings, Failure> {
        let course = Course::new(self, policy)?;
        let metrics = metrics.map(|destination| Metrics::new(course.pager(), destination));
        let Ended { outcome, stats, answers, span } = course.run(watch)?;
        let metrics = metrics.map_or(Ok(()), Metrics::write);
        Ok(VirtualFindings {
            outcome,
            without_cache: uncached::first_token(self),
            stats,
            answers,
            span,
            metrics,
        })
    }
}

/// Runs the command's virtual form: for one combination of arms, or for all, the default last.
///
/// # Errors
/// [`Failure`] that says what to do.
pub(super) fn replay(
    arguments: &ReplayArguments,
    mut metrics: Option<Destination>,
    interrupt: &Interrupt,
) -> Result<Replayed, Failure> {
    let settings = VirtualSettings::new(arguments)?;
    let scenario = settings.scenario();
    let all = if arguments.all_arms { Arms::all(arguments) } else { vec![Arms::of(arguments)] };
    let mut arms = Vec::with_capacity(all.len());
    let (mut last, mut kept) = (None, Ok(()));
    for combination in all {
        let clock = MonotonicClock::new();
        let progress = progress_bar(scenario.stream.requests().len() as u64, "in virtual time");
        let watch = Watch { interrupt, progress: &progress };
        let findings = scenario.run(combination.policy(), &watch, metrics.take())?;
        progress.finish_and_clear();
        let results = Results::of_virtual(&findings, clock.now().since(kv_pager::clock::Time::START));
        arms.push(ArmResults::new(combination, &results));
        kept = kept.and(findings.metrics);
        last = Some((results, findings.outcome.records));
    }
    let (mut results, records) = last.expect("there is at least one combination");
    if arguments.all_arms {
        results.arms = arms;
    }
    let prefill = &scenario.profile.prefill;
    let ability = EngineAbility { can_overlap: true, step_tokens_max: prefill.step_tokens_max };
    let costs = CostModel::new(scenario.profile)?;
    Ok(Replayed {
        results,
        records,
        choice: choices(&costs, scenario.model, ability, settings.farthest()),
        heading: settings.heading(),
        prompt_tokens: settings.stream.prompt_tokens(),
        kept,
        learnt: None,
    })
}

#[cfg(test)]
mod tests;
