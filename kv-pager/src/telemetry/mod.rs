//! Telemetry: what the pager did, as metrics of the `metrics` facade.
//! Layer 10. Uses `ids`, `clock`, `pager`, `pool`, `tier`, `units`. Known by: engines.
//!
//! - **TM1** nothing is formatted or handed over under the pager's lock: [`Telemetry::publish`] reads counters, then hands them on;
//! - **TM2** every metric has its name, unit, labels and meaning in `docs/telemetry.md`, and a test compares.
//!
//! The facade leaves open who collects. With `metrics-exporter-prometheus`:
//!
//! ```
//! # use kv_pager::{clock::MonotonicClock, config::Config, layout, pager::Pager, policy::Lru, telemetry::Telemetry};
//! # use kv_pager_testkit::tagged::{Machine, MachineSpec};
//! # use std::sync::Arc;
//! # let model = layout::shape("tiny").expect("known");
//! # let backend = Machine::new(&model, MachineSpec { device: 8, host: 0, file: 0, lane_limit: 8 }).backend();
//! # let clock = Arc::new(MonotonicClock::new());
//! # let pager = Pager::new(model, Config::default(), backend, Box::new(Lru), clock)?;
//! use metrics_exporter_prometheus::PrometheusBuilder;
//!
//! let recorder = PrometheusBuilder::new().build_recorder();
//! let text = recorder.handle();
//! let mut telemetry = metrics::with_local_recorder(&recorder, || Telemetry::new(&pager));
//! // Now and then, or whenever somebody asks:
//! telemetry.publish();
//! assert!(text.render().contains("kv_pager_requests_total 0"));
//! # Ok::<(), kv_pager::Error>(())
//! ```

mod lanes;
mod names;
mod requests;
mod tiers;

pub use names::{Kind, METRICS, Metric};

use crate::clock::Time;
use crate::pager::{Pager, Spans};
use hdrhistogram::Histogram;
use lanes::LaneMetrics;
use requests::RequestMetrics;
use tiers::TierMetrics;

/// Publishes what one pager did. There is one for a pager: it takes the pager's histograms ([`Pager::take_spans`]).
#[derive(Debug)]
pub struct Telemetry {
    pager: Pager,
    requests: RequestMetrics,
    tiers: Vec<TierMetrics>,
    lanes: Vec<LaneMetrics>,
    spans: Spans,
    published: Time,
}

impl Telemetry {
    /// Registers all metrics with the recorder of the facade that is current: the process's, or that of
    /// `metrics::with_local_recorder`. Nothing is published yet.
    pub fn new(pager: &Pager) -> Self {
        names::describe();
        let stats = pager.stats();
        Self {
            requests: RequestMetrics::new(),
            tiers: stats.tiers.iter().map(|tier| TierMetrics::new(tier.tier)).collect(),
            lanes: stats.lanes.iter().map(|lane| LaneMetrics::new(lane.ends)).collect(),
            spans: pager.empty_spans(),
            published: pager.now(),
            pager: pager.clone(),
        }
    }

    /// Hands on all that has happened since the last call. `O(tiers * groups + lanes)` under the lock, a few microseconds more
    /// outside.
    pub fn publish(&mut self) {
        let stats = self.pager.stats();
        self.pager.take_spans(&mut self.spans);
        let now = self.pager.now();
        let since = now.since(std::mem::replace(&mut self.published, now));
        self.requests.publish(&stats, &self.spans, since);
        for (metrics, report) in self.tiers.iter().zip(&stats.tiers) {
            metrics.publish(report, &stats);
        }
        for (metrics, report) in self.lanes.iter().zip(&stats.lanes) {
            metrics.publish(report, &self.spans);
        }
    }
}

/// Hands every span of `spans`, which are nanoseconds, to a histogram of seconds.
fn hand_on(spans: &Histogram<u64>, target: &metrics::Histogram) {
    for value in spans.iter_recorded() {
        let count = usize::try_from(value.count_at_value()).unwrap_or(usize::MAX);
        target.record_many(seconds(value.value_iterated_to()), count);
    }
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a span needs no more than 15 digits")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// A count as the value of a gauge.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 15 digits")]
fn gauge(count: u64) -> f64 {
    count as f64
}
