//! What is noted of each request, for figures over time and for predictions.
//! Known by: `replay`.

use super::results::PredictionError;
use crate::report::replay::{HitFigures, PredictionFigures};
use kv_pager::ids::TierId;
use kv_pager::pager::{Forecast, Stats};
use kv_pager::policy::plan::Choice;
use kv_pager::units::Nanos;

/// Spans of a chart over time.
const SPANS: u64 = 60;
/// Points of a kind of plan in a chart, about.
const POINTS_MAX: usize = 300;

/// One request that was served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// When, from the start.
    pub(super) at: Nanos,
    pub(super) hit_tokens: [u64; TierId::COUNT],
    pub(super) prompt_tokens: u64,
    /// Written to the file by then.
    pub(super) file_bytes: u64,
    pub(super) forecast: Option<Forecast>,
}

/// Bytes that have been written to the file.
pub(super) fn file_bytes(stats: &Stats) -> u64 {
    let writes = stats.lanes.iter().filter(|lane| lane.ends.target == TierId::File);
    writes.map(|lane| lane.stats.bytes.as_u64()).sum()
}

/// All of them, in the order in which they were served.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    served: Vec<Record>,
}

impl Records {
    pub(super) fn add(&mut self, record: Record) {
        self.served.push(record);
    }

    /// Takes in those of another worker.
    pub(super) fn merge(&mut self, other: Self) {
        self.served.extend(other.served);
        self.served.sort_by_key(|record| record.at);
    }

    /// Hits by span of time.
    pub(super) fn hits(&self) -> Vec<HitFigures> {
        let end = self.served.last().map_or(0, |record| record.at.as_u64());
        let span = end.div_ceil(SPANS).max(1);
        let mut figures: Vec<HitFigures> = Vec::new();
        for record in &self.served {
            let at_s = Nanos::new((record.at.as_u64() / span + 1) * span).as_secs_f64();
            if figures.last().is_none_or(|last| last.at_s < at_s) {
                figures.push(HitFigures { at_s, hit_tokens: [0; TierId::COUNT], prompt_tokens: 0 });
            }
            let Some(last) = figures.last_mut() else { continue };
            last.prompt_tokens += record.prompt_tokens;
            for (sum, tokens) in last.hit_tokens.iter_mut().zip(record.hit_tokens) {
                *sum += tokens;
            }
        }
        figures
    }

    /// Bytes written to the file over time; none if there were none.
    pub(super) fn file_bytes(&self) -> Vec<(f64, u64)> {
        if self.served.last().is_none_or(|record| record.file_bytes == 0) {
            return Vec::new();
        }
        let every = self.served.len().div_ceil(POINTS_MAX).max(1);
        let point = |record: &Record| (record.at.as_secs_f64(), record.file_bytes);
        self.served.iter().step_by(every).chain(self.served.last()).map(point).collect()
    }

    /// Of each kind of plan, what was predicted and what happened.
    pub(super) fn predictions(&self) -> Vec<PredictionFigures> {
        let choices = [Choice::Load, Choice::Recompute, Choice::TwoFronts, Choice::LoadThenCompute];
        let figures = choices.map(|choice| {
            let is_it = |forecast: &&Forecast| forecast.plan.reasons.choice == choice;
            let all: Vec<Forecast> = self.forecasts().filter(is_it).copied().collect();
            let pair = |forecast: &Forecast| {
                (forecast.plan.predicted.finish.as_u64(), forecast.outcome.finish.as_u64())
            };
            let every = all.len().div_ceil(POINTS_MAX).max(1);
            let predicted_observed_ns = all.iter().step_by(every).map(pair).collect();
            PredictionFigures { plan: name(choice).to_owned(), predicted_observed_ns }
        });
        figures.into_iter().filter(|plan| !plan.predicted_observed_ns.is_empty()).collect()
    }

    /// How far predictions were off; nothing if none was made.
    pub(super) fn prediction_error(&self) -> Option<PredictionError> {
        let error = |forecast: &Forecast| forecast.outcome.prediction_error(&forecast.plan.predicted);
        let mut errors: Vec<f64> = self.forecasts().map(error).collect();
        errors.sort_by(f64::total_cmp);
        let at = |share: usize| errors.get(errors.len() * share / 100).copied();
        Some(PredictionError { p50: at(50)?, p90: at(90)? })
    }

    fn forecasts(&self) -> impl Iterator<Item = &Forecast> {
        self.served.iter().filter_map(|record| record.forecast.as_ref())
    }
}

/// What a choice is called in a report.
pub(super) fn name(choice: Choice) -> &'static str {
    match choice {
        Choice::NothingToLoad => "nothing cached",
        Choice::Load => "load",
        Choice::Recompute => "recompute",
        Choice::TwoFronts => "two fronts",
        Choice::LoadThenCompute => "load, then compute",
    }
}
