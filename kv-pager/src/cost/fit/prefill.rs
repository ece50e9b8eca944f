//! A prefill's cost from timed steps.
//! Layer 6. Uses `units`, `cost::{prefill, real}`. Known by: `cost::fit`.

use super::regression::{COLUMNS_MAX, Row, regress};
use crate::cost::{Node, PrefillCost, TokenSpan, real};
use crate::units::Nanos;

/// One timed step of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrefillSample {
    /// Which tokens were computed.
    pub step: TokenSpan,
    /// How long it took.
    pub took: Nanos,
}

/// Columns of one node: base, context, window.
const COLUMNS: usize = 3;

/// The cost that explains `samples` best; `None` if they are too few, or all of one length.
///
/// Nodes stand at lengths that were measured: the shortest, the longest, and between them those at least twice the one
/// before. `window_tokens` is the window of those layers that have one.
pub fn fit_prefill(samples: &[PrefillSample], window_tokens: Option<u32>) -> Option<PrefillCost> {
    let usable: Vec<PrefillSample> = samples
        .iter()
        .copied()
        .filter(|sample| sample.step.tokens > 0 && sample.took > Nanos::ZERO)
        .collect();
    let nodes = choose_nodes(&usable)?;
    let rows: Vec<Row> = usable.iter().map(|sample| row(sample, &nodes, window_tokens)).collect();
    let found = regress(&rows, COLUMNS * nodes.len())?;
    let nodes: Vec<Node> = nodes
        .iter()
        .zip(found.chunks_exact(COLUMNS))
        .map(|(&tokens, of)| Node { tokens, base_ns: of[0], context_ns: of[1], window_ns: of[2] })
        .collect();
    Some(PrefillCost::new(window_tokens, &nodes))
}

fn choose_nodes(samples: &[PrefillSample]) -> Option<Vec<u32>> {
    let mut lengths: Vec<u32> = samples.iter().map(|sample| sample.step.tokens).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let longest = *lengths.last()?;
    let mut nodes = vec![lengths[0]];
    for tokens in lengths {
        let before = nodes[nodes.len() - 1];
        if tokens >= 2 * before && 2 * tokens <= longest && nodes.len() < PrefillCost::NODES_MAX - 1 {
            nodes.push(tokens);
        }
    }
    (nodes[0] < longest).then(|| {
        nodes.push(longest);
        nodes
    })
}

/// The step's time as a sum over the coefficients of the two nodes around it.
fn row(sample: &PrefillSample, nodes: &[u32], window_tokens: Option<u32>) -> Row {
    let TokenSpan { start, tokens } = sample.step;
    let right = (1..nodes.len() - 1).find(|&right| tokens <= nodes[right]).unwrap_or(nodes.len() - 1);
    let (left_tokens, right_tokens) = (f64::from(nodes[right - 1]), f64::from(nodes[right]));
    let width = right_tokens - left_tokens;
    let into = f64::from(tokens) - left_tokens;
    // d/2 * n * n between the ends of the piece, d being the difference of the two context columns over its width.
    let bend = into * (into - width) / (2.0 * width);
    let context = f64::from(start);
    let window = window_tokens.map_or(0.0, |window| f64::from(start.min(window)));
    let mut row = Row { features: [0.0; COLUMNS_MAX], observed: real::from_nanos(sample.took) };
    for (node, share, bend) in [(right - 1, 1.0 - into / width, -bend), (right, into / width, bend)] {
        row.features[COLUMNS * node] = share;
        row.features[COLUMNS * node + 1] = share * context + bend;
        row.features[COLUMNS * node + 2] = share * window;
    }
    row
}

#[cfg(test)]
mod tests;
