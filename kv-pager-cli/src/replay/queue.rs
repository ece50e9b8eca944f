//! The queue of requests: which one is next, and whether it may start.
//! Known by: `replay::worker`.
//!
//! - **U1** requests start in the order of the stream;
//! - **U2** the blocks of all started requests, full length, fit the device: none waits for another to end in the middle.
//!
//! In a closed loop a request arrives when a place for it is free; with a time scale it arrives when the stream says. Time
//! to first token counts from there, so waiting for the device counts, with a cache and without.

use kv_pager::clock::{Clock, Time};
use kv_pager::sync::{Condvar, Mutex};
use kv_pager::units::Nanos;
use kv_pager_testkit::trace::Request;
use std::sync::Arc;

/// A request that may start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    /// Its place in the stream.
    pub(super) index: usize,
    /// When it arrived.
    pub(super) arrival: Time,
    /// Device blocks that are set aside for it, to be given back.
    pub(super) blocks: usize,
}

/// What the queue says to a worker with a free place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// Start this.
    Start(Admitted),
    /// Nothing may start yet.
    Later,
    /// There is nothing more.
    Done,
}

/// The requests of one pass, in the order of the stream.
#[derive(Debug)]
pub(super) struct Queue<'a> {
    requests: &'a [Request],
    /// Those to be served, ascending.
    order: Vec<usize>,
    clock: Arc<dyn Clock>,
    time_scale: Option<f64>,
    start: Time,
    tokens_per_block: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    next: usize,
    blocks_left: usize,
    /// When the next request was first asked for.
    asked_at: Option<Time>,
}

/// What a queue is made of, beside the requests.
#[derive(Debug)]
pub(super) struct QueueSpec {
    /// The time.
    pub(super) clock: Arc<dyn Clock>,
    /// Stretches arrivals; `None` for a closed loop.
    pub(super) time_scale: Option<f64>,
    /// Tokens in a block.
    pub(super) tokens_per_block: usize,
    /// Blocks that all requests under way may take together.
    pub(super) device_blocks: usize,
}

impl<'a> Queue<'a> {
    /// A queue of the requests in `order`; its time starts now.
    pub(super) fn new(requests: &'a [Request], order: Vec<usize>, spec: QueueSpec) -> Self {
        Self {
            requests,
            order,
            start: spec.clock.now(),
            clock: spec.clock,
            time_scale: spec.time_scale,
            tokens_per_block: spec.tokens_per_block,
            state: Mutex::new(State { next: 0, blocks_left: spec.device_blocks, asked_at: None }),
            changed: Condvar::new(),
        }
    }

    /// The next request, if it may start.
    pub(super) fn take(&self) -> Next {
        let mut state = self.state.lock();
        let Some(&index) = self.order.get(state.next) else { return Next::Done };
        let request = &self.requests[index];
        let now = self.clock.now();
        let arrival = match self.time_scale {
            Some(scale) => self.start.after(stretched(request.arrival, scale)),
            None => *state.asked_at.get_or_insert(now),
        };
        let blocks = full_length(request).div_ceil(self.tokens_per_block);
        if arrival > now || blocks > state.blocks_left {
            return Next::Later;
        }
        state.blocks_left -= blocks;
        state.next += 1;
        state.asked_at = None;
        Next::Start(Admitted { index, arrival, blocks })
    }

    /// Gives back what was set aside.
    pub(super) fn give_back(&self, blocks: usize) {
        self.state.lock().blocks_left += blocks;
        self.changed.notify_all();
    }

    /// Blocks until something was given back, or the next arrival, but not longer than `timeout`.
    pub(super) fn wait(&self, timeout: Nanos) {
        let mut state = self.state.lock();
        let arrival = self.time_scale.zip(self.order.get(state.next)).map(|(scale, &index)| {
            self.start.after(stretched(self.requests[index].arrival, scale)).since(self.clock.now())
        });
        let timeout = arrival.filter(|span| *span > Nanos::ZERO).map_or(timeout, |span| span.min(timeout));
        self.changed.wait_for(&mut state, timeout.as_duration());
    }
}

/// Tokens of a request at its end.
pub(super) fn full_length(request: &Request) -> usize {
    request.prompt_tokens as usize + request.output_tokens as usize
}

/// An arrival of the stream, `scale` times as far from its start.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an arrival is not negative, needs no more than a microsecond of precision, and saturates"
)]
pub(super) fn stretched(arrival: Nanos, scale: f64) -> Nanos {
    Nanos::new((arrival.as_u64() as f64 * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::{Next, Queue, QueueSpec};
    use kv_pager::clock::{ManualClock, Time};
    use kv_pager::units::Nanos;
    use kv_pager_testkit::trace::Request;
    use std::sync::Arc;

    fn request(arrival_ms: u64, prompt_tokens: u32) -> Request {
        Request {
            arrival: Nanos::from_millis(arrival_ms),
            prompt_tokens,
            output_tokens: 8,
            ids: Box::new([]),
        }
    }

    fn spec(clock: &Arc<ManualClock>, time_scale: Option<f64>) -> QueueSpec {
        let clock = Arc::clone(clock);
        QueueSpec { clock, time_scale, tokens_per_block: 16, device_blocks: 10 }
    }

    #[test]
    fn a_request_waits_until_its_full_length_fits_and_the_wait_counts() {
        let clock = Arc::new(ManualClock::new());
        let requests = [request(0, 100), request(0, 100)];
        let queue = Queue::new(&requests, vec![0, 1], spec(&clock, None));
        let Next::Start(first) = queue.take() else { panic!("7 of 10 blocks are free") };
        assert_eq!((first.index, first.blocks), (0, 7));
        assert!(matches!(queue.take(), Next::Later));
        clock.advance(Nanos::from_millis(5));
        queue.give_back(first.blocks);
        let Next::Start(second) = queue.take() else { panic!("all blocks are free") };
        assert_eq!((second.index, second.arrival), (1, Time::START));
        assert!(matches!(queue.take(), Next::Done));
    }

    #[test]
    fn arrivals_are_kept_when_a_scale_is_given() {
        let clock = Arc::new(ManualClock::new());
        let requests = [request(10, 16)];
        let queue = Queue::new(&requests, vec![0], spec(&clock, Some(2.0)));
        assert!(matches!(queue.take(), Next::Later));
        clock.advance(Nanos::from_millis(20));
        let Next::Start(admitted) = queue.take() else { panic!("it has arrived") };
        assert_eq!(admitted.arrival.as_ns(), 20_000_000);
    }
}
