//! How long things took: requests to their first token, moves from being asked for to their end.
//! Layer 9. Uses `tier`, `units`. Known by: `pager`, `telemetry`.
//!
//! - **SP1** recording allocates nothing: each histogram has its whole memory from the start, about 5 KB.
//!
//! They are read by taking: whoever reads hands in empty ones and gets those that were filled since, so that the lock is held for
//! no longer than two pointers take to change places.

use crate::tier::LaneEnds;
use crate::units::Nanos;
use hdrhistogram::Histogram;

/// The longest span that is told apart: a day.
const SPAN_NS_MAX: u64 = 86_400_000_000_000;
/// The shortest: what is below counts as this.
const SPAN_NS_MIN: u64 = 1_000;

/// Histograms of spans in nanoseconds, each value within 10 %.
#[derive(Clone, Debug)]
pub struct Spans {
    first_token: Histogram<u64>,
    moves: Vec<(LaneEnds, Histogram<u64>)>,
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(SPAN_NS_MIN, SPAN_NS_MAX, 1).expect("the bounds are valid")
}

impl Spans {
    /// Nothing recorded, for these lanes.
    pub(super) fn new(lanes: impl Iterator<Item = LaneEnds>) -> Self {
        Self { first_token: empty(), moves: lanes.map(|ends| (ends, empty())).collect() }
    }

    /// From when a request was opened to when all tokens of its prompt were found there.
    pub fn first_token(&self) -> &Histogram<u64> {
        &self.first_token
    }

    /// By lane: from when a move was asked for to when its good end was seen, the time in the queue included.
    pub fn moves(&self) -> impl Iterator<Item = (LaneEnds, &Histogram<u64>)> {
        self.moves.iter().map(|(ends, histogram)| (*ends, histogram))
    }

    pub(super) fn record_first_token(&mut self, span: Nanos) {
        self.first_token.saturating_record(span.as_u64());
    }

    pub(super) fn record_move(&mut self, ends: LaneEnds, span: Nanos) {
        if let Some((_, histogram)) = self.moves.iter_mut().find(|(own, _)| *own == ends) {
            histogram.saturating_record(span.as_u64());
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.first_token.reset();
        self.moves.iter_mut().for_each(|(_, histogram)| histogram.reset());
    }

    pub(super) fn has_lanes_of(&self, other: &Self) -> bool {
        self.moves().map(|(ends, _)| ends).eq(other.moves().map(|(ends, _)| ends))
    }
}
