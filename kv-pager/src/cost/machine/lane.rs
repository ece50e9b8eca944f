//! A lane that copies nothing and takes as long as a profile says.
//! Layer 6. Uses `clock`, `sync`, `tier`, `units`, `cost`. Known by: `cost::machine`.
//!
//! A batch is cut into chunks of the size that saturates the lane. The moves of a chunk begin together and end together:
//! whoever cancels calls off what is in later chunks.

use super::VirtualTier;
use super::link::Link;
use crate::clock::{Clock, ManualClock, Time};
use crate::cost::{CodecTable, LaneCost, LaneProfile, Load, real};
use crate::error::Error;
use crate::ids::{Fence, GroupId, TierId};
use crate::sync::Mutex;
use crate::tier::{Lane, LaneEnds, Move, Ticket, TicketWriter, Tier};
use crate::units::{Bytes, Nanos};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// One submitted batch.
#[derive(Debug)]
struct Batch {
    writer: TicketWriter,
    /// By move: whose part it is; `None` once it was called off.
    moves: Vec<Option<GroupId>>,
    /// How many of them have begun or been called off.
    begun: usize,
}

/// The chunk that is on its way.
#[derive(Debug)]
struct Chunk {
    moves: Range<usize>,
    started: Time,
    ends: Time,
}

#[derive(Debug, Default)]
struct Queue {
    /// The first is the one worked on.
    batches: VecDeque<Batch>,
    /// Of the first batch; `None` only if there is none.
    chunk: Option<Chunk>,
    moves: usize,
}

/// See the module. Its time is the machine's clock.
#[derive(Debug)]
pub struct VirtualLane {
    ends: LaneEnds,
    cost: LaneCost,
    both_ways_factor: f64,
    /// By group: bytes on the link, and what the codec adds to a part.
    parts: Vec<(Bytes, f64)>,
    link: Arc<Link>,
    clock: Arc<ManualClock>,
    moves_max: usize,
    queue: Mutex<Queue>,
}

impl VirtualLane {
    pub(super) fn new(
        profile: &LaneProfile,
        [source, target]: [&Arc<VirtualTier>; 2],
        codecs: &CodecTable,
        link: Arc<Link>,
        clock: Arc<ManualClock>,
        moves_max: usize,
    ) -> Self {
        let ends = profile.ends;
        let (near, far) = if ends.source < ends.target { (source, target) } else { (target, source) };
        let parts = near.classes().iter().zip(far.classes()).map(|(near_class, far_class)| {
            let codec = match (ends.source, ends.target) {
                (TierId::Device, _) => codecs.encode(far.format(), near_class.slot_bytes),
                (_, TierId::Device) => codecs.decode(far.format(), near_class.slot_bytes),
                _ => Nanos::ZERO,
            };
            (far_class.slot_bytes, real::from_nanos(codec))
        });
        let parts = parts.collect();
        let both_ways_factor = profile.both_ways_factor;
        let queue = Mutex::new(Queue::default());
        Self { ends, cost: profile.cost(), both_ways_factor, parts, link, clock, moves_max, queue }
    }

    /// When the chunk under way ends; [`Time::NEVER`] if the lane is idle.
    pub(super) fn next_event(&self) -> Time {
        self.queue.lock().chunk.as_ref().map_or(Time::NEVER, |chunk| chunk.ends)
    }

    /// Ends what ends until `now`, and begins what follows at the moment the lane is free.
    pub(super) fn settle(&self, now: Time) {
        let mut queue = self.queue.lock();
        while let Some(chunk) = queue.chunk.take_if(|chunk| chunk.ends <= now) {
            let batch = queue.batches.front().expect("a chunk is of the first batch");
            for index in chunk.moves.filter(|&index| batch.moves[index].is_some()) {
                batch.writer.end(index, Ok(()));
            }
            batch.writer.publish(chunk.ends.since(chunk.started), 1);
            self.begin(&mut queue, chunk.ends);
        }
    }

    /// Begins the next chunk at `now`, if there is any.
    fn begin(&self, queue: &mut Queue, now: Time) {
        while let Some(batch) = queue.batches.front_mut() {
            let is_first = batch.begun == 0;
            let (moves, bytes, codec_ns) = self.fill(batch);
            if !moves.is_empty() {
                let alone_ns = self.cost.stream_ns(Load { bytes, copies: 1 }) + codec_ns;
                let is_shared = self.link.is_opposite_busy(self.ends);
                let factor = if is_shared { self.both_ways_factor } else { 1.0 };
                let alpha_ns = if is_first { self.cost.alpha_ns() } else { 0.0 };
                let ends = now.after(real::to_nanos(alpha_ns + alone_ns * factor));
                queue.chunk = Some(Chunk { moves, started: now, ends });
                break;
            }
            let over = queue.batches.pop_front().expect("just looked at");
            queue.moves -= over.moves.len();
        }
        self.link.set(self.ends, queue.chunk.is_some());
    }

    /// Begins moves of `batch` up to a chunk of bytes; at least one, unless all that are left were called off.
    fn fill(&self, batch: &mut Batch) -> (Range<usize>, Bytes, f64) {
        let (first, mut bytes, mut codec_ns) = (batch.begun, Bytes::ZERO, 0.0);
        while let Some(&Some(group)) = batch.moves.get(batch.begun) {
            let (part_bytes, part_codec_ns) = self.parts[group.index()];
            if bytes > Bytes::ZERO && bytes + part_bytes > self.cost.chunk_bytes() {
                break;
            }
            if batch.writer.begin(batch.begun) {
                bytes += part_bytes;
                codec_ns += part_codec_ns;
            } else {
                batch.moves[batch.begun] = None;
            }
            batch.begun += 1;
        }
        let begun = if bytes > Bytes::ZERO { first..batch.begun } else { batch.begun..batch.begun };
        (begun, bytes, codec_ns)
    }
}

impl Lane for VirtualLane {
    fn ends(&self) -> LaneEnds {
        self.ends
    }

    /// # Panics
    /// If a move waits for a fence: virtual tiers have none.
    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let is_over = |part: &Move| part.source_fence == Fence::OVER && part.target_fence == Fence::OVER;
        assert!(batch.iter().all(is_over), "a virtual tier knows no fence but Fence::OVER");
        let mut queue = self.queue.lock();
        if queue.moves + batch.len() > self.moves_max {
            return Err(Error::QueueFull { limit: self.moves_max });
        }
        let (writer, ticket) = TicketWriter::new(batch.len());
        let moves = batch.iter().map(|part| Some(part.group)).collect();
        queue.moves += batch.len();
        queue.batches.push_back(Batch { writer, moves, begun: 0 });
        if queue.chunk.is_none() {
            self.begin(&mut queue, self.clock.now());
        }
        Ok(ticket)
    }
}
