//! A pass: some requests of a stream, served by all workers.
//! Uses `replay::{queue, worker, outcome, server}`. Known by: `replay`.

use super::outcome::Outcome;
use super::queue::{Queue, QueueSpec};
use super::server::Server;
use super::settings::Settings;
use super::worker::Shift;
use crate::args::ReplayArguments;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use indicatif::{ProgressBar, ProgressStyle};
use kv_pager::clock::Clock;
use kv_pager_testkit::trace::TokenSource;
use std::sync::Arc;
use std::thread;

/// What the passes of one replay share.
#[derive(Debug)]
pub(super) struct Passes<'a> {
    pub(super) arguments: &'a ReplayArguments,
    pub(super) settings: &'a Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) interrupt: &'a Interrupt,
}

impl Passes<'_> {
    /// Serves the requests in `order`. `name` stands beside the progress bar, which only a terminal shows.
    ///
    /// # Errors
    /// The first failure of a worker; the others stop then.
    pub(super) fn run<S: Server>(
        &self,
        server: &S,
        order: Vec<usize>,
        time_scale: Option<f64>,
        name: &'static str,
    ) -> Result<Outcome, Failure> {
        let progress = progress_bar(order.len() as u64, name);
        let requests = self.settings.stream.requests();
        let spec = QueueSpec {
            clock: Arc::clone(&self.clock),
            time_scale,
            tokens_per_block: self.settings.model.tokens_per_block(),
            device_blocks: self.settings.slots.device as usize,
        };
        let queue = Queue::new(requests, order, spec);
        let shift = Shift {
            server,
            queue: &queue,
            requests,
            tokens: TokenSource::new(self.arguments.seed),
            clock: &*self.clock,
            start: self.clock.now(),
            interrupt: self.interrupt,
            progress: &progress,
        };
        let results: Vec<Result<Outcome, Failure>> = thread::scope(|scope| {
            let workers: Vec<_> = places(self.arguments)
                .map(|places| {
                    let shift = &shift;
                    scope.spawn(move || {
                        let outcome = shift.work(places);
                        if outcome.is_err() {
                            shift.interrupt.wish();
                        }
                        outcome
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().expect("a worker's panic is ours")).collect()
        });
        progress.finish_and_clear();
        let mut sum = Outcome::default();
        let mut failure = None;
        for result in results {
            match result {
                Ok(outcome) => sum.merge(outcome),
                // One worker's failure interrupts the others: the cause is what counts.
                Err(Failure::Interrupted) => failure = failure.or(Some(Failure::Interrupted)),
                Err(cause) => failure = Some(cause),
            }
        }
        failure.map_or(Ok(sum), Err)
    }
}

/// Requests at once for each worker; a worker without any is left out.
fn places(arguments: &ReplayArguments) -> impl Iterator<Item = usize> + use<> {
    let (places, threads) = (arguments.concurrency as usize, arguments.threads as usize);
    (0..threads.min(places)).map(move |worker| (places - worker).div_ceil(threads))
}

/// Shows how many requests of `requests` are served, with `name` beside it, on a terminal only.
pub(super) fn progress_bar(requests: u64, name: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} requests, {eta} left")
        .expect("the template is valid");
    ProgressBar::new(requests).with_style(style).with_prefix(name)
}
