//! A machine of several ranks, for the model: each does what it is told, and one of them has the bad luck.
//! Uses `ranks`, `tagged`, `model`. Known by: the model test over ranks.

use super::{RankedLane, RankedTier};
use crate::model::ModelMachine;
use crate::tagged::{Fate, Machine, MachineSpec, Stream, Tag};
use kv_pager::ids::{Fence, GroupId, SlotId};
use kv_pager::layout::ModelLayout;
use kv_pager::pager::Backend;
use kv_pager::tier::{Lane, Tier};
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::sync::Arc;

/// The most moves that a rank has at a time: few, so that some wait and can be called off.
const WINDOW: usize = 4;

/// One rank of a [`RankedMachine`]: tag memory, lanes and a stream, here or elsewhere.
pub trait Rank: Debug {
    /// Its tiers, nearest first.
    fn tiers(&self) -> Vec<Arc<dyn Tier>>;

    /// Its lanes, in the order of [`Machine::lanes`].
    fn lanes(&self) -> Vec<Arc<dyn Lane>>;

    /// Ends the next `count` moves of a lane, if there are so many, with this fate.
    fn advance(&self, lane: usize, count: usize, fate: Fate);

    /// Ends what has stalled on a lane.
    fn release_stalled(&self, lane: usize);

    /// Queues the writing of tags under `fence`.
    fn write(&self, fence: Fence, group: GroupId, slot: SlotId, first: usize, tags: Vec<Tag>);

    /// Queues the reading of tags under `fence`, which must then be `expected`.
    fn read(
        &self,
        fence: Fence,
        group: GroupId,
        slot: SlotId,
        first: usize,
        expected: Vec<Tag>,
        what: String,
    );

    /// Carries out what is queued under the fences up to `until`.
    fn compute(&self, until: Fence);

    /// Returns once all that it was told has happened, and all that has ended has been told: how many moves have, ever.
    ///
    /// # Panics
    /// If it was lost, or a byte was wrong.
    fn settle(&self) -> u64;
}

/// A rank in this process.
#[derive(Debug)]
struct LocalRank {
    machine: Machine,
    stream: RefCell<Stream>,
    ended: Cell<u64>,
}

impl Rank for LocalRank {
    fn tiers(&self) -> Vec<Arc<dyn Tier>> {
        self.machine.backend().tiers
    }

    fn lanes(&self) -> Vec<Arc<dyn Lane>> {
        self.machine.backend().lanes
    }

    fn advance(&self, lane: usize, count: usize, fate: Fate) {
        let ended = self.machine.lanes()[lane].advance(count, |_| fate);
        self.ended.set(self.ended.get() + ended as u64);
    }

    fn release_stalled(&self, lane: usize) {
        self.machine.lanes()[lane].release_stalled();
    }

    fn write(&self, fence: Fence, group: GroupId, slot: SlotId, first: usize, tags: Vec<Tag>) {
        let mut stream = self.stream.borrow_mut();
        stream.follow(fence);
        stream.write(group, slot, first, tags);
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
        let mut stream = self.stream.borrow_mut();
        stream.follow(fence);
        stream.read(group, slot, first, expected, what);
    }

    fn compute(&self, until: Fence) {
        self.stream.borrow_mut().reach(until);
    }

    fn settle(&self) -> u64 {
        self.ended.get()
    }
}

/// Ranks under a test's control. Of a fault or a stall, one rank has it, and the others carry the move out: another rank each time.
#[derive(Debug)]
pub struct RankedMachine {
    ranks: Vec<Box<dyn Rank>>,
    tiers: Vec<Arc<RankedTier>>,
    lanes: Vec<Arc<RankedLane>>,
    last_fence: u64,
    reached: u64,
    unlucky: Cell<usize>,
}

impl RankedMachine {
    /// A machine over `ranks`, whose lanes take `lane_limit` moves at a time.
    ///
    /// # Panics
    /// If there is no rank, or they differ.
    pub fn new(ranks: Vec<Box<dyn Rank>>, lane_limit: usize) -> Self {
        let tiers: Vec<_> = ranks.iter().map(|rank| rank.tiers()).collect();
        let lanes: Vec<_> = ranks.iter().map(|rank| rank.lanes()).collect();
        let tier =
            |at: usize| RankedTier::new(tiers.iter().map(|of_rank| Arc::clone(&of_rank[at])).collect());
        let lane = |at: usize| {
            let of_ranks = lanes.iter().map(|of_rank| Arc::clone(&of_rank[at])).collect();
            RankedLane::stepped(of_ranks, WINDOW.min(lane_limit), lane_limit)
        };
        Self {
            tiers: (0..tiers[0].len()).map(|at| Arc::new(tier(at))).collect(),
            lanes: (0..lanes[0].len()).map(|at| Arc::new(lane(at))).collect(),
            ranks,
            last_fence: 0,
            reached: 0,
            unlucky: Cell::new(0),
        }
    }

    /// A machine of `ranks` ranks in this process.
    ///
    /// # Panics
    /// If there is none.
    pub fn local(model: &ModelLayout, spec: MachineSpec, ranks: usize) -> Self {
        let rank = |_| {
            let machine = Machine::new(model, spec);
            let stream = RefCell::new(machine.stream());
            Box::new(LocalRank { machine, stream, ended: Cell::new(0) }) as Box<dyn Rank>
        };
        Self::new((0..ranks).map(rank).collect(), spec.lane_limit)
    }

    fn settle(&self) -> u64 {
        let ended = self.ranks.iter().map(|rank| rank.settle()).sum();
        self.lanes.iter().for_each(|lane| lane.pump());
        ended
    }
}

/// What a rank has for a tag: a slice of its own.
fn slice(rank: usize, tags: &[Tag]) -> Vec<Tag> {
    tags.iter().map(|tag| Tag(tag.0 ^ (rank as u64) << 56)).collect()
}

impl ModelMachine for RankedMachine {
    fn backend(&self) -> Backend {
        Backend {
            tiers: self.tiers.iter().map(|tier| Arc::clone(tier) as Arc<dyn Tier>).collect(),
            lanes: self.lanes.iter().map(|lane| Arc::clone(lane) as Arc<dyn Lane>).collect(),
        }
    }

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn advance(&self, lane: usize, count: usize, fate: Fate) {
        if fate != Fate::Done {
            self.unlucky.set((self.unlucky.get() + 1) % self.ranks.len());
        }
        for (number, rank) in self.ranks.iter().enumerate() {
            let is_hit = number == self.unlucky.get();
            rank.advance(lane, count, if is_hit { fate } else { Fate::Done });
        }
        self.settle();
    }

    fn release_stalled(&self, lane: usize) {
        self.ranks.iter().for_each(|rank| rank.release_stalled(lane));
        self.settle();
    }

    /// What the ranks' lanes say of it is not passed on.
    fn concludes(&self) -> bool {
        false
    }

    /// One on each rank, and all do the same.
    fn streams(&self) -> usize {
        1
    }

    fn fence(&mut self, _stream: usize) -> Fence {
        self.last_fence += 1;
        Fence(self.last_fence)
    }

    /// What is queued on the one stream happens in order.
    fn wait_for(&mut self, _stream: usize, _fence: Fence) {}

    fn write(&mut self, _stream: usize, group: GroupId, slot: SlotId, first: usize, tags: &[Tag]) {
        for (number, rank) in self.ranks.iter().enumerate() {
            rank.write(Fence(self.last_fence), group, slot, first, slice(number, tags));
        }
    }

    fn read(&mut self, _stream: usize, part: (GroupId, SlotId), first: usize, expected: &[Tag], what: &str) {
        for (number, rank) in self.ranks.iter().enumerate() {
            let what = format!("{what} on rank {number}");
            rank.read(Fence(self.last_fence), part.0, part.1, first, slice(number, expected), what);
        }
    }

    fn compute(&mut self, _stream: usize, count: u64) {
        self.reached = self.reached.saturating_add(count).min(self.last_fence);
        self.ranks.iter().for_each(|rank| rank.compute(Fence(self.reached)));
        self.settle();
    }

    fn is_idle(&self) -> bool {
        self.reached == self.last_fence
    }

    fn advance_all(&self) -> usize {
        let before = self.settle();
        for lane in 0..self.lanes.len() {
            self.ranks.iter().for_each(|rank| rank.advance(lane, usize::MAX, Fate::Done));
        }
        usize::try_from(self.settle() - before).expect("a machine has few moves")
    }
}
