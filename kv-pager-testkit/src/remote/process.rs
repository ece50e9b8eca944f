//! A worker's process, as a rank.
//! Uses `remote`, `ranks`. Known by: tests over processes.

use super::link::WorkerLost;
use super::message::{Pace, Setup, ToWorker};
use super::{Link, RemoteLane, RemoteTier};
use crate::ranks::Rank;
use crate::tagged::{Fate, Machine, MachineSpec, Tag};
use kv_pager::ids::{Epoch, Fence, GroupId, SlotId};
use kv_pager::layout::ModelLayout;
use kv_pager::sync::Mutex;
use kv_pager::tier::{Lane, Tier};
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

/// A process that serves one rank. Dropping it kills it.
#[derive(Debug)]
pub struct WorkerProcess {
    child: Mutex<Child>,
    link: Link,
    tiers: Vec<Arc<dyn Tier>>,
    lanes: Vec<Arc<dyn Lane>>,
}

impl WorkerProcess {
    /// Starts `program`, which must serve its standard input and output with [`serve`](super::serve), and begins its first life.
    ///
    /// # Errors
    /// If it can't be started, or ends at once.
    pub fn start(program: &Path, model: &ModelLayout, spec: MachineSpec, pace: Pace) -> io::Result<Self> {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdout.take().zip(child.stdin.take());
        let (input, output) =
            pipes.ok_or_else(|| io::Error::other("a child without the pipes it was given"))?;
        let link = Link::new(input, output);
        // What its machine will be like; its memory is not used.
        let shape = Machine::new(model, spec).backend();
        let tiers = shape.tiers.iter().map(|tier| Arc::new(RemoteTier::new(&link, &**tier)) as Arc<dyn Tier>);
        let lane = |(place, lane): (usize, &Arc<dyn Lane>)| {
            Arc::new(RemoteLane::new(&link, number(place), lane.ends(), spec.lane_limit)) as Arc<dyn Lane>
        };
        let (tiers, lanes) = (tiers.collect(), shape.lanes.iter().enumerate().map(lane).collect());
        let worker = Self { child: Mutex::new(child), link, tiers, lanes };
        worker.begin(Epoch(1), model, spec, pace).map_err(io::Error::other)?;
        Ok(worker)
    }

    /// Begins another life, with fresh memory.
    ///
    /// # Errors
    /// [`WorkerLost`] if it is.
    pub fn begin(
        &self,
        epoch: Epoch,
        model: &ModelLayout,
        spec: MachineSpec,
        pace: Pace,
    ) -> Result<(), WorkerLost> {
        self.link.begin(epoch, Setup { model: model.clone(), spec, pace })
    }

    /// The scheduler's half.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.lock().id()
    }

    /// Kills it, whatever it is doing.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&self) -> io::Result<()> {
        self.child.lock().kill()
    }

    /// Lets it go, and waits for its end.
    ///
    /// # Errors
    /// If the system can't tell how it ended.
    pub fn finish(self) -> io::Result<ExitStatus> {
        self.link.close();
        self.child.lock().wait()
    }

    fn tell(&self, message: ToWorker) {
        self.link.send(message).expect("this worker is not killed");
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        // It may have ended by itself; then there is nothing to kill, and its status was or is taken here.
        child.kill().ok();
        child.wait().ok();
    }
}

fn number(of: usize) -> u32 {
    u32::try_from(of).expect("small")
}

impl Rank for WorkerProcess {
    fn tiers(&self) -> Vec<Arc<dyn Tier>> {
        self.tiers.clone()
    }

    fn lanes(&self) -> Vec<Arc<dyn Lane>> {
        self.lanes.clone()
    }

    fn advance(&self, lane: usize, count: usize, fate: Fate) {
        self.tell(ToWorker::Advance { lane: number(lane), count: count as u64, fate });
    }

    fn release_stalled(&self, lane: usize) {
        self.tell(ToWorker::Release { lane: number(lane) });
    }

    fn write(&self, fence: Fence, group: GroupId, slot: SlotId, first: usize, tags: Vec<Tag>) {
        self.tell(ToWorker::Write { fence, group, slot, first: number(first), tags });
    }

    fn read(
        &self,
        fence: Fence,
        group: GroupId,
        slot: SlotId,
        first: usize,
        expected: Vec<Tag>,
        what: String,
    ) {
        self.tell(ToWorker::Read { fence, group, slot, first: number(first), expected, what });
    }

    fn compute(&self, until: Fence) {
        self.tell(ToWorker::Compute { until });
    }

    fn settle(&self) -> u64 {
        self.link.settle().unwrap_or_else(|lost| panic!("{lost}"))
    }
}
