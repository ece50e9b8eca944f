//! Rows of a benchmark, as a table and as JSON.
//! Uses nothing. Known by: binaries.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

/// One measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The shape and layout.
    pub what: String,
    /// `offload`, `onboard` or `both`.
    pub way: String,
    /// Parts in a batch.
    pub parts: usize,
    /// Which host slots, which path.
    pub how: String,
    /// Bytes a second, each way.
    pub gb_per_s: f64,
    /// Of one contiguous copy of the same bytes in the same run.
    pub share: f64,
    /// Nanoseconds of a batch.
    pub whole_ns: u64,
    /// Nanoseconds of the submitting call.
    pub host_ns: u64,
    /// Allocations of the submitting call.
    pub allocations: u64,
    /// What does not fit the other columns.
    pub note: String,
    /// The least share that was asked for; 0 where none was.
    pub must: f64,
}

/// All of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The card and its driver.
    pub card: String,
    /// In the order of measuring.
    pub rows: Vec<Row>,
}

impl Report {
    /// Adds a row and prints it.
    pub fn add(&mut self, row: Row) {
        println!("{}", line(&row).join(" | "));
        self.rows.push(row);
    }

    /// The table, at the end.
    pub fn print(&self) {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(HEADER);
        for row in &self.rows {
            table.add_row(line(row));
        }
        println!("{}\n{table}", self.card);
    }
}

const HEADER: [&str; 9] =
    ["what", "way", "parts", "how", "GB/s", "of the limit", "must", "call, µs (allocations)", "note"];

fn line(row: &Row) -> [String; 9] {
    #[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
    let host_us = row.host_ns as f64 / 1e3;
    let must = if row.must > 0.0 {
        let met = if row.share >= row.must { "ok" } else { "MISSED" };
        format!("{:.0} % {met}", row.must * 100.0)
    } else {
        String::new()
    };
    let share = if row.share > 0.0 { format!("{:.1} %", row.share * 100.0) } else { String::new() };
    let call = if row.host_ns > 0 { format!("{host_us:.0} ({})", row.allocations) } else { String::new() };
    [
        row.what.clone(),
        row.way.clone(),
        row.parts.to_string(),
        row.how.clone(),
        format!("{:.2}", row.gb_per_s),
        share,
        must,
        call,
        row.note.clone(),
    ]
}
