//! What a replay shows: plain numbers in, a page out.
//! Uses `report`. Known by: `replay`.
//!
//! Every part may be empty and is left out then, so a replay fills in what it has.

use super::{Axis, Bars, Figure, Line, Lines, Map, Page, Points, Rows, Section};

/// One lane's work.
#[derive(Clone, Debug)]
pub(crate) struct LaneFigures {
    /// From where to where.
    pub(crate) name: String,
    /// Bytes that it moved.
    pub(crate) bytes: u64,
    /// Transfers that moved them.
    pub(crate) transfers: u64,
    /// Bytes a second while it was busy; nothing if it never was.
    pub(crate) bytes_per_s: Option<f64>,
}

/// What served how much of the prompts in one span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HitFigures {
    /// The end of the span, in seconds from the start.
    pub(crate) at_s: f64,
    /// Prompt tokens found in the device, host and file tier.
    pub(crate) hit_tokens: [u64; 3],
    /// Prompt tokens of the span.
    pub(crate) prompt_tokens: u64,
}

/// Time to first token under one combination of arms.
#[derive(Clone, Debug)]
pub(crate) struct TtftFigures {
    /// The arms.
    pub(crate) arm: String,
    /// Mean, median, and the time that nine tenths and 99 of a hundred requests stayed below, in nanoseconds.
    pub(crate) mean_p50_p90_p99_ns: [u64; 4],
}

/// The predictions of one kind of plan.
#[derive(Clone, Debug)]
pub(crate) struct PredictionFigures {
    /// Load, recompute or both.
    pub(crate) plan: String,
    /// Predicted and observed times, in nanoseconds.
    pub(crate) predicted_observed_ns: Vec<(u64, u64)>,
}

/// What a tier would have hit that might have been.
#[derive(Clone, Debug)]
pub(crate) struct ShadowFigures {
    /// In the place of this tier.
    pub(crate) tier: String,
    /// By which policy it is kept, and how large it is.
    pub(crate) kept: String,
    /// Share of the blocks asked for that are in the leading resident run.
    pub(crate) prefix_hit_rate: f64,
}

/// Who wins where: the plan's choice by cached context and new tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChoiceFigures {
    /// Tokens of cached context, ascending.
    pub(crate) context_tokens: Vec<u64>,
    /// Tokens of the prefix in question, ascending.
    pub(crate) prefix_tokens: Vec<u64>,
    /// The plans that can win.
    pub(crate) plans: Vec<String>,
    /// By prefix, then context: the place of the winner in `plans`.
    pub(crate) winners: Vec<Vec<Option<usize>>>,
}

/// All that a replay found.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplayFigures {
    /// What was replayed, on what.
    pub(crate) summary: String,
    /// Hits over time.
    pub(crate) hits: Vec<HitFigures>,
    /// Time to first token, by arm.
    pub(crate) ttft: Vec<TtftFigures>,
    /// Work of the lanes.
    pub(crate) lanes: Vec<LaneFigures>,
    /// Slots freed in the device, host and file tier.
    pub(crate) evictions: [u64; 3],
    /// Blocks whose last copy went.
    pub(crate) drops: u64,
    /// Bytes written to the file tier, in total at moments in seconds from the start.
    pub(crate) file_bytes_written: Vec<(f64, u64)>,
    /// Predictions and what happened.
    pub(crate) predictions: Vec<PredictionFigures>,
    /// What shadows would have hit.
    pub(crate) shadows: Vec<ShadowFigures>,
    /// What to load and what to compute.
    pub(crate) choice: ChoiceFigures,
}

/// The tiers, in the order of [`HitFigures::hit_tokens`].
const TIERS: [&str; 3] = ["device", "host", "file"];

impl ReplayFigures {
    /// The page that shows it.
    pub(crate) fn to_page(&self) -> Page {
        let sections = [
            self.hits_section(),
            self.ttft_section(),
            self.lanes_section(),
            self.evictions_section(),
            self.writes_section(),
            self.predictions_section(),
            self.shadows_section(),
            self.choice_section(),
            self.ttft_rows(),
            self.lanes_rows(),
        ];
        Page {
            title: "kv-pager replay".to_owned(),
            summary: self.summary.clone(),
            sections: sections.into_iter().flatten().collect(),
        }
    }

    fn hits_section(&self) -> Option<Section> {
        let spans: Vec<_> = self.hits.iter().filter(|span| span.prompt_tokens > 0).collect();
        (!spans.is_empty()).then(|| {
            // Each line stands on the one below it, so the uppermost is the whole hit rate.
            let line = |tier: usize| {
                let upto = |span: &HitFigures| span.hit_tokens[..=tier].iter().sum::<u64>();
                let rate = |span: &HitFigures| as_float(upto(span)) / as_float(span.prompt_tokens);
                let name = if tier == 0 { "device".to_owned() } else { format!("+ {}", TIERS[tier]) };
                Line { name, points: spans.iter().map(|span| (span.at_s, rate(span))).collect() }
            };
            section(
                "Hits by tier over time",
                "Share of the prompt tokens that were found in the tiers, added up: the uppermost line is the whole hit rate.",
                Figure::Lines(Lines {
                    across: Axis::linear("seconds"),
                    up: Axis::linear("share of prompt tokens"),
                    series: (0..TIERS.len()).map(line).collect(),
                    is_marked: false,
                }),
            )
        })
    }

    fn ttft_section(&self) -> Option<Section> {
        (!self.ttft.is_empty()).then(|| {
            let longest = self.ttft.iter().flat_map(|arm| arm.mean_p50_p90_p99_ns).max().unwrap_or(0);
            let (unit, unit_ns) = if longest < 10_000_000_000 { ("ms", 1e6) } else { ("seconds", 1e9) };
            let series = |place: usize, name: &str| {
                let values = self.ttft.iter().map(|arm| as_float(arm.mean_p50_p90_p99_ns[place]) / unit_ns);
                (name.to_owned(), values.collect())
            };
            section(
                "Time to first token",
                "From arrival to the end of the request's last computing, by arm. Lower is better.",
                Figure::Bars(Bars {
                    along: Axis::linear(unit),
                    categories: self.ttft.iter().map(|arm| arm.arm.clone()).collect(),
                    series: vec![series(0, "mean"), series(1, "p50"), series(2, "p90"), series(3, "p99")],
                }),
            )
        })
    }

    fn ttft_rows(&self) -> Option<Section> {
        (!self.ttft.is_empty()).then(|| {
            let row = |arm: &TtftFigures| {
                let times = arm.mean_p50_p90_p99_ns.map(|ns| format!("{:.1}", milliseconds(ns)));
                [arm.arm.clone()].into_iter().chain(times).collect()
            };
            let header = ["arm", "mean, ms", "p50, ms", "p90, ms", "p99, ms"].map(str::to_owned).to_vec();
            let rows = Rows { header, rows: self.ttft.iter().map(row).collect() };
            section(
                "Time to first token in numbers",
                "From arrival to the end of the request's last computing.",
                Figure::Rows(rows),
            )
        })
    }

    fn lanes_section(&self) -> Option<Section> {
        let used = self.lanes.iter().any(|lane| lane.bytes > 0);
        used.then(|| {
            section(
                "Bytes by lane",
                "What moved between the tiers.",
                Figure::Bars(Bars {
                    along: Axis::linear("GiB"),
                    categories: self.lanes.iter().map(|lane| lane.name.clone()).collect(),
                    series: vec![(
                        "bytes".to_owned(),
                        self.lanes.iter().map(|lane| gibibytes(lane.bytes)).collect(),
                    )],
                }),
            )
        })
    }

    fn lanes_rows(&self) -> Option<Section> {
        (!self.lanes.is_empty()).then(|| {
            let row = |lane: &LaneFigures| {
                let rate =
                    lane.bytes_per_s.map_or_else(|| "-".to_owned(), |rate| format!("{:.2} GB/s", rate / 1e9));
                vec![
                    lane.name.clone(),
                    lane.transfers.to_string(),
                    format!("{:.3}", gibibytes(lane.bytes)),
                    rate,
                ]
            };
            let header = ["lane", "transfers", "GiB", "rate while busy"].map(str::to_owned).to_vec();
            let rows = Rows { header, rows: self.lanes.iter().map(row).collect() };
            section(
                "Lanes in numbers",
                "Rates count only the time in which a lane was busy.",
                Figure::Rows(rows),
            )
        })
    }

    fn evictions_section(&self) -> Option<Section> {
        let any = self.evictions.iter().sum::<u64>() + self.drops > 0;
        any.then(|| {
            let values = self.evictions.iter().chain([&self.drops]).map(|&count| as_float(count));
            let names = TIERS.iter().copied().chain(["dropped"]);
            section(
                "Evictions",
                "Slots freed in each tier, and blocks whose last copy went by it.",
                Figure::Bars(Bars {
                    along: Axis::linear("blocks"),
                    categories: names.map(str::to_owned).collect(),
                    series: vec![("blocks".to_owned(), values.collect())],
                }),
            )
        })
    }

    fn shadows_section(&self) -> Option<Section> {
        (!self.shadows.is_empty()).then(|| {
            let names = self.shadows.iter().map(|shadow| format!("{}: {}", shadow.tier, shadow.kept));
            let rates = self.shadows.iter().map(|shadow| shadow.prefix_hit_rate);
            section(
                "What shadows would have hit",
                "Prefix hit rate of each tier as if it stood alone, kept by each policy, and with twice the memory. Of a sample; to be \
                 compared with one another.",
                Figure::Bars(Bars {
                    along: Axis::linear("prefix hit rate"),
                    categories: names.collect(),
                    series: vec![("prefix hits".to_owned(), rates.collect())],
                }),
            )
        })
    }

    fn writes_section(&self) -> Option<Section> {
        (!self.file_bytes_written.is_empty()).then(|| {
            let points = self.file_bytes_written.iter().map(|&(at_s, bytes)| (at_s, gibibytes(bytes)));
            section(
                "Written to the file tier",
                "In total; a drive's endurance is spent by it.",
                Figure::Lines(Lines {
                    across: Axis::linear("seconds"),
                    up: Axis::linear("GiB"),
                    series: vec![Line { name: "written".to_owned(), points: points.collect() }],
                    is_marked: false,
                }),
            )
        })
    }

    fn predictions_section(&self) -> Option<Section> {
        let any = self.predictions.iter().any(|plan| !plan.predicted_observed_ns.is_empty());
        any.then(|| {
            let pairs = |plan: &PredictionFigures| {
                let pairs = plan.predicted_observed_ns.iter();
                let pairs =
                    pairs.map(|&(predicted, observed)| (milliseconds(predicted), milliseconds(observed)));
                (plan.plan.clone(), pairs.collect())
            };
            section(
                "Predicted and observed",
                "Each plan's time. Points on the line were predicted exactly; those above it took longer.",
                Figure::Points(Points {
                    across: Axis::logarithmic("predicted, ms"),
                    up: Axis::logarithmic("observed, ms"),
                    series: self.predictions.iter().map(pairs).collect(),
                }),
            )
        })
    }

    fn choice_section(&self) -> Option<Section> {
        (!self.choice.winners.is_empty()).then(|| {
            section(
                "Load or recompute",
                "The cheapest plan by length of the prefix and of the context before it, at the costs measured.",
                Figure::Map(Map {
                    across: Axis::linear("tokens of context"),
                    up: Axis::linear("tokens of the prefix"),
                    columns: self.choice.context_tokens.iter().map(|&tokens| as_float(tokens)).collect(),
                    rows: self.choice.prefix_tokens.iter().map(|&tokens| as_float(tokens)).collect(),
                    names: self.choice.plans.clone(),
                    winners: self.choice.winners.clone(),
                }),
            )
        })
    }
}

fn section(heading: &str, words: &str, figure: Figure) -> Section {
    Section { heading: heading.to_owned(), words: words.to_owned(), figure }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn milliseconds(ns: u64) -> f64 {
    as_float(ns) / 1e6
}

fn gibibytes(bytes: u64) -> f64 {
    as_float(bytes) / f64::from(1 << 30)
}
