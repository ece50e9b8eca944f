//! The comparison as a page.
//! Uses `report`, `compare::results`. Known by: `compare`.

use super::results::{ArmResults, Results};
use crate::report::{Axis, Figure, Line, Lines, Page, Rows, Section};

/// Hit rates by capacity, the gain over the least recently used, and all numbers.
pub(super) fn page(results: &Results) -> Page {
    let Results { trace, requests, total_blocks, unique_blocks, .. } = results;
    let prefix = "Blocks in the leading resident run at a request's arrival, per block asked for.";
    let resident = "Blocks that were resident, in the leading run or not, per block asked for.";
    let mut sections = vec![
        chart(results, "Prefix hit rate", prefix, |arm| arm.prefix_hit_rate),
        chart(results, "Resident hit rate", resident, |arm| arm.resident_hit_rate),
    ];
    sections.extend(gain(results));
    sections.push(rows(results));
    Page {
        title: "kv-pager compare".to_owned(),
        summary: format!(
            "{trace}: {requests} requests for {total_blocks} blocks, {unique_blocks} of them different."
        ),
        sections,
    }
}

fn chart(results: &Results, heading: &str, words: &str, value: impl Fn(&ArmResults) -> f64) -> Section {
    let line = |policy: &str| Line {
        name: policy.to_owned(),
        points: results.of(policy).map(|arm| (f64::from(arm.capacity_blocks), value(arm))).collect(),
    };
    let lines = results.policies().into_iter().map(line).collect();
    Section {
        heading: heading.to_owned(),
        words: words.to_owned(),
        figure: Figure::Lines(over_capacity("hit rate", lines)),
    }
}

/// What each policy hits more than the baseline, if that took part beside another.
fn gain(results: &Results) -> Option<Section> {
    const BASELINE: &str = "lru";
    let baseline: Vec<f64> = results.of(BASELINE).map(|arm| arm.prefix_hit_rate).collect();
    let others: Vec<&str> = results.policies().into_iter().filter(|&policy| policy != BASELINE).collect();
    if baseline.is_empty() || others.is_empty() {
        return None;
    }
    let change = |(arm, base): (&ArmResults, &f64)| vec![format!("{:+.4}", arm.prefix_hit_rate - base)];
    let row = |policy: &str| {
        let changes = results.of(policy).zip(&baseline).flat_map(change);
        [policy.to_owned()].into_iter().chain(changes).collect()
    };
    Some(Section {
        heading: "Gain over lru".to_owned(),
        words: "Prefix hit rate less that of the least recently used, by capacity in blocks.".to_owned(),
        figure: Figure::Rows(Rows {
            header: ["policy".to_owned()]
                .into_iter()
                .chain(results.of(BASELINE).map(|arm| arm.capacity_blocks.to_string()))
                .collect(),
            rows: others.into_iter().map(row).collect(),
        }),
    })
}

fn rows(results: &Results) -> Section {
    let header = ["policy", "capacity, blocks", "prefix hit rate", "resident hit rate", "evictions"];
    let row = |arm: &ArmResults| {
        vec![
            arm.policy.clone(),
            arm.capacity_blocks.to_string(),
            format!("{:.4}", arm.prefix_hit_rate),
            format!("{:.4}", arm.resident_hit_rate),
            arm.evictions.to_string(),
        ]
    };
    Section {
        heading: "In numbers".to_owned(),
        words: "Every policy at every capacity.".to_owned(),
        figure: Figure::Rows(Rows {
            header: header.map(str::to_owned).to_vec(),
            rows: results.arms.iter().map(row).collect(),
        }),
    }
}

fn over_capacity(up: &str, lines: Vec<Line>) -> Lines {
    Lines {
        across: Axis::logarithmic("capacity, blocks"),
        up: Axis::linear(up),
        series: lines,
        is_marked: true,
    }
}
