use super::{Node, PrefillCost, TokenSpan};

fn node(tokens: u32, base_ns: f64, context_ns: f64, window_ns: f64) -> Node {
    Node { tokens, base_ns, context_ns, window_ns }
}

/// Three nodes of `t = a + b*n + d*n*(c + n/2) + e*c` with one set of numbers.
fn one_formula() -> (PrefillCost, impl Fn(TokenSpan) -> f64) {
    let formula = |span: TokenSpan| {
        let (n, c) = (f64::from(span.tokens), f64::from(span.start));
        900_000.0 + 20_000.0 * n + 1.5 * n * (c + n / 2.0) + 300.0 * c
    };
    let at = |tokens: u32| {
        let base_ns = formula(TokenSpan { start: 0, tokens });
        node(tokens, base_ns, formula(TokenSpan { start: 1, tokens }) - base_ns, 0.0)
    };
    (PrefillCost::new(None, &[at(128), at(1024), at(8192)]), formula)
}

#[test]
fn nodes_of_one_formula_give_it_between_and_beyond_them() {
    let (prefill, formula) = one_formula();
    for tokens in [128, 500, 1024, 3000, 8192, 20_000] {
        for start in [0, 17, 40_000] {
            let span = TokenSpan { start, tokens };
            let error = prefill.step_ns(span) / formula(span) - 1.0;
            assert!(error.abs() < 1e-9, "{span:?}: {error}");
        }
    }
}

#[test]
fn a_span_is_the_sum_of_its_steps() {
    let nodes = [node(64, 4e6, 100.0, 50.0), node(512, 9e6, 900.0, 300.0), node(2048, 31e6, 3000.0, 1000.0)];
    let prefill = PrefillCost::new(Some(4096), &nodes);
    let steps = prefill.in_steps(1024);
    for (start, tokens) in [(0, 0), (0, 1), (0, 1024), (160, 10_000), (3000, 2048), (9000, 5000)] {
        let mut sum_ns = 0.0;
        let mut at = start;
        while at < start + tokens {
            let step = TokenSpan::between(at, (start + tokens).min(at + 1024));
            sum_ns += prefill.step_ns(step);
            at += 1024;
        }
        let span_ns = steps.span_ns(TokenSpan { start, tokens });
        assert!((span_ns - sum_ns).abs() <= 1e-9 * sum_ns, "{start} {tokens}: {span_ns} {sum_ns}");
    }
}

#[test]
fn what_falls_is_levelled_so_that_more_never_takes_less() {
    let nodes = [node(128, 20e6, 900.0, 0.0), node(512, 16e6, -5.0, 0.0), node(2048, 46e6, 4200.0, 0.0)];
    let prefill = PrefillCost::new(None, &nodes);
    assert!((prefill.nodes()[0].base_ns - 18e6).abs() < 1.0, "{prefill:?}");
    let mut before = 0.0;
    for tokens in (0..10_000).step_by(16) {
        let now = prefill.step_ns(TokenSpan { start: 512, tokens });
        assert!(now >= before, "{tokens}");
        assert!(now <= prefill.step_ns(TokenSpan { start: 528, tokens }), "{tokens}");
        before = now;
    }
}

#[test]
fn a_window_is_seen_once() {
    let nodes = [node(16, 1e6, 0.0, 10.0), node(1024, 2e6, 0.0, 20.0)];
    let prefill = PrefillCost::new(Some(512), &nodes);
    let at = |start| prefill.step_ns(TokenSpan { start, tokens: 16 });
    assert!(at(256) < at(512));
    assert!((at(512) - at(100_000)).abs() < 1e-9);
}
