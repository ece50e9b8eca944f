//! Where fronts meet: how many of the blocks that a request waits for are better computed.
//! Layer 8. Uses `cost`, `policy::decision`. Known by: `steward`.
//!
//! Blocks come from the back to the front, so that what is computed instead is taken from the front. A step can't be stopped when
//! the loads are there, and may last longer than predicted: what steps err by is added to it.

use crate::cost::{CostModel, TokenSpan, real};
use crate::policy::Waiting;

/// By how much two fronts must finish before one does, so that a load is called off.
const GAIN: f64 = 0.95;

/// In what portions blocks are loaded and computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grain {
    /// Blocks in a chunk of a load.
    pub(super) chunk: u32,
    pub(super) tokens_per_block: u32,
    pub(super) step_tokens_max: u32,
}

/// How many of the blocks that are waited for, from the first on, to compute. Loading all of them takes `left_ns`. `O(log blocks)`.
pub(super) fn to_compute(costs: &CostModel, waiting: &Waiting, left_ns: f64, grain: Grain) -> usize {
    let blocks: u32 = waiting.blocks.iter().sum();
    let steps = costs.prefill().in_steps(grain.step_tokens_max);
    let start = u32::try_from(waiting.tokens).unwrap_or(u32::MAX);
    let (mut best, mut best_ns) = (0, left_ns * GAIN);
    let halves = std::iter::successors(Some(blocks), |count| (*count > grain.chunk).then_some(count / 2));
    for count in halves.map(|count| count.next_multiple_of(grain.chunk).min(blocks)) {
        let span = TokenSpan { start, tokens: count * grain.tokens_per_block };
        let computing_ns = real::from_nanos(steps.span(span)) * (1.0 + costs.prefill_error());
        let rest_ns = left_ns * f64::from(blocks - count) / f64::from(blocks.max(1));
        let others_ns = computing_ns * f64::from(waiting.urgency.waiting);
        let finish_ns = computing_ns.max(rest_ns) + others_ns;
        if finish_ns < best_ns {
            (best, best_ns) = (count, finish_ns);
        }
    }
    best as usize
}

#[cfg(test)]
mod tests {
    use super::{CostModel, Grain, TokenSpan, Waiting, to_compute};
    use crate::cost::{Profile, real};
    use crate::policy::Urgency;
    use crate::units::Nanos;

    const GRAIN: Grain = Grain { chunk: 8, tokens_per_block: 16, step_tokens_max: 2048 };

    fn waiting() -> Waiting {
        Waiting { tokens: 4096, blocks: [0, 64, 0], urgency: Urgency::default() }
    }

    #[test]
    fn blocks_are_computed_where_their_load_takes_much_longer_and_not_where_it_is_nearly_there() {
        let costs = CostModel::new(&Profile::h200_llama3_8b()).expect("shipped");
        let all = TokenSpan { start: 4096, tokens: 64 * 16 };
        let computing_ns = real::from_nanos(costs.prefill().step(all));
        assert_eq!(to_compute(&costs, &waiting(), 10.0 * computing_ns, GRAIN), 64);
        let some = to_compute(&costs, &waiting(), computing_ns, GRAIN);
        assert!((8..64).contains(&some), "{some}");
        assert_eq!(to_compute(&costs, &waiting(), computing_ns / 20.0, GRAIN), 0);
    }

    #[test]
    fn steps_that_err_must_gain_more() {
        let mut costs = CostModel::new(&Profile::h200_llama3_8b()).expect("shipped");
        let all = TokenSpan { start: 4096, tokens: 64 * 16 };
        // As long as computing takes, and a little more than the gain that is asked for.
        let left_ns = |costs: &CostModel| real::from_nanos(costs.prefill().step(all)) * 1.07;
        let grain = Grain { chunk: 64, ..GRAIN };
        assert_eq!(to_compute(&costs, &waiting(), left_ns(&costs), grain), 64);
        for round in 0..200 {
            let predicted = costs.prefill().step(all).as_u64();
            let took = if round % 2 == 0 { predicted * 6 / 5 } else { predicted * 5 / 6 };
            costs.observe_prefill(all, Nanos::new(took));
        }
        assert_eq!(to_compute(&costs, &waiting(), left_ns(&costs), grain), 0);
    }
}
