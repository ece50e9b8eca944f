//! `--metrics`: what the pager says of itself, as Prometheus's text.
//! Uses `destination`. Known by: `replay`.

use crate::destination::Destination;
use crate::failure::Failure;
use kv_pager::pager::Pager;
use kv_pager::telemetry::Telemetry;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How often the file is written while requests are served in real time.
const INTERVAL: Duration = Duration::from_secs(5);

/// A pager's metrics, and the file they go to.
#[derive(Debug)]
pub(super) struct Metrics {
    telemetry: Telemetry,
    text: PrometheusHandle,
    destination: Destination,
}

impl Metrics {
    /// Registers the metrics of `pager`. Nothing is written yet.
    pub(super) fn new(pager: &Pager, destination: Destination) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let text = recorder.handle();
        let telemetry = metrics::with_local_recorder(&recorder, || Telemetry::new(pager));
        Self { telemetry, text, destination }
    }

    /// Writes the file for the last time.
    ///
    /// # Errors
    /// [`Failure::File`] if the drive refuses.
    pub(super) fn write(mut self) -> Result<(), Failure> {
        let text = self.render();
        self.destination.write_text(&text)
    }

    /// Does `work`, and meanwhile writes the file every [`INTERVAL`], if it is one that can be replaced; at the end, for the last time.
    /// Returns whether it could be written, beside what `work` has found: that is worth having all the same.
    ///
    /// # Errors
    /// That of `work`.
    pub(super) fn beside<T>(
        mut self,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(T, Result<(), Failure>), Failure> {
        let (done, is_done) = mpsc::sync_channel::<()>(0);
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                while is_done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let text = self.render();
                    self.destination.replace_text(&text)?;
                }
                Ok(self)
            });
            let worked = work();
            drop(done);
            let metrics: Result<Self, Failure> = writer.join().expect("a writer's panic is ours");
            Ok((worked?, metrics.and_then(Self::write)))
        })
    }

    fn render(&mut self) -> String {
        self.telemetry.publish();
        self.text.render()
    }
}
