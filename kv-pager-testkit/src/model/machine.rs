//! Machines that a rig can stand on: tag memory whose lanes and compute move when told to.
//! Uses `tagged`. Known by: `model`, `ranks`.

use crate::tagged::{Fate, Machine, MachineSpec, Stream, Tag};
use kv_pager::ids::{Fence, GroupId, SlotId};
use kv_pager::layout::ModelLayout;
use kv_pager::pager::Backend;
use std::fmt::Debug;

/// A machine on which nothing happens by itself. What is written and read goes to the device's slots, under the last fence.
pub trait ModelMachine: Debug {
    /// What a pager takes.
    fn backend(&self) -> Backend;

    /// How many lanes there are.
    fn lanes(&self) -> usize;

    /// Ends the next `count` moves of a lane whose fences are over, if there are so many, with this fate.
    fn advance(&self, lane: usize, count: usize, fate: Fate);

    /// Ends what has stalled on a lane, and what goes on although it has ended as lost: each move writes its target, late as it is.
    fn release_stalled(&self, lane: usize);

    /// Whether its tickets say of a move that had ended as lost or timed out that it is over.
    fn concludes(&self) -> bool;

    /// On how many streams its engine computes. Each goes on when it is told to, whatever the others do.
    fn streams(&self) -> usize;

    /// A new fence of a stream: what is queued there from now on is over when it is.
    fn fence(&mut self, stream: usize) -> Fence;

    /// Queues a wait: what is queued on the stream from now on happens after `fence`, which may be another stream's.
    fn wait_for(&mut self, stream: usize, fence: Fence);

    /// Queues the writing of tags, from token `first` of a slot on.
    fn write(&mut self, stream: usize, group: GroupId, slot: SlotId, first: usize, tags: &[Tag]);

    /// Queues the reading of tags, from token `first` of a slot on, which must then be `expected`.
    fn read(&mut self, stream: usize, part: (GroupId, SlotId), first: usize, expected: &[Tag], what: &str);

    /// Carries out what is queued on a stream under its next `count` fences, as far as nothing must wait.
    ///
    /// # Panics
    /// If a slot does not hold what it must.
    fn compute(&mut self, stream: usize, count: u64);

    /// Whether everything queued has been carried out.
    fn is_idle(&self) -> bool;

    /// Ends every move that waits and may begin, well. Returns how many.
    fn advance_all(&self) -> usize;
}

/// A [`Machine`] with the streams of its engine.
#[derive(Debug)]
pub struct TaggedMachine {
    machine: Machine,
    streams: Vec<Stream>,
}

impl TaggedMachine {
    /// A machine for `model`, with so many streams.
    pub fn new(model: &ModelLayout, spec: MachineSpec, streams: usize) -> Self {
        let machine = Machine::new(model, spec);
        Self { streams: (0..streams).map(|_| machine.stream()).collect(), machine }
    }
}

impl ModelMachine for TaggedMachine {
    fn backend(&self) -> Backend {
        self.machine.backend()
    }

    fn lanes(&self) -> usize {
        self.machine.lanes().len()
    }

    fn advance(&self, lane: usize, count: usize, fate: Fate) {
        self.machine.lanes()[lane].advance(count, |_| fate);
    }

    fn release_stalled(&self, lane: usize) {
        self.machine.lanes()[lane].release_stalled();
    }

    fn concludes(&self) -> bool {
        true
    }

    fn streams(&self) -> usize {
        self.streams.len()
    }

    fn fence(&mut self, stream: usize) -> Fence {
        self.streams[stream].fence()
    }

    fn wait_for(&mut self, stream: usize, fence: Fence) {
        self.streams[stream].wait_for(fence);
    }

    fn write(&mut self, stream: usize, group: GroupId, slot: SlotId, first: usize, tags: &[Tag]) {
        self.streams[stream].write(group, slot, first, tags.to_vec());
    }

    fn read(&mut self, stream: usize, part: (GroupId, SlotId), first: usize, expected: &[Tag], what: &str) {
        self.streams[stream].read(part.0, part.1, first, expected.to_vec(), what.to_owned());
    }

    fn compute(&mut self, stream: usize, count: u64) {
        self.streams[stream].advance(count);
    }

    fn is_idle(&self) -> bool {
        self.streams.iter().all(Stream::is_idle)
    }

    fn advance_all(&self) -> usize {
        self.machine.advance_all()
    }
}
