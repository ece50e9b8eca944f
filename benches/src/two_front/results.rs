//! What came of a contest: by cell and in all, as a table and as JSON.
//! Known by: `two_front::contest`, the binary.

use super::cell::{Cell, Split};
use super::scene::Served;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use kv_pager::cost::Profile;
use kv_pager::policy::plan::Choice;
use serde::Serialize;

/// The most that an executed plan may take of the best split.
const RATIO_MUST: f64 = 1.10;
/// The most that predictions may err: the median, the 90th percentile.
const ERRORS_MUST: [f64; 2] = [0.10, 0.25];

/// One split.
#[derive(Clone, Debug, Serialize)]
pub struct SplitResult {
    /// Blocks to compute first, blocks to load.
    pub split: Split,
    /// For people.
    pub label: String,
    /// Milliseconds of each round.
    pub took_ms: Vec<f64>,
    /// Their median.
    pub median_ms: f64,
}

/// One cell.
#[derive(Clone, Debug, Serialize)]
pub struct CellResult {
    /// Which.
    pub cell: Cell,
    /// By force.
    pub splits: Vec<SplitResult>,
    /// The label of the best of them.
    pub best: String,
    /// Its median.
    pub best_ms: f64,
    /// What the plans chose, each once.
    pub choices: Vec<String>,
    /// What was planned, each round.
    pub planned: Vec<Split>,
    /// In how many steps the plan's tokens were computed, each round, and in how many milliseconds. Where fronts have moved they are
    /// more than were planned.
    pub planned_steps: Vec<(u32, f64)>,
    /// Milliseconds of the plan, each round.
    pub planned_ms: Vec<f64>,
    /// Their median.
    pub planned_median_ms: f64,
    /// What the plan was predicted to take, each round.
    pub predicted_ms: Vec<f64>,
    /// |predicted - observed| / observed, each round.
    pub errors: Vec<f64>,
    /// The plan's median over the best split's.
    pub ratio: f64,
    /// What was measured at the start, as it had been corrected by the end of this cell.
    pub learnt: Option<Profile>,
}

/// All cells.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// The card and its driver.
    pub card: String,
    /// What was measured before.
    pub profile: Option<Profile>,
    /// How much longer a step takes beside loads, as a share.
    pub beside_onboard: Option<f64>,
    /// The same beside copies out of the device.
    pub beside_offload: Option<f64>,
    /// In the order of the grid.
    pub cells: Vec<CellResult>,
    /// The worst ratio.
    pub worst_ratio: f64,
    /// Of all errors, the median and the 90th percentile.
    pub errors: [f64; 2],
    /// All of it, in seconds.
    pub seconds: f64,
}

fn milliseconds(served: &Served) -> f64 {
    served.took.as_secs_f64() * 1e3
}

/// The value below which a share of them lies; zero if there are none.
fn quantile(values: &[f64], per_cent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * per_cent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0.0)
}

fn choice_name(choice: Choice) -> &'static str {
    match choice {
        Choice::NothingToLoad => "nothing to load",
        Choice::Load => "load",
        Choice::Recompute => "recompute",
        Choice::TwoFronts => "two fronts",
        Choice::LoadThenCompute => "load, then compute",
    }
}

impl CellResult {
    pub(super) fn new(cell: &Cell, forced: &[(Split, Vec<Served>)], planned: &[Served]) -> Self {
        let splits: Vec<SplitResult> = forced
            .iter()
            .map(|(split, served)| {
                let took_ms: Vec<f64> = served.iter().map(milliseconds).collect();
                let median_ms = quantile(&took_ms, 50);
                SplitResult { split: *split, label: split.label(cell), took_ms, median_ms }
            })
            .collect();
        let best = splits.iter().min_by(|a, b| a.median_ms.total_cmp(&b.median_ms));
        let (best, best_ms) = best.map_or((String::new(), 0.0), |best| (best.label.clone(), best.median_ms));
        let planned_ms: Vec<f64> = planned.iter().map(milliseconds).collect();
        let planned_median_ms = quantile(&planned_ms, 50);
        let planned_steps =
            planned.iter().map(|served| (served.steps, served.computing.as_secs_f64() * 1e3)).collect();
        let forecasts = planned.iter().filter_map(|served| served.forecast);
        let mut choices: Vec<String> = Vec::new();
        let (mut splits_planned, mut predicted_ms, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for forecast in forecasts {
            let name = choice_name(forecast.plan.reasons.choice).to_owned();
            if !choices.contains(&name) {
                choices.push(name);
            }
            let (front, load) = (forecast.plan.front, forecast.plan.load);
            splits_planned.push(Split { meet: load.start - front.start, end: load.end - front.start });
            predicted_ms.push(forecast.plan.predicted.finish.as_secs_f64() * 1e3);
            errors.push(forecast.outcome.prediction_error(&forecast.plan.predicted));
        }
        let ratio = planned_median_ms / best_ms;
        Self {
            cell: *cell,
            splits,
            best,
            best_ms,
            choices,
            planned: splits_planned,
            planned_steps,
            planned_ms,
            planned_median_ms,
            predicted_ms,
            errors,
            ratio,
            learnt: None,
        }
    }

    /// A row for people.
    pub fn line(&self) -> [String; 10] {
        let Cell { context_tokens, prefix_tokens, host_quarters, queued_blocks } = self.cell;
        let ms = |value: f64| format!("{value:.1}");
        let find = |label: &str| self.splits.iter().find(|split| split.label == label);
        let of = |label: &str| find(label).map_or_else(String::new, |split| ms(split.median_ms));
        let met = if self.ratio <= RATIO_MUST { "" } else { " MISSED" };
        [
            format!("{prefix_tokens} after {context_tokens}"),
            format!("{} %", host_quarters * 25),
            queued_blocks.to_string(),
            of("load"),
            of("recompute"),
            format!("{} ({})", ms(self.best_ms), self.best),
            format!("{} ({})", ms(self.planned_median_ms), self.choices.join(", ")),
            format!("{:.3}{met}", self.ratio),
            ms(quantile(&self.predicted_ms, 50)),
            format!("{:.1} %", 100.0 * quantile(&self.errors, 50)),
        ]
    }
}

const HEADER: [&str; 10] = [
    "cached tokens",
    "in host memory",
    "queued blocks",
    "load, ms",
    "recompute, ms",
    "best split, ms",
    "plan, ms",
    "plan / best",
    "predicted, ms",
    "error",
];

impl Results {
    /// Takes in a cell.
    pub fn add(&mut self, cell: CellResult) {
        self.worst_ratio = self.worst_ratio.max(cell.ratio);
        self.cells.push(cell);
        let errors: Vec<f64> = self.cells.iter().flat_map(|cell| cell.errors.iter().copied()).collect();
        self.errors = [50, 90].map(|per_cent| quantile(&errors, per_cent));
    }

    /// The table, and below it what was asked for.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(HEADER);
        for cell in &self.cells {
            table.add_row(cell.line());
        }
        let met = |is_met: bool| if is_met { "ok" } else { "MISSED" };
        let [median, tail] = self.errors;
        format!(
            "{table}\n\nplan / best split: worst {:.3} (at most {RATIO_MUST}: {})\npredicted against observed: median {:.1} %, p90 \
             {:.1} % (at most {:.0} and {:.0}: {})",
            self.worst_ratio,
            met(self.worst_ratio <= RATIO_MUST),
            100.0 * median,
            100.0 * tail,
            100.0 * ERRORS_MUST[0],
            100.0 * ERRORS_MUST[1],
            met(median <= ERRORS_MUST[0] && tail <= ERRORS_MUST[1])
        )
    }
}
