//! The results of a replay as tables for a person.
//! Uses `replay::results`. Known by: `replay`.

use super::results::{LaneResults, Results, Spans, rate};
use comfy_table::{Cell, CellAlignment, Table, presets};
use kv_pager::units::{Bytes, Nanos};

/// All tables, one under the other.
pub(super) fn report(results: &Results) -> String {
    let tables = [tokens(results), lanes(&results.lanes), spans(results), checks(results)];
    tables.map(|table| table.to_string()).join("\n\n")
}

fn tokens(results: &Results) -> Table {
    let mut table = table(&["prompt tokens", "", "share"]);
    let hits = &results.hit_tokens;
    for (name, tokens) in [
        ("all", results.prompt_tokens),
        ("found on the device", hits.device),
        ("onboarded from the host", hits.host),
        ("onboarded from the file", hits.file),
        ("computed", results.computed_tokens),
        ("of them computed before", results.recomputed_tokens),
    ] {
        row(&mut table, name, &[grouped(tokens), share(tokens, results.prompt_tokens)]);
    }
    table
}

fn lanes(lanes: &[LaneResults]) -> Table {
    let mut table = table(&["lane", "batches", "blocks", "bytes", "rate while busy"]);
    for lane in lanes {
        let rate = lane.bytes_per_s.map_or_else(nothing, per_second);
        let bytes = Bytes::new(lane.bytes).to_string();
        row(&mut table, &lane.name, &[grouped(lane.transfers), grouped(lane.blocks), bytes, rate]);
    }
    table
}

fn spans(results: &Results) -> Table {
    let mut table = table(&["time to first token", "mean", "p50", "p90", "p99"]);
    let served = results.sample_requests.unwrap_or(results.requests);
    let sample = format!("without it ({} requests)", grouped(served));
    for (name, spans) in [("with the cache", results.ttft_ns), (&sample, results.ttft_without_cache_ns)] {
        row(&mut table, name, &spans.map_or_else(|| std::array::from_fn(|_| nothing()), quantiles));
    }
    table
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of nanoseconds is not negative"
)]
fn quantiles(spans: Spans) -> [String; 4] {
    [spans.mean as u64, spans.p50, spans.p90, spans.p99].map(span)
}

fn checks(results: &Results) -> Table {
    let mut table = table(&["", ""]);
    let took = results.virtual_ns.unwrap_or(results.wall_ns);
    let generated = results.decode_tokens_per_s.map_or_else(nothing, whole);
    let prompt = rate(results.prompt_tokens, Nanos::new(took)).map_or_else(nothing, whole);
    let evictions = &results.evictions;
    let evicted = [evictions.device, evictions.host, evictions.file].map(grouped).join(" / ");
    for (name, value) in [
        ("requests", grouped(results.requests)),
        ("wall time", span(results.wall_ns)),
        ("virtual time", results.virtual_ns.map_or_else(nothing, span)),
        ("prompt tokens a second", prompt),
        ("generated tokens a second", generated),
        ("evictions: device / host / file", evicted),
        ("blocks whose last copy went", grouped(results.drops)),
        ("blocks recovered from the file tier", counted(results.recovered_blocks)),
        ("blocks onboarded", grouped(results.onboarded_blocks)),
        ("blocks promoted while lanes stood idle", grouped(results.promoted_blocks)),
        ("blocks verified: onboarded", counted(results.verified_blocks)),
        ("blocks verified: found on the device", counted(results.verified_resident_blocks)),
        ("blocks stopped by a checksum", counted(results.damaged_blocks)),
        ("blocks that mismatched", counted(results.mismatched_blocks)),
        ("sampled requests that differed", counted(results.differing_requests)),
    ] {
        row(&mut table, name, &[value]);
    }
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let cells = header.iter().enumerate().map(|(index, text)| aligned(index, text));
    if header.iter().any(|text| !text.is_empty()) {
        table.set_header(cells.collect::<Vec<_>>());
    }
    table
}

fn row<const N: usize>(table: &mut Table, name: &str, values: &[String; N]) {
    let cells = [name].into_iter().chain(values.iter().map(String::as_str));
    table.add_row(cells.enumerate().map(|(index, text)| aligned(index, text)).collect::<Vec<_>>());
}

/// Names to the left, numbers to the right.
fn aligned(column: usize, text: &str) -> Cell {
    let alignment = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
    Cell::new(text).set_alignment(alignment)
}

fn nothing() -> String {
    "-".to_owned()
}

/// A count, where it was taken.
fn counted(count: Option<u64>) -> String {
    count.map_or_else(nothing, grouped)
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn share(part: u64, whole: u64) -> String {
    if whole == 0 { nothing() } else { format!("{:.1} %", part as f64 / whole as f64 * 100.0) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative")]
fn whole(rate: f64) -> String {
    grouped(rate as u64)
}

fn per_second(bytes: f64) -> String {
    format!("{:.2} GB/s", bytes / 1e9)
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn span(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        _ if ns < 1e3 => format!("{ns:.0} ns"),
        _ if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        _ if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::{grouped, share, span};

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned),
            [0, 999, 1000, 1_234_567].map(grouped)
        );
        assert_eq!(
            ["10 ns", "1.5 µs", "2.0 ms", "3.00 s"].map(str::to_owned),
            [10, 1500, 2_000_000, 3_000_000_000].map(span)
        );
        assert_eq!((share(1, 3), share(0, 0)), ("33.3 %".to_owned(), "-".to_owned()));
    }
}
