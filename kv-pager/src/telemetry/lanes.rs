//! Metrics of one lane.
//! Layer 10. Uses `pager`, `tier`. Known by: `telemetry`.

use super::{gauge, hand_on};
use crate::pager::{LaneReport, Spans};
use crate::tier::LaneEnds;
use metrics::{Counter, Gauge, Histogram};
use std::fmt;

pub(super) struct LaneMetrics {
    ends: LaneEnds,
    moves: Counter,
    failed: Counter,
    batches: Counter,
    copies: Counter,
    bytes: Counter,
    busy: Counter,
    queued: Gauge,
    in_flight: Gauge,
    took: Histogram,
}

impl fmt::Debug for LaneMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LaneMetrics").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl LaneMetrics {
    pub(super) fn new(ends: LaneEnds) -> Self {
        let counter = |name| metrics::counter!(name, "lane" => ends.to_string());
        let gauge = |name| metrics::gauge!(name, "lane" => ends.to_string());
        Self {
            ends,
            moves: counter("kv_pager_lane_moves_total"),
            failed: counter("kv_pager_lane_failed_moves_total"),
            batches: counter("kv_pager_lane_batches_total"),
            copies: counter("kv_pager_lane_copies_total"),
            bytes: counter("kv_pager_lane_bytes_total"),
            busy: counter("kv_pager_lane_busy_nanoseconds_total"),
            queued: gauge("kv_pager_lane_queued_moves"),
            in_flight: gauge("kv_pager_lane_in_flight_bytes"),
            took: metrics::histogram!("kv_pager_lane_move_seconds", "lane" => ends.to_string()),
        }
    }

    pub(super) fn publish(&self, report: &LaneReport, spans: &Spans) {
        let stats = &report.stats;
        self.moves.absolute(stats.moves);
        self.failed.absolute(stats.failed);
        self.batches.absolute(stats.batches);
        self.copies.absolute(stats.copies);
        self.bytes.absolute(stats.bytes.as_u64());
        self.busy.absolute(stats.busy.as_u64());
        self.queued.set(gauge(report.queued as u64));
        self.in_flight.set(gauge(report.bytes_in_flight.as_u64()));
        for (_, moves) in spans.moves().filter(|(ends, _)| *ends == self.ends) {
            hand_on(moves, &self.took);
        }
    }
}
