//! A profile as tables for a person.
//! Known by: `measure`.

use comfy_table::{Table, presets};
use kv_pager::cost::{Profile, TokenSpan};
use kv_pager::units::Nanos;

/// All tables, one under the other.
pub(super) fn report(profile: &Profile) -> String {
    format!("{}, {}\n\n{}\n\n{}", profile.machine, profile.model, lanes(profile), prefill(profile))
}

fn lanes(profile: &Profile) -> Table {
    let mut table =
        table(&["lane", "alpha", "copies of", "gamma", "beta", "chunk", "while the opposite is busy"]);
    for lane in &profile.lanes {
        let cost = lane.cost();
        let classes: Vec<_> = cost.classes().collect();
        let column = |cells: Vec<String>| cells.join("\n");
        table.add_row([
            lane.ends.to_string(),
            microseconds(lane.alpha_ns),
            column(classes.iter().map(|class| format!("{} and more", class.copy_bytes_from)).collect()),
            column(classes.iter().map(|class| microseconds(class.gamma_ns)).collect()),
            column(classes.iter().map(|class| rate(class.beta_bytes_per_s)).collect()),
            lane.chunk_bytes.to_string(),
            format!("{:.2} times as long", lane.both_ways_factor),
        ]);
    }
    table
}

fn prefill(profile: &Profile) -> Table {
    let contexts = [0, 1024, 4096, 16_384];
    let mut table = table(&["prefill, tokens/s", "at 0", "at 1024", "at 4096", "at 16384"]);
    let cost = profile.prefill.cost();
    for node in cost.nodes() {
        let rate = |start| {
            let took: Nanos = cost.step(TokenSpan { start, tokens: node.tokens });
            format!("{:.0}", f64::from(node.tokens) / took.as_secs_f64())
        };
        let name = format!("steps of {}", node.tokens);
        table.add_row([name].into_iter().chain(contexts.map(rate)));
    }
    table
}

/// Where only calls count, bytes cost nothing.
fn rate(bytes_per_s: f64) -> String {
    if bytes_per_s.is_finite() { format!("{:.2} GB/s", bytes_per_s / 1e9) } else { "-".to_owned() }
}

/// What rounds to nothing is nothing: a line through knots may start a hair below it.
fn microseconds(span_ns: f64) -> String {
    let tenths = (span_ns / 100.0).round();
    format!("{:.1} us", if tenths == 0.0 { 0.0 } else { tenths / 10.0 })
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    table
}

#[cfg(test)]
mod tests {
    use super::microseconds;

    #[test]
    fn times_are_never_less_than_nothing_by_a_hair() {
        let shown = [-0.0, -1e-9, -49.0, 0.0, 1_234.0, -2_500.0].map(microseconds);
        assert_eq!(shown, ["0.0 us", "0.0 us", "0.0 us", "0.0 us", "1.2 us", "-2.5 us"]);
    }
}
