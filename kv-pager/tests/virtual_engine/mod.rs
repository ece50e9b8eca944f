//! An engine in virtual time: its steps take what a profile says, and its waits end when something does or a load is late.

use kv_pager::Pager;
use kv_pager::cost::machine::VirtualMachine;
use kv_pager::cost::{Profile, TokenSpan};
use kv_pager::error::Error;
use kv_pager::ids::Fence;
use kv_pager::pager::{Forecast, Request, Sequence, Step};
use std::ops::Range;

/// The engine, and what it runs on.
pub(crate) struct Engine {
    pub(crate) machine: VirtualMachine,
    pub(crate) pager: Pager,
    /// What its steps take.
    pub(crate) profile: Profile,
    pub(crate) step_tokens: u32,
}

impl Engine {
    /// Time goes on: to what ends next, or as far as the pager may be left alone.
    pub(crate) fn tick(&self) {
        let latest = self.machine.now().after(self.pager.nap());
        self.machine.run_until(self.machine.next_event().min(latest));
        self.pager.poll();
    }

    /// Opens a sequence, as soon as there is room.
    pub(crate) fn open(&self, request: &Request<'_>) -> Sequence {
        loop {
            match self.pager.open(request) {
                Ok(sequence) => return sequence,
                Err(_busy) => self.tick(),
            }
        }
    }

    /// Computes a step.
    pub(crate) fn compute(&self, sequence: &mut Sequence, range: Range<usize>) {
        let [start, end] = [range.start, range.end].map(|at| u32::try_from(at).expect("short"));
        let took = self.profile.prefill.cost().step(TokenSpan::between(start, end));
        let until = self.machine.now().after(took);
        while self.machine.now() < until {
            self.machine.run_until(self.machine.next_event().min(until));
            self.pager.poll();
        }
        sequence.observe(range.clone(), took);
        sequence.commit(range, Fence::OVER).expect("as told");
    }

    /// Serves what is open, and closes it.
    pub(crate) fn serve(&self, mut sequence: Sequence) -> Option<Forecast> {
        loop {
            match sequence.next_step(self.step_tokens as usize) {
                Ok(Step::Compute(range)) => self.compute(&mut sequence, range),
                Ok(Step::Ready) => break,
                Ok(Step::Wait) | Err(Error::TierBusy { .. }) => self.tick(),
                Err(error) => panic!("{error}"),
            }
        }
        let forecast = sequence.forecast();
        sequence.close(Fence::OVER);
        forecast
    }
}
