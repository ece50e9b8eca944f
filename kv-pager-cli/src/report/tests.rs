//! Pages hold what they should, and nothing from elsewhere.

use super::numbers::short;
use super::replay::{
    ChoiceFigures, HitFigures, LaneFigures, PredictionFigures, ReplayFigures, ShadowFigures, TtftFigures,
};
use super::{Axis, Bars, Figure, Line, Lines, Page, Section};

/// A replay with every part.
fn replay() -> ReplayFigures {
    let hits = (1..=40_u32).map(|minute| HitFigures {
        at_s: f64::from(minute) * 60.0,
        hit_tokens: [u64::from(minute) * 300, u64::from(minute) * 500, 4_000],
        prompt_tokens: 60_000,
    });
    let lane = |name: &str, bytes| LaneFigures {
        name: name.to_owned(),
        bytes,
        transfers: 1_200,
        bytes_per_s: Some(4.8e10),
    };
    let ttft = |arm: &str, factor| TtftFigures {
        arm: arm.to_owned(),
        mean_p50_p90_p99_ns: [900, 600, 2_100, 7_000].map(|ms: u64| ms * 1_000_000 * factor / 10),
    };
    let pairs =
        |step| (1..60_u64).map(|place| (place * step, place * step + (place * 7_919 * 977) % step)).collect();
    let plan =
        |name: &str, step| PredictionFigures { plan: name.to_owned(), predicted_observed_ns: pairs(step) };
    let winners = (0..8).map(|row| (0..10).map(|column| Some((row * 2 + column) / 9)).collect());
    ReplayFigures {
        summary: "A made-up stream & three <tiers>, to look at.".to_owned(),
        hits: hits.collect(),
        ttft: vec![ttft("adaptive", 10), ttft("always-load", 13), ttft("always-recompute", 17)],
        lanes: vec![
            lane("host→device", 91 << 30),
            lane("device→host", 60 << 30),
            lane("file→host", 17 << 30),
        ],
        evictions: [51_000, 23_000, 4_000],
        drops: 9_000,
        file_bytes_written: (0..40_u32)
            .map(|minute| (f64::from(minute) * 60.0, u64::from(minute) << 30))
            .collect(),
        predictions: vec![plan("load", 40_000_000), plan("recompute", 90_000_000), plan("both", 25_000_000)],
        shadows: ["lru, 300 blocks", "cost-aware, 300 blocks", "cost-aware, 600 blocks"]
            .into_iter()
            .zip([0.2, 0.25, 0.375])
            .map(|(kept, prefix_hit_rate)| ShadowFigures {
                tier: "host".to_owned(),
                kept: kept.to_owned(),
                prefix_hit_rate,
            })
            .collect(),
        choice: ChoiceFigures {
            context_tokens: (0..10).map(|step| step * 4_096).collect(),
            prefix_tokens: (1..9).map(|step| step * 512).collect(),
            plans: ["load", "both", "recompute"].map(str::to_owned).to_vec(),
            winners: winners.collect(),
        },
    }
}

#[test]
fn a_page_needs_nothing_from_outside() {
    let html = replay().to_page().to_html();
    for outside in ["<script", "<link", "@import", "url(", "src="] {
        assert!(!html.contains(outside), "RP1: {outside}");
    }
    let addresses = html.matches("http").count();
    assert_eq!(
        addresses,
        html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count(),
        "RP1: only the name of SVG"
    );
}

#[test]
fn every_part_is_shown_and_an_empty_one_is_left_out() {
    assert_eq!(replay().to_page().sections.len(), 10);
    assert_eq!(ReplayFigures::default().to_page().sections.len(), 0);
    let html = replay().to_page().to_html();
    assert_eq!(html.matches("<svg role=\"img\"").count(), 8);
    assert!(html.contains("&amp; three &lt;tiers&gt;"), "words are no markup");
}

#[test]
fn a_page_can_be_looked_at() {
    // Left for a person, where one asks for it.
    if let Some(path) = std::env::var_os("KV_PAGER_REPORT") {
        std::fs::write(path, replay().to_page().to_html())
            .expect("the path that was asked for can be written");
    }
}

#[test]
fn charts_without_values_are_drawn_all_the_same() {
    for across in [Axis::linear("x"), Axis::logarithmic("x")] {
        for points in [vec![], vec![(0.0, 0.0)], vec![(f64::NAN, 1.0), (3.0, f64::INFINITY)]] {
            let lines = vec![Line { name: "a".to_owned(), points }];
            let lines =
                Lines { across: across.clone(), up: Axis::linear("y"), series: lines, is_marked: true };
            let section =
                Section { heading: "h".to_owned(), words: String::new(), figure: Figure::Lines(lines) };
            let page = Page { title: "t".to_owned(), summary: String::new(), sections: vec![section] };
            assert!(page.to_html().contains("</svg>"));
        }
    }
}

#[test]
fn names_of_bars_never_stand_in_each_other() {
    let bars = |names: &[&str]| {
        let categories: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let values = vec![1.0; names.len()];
        Bars { along: Axis::linear("ms"), categories, series: vec![("mean".to_owned(), values)] }.draw()
    };
    // Where each name stands: the numbers before and after it are not names.
    let heights = |svg: &str, names: &[&str]| -> Vec<String> {
        let text_of = |name: &&str| svg.split("<text").find(|text| text.contains(*name)).map(str::to_owned);
        let texts = names.iter().map(|name| text_of(name).expect("it is told"));
        let y = |text: String| {
            text.split("y=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        };
        texts.map(|text| y(text).expect("it has a place")).collect()
    };
    let short = ["device", "host", "file"];
    let beside = heights(&bars(&short), &short);
    assert!(beside.iter().all(|height| *height == beside[0]), "{beside:?}");
    let long = ["cost-aware always-recompute", "lru always-load", "slru adaptive", "arc adaptive"];
    let mut below = heights(&bars(&long), &long);
    below.dedup();
    assert_eq!(below.len(), long.len(), "each has a line of its own");
}

#[test]
fn numbers_are_short() {
    let texts = [0.0, 0.137, 1.0, 18_279.0, 2_000_000.0, 913.0, 0.05].map(short);
    assert_eq!(texts, ["0", "0.137", "1", "18.3k", "2M", "913", "0.05"].map(str::to_owned));
}
