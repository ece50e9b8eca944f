//! The course of a virtual replay: what happens, from one event to the next.
//! Known by: `replay::simulated`.
//!
//! - **H1** requests are opened in order of arrival, and only the first [`HEADS`]: the one at the head and those that lanes load
//!   for when they are free, which queue behind it;
//! - **H2** one that has to wait for device slots keeps those behind it from being opened, so that none is passed for ever;
//! - **H3** all else that can be done at a moment is done before time goes on; whoever could not be opened is tried again when a
//!   request has left, and, as by an engine, between two steps: every [`PATIENCE`] while nothing is computed. When the slots that
//!   were leaving have left it is tried at once if nothing is computed, and otherwise once in a [`PATIENCE`].

use super::computed::ComputedBlocks;
use super::job::{Job, Next};
use super::{Scenario, Watch};
use crate::failure::Failure;
use crate::replay::outcome::Outcome;
use crate::replay::records::{Record, file_bytes};
use kv_pager::clock::{Clock, Time};
use kv_pager::config::{Config, Limits};
use kv_pager::cost::CostModel;
use kv_pager::cost::machine::{ComputeServer, VirtualMachine};
use kv_pager::ids::{Fence, TierId, TokenId};
use kv_pager::pager::{Backend, Pager, Request, Stats};
use kv_pager::policy::plan::EngineAbility;
use kv_pager::policy::{Answer, Policy};
use kv_pager::pool::SlotState;
use kv_pager::units::Nanos;
use std::collections::VecDeque;
use std::sync::Arc;

/// The request at the head and four behind it.
const HEADS: usize = 5;

/// How long a request that could not be opened waits before it is tried again, if no step is being computed.
const PATIENCE: Nanos = Nanos::from_millis(10);

/// A virtual replay under way.
#[derive(Debug)]
pub(super) struct Course<'a> {
    scenario: &'a Scenario<'a>,
    machine: VirtualMachine,
    pager: Pager,
    server: ComputeServer,
    /// In order of arrival.
    jobs: VecDeque<Job>,
    /// How many have arrived.
    arrived: usize,
    /// When a request that could not be opened is tried again at the latest, and whether slots were leaving for it.
    open_again: Time,
    was_leaving: bool,
    /// When opening one was last tried.
    tried: Time,
    computed: ComputedBlocks,
    outcome: Outcome,
    /// A buffer for one prompt.
    tokens: Vec<TokenId>,
}

/// A course that has come to its end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// The pager's counters.
    pub(super) stats: Stats,
    /// Of the shadows beside it.
    pub(super) answers: Vec<Answer>,
    /// Until the last request was served.
    pub(super) span: Nanos,
}

impl<'a> Course<'a> {
    /// The machine, and a pager over it; nothing has arrived.
    ///
    /// # Errors
    /// [`Failure::Pager`] if tiers, profile and model do not fit together.
    pub(super) fn new(scenario: &'a Scenario<'a>, policy: Box<dyn Policy>) -> Result<Self, Failure> {
        let Scenario { stream, model, profile, tiers, promotion, .. } = scenario;
        let longest = stream.requests().iter().map(|request| request.prompt_tokens).max().unwrap_or(1);
        let limits = Limits {
            sequences: u32::try_from(HEADS).expect("5"),
            sequence_tokens: longest.max(1),
            ..Limits::default()
        };
        let machine = VirtualMachine::new(model, profile, tiers, limits.moves_queued as usize)?;
        let backend = Backend { tiers: machine.tiers(), lanes: machine.lanes() };
        let config = Config { limits, promotion: *promotion, ..Config::default() };
        let clock: Arc<dyn Clock> = machine.clock();
        let pager = Pager::new((*model).clone(), config, backend, policy, clock)?;
        let step_tokens_max = profile.prefill.step_tokens_max;
        pager.set_costs(CostModel::new(profile)?, EngineAbility { can_overlap: true, step_tokens_max });
        let prefill = &profile.prefill;
        let requests = stream.requests().len();
        Ok(Self {
            scenario,
            machine,
            pager,
            server: ComputeServer::new(prefill.cost(), prefill.step_tokens_max, requests),
            jobs: VecDeque::new(),
            arrived: 0,
            open_again: Time::START,
            was_leaving: false,
            tried: Time::START,
            computed: ComputedBlocks::new(model.tokens_per_block() as usize),
            outcome: Outcome::default(),
            tokens: Vec::new(),
        })
    }

    /// The pager that serves.
    pub(super) fn pager(&self) -> &Pager {
        &self.pager
    }

    /// Serves everything.
    ///
    /// # Errors
    /// [`Failure::Pager`] if a request can't be served, [`Failure::Interrupted`] if someone asks to stop.
    pub(super) fn run(mut self, watch: &Watch<'_>) -> Result<Ended, Failure> {
        let mut is_last_try = false;
        loop {
            if watch.interrupt.is_wished() {
                return Err(Failure::Interrupted);
            }
            self.commit()?;
            self.pager.poll();
            loop {
                self.arrive();
                let left = self.advance()?;
                watch.progress.inc(left);
                if left == 0 {
                    break;
                }
            }
            let now = self.machine.now();
            self.server.start(now);
            // What is loaded may become late, and be computed instead.
            let late = now.after(self.pager.nap());
            let events = [self.server.next_event(), self.machine.next_event(), self.next_arrival(), late];
            let event = events.into_iter().min().unwrap_or(Time::NEVER);
            let next = if self.open_again > now { event.min(self.open_again) } else { event };
            if self.jobs.is_empty() && self.arrived == self.scenario.stream.requests().len() {
                let (stats, answers) = (self.pager.stats(), self.pager.answers());
                return Ok(Ended { outcome: self.outcome, stats, answers, span: now.since(Time::START) });
            }
            // When nothing is under way, trying once more is worth while, and twice is not.
            if next == Time::NEVER || event == Time::NEVER && is_last_try {
                let why = format!("{} requests wait for nothing; please report this", self.jobs.len());
                return Err(Failure::Wrong(why));
            }
            is_last_try = event == Time::NEVER;
            self.machine.run_until(next);
        }
    }

    /// Takes in what the server has computed.
    fn commit(&mut self) -> Result<(), Failure> {
        let now = self.machine.now();
        let Some(computed) = self.server.finish(now) else { return Ok(()) };
        let place = self.jobs.binary_search_by_key(&computed.job, |job| job.id);
        let job = &mut self.jobs[place.expect("a job stays until it is served")];
        let tokens = job.commit(computed.started, computed.ended)?;
        let request = &self.scenario.stream.requests()[job.index];
        self.outcome.recomputed_tokens += self.computed.note(request, &tokens);
        Ok(())
    }

    fn next_arrival(&self) -> Time {
        let Some(request) = self.scenario.stream.requests().get(self.arrived) else { return Time::NEVER };
        self.scenario.arrivals.of(request, self.jobs.len(), self.machine.now())
    }

    /// Lets everyone in who has arrived by now.
    fn arrive(&mut self) {
        while self.next_arrival() <= self.machine.now() {
            let id = self.server.arrive().expect("it has room for the whole stream");
            self.jobs.push_back(Job::new(id, self.arrived, self.next_arrival()));
            self.arrived += 1;
        }
    }

    /// Opens those at the head (H1), finds out what each can compute, and lets go who is served. Returns how many were.
    fn advance(&mut self) -> Result<u64, Failure> {
        let now = self.machine.now();
        let is_patient = self.server.next_event() != Time::NEVER && now < self.tried.after(PATIENCE);
        let has_left = || self.was_leaving && !self.is_leaving();
        let may_open = self.open_again <= now || !is_patient && has_left();
        let (mut place, mut left, mut may_open) = (0, 0, may_open);
        while place < self.jobs.len().min(HEADS) {
            if may_open && !self.jobs[place].is_open() {
                may_open = self.open(place)?;
                self.tried = now;
                self.open_again = if may_open { now } else { self.next_try() };
                self.was_leaving = !may_open && self.is_leaving();
            }
            let job = &mut self.jobs[place];
            if job.is_open() && !self.server.has_work(job.id) {
                match job.next(self.scenario.profile.prefill.step_tokens_max)? {
                    Next::Compute(span) => self.server.offer(job.id, span),
                    Next::Wait => {}
                    Next::Leave => {
                        self.leave(place);
                        (left, may_open) = (left + 1, true);
                        continue;
                    }
                }
            }
            place += 1;
        }
        Ok(left)
    }

    /// When an engine would try again to open a request that it could not open now.
    fn next_try(&self) -> Time {
        match self.server.next_event() {
            Time::NEVER => self.machine.now().after(PATIENCE),
            end_of_step => end_of_step,
        }
    }

    /// Tries to open the job at `place`.
    fn open(&mut self, place: usize) -> Result<bool, Failure> {
        let Scenario { stream, tokens: source, .. } = self.scenario;
        let (tokens, pager) = (&mut self.tokens, &self.pager);
        let waiting = u32::try_from(self.jobs.len() - place - 1).unwrap_or(u32::MAX);
        let job = &mut self.jobs[place];
        let request = &stream.requests()[job.index];
        job.open(pager, waiting, || {
            source.read_prompt(request, tokens);
            pager.prepare(&Request::new(tokens))
        })
    }

    /// Whether device slots are about to be free.
    fn is_leaving(&self) -> bool {
        let leaving = |group| {
            let counts = self.pager.occupancy(TierId::Device, group);
            counts.is_some_and(|counts| counts.of(SlotState::Leaving) > 0)
        };
        self.scenario.model.group_ids().any(leaving)
    }

    /// Closes the job at `place`, which is served, and counts it.
    fn leave(&mut self, place: usize) {
        let job = self.jobs.remove(place).expect("one of the heads");
        self.server.leave(job.id);
        self.outcome.add_first_token(job.computed_at.since(job.arrival));
        let sequence = job.into_sequence().expect("what is served was open");
        let (report, forecast) = (sequence.report(), sequence.forecast());
        sequence.close(Fence::OVER);
        let outcome = &mut self.outcome;
        outcome.requests += 1;
        outcome.records.add(Record {
            at: self.machine.now().since(Time::START),
            hit_tokens: report.hit_tokens,
            prompt_tokens: report.hit_tokens.iter().sum::<u64>() + report.computed_tokens,
            file_bytes: file_bytes(&self.pager.stats()),
            forecast,
        });
        for (sum, tokens) in outcome.hit_tokens.iter_mut().zip(report.hit_tokens) {
            *sum += tokens;
        }
        outcome.computed_tokens += report.computed_tokens;
        let onboarded = report.hit_tokens[TierId::Host.index()] + report.hit_tokens[TierId::File.index()];
        outcome.onboarded_blocks += onboarded / u64::from(self.scenario.model.tokens_per_block());
    }
}
