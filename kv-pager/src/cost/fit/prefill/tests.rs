use super::super::regression::{COLUMNS_MAX, Row, regress};
use super::{PrefillSample, fit_prefill};
use crate::cost::{Node, PrefillCost, Profile, TokenSpan, real};

/// Llama-3-8B prefill on one H200: tokens a second by step, at context 0, 2k, 8k and 32k.
const H200_TOKENS_PER_S: [(u32, [f64; 4]); 4] = [
    (128, [6.5e3, 5.8e3, 7.0e3, 2.6e3]),
    (512, [31.3e3, 22.2e3, 16.3e3, 6.6e3]),
    (2048, [44.6e3, 34.1e3, 24.7e3, 11.0e3]),
    (8192, [40.2e3, 30.8e3, 23.3e3, 12.0e3]),
];

fn h200_samples() -> Vec<PrefillSample> {
    let contexts = [0, 2048, 8192, 32_768];
    let by_step = |(tokens, rates): (u32, [f64; 4])| {
        contexts.into_iter().zip(rates).map(move |(start, rate)| PrefillSample {
            step: TokenSpan { start, tokens },
            took: real::to_nanos(f64::from(tokens) / rate * 1e9),
        })
    };
    H200_TOKENS_PER_S.into_iter().flat_map(by_step).collect()
}

/// The 90th percentile of |predicted - observed| / observed.
fn error_p90(samples: &[PrefillSample], predict: impl Fn(TokenSpan) -> f64) -> f64 {
    let mut errors: Vec<f64> = samples
        .iter()
        .map(|sample| (predict(sample.step) / real::from_nanos(sample.took) - 1.0).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    errors[(errors.len() * 9).div_ceil(10) - 1]
}

/// One formula for all lengths, with or without `e*c`.
fn one_formula(samples: &[PrefillSample], columns: usize) -> impl Fn(TokenSpan) -> f64 {
    let features = |span: TokenSpan| {
        let (n, c) = (f64::from(span.tokens), f64::from(span.start));
        [1.0, n, n * (c + n / 2.0), c]
    };
    let rows: Vec<Row> = samples
        .iter()
        .map(|sample| {
            let mut row = Row { features: [0.0; COLUMNS_MAX], observed: real::from_nanos(sample.took) };
            row.features[..4].copy_from_slice(&features(sample.step));
            row
        })
        .collect();
    let found = regress(&rows, columns).expect("enough samples");
    move |span| features(span).iter().zip(&found).map(|(feature, factor)| feature * factor).sum()
}

#[test]
fn pieces_explain_the_h200_better_than_one_formula_and_that_better_with_the_context_term() {
    let all = h200_samples();
    let long: Vec<PrefillSample> = all.iter().copied().filter(|sample| sample.step.tokens >= 512).collect();
    let pieces = fit_prefill(&all, None).expect("enough samples");
    let figures = [&long, &all].map(|samples| {
        let without = error_p90(samples, one_formula(samples, 3));
        let with = error_p90(samples, one_formula(samples, 4));
        let piecewise = error_p90(samples, |span| pieces.step_ns(span));
        [without, with, piecewise].map(|share| (share * 1000.0).round() / 10.0)
    });
    let text = format!(
        "p90 error in %, [without e*c, with it, piecewise]: >= 512 tokens {:?}, all {:?}",
        figures[0], figures[1]
    );
    for [without, with, piecewise] in figures {
        assert!(piecewise < with.min(without), "{text}");
    }
    assert!((15.0..19.0).contains(&figures[0][0]), "{text}");
    assert!((7.0..10.0).contains(&figures[0][1]), "{text}");
    assert!(figures[0][2] < 8.0 && figures[1][2] < 15.0, "{text}");
}

#[test]
fn the_shipped_profile_is_the_fit_of_the_measured_table() {
    let fitted = fit_prefill(&h200_samples(), None).expect("enough samples");
    let shipped = Profile::h200_llama3_8b().prefill;
    for (node, shipped) in fitted.nodes().iter().zip(&shipped.nodes) {
        let same = |a: f64, b: f64| (a - b).abs() <= 1e-3 * a.abs() + 1e-9;
        let holds = node.tokens == shipped.tokens
            && same(node.base_ns, shipped.base_ns)
            && same(node.context_ns, shipped.context_ns);
        assert!(holds, "{:#?}", fitted.nodes());
    }
}

#[test]
fn known_costs_are_found_under_noise_and_outliers() {
    let node = |tokens, base_ns, context_ns, window_ns| Node { tokens, base_ns, context_ns, window_ns };
    let nodes = [node(64, 9e6, 60.0, 40.0), node(512, 14e6, 400.0, 300.0), node(4096, 95e6, 4000.0, 2500.0)];
    let truth = PrefillCost::new(Some(1024), &nodes);
    let mut samples = Vec::new();
    for tokens in [64, 128, 256, 512, 1024, 2048, 4096] {
        for start in [0, 256, 512, 1024, 4096, 16_384, 65_536] {
            let count = u32::try_from(samples.len()).expect("few");
            let noise = 0.97 + 0.06 * f64::from(count * 61 % 97) / 97.0;
            let stall = if count % 9 == 4 { 6.0 } else { 1.0 };
            let step = TokenSpan { start, tokens };
            samples.push(PrefillSample { step, took: real::to_nanos(truth.step_ns(step) * noise * stall) });
        }
    }
    let found = fit_prefill(&samples, Some(1024)).expect("enough samples");
    for tokens in [64, 200, 700, 3000, 8000] {
        for start in [0, 700, 3000, 50_000] {
            let step = TokenSpan { start, tokens };
            let error = found.step_ns(step) / truth.step_ns(step) - 1.0;
            assert!(error.abs() < 0.08, "{step:?}: {error}\n{found:?}");
        }
    }
}

#[test]
fn one_length_is_no_cost() {
    let step = TokenSpan { start: 0, tokens: 64 };
    assert!(fit_prefill(&[PrefillSample { step, took: real::to_nanos(1e6) }; 30], None).is_none());
}
