//! A device stream: compute that happens in order, later.

use super::{Tag, TaggedTier};
use crate::late::FenceBook;
use kv_pager::ids::{Fence, GroupId, SlotId};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
enum Work {
    Wait(Fence),
    Write { group: GroupId, slot: SlotId, first: usize, tags: Vec<Tag> },
    Read { group: GroupId, slot: SlotId, first: usize, expected: Vec<Tag>, what: String },
}

/// Writes and reads of device slots, queued under fences and carried out in order.
#[derive(Debug)]
pub struct Stream {
    device: Arc<TaggedTier>,
    book: Arc<FenceBook>,
    queue: VecDeque<(Fence, Work)>,
    /// Fences of this stream that are not over, in order.
    fences: VecDeque<Fence>,
    last: Fence,
}

impl Stream {
    /// A stream over `device`; in `book` it tells which of its fences are over.
    pub fn new(device: Arc<TaggedTier>, book: Arc<FenceBook>) -> Self {
        Self { device, book, queue: VecDeque::new(), fences: VecDeque::new(), last: Fence::OVER }
    }

    /// A new fence: what is queued from now on, and all before it, is over when it is.
    pub fn fence(&mut self) -> Fence {
        self.last = self.book.issue();
        self.fences.push_back(self.last);
        self.last
    }

    /// What is queued from now on is over when `fence` is, which somebody else has given.
    pub fn follow(&mut self, fence: Fence) {
        if fence > self.last {
            self.book.follow(fence);
            self.fences.push_back(fence);
            self.last = fence;
        }
    }

    /// What is queued from now on happens after `fence`: another stream's, or an earlier one of this, for which nothing has to wait.
    pub fn wait_for(&mut self, fence: Fence) {
        self.queue.push_back((self.last, Work::Wait(fence)));
    }

    /// Queues the writing of tags, from token `first` of the slot on, under the last fence.
    pub fn write(&mut self, group: GroupId, slot: SlotId, first: usize, tags: Vec<Tag>) {
        self.queue.push_back((self.last, Work::Write { group, slot, first, tags }));
    }

    /// Queues the reading of a slot's tags from token `first` on, which must then be `expected`.
    pub fn read(&mut self, group: GroupId, slot: SlotId, first: usize, expected: Vec<Tag>, what: String) {
        self.queue.push_back((self.last, Work::Read { group, slot, first, expected, what }));
    }

    /// Carries out what is queued under the next `count` fences, as far as nothing must wait.
    ///
    /// # Panics
    /// If a slot does not hold what it must: a byte is wrong.
    pub fn advance(&mut self, count: u64) {
        for _ in 0..count {
            let Some(next) = self.fences.front().copied() else { break };
            if !self.carry_out(next) {
                return;
            }
            self.fences.pop_front();
            self.book.end(next);
        }
        if self.fences.is_empty() {
            self.carry_out(self.last);
        }
    }

    /// Carries out what is queued under the fences up to `until`, which is over then, with all fences before it.
    ///
    /// # Panics
    /// If a slot does not hold what it must: a byte is wrong. If something waits for a fence that is not over.
    pub fn reach(&mut self, until: Fence) {
        self.follow(until);
        assert!(self.carry_out(until), "a stream that is told what to reach waits for nobody");
        self.fences.retain(|fence| *fence > until);
        self.book.end_up_to(until);
    }

    /// Carries out what is queued up to `until`. False if something must wait.
    fn carry_out(&mut self, until: Fence) -> bool {
        let is_free = |(fence, work): &mut (Fence, Work)| {
            *fence <= until && !matches!(work, Work::Wait(other) if !self.book.is_over(*other))
        };
        while let Some((_, work)) = self.queue.pop_front_if(is_free) {
            match work {
                Work::Wait(_) => {}
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
        self.queue.front().is_none_or(|(fence, _)| *fence > until)
    }

    /// Whether everything queued has been carried out.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.fences.is_empty()
    }
}
