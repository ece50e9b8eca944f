//! The scheduler's half of one worker: what it was sent, what it has said, and whether it is still there.
//! Uses `remote::message`, `remote::frame`. Known by: `remote::lane`, `remote::tier`, `remote::process`.
//!
//! - **RL1** a batch is known here before its message is sent, and until all its moves have ended or the worker is lost;
//! - **RL2** nothing is sent, and nothing is heard, once the worker is lost.

use super::frame;
use super::message::{Envelope, FromWorker, Setup, ToWorker};
use crossbeam::channel::{Receiver, Sender, bounded};
use kv_pager::Error;
use kv_pager::ids::{Epoch, Fence};
use kv_pager::sync::Mutex;
use kv_pager::tier::{Move, MoveFault, Signal, Ticket, TicketWriter};
use kv_pager::units::Nanos;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Messages that wait for the pipe.
const MESSAGES_MAX: usize = 1024;

/// Longer than a worker takes for anything; a bound for faults, not a measure.
const PATIENCE: Nanos = Nanos::from_millis(120_000);

/// The worker is lost, or has been silent for too long.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the worker is lost: {why}")]
pub struct WorkerLost {
    /// For people.
    pub why: String,
}

/// A batch that has not ended.
#[derive(Debug)]
struct Open {
    lane: u32,
    writer: TicketWriter,
    has_ended: Vec<bool>,
}

#[derive(Debug)]
struct State {
    epoch: Epoch,
    number_in: u64,
    /// `None` once the worker is lost, or let go.
    outgoing: Option<Sender<(Epoch, ToWorker)>>,
    lost: Option<String>,
    wrong: Option<String>,
    open: HashMap<u64, Open>,
    batches: u64,
    reached: u64,
    requests: u64,
    settled: u64,
    ended: u64,
}

/// What lanes and tiers of a worker share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Rung when the worker has settled or is lost.
    signal: Signal,
}

impl Shared {
    fn lose(&self, why: String) {
        let open = {
            let mut state = self.state.lock();
            state.lost.get_or_insert(why);
            state.outgoing = None;
            std::mem::take(&mut state.open)
        };
        // Nothing of a worker that is gone can still be written (L5).
        for batch in open.into_values() {
            batch.writer.abandon(MoveFault::DeviceLost);
        }
        self.signal.ring();
    }

    pub(super) fn lost(&self) -> Option<String> {
        self.state.lock().lost.clone()
    }

    pub(super) fn reached(&self) -> u64 {
        self.state.lock().reached
    }

    /// Takes a message in; an error is the worker's loss.
    fn hear(&self, message: Envelope<FromWorker>) -> Result<(), String> {
        let mut state = self.state.lock();
        if message.epoch != state.epoch {
            return Ok(());
        }
        if message.number != state.number_in {
            return Err(format!("message {} came, and {} is missing", message.number, state.number_in));
        }
        state.number_in += 1;
        match message.body {
            FromWorker::Ended { batch, index, outcome } => {
                let index = index as usize;
                let open =
                    state.open.get_mut(&batch).filter(|open| open.has_ended.get(index) == Some(&false));
                let Some(open) = open else {
                    return Err(format!("move {index} of batch {batch} is not under way"));
                };
                open.has_ended[index] = true;
                open.writer.end(index, outcome);
                open.writer.publish(Nanos::ZERO, 1);
                if !open.has_ended.contains(&false) {
                    state.open.remove(&batch);
                }
                state.ended += 1;
            }
            FromWorker::Reached { fence } => state.reached = state.reached.max(fence.0),
            FromWorker::Settled { request } => {
                state.settled = state.settled.max(request);
                self.signal.ring();
            }
            FromWorker::Wrong { what } => {
                state.wrong = Some(what.clone());
                return Err(what);
            }
        }
        Ok(())
    }

    /// Sends moves, or refuses them whole; never blocks.
    pub(super) fn submit(&self, lane: u32, moves: &[Move], limit: usize) -> Result<Ticket, Error> {
        let (writer, ticket) = TicketWriter::new(moves.len());
        // What is sent has begun: nobody can call it back.
        let is_begun = (0..moves.len()).all(|index| writer.begin(index));
        assert!(is_begun, "nobody has the ticket yet");
        let mut state = self.state.lock();
        let Some(outgoing) = state.outgoing.clone() else {
            drop(state);
            writer.abandon(MoveFault::DeviceLost);
            return Ok(ticket);
        };
        let of_lane = state.open.values().filter(|open| open.lane == lane);
        let waiting: usize =
            of_lane.map(|open| open.has_ended.iter().filter(|has_ended| !**has_ended).count()).sum();
        state.batches += 1;
        let batch = state.batches;
        let message = ToWorker::Submit { lane, batch, moves: moves.to_vec() };
        if waiting + moves.len() > limit || outgoing.try_send((state.epoch, message)).is_err() {
            return Err(Error::QueueFull { limit });
        }
        if !moves.is_empty() {
            state.open.insert(batch, Open { lane, writer, has_ended: vec![false; moves.len()] });
        }
        Ok(ticket)
    }
}

/// A worker, as its scheduler knows it.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Link {
    /// A link over a pipe each way. Two threads serve it until the worker closes its end.
    pub fn new(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> Self {
        let (outgoing, waiting) = bounded(MESSAGES_MAX);
        let state = State {
            epoch: Epoch::default(),
            number_in: 0,
            outgoing: Some(outgoing),
            lost: None,
            wrong: None,
            open: HashMap::new(),
            batches: 0,
            reached: 0,
            requests: 0,
            settled: 0,
            ended: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), signal: Signal::new() });
        let (reader, writer) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || listen(&reader, input)),
            thread::spawn(move || speak(&writer, &waiting, output)),
        ];
        Self { shared, threads }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Begins a life: what an earlier one had under way ends as lost, and is not heard of again (RE1).
    ///
    /// # Errors
    /// [`WorkerLost`] if it is.
    pub fn begin(&self, epoch: Epoch, setup: Setup) -> Result<(), WorkerLost> {
        let open = {
            let mut state = self.shared.state.lock();
            (state.epoch, state.number_in, state.reached) = (epoch, 0, 0);
            std::mem::take(&mut state.open)
        };
        drop(open);
        self.send(ToWorker::Begin(setup))
    }

    /// Sends a message. Blocks while the pipe is full.
    ///
    /// # Errors
    /// [`WorkerLost`] if it is, or takes nothing for a long time.
    pub fn send(&self, message: ToWorker) -> Result<(), WorkerLost> {
        let (outgoing, epoch) = {
            let state = self.shared.state.lock();
            (state.outgoing.clone(), state.epoch)
        };
        let why = || self.shared.lost().unwrap_or_else(|| "it takes nothing".to_owned());
        let outgoing = outgoing.ok_or_else(|| WorkerLost { why: why() })?;
        let patience = Duration::from_nanos(PATIENCE.as_u64());
        outgoing.send_timeout((epoch, message), patience).map_err(|_| WorkerLost { why: why() })
    }

    /// Blocks until all that was sent before has happened and all that has ended was heard. Returns how many moves have ended, ever.
    ///
    /// # Errors
    /// [`WorkerLost`] if it is, or says nothing for a long time.
    pub fn settle(&self) -> Result<u64, WorkerLost> {
        let request = {
            let mut state = self.shared.state.lock();
            state.requests += 1;
            state.requests
        };
        self.send(ToWorker::Settle { request })?;
        loop {
            let seen = self.shared.signal.count();
            {
                let state = self.shared.state.lock();
                if state.settled >= request {
                    return Ok(state.ended);
                }
                if let Some(why) = &state.lost {
                    return Err(WorkerLost { why: why.clone() });
                }
            }
            if !self.shared.signal.wait_past(seen, PATIENCE) {
                return Err(WorkerLost { why: "it says nothing".to_owned() });
            }
        }
    }

    /// The byte that was wrong on the worker, or the rule that was broken there.
    pub fn wrong(&self) -> Option<String> {
        self.shared.state.lock().wrong.clone()
    }

    /// Why the worker is lost, if it is.
    pub fn lost(&self) -> Option<String> {
        self.shared.lost()
    }

    /// The last fence that the worker has reached.
    pub fn reached(&self) -> Fence {
        Fence(self.shared.reached())
    }

    /// Closes the pipe to the worker, which then ends (RE4).
    pub fn close(&self) {
        self.shared.state.lock().outgoing = None;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            // One that panicked has told so already.
            thread.join().ok();
        }
    }
}

fn listen(shared: &Shared, mut input: impl Read) {
    let why = loop {
        match frame::read::<Envelope<FromWorker>>(&mut input) {
            Ok(Some(message)) => {
                if let Err(why) = shared.hear(message) {
                    break why;
                }
            }
            Ok(None) => break "it has closed its pipe".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    shared.lose(why);
}

fn speak(shared: &Shared, waiting: &Receiver<(Epoch, ToWorker)>, mut output: impl Write) {
    let mut number = 0;
    while let Ok((epoch, body)) = waiting.recv() {
        if matches!(body, ToWorker::Begin(_)) {
            number = 0;
        }
        if let Err(error) = frame::write(&mut output, &Envelope { epoch, number, body }) {
            return shared.lose(error.to_string());
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Link, PATIENCE};
    use crate::remote::frame;
    use crate::remote::message::{Envelope, FromWorker, Pace, Setup};
    use crate::tagged::MachineSpec;
    use kv_pager::ids::{Epoch, Fence, GroupId, MoveId, SlotId};
    use kv_pager::layout::shape;
    use kv_pager::tier::{Move, MoveFault};
    use std::io::PipeWriter;

    /// A link in its second life, and the pipe that a worker would speak through. What it is sent goes nowhere.
    fn second_life() -> (Link, PipeWriter) {
        let (input, voice) = std::io::pipe().expect("pipes can be made");
        let link = Link::new(input, std::io::sink());
        let spec = MachineSpec { device: 4, host: 4, file: 0, lane_limit: 8 };
        let setup = Setup { model: shape("tiny").expect("known"), spec, pace: Pace::Told };
        link.begin(Epoch(1), setup.clone()).expect("it is there");
        let order = Move {
            id: MoveId(1),
            group: GroupId::FIRST,
            source: SlotId::from_index(0),
            target: SlotId::from_index(1),
            source_fence: Fence::OVER,
            target_fence: Fence::OVER,
        };
        let earlier = link.shared().submit(0, &[order], 8).expect("room");
        link.begin(Epoch(2), setup).expect("it is there");
        assert_eq!(
            earlier.outcome(0),
            Some(Err(MoveFault::Lost)),
            "an earlier life's move may go on, nobody knows"
        );
        (link, voice)
    }

    fn say(voice: &mut PipeWriter, epoch: u32, number: u64, fence: u64) {
        let body = FromWorker::Reached { fence: Fence(fence) };
        frame::write(voice, &Envelope { epoch: Epoch(epoch), number, body }).expect("the link listens");
    }

    fn wait_for_loss(link: &Link) -> String {
        loop {
            let seen = link.shared.signal.count();
            if let Some(why) = link.lost() {
                return why;
            }
            assert!(link.shared.signal.wait_past(seen, PATIENCE), "it is never lost");
        }
    }

    #[test]
    fn an_earlier_life_is_not_heard() {
        let (link, mut voice) = second_life();
        say(&mut voice, 1, 0, 9);
        say(&mut voice, 2, 0, 3);
        say(&mut voice, 1, 7, 10);
        say(&mut voice, 2, 1, 4);
        drop(voice);
        assert_eq!(wait_for_loss(&link), "it has closed its pipe");
        assert_eq!(link.reached(), Fence(4));
    }

    #[test]
    fn a_missing_message_is_the_loss_of_the_worker() {
        let (link, mut voice) = second_life();
        say(&mut voice, 2, 0, 3);
        say(&mut voice, 2, 2, 5);
        assert!(wait_for_loss(&link).contains("1 is missing"));
        assert_eq!(link.reached(), Fence(3));
        drop(voice);
    }

    #[test]
    fn an_end_that_nobody_waits_for_is_the_loss_of_the_worker() {
        let (link, mut voice) = second_life();
        let body = FromWorker::Ended { batch: 1, index: 0, outcome: Ok(()) };
        frame::write(&mut voice, &Envelope { epoch: Epoch(2), number: 0, body }).expect("the link listens");
        assert!(wait_for_loss(&link).contains("not under way"));
    }
}
