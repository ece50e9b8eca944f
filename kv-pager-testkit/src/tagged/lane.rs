//! A lane that moves when it is told to, as it is told to.

use super::TaggedTier;
use kv_pager::Error;
use kv_pager::sync::Mutex;
use kv_pager::tier::{Lane, LaneEnds, Move, MoveFault, Ticket, TicketWriter, Tier};
use kv_pager::units::Nanos;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// How a move ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Fate {
    /// Well.
    Done,
    /// With this fault, the target scrambled. After one that may go on it does, until [`TaggedLane::release_stalled`].
    Failed(MoveFault),
    /// Not until [`TaggedLane::release_stalled`]: it has begun, and then writes its target after all.
    Stalled,
}

#[derive(Debug)]
struct Job {
    part: Move,
    index: usize,
    writer: Arc<TicketWriter>,
}

/// A lane between two tagged tiers. Nothing happens on it by itself.
#[derive(Debug)]
pub struct TaggedLane {
    source: Arc<TaggedTier>,
    target: Arc<TaggedTier>,
    queue: Mutex<VecDeque<Job>>,
    stalled: Mutex<Vec<Job>>,
    /// What has ended as lost or timed out, and goes on.
    going_on: Mutex<Vec<Job>>,
    limit: usize,
}

impl TaggedLane {
    /// A lane that takes at most `limit` moves at a time.
    pub fn new(source: Arc<TaggedTier>, target: Arc<TaggedTier>, limit: usize) -> Self {
        let (stalled, going_on) = (Mutex::default(), Mutex::default());
        Self { source, target, queue: Mutex::default(), stalled, going_on, limit }
    }

    /// Ends the next `count` moves whose fences are over, each with the fate that `fate` gives it. Returns how many it was.
    pub fn advance(&self, count: usize, mut fate: impl FnMut(&Move) -> Fate) -> usize {
        for done in 0..count {
            let mut queue = self.queue.lock();
            // One that was called off waits for nothing, whatever its fences.
            let is_ready = |job: &Job| {
                job.writer.is_called_off(job.index)
                    || self.source.is_fence_over(job.part.source_fence)
                        && self.target.is_fence_over(job.part.target_fence)
            };
            if !queue.front().is_some_and(is_ready) {
                return done;
            }
            let Some(job) = queue.pop_front() else { return done };
            drop(queue);
            self.run(job, &mut fate);
        }
        count
    }

    fn run(&self, job: Job, fate: &mut impl FnMut(&Move) -> Fate) {
        if !job.writer.begin(job.index) {
            return;
        }
        self.target.scramble(job.part.group, job.part.target);
        match fate(&job.part) {
            Fate::Done => self.finish(&job),
            Fate::Failed(fault) => {
                job.writer.end(job.index, Err(fault));
                job.writer.publish(Nanos::new(1), 1);
                if fault.may_go_on() {
                    self.going_on.lock().push(job);
                }
            }
            Fate::Stalled => self.stalled.lock().push(job),
        }
    }

    fn finish(&self, job: &Job) {
        self.copy(job);
        job.writer.end(job.index, Ok(()));
        job.writer.publish(Nanos::new(1), 1);
    }

    fn copy(&self, job: &Job) {
        let tags = self.source.read(job.part.group, job.part.source);
        self.target.write(job.part.group, job.part.target, 0, &tags);
    }

    /// Ends the moves that have stalled, and concludes those that have ended as lost or timed out: each writes its target, late as
    /// it is.
    pub fn release_stalled(&self) {
        let stalled = std::mem::take(&mut *self.stalled.lock());
        for job in &stalled {
            self.finish(job);
        }
        let going_on = std::mem::take(&mut *self.going_on.lock());
        for job in &going_on {
            self.copy(job);
            job.writer.conclude(job.index);
            job.writer.publish(Nanos::new(1), 1);
        }
    }

    /// How many moves wait, and how many have stalled.
    pub fn backlog(&self) -> (usize, usize) {
        (self.queue.lock().len(), self.stalled.lock().len())
    }
}

impl Lane for TaggedLane {
    fn ends(&self) -> LaneEnds {
        LaneEnds { source: self.source.id(), target: self.target.id() }
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let mut queue = self.queue.lock();
        if queue.len() + batch.len() > self.limit {
            return Err(Error::QueueFull { limit: self.limit });
        }
        let (writer, ticket) = TicketWriter::new(batch.len());
        let writer = Arc::new(writer);
        queue.extend(batch.iter().enumerate().map(|(index, part)| Job {
            part: *part,
            index,
            writer: Arc::clone(&writer),
        }));
        Ok(ticket)
    }
}
