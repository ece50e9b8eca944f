//! Rows of the benchmark, as a table and as JSON.
//! Uses `memory`. Known by: `main`, the sections.

use crate::memory::HostMemory;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;
use std::path::Path;
use std::thread;

/// One figure; rates in MiB/s.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// Bytes of a slot.
    pub(crate) what: String,
    /// `read`, `write`, or what else was measured.
    pub(crate) way: String,
    /// Slots of a round.
    pub(crate) slots: usize,
    pub(crate) rounds: u64,
    /// The best of raw requests; reads alone, where reads beside writes are measured.
    pub(crate) raw: f64,
    /// How many raw requests at once that took.
    pub(crate) depth: usize,
    /// The best of raw requests with a checksum.
    pub(crate) checked: f64,
    pub(crate) lane: f64,
    /// Of the best of raw requests.
    pub(crate) share: f64,
    /// Processor time of a slot by raw requests, at the best depth, and by the lane.
    pub(crate) raw_cpu_us: f64,
    pub(crate) lane_cpu_us: f64,
    /// What is a number of times.
    pub(crate) times: f64,
    /// The least share, or the most times; 0 where nothing was asked for.
    pub(crate) must: f64,
    pub(crate) note: String,
}

/// All of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where it was.
    pub(crate) machine: String,
    /// In the order of measuring.
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(directory: &Path, memory: &HostMemory) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let machine = format!("{}, {}, {cores} cores", directory.display(), memory.name());
        Self { machine, rows: Vec::new() }
    }

    /// Adds a row and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        println!("{}", line(&row).join(" | "));
        self.rows.push(row);
    }

    /// The table, at the end.
    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(HEADER);
        for row in &self.rows {
            table.add_row(line(row));
        }
        println!("{}\n{table}", self.machine);
    }
}

const HEADER: [&str; 9] =
    ["slot", "what", "slots", "raw, MiB/s (depth)", "checked", "lane", "of raw", "must", "note"];

fn line(row: &Row) -> [String; 9] {
    let rate = |rate: f64| if rate > 0.0 { format!("{rate:.0}") } else { String::new() };
    let raw = if row.depth > 0 { format!("{:.0} ({})", row.raw, row.depth) } else { rate(row.raw) };
    let (is_met, must) = if row.times > 0.0 {
        (row.times <= row.must, format!("{} times", row.must))
    } else {
        (row.share >= row.must, format!("{:.0} %", row.must * 100.0))
    };
    let must = if row.must > 0.0 {
        format!("{must} {}", if is_met { "ok" } else { "MISSED" })
    } else {
        String::new()
    };
    let share = if row.share > 0.0 { format!("{:.0} %", row.share * 100.0) } else { String::new() };
    [
        row.what.clone(),
        row.way.clone(),
        row.slots.to_string(),
        raw,
        rate(row.checked),
        rate(row.lane),
        share,
        must,
        row.note.clone(),
    ]
}
