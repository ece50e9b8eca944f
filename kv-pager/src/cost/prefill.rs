//! The cost of prefill: `t = a + b*n + d*n*(c + n/2) + e*c + f*min(c, W)`, piecewise in n.
//! Layer 6. Uses `units`, `cost::real`. Known by: `cost`, `policy::plan`.
//!
//! - **C1** a prediction is finite and not negative, and allocates nothing;
//! - **C2** more tokens, or more tokens before them, never take less time.
//!
//! The pieces are kept by the times at their ends (`base_ns` at context 0, `context_ns` for each token before): two ends fix
//! a, b, d and e of the piece between them, and neighbours meet. Layers with a window see `min(c, W)` of the context, and a
//! model may have both kinds. Below the first node the time is the first node's: so few tokens don't fill a device.

use super::real;
use crate::units::Nanos;
use serde::{Deserialize, Serialize};

/// Tokens that follow others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct TokenSpan {
    /// How many tokens come before them.
    pub start: u32,
    /// How many they are.
    pub tokens: u32,
}

impl TokenSpan {
    /// The tokens from `start` up to `end`; none if that is not after it.
    pub fn between(start: u32, end: u32) -> Self {
        Self { start, tokens: end.saturating_sub(start) }
    }

    /// The place after the last.
    pub fn end(self) -> u32 {
        self.start.saturating_add(self.tokens)
    }
}

/// Where two pieces meet: the time of one step of `tokens` tokens.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Tokens computed in the step.
    pub tokens: u32,
    /// Its time in nanoseconds with nothing before it.
    pub base_ns: f64,
    /// What each token before it adds, in nanoseconds.
    pub context_ns: f64,
    /// What each of the last W tokens before it adds, in nanoseconds.
    #[serde(default)]
    pub window_ns: f64,
}

/// What the engine takes to compute keys and values. Plain data without heap.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PrefillCost {
    window_tokens: Option<u32>,
    nodes: [Node; Self::NODES_MAX],
    slopes: [Slope; Self::NODES_MAX],
    count: usize,
}

/// How a step's times grow with its tokens between a node and the next; the last piece goes on for ever.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Slope {
    width: f64,
    base_ns: f64,
    context_ns: f64,
    window_ns: f64,
    /// The step's tokens attend to each other: d/2 * n * n between the ends, as far as the time still grows (C2).
    bend_ns: f64,
}

impl Slope {
    fn between(left: Node, right: Node) -> Self {
        let width = f64::from(right.tokens - left.tokens);
        let base_ns = (right.base_ns - left.base_ns) / width;
        let context_ns = (right.context_ns - left.context_ns) / width;
        let window_ns = (right.window_ns - left.window_ns) / width;
        Self { width, base_ns, context_ns, window_ns, bend_ns: context_ns.min(2.0 * base_ns / width) / 2.0 }
    }
}

impl PrefillCost {
    /// The most nodes.
    pub const NODES_MAX: usize = 8;

    /// A cost through `nodes`, whose layers with a window, if there are any, see `window_tokens`. What breaks C2 is mended:
    /// neighbours that fall are made equal.
    ///
    /// # Panics
    /// If there are fewer than 2 or more than [`PrefillCost::NODES_MAX`] nodes, or their tokens do not grow.
    pub fn new(window_tokens: Option<u32>, nodes: &[Node]) -> Self {
        assert!((2..=Self::NODES_MAX).contains(&nodes.len()), "{} nodes; a prefill has 2 to 8", nodes.len());
        assert!(nodes.is_sorted_by(|a, b| a.tokens < b.tokens), "nodes grow in tokens: {nodes:?}");
        let mut prefill = Self {
            window_tokens,
            nodes: [Node::default(); 8],
            slopes: [Slope::default(); 8],
            count: nodes.len(),
        };
        prefill.nodes[..nodes.len()].copy_from_slice(nodes);
        let kept = &mut prefill.nodes[..nodes.len()];
        level(kept, |node| &mut node.base_ns);
        level(kept, |node| &mut node.context_ns);
        level(kept, |node| &mut node.window_ns);
        for (slope, pair) in prefill.slopes.iter_mut().zip(kept.windows(2)) {
            *slope = Slope::between(pair[0], pair[1]);
        }
        prefill
    }

    /// The window of those layers that have one.
    pub fn window_tokens(&self) -> Option<u32> {
        self.window_tokens
    }

    /// Where the pieces meet, fewest tokens first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes[..self.count]
    }

    /// One step of the engine. `O(1)`.
    pub fn step(&self, step: TokenSpan) -> Nanos {
        real::to_nanos(self.step_ns(step))
    }

    /// [`PrefillCost::step`] without rounding.
    pub(crate) fn step_ns(&self, step: TokenSpan) -> f64 {
        if step.tokens == 0 {
            return 0.0;
        }
        let node = self.at(step.tokens);
        let (context, window) = self.seen(step.start);
        node.base_ns + node.context_ns * context + node.window_ns * window
    }

    /// The time of steps of `tokens` tokens: a node, made from its neighbours.
    pub(super) fn at(&self, tokens: u32) -> Node {
        let index = self.piece_of(tokens);
        let (left, slope) = (self.nodes[index], self.slopes[index]);
        let into = f64::from(tokens.max(left.tokens) - left.tokens);
        Node {
            tokens,
            base_ns: left.base_ns + into * (slope.base_ns + slope.bend_ns * (into - slope.width)),
            context_ns: left.context_ns + into * slope.context_ns,
            window_ns: left.window_ns + into * slope.window_ns,
        }
    }

    /// What the two kinds of layers see of `context` tokens.
    fn seen(&self, context: u32) -> (f64, f64) {
        (f64::from(context), f64::from(context.min(self.window_tokens.unwrap_or(context))))
    }

    /// The piece of the curve that steps of `tokens` lie on.
    fn piece_of(&self, tokens: u32) -> usize {
        let last = self.count - 2;
        (0..last).find(|&index| tokens <= self.nodes[index + 1].tokens).unwrap_or(last)
    }

    /// The node that most of the time of `step` comes from.
    pub(super) fn ruling_node(&self, step: TokenSpan) -> usize {
        let index = self.piece_of(step.tokens);
        let (context, window) = self.seen(step.start);
        let nodes = [self.nodes[index], self.nodes[index + 1]];
        let [from, to] = nodes.map(|node| node.base_ns + node.context_ns * context + node.window_ns * window);
        let [left, right] = nodes.map(|node| f64::from(node.tokens));
        let way = (f64::from(step.tokens) - left) / (right - left);
        index + usize::from(way * to > (1.0 - way) * from)
    }

    /// The same cost with the times of each node multiplied.
    pub(super) fn scaled(&self, factor: impl Fn(usize) -> f64) -> Self {
        let mut nodes = self.nodes;
        for (index, node) in nodes[..self.count].iter_mut().enumerate() {
            let factor = factor(index);
            node.base_ns *= factor;
            node.context_ns *= factor;
            node.window_ns *= factor;
        }
        Self::new(self.window_tokens, &nodes[..self.count])
    }

    /// Prices spans that the engine computes in steps of at most `step_tokens`.
    ///
    /// # Panics
    /// If `step_tokens` is zero.
    pub fn in_steps(&self, step_tokens: u32) -> Steps<'_> {
        assert!(step_tokens > 0, "an engine computes at least a token in a step");
        Steps { prefill: self, step_tokens, full: self.at(step_tokens) }
    }
}

/// Makes a column not negative and not falling: neighbours that fall get their mean (pool adjacent violators).
fn level(nodes: &mut [Node], column: impl Fn(&mut Node) -> &mut f64) {
    for end in 1..=nodes.len() {
        let last = column(&mut nodes[end - 1]);
        *last = last.max(0.0);
        let (mut sum, mut start) = (*last, end - 1);
        while start > 0 && *column(&mut nodes[start - 1]) * f64::from(count(start, end)) > sum {
            start -= 1;
            sum += *column(&mut nodes[start]);
        }
        let mean = sum / f64::from(count(start, end));
        nodes[start..end].iter_mut().for_each(|node| *column(node) = mean);
    }
}

/// How many nodes stand in `start..end`: at most [`PrefillCost::NODES_MAX`].
fn count(start: usize, end: usize) -> u32 {
    u32::try_from(end - start).expect("a prefill has at most 8 nodes")
}

/// A [`PrefillCost`] for an engine that computes long spans step by step.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Steps<'a> {
    prefill: &'a PrefillCost,
    step_tokens: u32,
    full: Node,
}

impl Steps<'_> {
    /// How long the span takes. `O(1)`: full steps are summed in closed form.
    pub fn span(&self, span: TokenSpan) -> Nanos {
        real::to_nanos(self.span_ns(span))
    }

    /// [`Steps::span`] without rounding.
    pub(crate) fn span_ns(&self, span: TokenSpan) -> f64 {
        let full = span.tokens / self.step_tokens;
        let rest = TokenSpan::between(span.start + full * self.step_tokens, span.end());
        if full == 0 {
            return self.prefill.step_ns(rest);
        }
        let steps = f64::from(full);
        let contexts = self.contexts_ns(span.start, full, u32::MAX);
        let windows = self.contexts_ns(span.start, full, self.prefill.window_tokens.unwrap_or(u32::MAX));
        steps * self.full.base_ns
            + self.full.context_ns * contexts
            + self.full.window_ns * windows
            + self.prefill.step_ns(rest)
    }

    /// The sum over `steps` full steps from `start` of the context each sees, at most `window` of it.
    fn contexts_ns(&self, start: u32, steps: u32, window: u32) -> f64 {
        let growing = window.saturating_sub(start).div_ceil(self.step_tokens).min(steps);
        let (grown, step) = (f64::from(growing), f64::from(self.step_tokens));
        let growing_sum = grown * f64::from(start) + step * grown * (grown - 1.0) / 2.0;
        growing_sum + f64::from(steps - growing) * f64::from(window)
    }
}

#[cfg(test)]
mod tests;
