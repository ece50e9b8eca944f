//! A worker: one thread that serves several requests at once, step by step.
//! Uses `replay::{queue, server, outcome}`. Known by: `replay`.

use super::outcome::Outcome;
use super::queue::{Admitted, Next, Queue};
use super::server::Server;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use indicatif::ProgressBar;
use kv_pager::clock::{Clock, Time};
use kv_pager::ids::TokenId;
use kv_pager::units::Nanos;
use kv_pager_testkit::engine::Progress;
use kv_pager_testkit::trace::{Request, TokenSource};

/// How long a worker with nothing to do waits before it looks again, should nobody wake it.
const PATIENCE: Nanos = Nanos::from_millis(20);

/// What all workers of one pass share.
#[derive(Debug)]
pub(super) struct Shift<'a, S> {
    pub(super) server: &'a S,
    pub(super) queue: &'a Queue<'a>,
    pub(super) requests: &'a [Request],
    pub(super) tokens: TokenSource,
    pub(super) clock: &'a dyn Clock,
    /// When the pass began.
    pub(super) start: Time,
    pub(super) interrupt: &'a Interrupt,
    pub(super) progress: &'a ProgressBar,
}

/// A request in a worker's hands.
struct Place<J> {
    admitted: Admitted,
    state: State<J>,
}

enum State<J> {
    /// It has been admitted, and the server has no room yet.
    Waiting { prompt: Vec<TokenId> },
    /// It is being served.
    Serving { job: J, is_prefilled: bool },
}

impl<S: Server> Shift<'_, S> {
    /// Serves up to `places` requests at once until the queue is empty or someone asks to stop.
    pub(super) fn work(&self, places: usize) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let mut places_taken: Vec<Place<S::Job>> = Vec::with_capacity(places);
        loop {
            if self.interrupt.is_wished() {
                return Err(Failure::Interrupted);
            }
            let mut is_done = false;
            while places_taken.len() < places {
                match self.queue.take() {
                    Next::Start(admitted) => places_taken.push(self.begin(admitted)),
                    Next::Later => break,
                    Next::Done => {
                        is_done = true;
                        break;
                    }
                }
            }
            if places_taken.is_empty() {
                if is_done {
                    return Ok(outcome);
                }
                self.queue.wait(PATIENCE);
                continue;
            }
            let moment = self.server.moment();
            let mut has_progress = false;
            let mut index = 0;
            while index < places_taken.len() {
                match self.step(&mut places_taken[index], &mut outcome)? {
                    Progress::Waiting => index += 1,
                    Progress::Computed | Progress::Prefilled => {
                        has_progress = true;
                        index += 1;
                    }
                    Progress::Finished => {
                        has_progress = true;
                        self.end(places_taken.swap_remove(index), &mut outcome);
                    }
                }
            }
            if !has_progress {
                self.server.wait(moment, PATIENCE);
            }
        }
    }

    fn begin(&self, admitted: Admitted) -> Place<S::Job> {
        let mut prompt = Vec::new();
        self.tokens.read_prompt(&self.requests[admitted.index], &mut prompt);
        Place { admitted, state: State::Waiting { prompt } }
    }

    fn step(&self, place: &mut Place<S::Job>, outcome: &mut Outcome) -> Result<Progress, Failure> {
        if let State::Waiting { prompt } = &place.state {
            let output_tokens = self.requests[place.admitted.index].output_tokens as usize;
            match self.server.start(prompt, output_tokens)? {
                Some(job) => place.state = State::Serving { job, is_prefilled: false },
                None => return Ok(Progress::Waiting),
            }
        }
        let State::Serving { job, is_prefilled } = &mut place.state else { return Ok(Progress::Waiting) };
        let progress = self.server.advance(job)?;
        if matches!(progress, Progress::Prefilled | Progress::Finished) && !*is_prefilled {
            *is_prefilled = true;
            outcome.add_first_token(self.clock.now().since(place.admitted.arrival));
        }
        Ok(progress)
    }

    fn end(&self, place: Place<S::Job>, outcome: &mut Outcome) {
        if let State::Serving { job, .. } = place.state {
            let at = self.clock.now().since(self.start);
            outcome.add(place.admitted.index, at, &self.server.finish(job));
        }
        self.queue.give_back(place.admitted.blocks);
        self.progress.inc(1);
    }
}
