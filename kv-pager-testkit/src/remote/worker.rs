//! The worker's half: tag memory, lanes and a stream that do what messages say.
//! Uses `remote::message`, `remote::frame`, `tagged`. Known by: the binary `kv-pager-worker`.

use super::frame;
use super::message::{Envelope, FromWorker, Pace, Setup, ToWorker};
use crate::tagged::{Fate, Machine, Stream};
use kv_pager::ids::Epoch;
use kv_pager::tier::{Lane, Ticket};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A batch that has not ended.
#[derive(Debug)]
struct UnderWay {
    batch: u64,
    ticket: Ticket,
    is_told: Vec<bool>,
}

/// One life.
#[derive(Debug)]
struct Life {
    pace: Pace,
    machine: Machine,
    stream: Stream,
    under_way: Vec<UnderWay>,
}

impl Life {
    fn new(setup: &Setup) -> Self {
        let machine = Machine::new(&setup.model, setup.spec);
        Self { pace: setup.pace, stream: machine.stream(), machine, under_way: Vec::new() }
    }

    /// Does what a message says, and collects what there is to tell.
    fn handle(&mut self, message: ToWorker, told: &mut Vec<FromWorker>) {
        let lanes = self.machine.lanes();
        match message {
            ToWorker::Begin(_) => unreachable!("it began a life of its own"),
            ToWorker::Submit { lane, batch, moves } => {
                let ticket =
                    lanes[lane as usize].submit(&moves).expect("a scheduler keeps to the lane's limit");
                self.under_way.push(UnderWay { batch, is_told: vec![false; moves.len()], ticket });
            }
            ToWorker::Write { fence, group, slot, first, tags } => {
                self.stream.follow(fence);
                self.stream.write(group, slot, first as usize, tags);
            }
            ToWorker::Read { fence, group, slot, first, expected, what } => {
                self.stream.follow(fence);
                self.stream.read(group, slot, first as usize, expected, what);
            }
            ToWorker::Compute { until } => {
                self.stream.reach(until);
                told.push(FromWorker::Reached { fence: until });
            }
            ToWorker::Advance { lane, count, fate } => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                lanes[lane as usize].advance(count, |_| fate);
            }
            ToWorker::Release { lane } => lanes[lane as usize].release_stalled(),
            ToWorker::Settle { request } => told.push(FromWorker::Settled { request }),
        }
        if self.pace == Pace::Own {
            for lane in lanes {
                lane.advance(usize::MAX, |_| Fate::Done);
            }
        }
        self.tell_ends(told);
    }

    /// Tells the ends before all else: what was settled comes after them.
    fn tell_ends(&mut self, told: &mut Vec<FromWorker>) {
        let mut ends = Vec::new();
        for UnderWay { batch, ticket, is_told } in &mut self.under_way {
            for (index, is_told) in is_told.iter_mut().enumerate().filter(|(_, is_told)| !**is_told) {
                if let Some(outcome) = ticket.outcome(index) {
                    *is_told = true;
                    let index = u32::try_from(index).expect("a batch is short");
                    ends.push(FromWorker::Ended { batch: *batch, index, outcome });
                }
            }
        }
        self.under_way.retain(|batch| batch.is_told.contains(&false));
        told.splice(0..0, ends);
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

/// Serves a scheduler until it closes the pipe, or something is wrong.
///
/// # Errors
/// If a pipe breaks, a message is missing or cannot be read, or a byte was wrong; the scheduler has been told of the latter.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut epoch = Epoch::default();
    let (mut number_in, mut number_out) = (0, 0);
    let mut life: Option<Life> = None;
    while let Some(Envelope { epoch: of, number, body }) = frame::read::<Envelope<ToWorker>>(&mut input)? {
        if let ToWorker::Begin(setup) = &body {
            (epoch, number_in, number_out) = (of, 0, 0);
            life = Some(Life::new(setup));
        }
        if of != epoch || number != number_in {
            let what = format!("message {number} of {of:?}, not {number_in} of {epoch:?}");
            return Err(io::Error::other(what));
        }
        number_in += 1;
        let mut told = Vec::new();
        let handled = match (&mut life, body) {
            (_, ToWorker::Begin(_)) => Ok(()),
            (Some(life), message) => catch_unwind(AssertUnwindSafe(|| life.handle(message, &mut told))),
            (None, message) => return Err(io::Error::other(format!("{message:?} before a life began"))),
        };
        let wrong = handled.err().map(|panic| words(&*panic));
        told.extend(wrong.iter().map(|what| FromWorker::Wrong { what: what.clone() }));
        for body in told {
            frame::write(&mut output, &Envelope { epoch, number: number_out, body })?;
            number_out += 1;
        }
        if let Some(what) = wrong {
            return Err(io::Error::other(what));
        }
    }
    Ok(())
}
