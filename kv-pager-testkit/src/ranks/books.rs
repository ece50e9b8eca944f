//! The books of a ranked lane: which move each rank has been given, and what it said.
//! Known by: `ranks::lane`.
//!
//! - **RB1** every rank is given every move that has begun, once and in the order of submission;
//! - **RB2** a move begins when the first rank is given it; one that was called off before is given to nobody.

use kv_pager::tier::{Lane, Move, MoveFault, Signal, Ticket, TicketWriter};
use kv_pager::units::Nanos;
use std::collections::VecDeque;
use std::sync::Arc;

/// A move, from its submission until all ranks have ended it.
#[derive(Debug)]
struct Job {
    order: Move,
    writer: Arc<TicketWriter>,
    /// Its place in its batch.
    index: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Waiting,
    /// So many ranks have not ended it, and this is the worst that those which have said.
    Begun {
        left: usize,
        fault: Option<MoveFault>,
    },
    Ended,
}

/// Moves that a rank was given together.
#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    /// Their numbers; `None` once the end was taken in.
    jobs: Vec<Option<u64>>,
}

#[derive(Debug)]
struct RankBook {
    /// `None` once the ranked lane is being dropped.
    lane: Option<Arc<dyn Lane>>,
    /// The next move that it is given.
    next: u64,
    flights: Vec<Flight>,
}

impl RankBook {
    /// Moves that it has and has not ended.
    fn outstanding(&self) -> usize {
        self.flights.iter().map(|flight| flight.jobs.iter().flatten().count()).sum()
    }
}

/// All moves that have not ended.
#[derive(Debug)]
pub(super) struct Books {
    jobs: VecDeque<Job>,
    /// The number of the first of them.
    first: u64,
    ranks: Vec<RankBook>,
    /// The most moves that a rank has at a time.
    window: usize,
}

/// How bad it is (RA2): a fault after which a slot may still be written is the worst.
fn weight(fault: MoveFault) -> u8 {
    match fault {
        MoveFault::Cancelled => 0,
        MoveFault::Busy => 1,
        MoveFault::Io => 2,
        MoveFault::Damaged => 3,
        MoveFault::Unwritable => 4,
        MoveFault::DeviceLost => 5,
        MoveFault::TimedOut => 6,
        // Whatever else there may be is unknown, and so is what becomes of its slots.
        _ => 7,
    }
}

impl Books {
    pub(super) fn new(ranks: Vec<Arc<dyn Lane>>, window: usize) -> Self {
        let rank = |lane| RankBook { lane: Some(lane), next: 0, flights: Vec::new() };
        Self { jobs: VecDeque::new(), first: 0, ranks: ranks.into_iter().map(rank).collect(), window }
    }

    /// Moves that have not ended, of this and earlier batches.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn add(&mut self, batch: &[Move]) -> Ticket {
        let (writer, ticket) = TicketWriter::new(batch.len());
        let writer = Arc::new(writer);
        self.jobs.extend(batch.iter().enumerate().map(|(index, order)| Job {
            order: *order,
            writer: Arc::clone(&writer),
            index,
            stage: Stage::Waiting,
        }));
        ticket
    }

    /// Takes in what ranks have ended, and gives them more.
    pub(super) fn pump(&mut self, signal: &Arc<Signal>) {
        for rank in 0..self.ranks.len() {
            self.collect(rank);
        }
        for rank in 0..self.ranks.len() {
            self.give(rank, signal);
        }
        while self.jobs.front().is_some_and(|job| matches!(job.stage, Stage::Ended)) {
            self.jobs.pop_front();
            self.first += 1;
        }
    }

    fn place(&self, number: u64) -> usize {
        usize::try_from(number - self.first).expect("no more moves wait than there is memory for")
    }

    fn collect(&mut self, rank: usize) {
        let mut ended = Vec::new();
        for flight in &mut self.ranks[rank].flights {
            for (place, job) in flight.jobs.iter_mut().enumerate() {
                if let Some(outcome) = flight.ticket.outcome(place)
                    && let Some(number) = job.take()
                {
                    ended.push((number, outcome.err()));
                }
            }
        }
        self.ranks[rank].flights.retain(|flight| flight.jobs.iter().any(Option::is_some));
        for (number, fault) in ended {
            self.end_on_one(number, fault);
        }
    }

    fn end_on_one(&mut self, number: u64, told: Option<MoveFault>) {
        let place = self.place(number);
        let job = &mut self.jobs[place];
        let Stage::Begun { left, fault } = job.stage else {
            panic!("RB1: {:?} ended on a rank, and was {:?}", job.order, job.stage)
        };
        let worst = fault.into_iter().chain(told).max_by_key(|fault| weight(*fault));
        job.stage = Stage::Begun { left: left - 1, fault: worst };
        if left == 1 {
            job.stage = Stage::Ended;
            job.writer.end(job.index, worst.map_or(Ok(()), Err));
            job.writer.publish(Nanos::ZERO, 1);
        }
    }

    fn give(&mut self, rank: usize, signal: &Arc<Signal>) {
        let ranks = self.ranks.len();
        let mut room = self.window.saturating_sub(self.ranks[rank].outstanding());
        let mut at = self.ranks[rank].next.max(self.first);
        let mut orders = Vec::new();
        let mut numbers = Vec::new();
        while room > 0 && self.place(at) < self.jobs.len() {
            let place = self.place(at);
            let job = &mut self.jobs[place];
            if matches!(job.stage, Stage::Waiting) {
                let is_begun = job.writer.begin(job.index);
                job.stage = if is_begun { Stage::Begun { left: ranks, fault: None } } else { Stage::Ended };
            }
            if matches!(job.stage, Stage::Begun { .. }) {
                orders.push(job.order);
                numbers.push(at);
                room -= 1;
            }
            at += 1;
        }
        // What a rank has no room for is given to it later.
        let lane = self.ranks[rank].lane.clone();
        let mut count = orders.len();
        while let Some(lane) = lane.as_ref().filter(|_| count > 0) {
            let Ok(ticket) = lane.submit(&orders[..count]) else {
                count /= 2;
                continue;
            };
            ticket.attach(signal);
            let jobs = numbers[..count].iter().copied().map(Some).collect();
            self.ranks[rank].flights.push(Flight { ticket, jobs });
            break;
        }
        self.ranks[rank].next = numbers.get(count).copied().unwrap_or(at);
    }

    /// The ranked lane is being dropped: ranks' lanes that nobody else has end what they have (L3), which is taken in; what a rank
    /// was not given is cancelled there; what is then left ends with its writer.
    pub(super) fn wind_up(&mut self) {
        for rank in &mut self.ranks {
            rank.flights.iter().for_each(|flight| flight.ticket.cancel());
            rank.lane = None;
        }
        for rank in 0..self.ranks.len() {
            self.collect(rank);
            for number in self.ranks[rank].next.max(self.first)..self.first + self.jobs.len() as u64 {
                let place = self.place(number);
                if matches!(self.jobs[place].stage, Stage::Begun { .. }) {
                    self.end_on_one(number, Some(MoveFault::Cancelled));
                }
            }
        }
    }
}
