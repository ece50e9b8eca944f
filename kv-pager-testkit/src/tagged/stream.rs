//! A device stream: compute that happens in order, later.

use super::{Tag, TaggedTier};
use kv_pager::ids::{Fence, GroupId, SlotId};
use kv_pager::sync::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
enum Work {
    Write { group: GroupId, slot: SlotId, first: usize, tags: Vec<Tag> },
    Read { group: GroupId, slot: SlotId, first: usize, expected: Vec<Tag>, what: String },
}

/// Writes and reads of device slots, queued under fences and carried out in order.
#[derive(Debug)]
pub struct Stream {
    device: Arc<TaggedTier>,
    queue: VecDeque<(Fence, Work)>,
    last: u64,
    reached: Arc<AtomicU64>,
}

impl Stream {
    /// A stream over `device`; `reached` is where it tells which fences are over.
    pub fn new(device: Arc<TaggedTier>, reached: Arc<AtomicU64>) -> Self {
        Self { device, queue: VecDeque::new(), last: 0, reached }
    }

    /// A new fence: what is queued from now on is over when it is.
    pub fn fence(&mut self) -> Fence {
        self.last += 1;
        Fence(self.last)
    }

    /// What is queued from now on is over when `fence` is, which somebody else has given.
    pub fn follow(&mut self, fence: Fence) {
        self.last = self.last.max(fence.0);
    }

    /// Queues the writing of tags, from token `first` of the slot on, under the last fence.
    pub fn write(&mut self, group: GroupId, slot: SlotId, first: usize, tags: Vec<Tag>) {
        self.queue.push_back((Fence(self.last), Work::Write { group, slot, first, tags }));
    }

    /// Queues the reading of a slot's tags from token `first` on, which must then be `expected`.
    pub fn read(&mut self, group: GroupId, slot: SlotId, first: usize, expected: Vec<Tag>, what: String) {
        self.queue.push_back((Fence(self.last), Work::Read { group, slot, first, expected, what }));
    }

    /// Carries out what is queued under the next `count` fences.
    ///
    /// # Panics
    /// If a slot does not hold what it must: a byte is wrong.
    pub fn advance(&mut self, count: u64) {
        let until = self.reached.load(Ordering::Acquire).saturating_add(count).min(self.last);
        self.reach(Fence(until));
    }

    /// Carries out what is queued under the fences up to `until`, which is over then.
    ///
    /// # Panics
    /// If a slot does not hold what it must: a byte is wrong.
    pub fn reach(&mut self, until: Fence) {
        self.follow(until);
        let until = until.0;
        while let Some((_, work)) = self.queue.pop_front_if(|(fence, _)| fence.0 <= until) {
            match work {
                Work::Write { group, slot, first, tags } => self.device.write(group, slot, first, &tags),
                Work::Read { group, slot, first, expected, what } => {
                    let found = &self.device.read(group, slot)[first..first + expected.len()];
                    assert!(
                        found == expected,
                        "I4: {what}, {group:?}, in {slot:?} is {found:x?}, not {expected:x?}"
                    );
                }
            }
        }
        self.reached.store(until, Ordering::Release);
    }

    /// Whether everything queued has been carried out.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.reached.load(Ordering::Acquire) == self.last
    }
}
