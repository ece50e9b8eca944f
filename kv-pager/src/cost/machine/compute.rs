//! A compute server: one device that computes for one request at a time, as long as the prefill's cost says.
//! Layer 6. Uses `clock`, `units`, `cost::prefill`. Known by: simulators.
//!
//! - **W1** it computes for the first request, in order of arrival, whose next computing can start;
//! - **W2** it is busy while it computes and at no other time: loading doesn't occupy it;
//! - **W3** it holds no more requests than its limit (I8).
//!
//! It is a state machine without a clock: the caller says what time it is.

use crate::clock::Time;
use crate::cost::{PrefillCost, TokenSpan};
use crate::units::Nanos;
use std::collections::VecDeque;

/// A request, by its number in order of arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(u64);

impl JobId {
    /// Its number: 0 for the first that arrived.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A request here, with what it could compute now.
#[derive(Clone, Copy, Debug)]
struct Job {
    id: JobId,
    ready: Option<TokenSpan>,
}

/// What was computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Computed {
    /// For whom.
    pub job: JobId,
    /// Which tokens.
    pub span: TokenSpan,
    /// From when.
    pub started: Time,
    /// Until when.
    pub ended: Time,
}

/// See the module.
#[derive(Debug)]
pub struct ComputeServer {
    prefill: PrefillCost,
    step_tokens_max: u32,
    jobs: VecDeque<Job>,
    jobs_max: usize,
    arrived: u64,
    running: Option<Computed>,
    busy: Nanos,
}

impl ComputeServer {
    /// A server that computes in steps of at most `step_tokens_max` tokens, for at most `jobs_max` requests at once.
    ///
    /// # Panics
    /// If `step_tokens_max` is zero.
    pub fn new(prefill: PrefillCost, step_tokens_max: u32, jobs_max: usize) -> Self {
        assert!(step_tokens_max > 0, "an engine computes at least a token in a step");
        let jobs = VecDeque::new();
        Self { prefill, step_tokens_max, jobs, jobs_max, arrived: 0, running: None, busy: Nanos::ZERO }
    }

    /// A request arrives, with nothing to compute yet. `None` if there are as many as the limit (W3).
    pub fn arrive(&mut self) -> Option<JobId> {
        if self.jobs.len() == self.jobs_max {
            return None;
        }
        let id = JobId(self.arrived);
        self.arrived += 1;
        self.jobs.push_back(Job { id, ready: None });
        Some(id)
    }

    /// The next computing of `job` can start.
    ///
    /// # Panics
    /// If it is not here, or already has something to compute.
    pub fn offer(&mut self, job: JobId, span: TokenSpan) {
        let index = self.find(job);
        let ready = &mut self.jobs[index].ready;
        assert!(ready.is_none(), "job {} has something to compute", job.0);
        *ready = Some(span);
    }

    /// Whether `job` has something to compute that has not ended.
    ///
    /// # Panics
    /// If it is not here.
    pub fn has_work(&self, job: JobId) -> bool {
        let is_running = self.running.is_some_and(|running| running.job == job);
        is_running || self.jobs[self.find(job)].ready.is_some()
    }

    /// Starts the next computing (W1), if the server is free and there is any. `O(requests here)`.
    pub fn start(&mut self, now: Time) -> Option<Computed> {
        if self.running.is_some() {
            return None;
        }
        let job = self.jobs.iter_mut().find(|job| job.ready.is_some())?;
        let span = job.ready.take()?;
        let took = self.prefill.in_steps(self.step_tokens_max).span(span);
        self.running = Some(Computed { job: job.id, span, started: now, ended: now.after(took) });
        self.running
    }

    /// When the computing under way ends; [`Time::NEVER`] if there is none.
    pub fn next_event(&self) -> Time {
        self.running.map_or(Time::NEVER, |running| running.ended)
    }

    /// Takes out what has ended by `now`.
    pub fn finish(&mut self, now: Time) -> Option<Computed> {
        let computed = self.running.take_if(|running| running.ended <= now)?;
        self.busy = self.busy.saturating_add(computed.ended.since(computed.started));
        Some(computed)
    }

    /// The request is served: it leaves.
    ///
    /// # Panics
    /// If it is not here, or computing.
    pub fn leave(&mut self, job: JobId) {
        assert!(self.running.is_none_or(|running| running.job != job), "job {} is computing", job.0);
        let index = self.find(job);
        self.jobs.remove(index);
    }

    /// The first requests in order of arrival: those that lanes load for.
    pub fn heads(&self, count: usize) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.iter().take(count).map(|job| job.id)
    }

    /// How many requests are here.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// How long it has computed so far, by what has ended.
    pub fn busy(&self) -> Nanos {
        self.busy
    }

    fn find(&self, job: JobId) -> usize {
        self.jobs
            .binary_search_by_key(&job, |here| here.id)
            .unwrap_or_else(|_| panic!("job {} is not here", job.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{ComputeServer, JobId, Time, TokenSpan};
    use crate::cost::{Node, PrefillCost};

    /// A server that takes a microsecond a token.
    fn server() -> ComputeServer {
        let node = |tokens: u32| Node { tokens, base_ns: f64::from(tokens) * 1e3, ..Node::default() };
        ComputeServer::new(PrefillCost::new(None, &[node(1), node(1024)]), 1024, 4)
    }

    fn span(tokens: u32) -> TokenSpan {
        TokenSpan { start: 0, tokens }
    }

    #[test]
    fn the_first_that_can_start_is_served_and_the_rest_in_order() {
        let mut server = server();
        let jobs: Vec<JobId> = (0..3).filter_map(|_| server.arrive()).collect();
        server.offer(jobs[2], span(10));
        server.offer(jobs[1], span(20));
        let first = server.start(Time::START).expect("two can start");
        assert_eq!((first.job, first.ended), (jobs[1], Time::from_ns(20_000)));
        server.offer(jobs[0], span(5));
        assert!(server.start(Time::from_ns(1)).is_none(), "it is busy");
        assert!(server.finish(Time::from_ns(19_999)).is_none());
        assert_eq!(server.finish(Time::from_ns(20_000)), Some(first));
        server.leave(jobs[1]);
        assert_eq!(server.start(Time::from_ns(20_000)).map(|next| next.job), Some(jobs[0]));
        assert!(server.has_work(jobs[0]) && server.has_work(jobs[2]));
        assert!(server.heads(5).eq([jobs[0], jobs[2]]));
        assert_eq!(server.busy().as_u64(), 20_000);
    }

    #[test]
    fn no_more_than_the_limit_come_in() {
        let mut server = server();
        assert_eq!((0..10).filter_map(|_| server.arrive()).count(), 4);
        server.leave(JobId(0));
        assert_eq!(server.arrive().map(JobId::number), Some(4));
    }
}
