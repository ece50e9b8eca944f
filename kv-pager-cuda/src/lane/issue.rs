//! Issuing: what waits in a lane's queue becomes chunks on the devices.
//! Uses `lane::{books, cut, path, rank}`. Known by: `lane`, `lane::worker`.
//!
//! - **I1** a move is begun on its ticket before any driver call for it, and its chunk is in the books after the last one;
//! - **I2** a chunk of which the driver refused a part still gets its end on every rank that takes one: what was queued of
//!   it may be writing, and its moves end, as failed, only after that.
//!
//! The calls for one chunk are made rank by rank on the caller's thread, so the first link starts while the next is told.

use super::books::{Aside, Batch, Books, Flight};
use super::cut::{Limits, chunk_parts};
use super::path::{Choice, Path};
use super::rank::{Chunk, EVENTS, LayerPiece, RankLane, Scratch, number, stage_stride};
use super::{Direction, LaneOptions};
use crate::device::DeviceTier;
use crate::driver::{DriverError, Visit};
use crate::fences::Fences;
use crate::kernels::MOVES_MAX;
use crate::pinned::PinnedTier;
use kv_pager::clock::Clock;
use kv_pager::ids::{Fence, GroupId};
use kv_pager::tier::{Move, MoveFault};

/// What a lane issues with: all that does not change from batch to batch.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) ranks: Vec<RankLane>,
    pub(super) choices: Vec<Choice>,
    scratch: Scratch,
    parts: Parts,
}

/// The parts of the chunk in hand.
#[derive(Debug)]
struct Parts {
    /// `(host slot, device slot, index in the batch)`.
    list: Vec<(u32, u32, u32)>,
    device_slots: Vec<u32>,
    host_slots: Vec<u32>,
    source_fences: Vec<Fence>,
    target_fences: Vec<Fence>,
}

/// Pieces of one chunk on the paths that copy piece by piece; a part of more pieces makes a chunk alone.
const PIECES_MAX: usize = 32 << 10;

impl Issuer {
    pub(super) fn new(ranks: Vec<RankLane>, choices: Vec<Choice>) -> Self {
        let parts = Parts {
            list: Vec::with_capacity(MOVES_MAX),
            device_slots: Vec::with_capacity(MOVES_MAX),
            host_slots: Vec::with_capacity(MOVES_MAX),
            source_fences: Vec::with_capacity(MOVES_MAX),
            target_fences: Vec::with_capacity(MOVES_MAX),
        };
        Self { ranks, choices, scratch: Scratch::new(PIECES_MAX), parts }
    }

    /// Hands chunks to the devices while there is room for more. Returns the driver's refusal, if there was one: then the
    /// device is to be given up.
    pub(super) fn issue(
        &mut self,
        books: &mut Books,
        (tier, host): (&DeviceTier, &PinnedTier),
        (direction, options): (Direction, &LaneOptions),
        clock: &dyn Clock,
    ) -> Result<(), DriverError> {
        let Some(mut index) = books.next_batch() else { return Ok(()) };
        if books.flights.len() >= options.chunks_in_flight {
            return Ok(());
        }
        let visit = Visit::begin();
        while index < books.batches.len() && books.flights.len() < options.chunks_in_flight {
            let batch_number = books.first_batch + index as u64;
            let pieces = self.layer_pieces(books, index, tier, options);
            let group =
                self.take_parts(books, (index, pieces.is_some()), (tier, host), (direction, options), clock);
            if !self.parts.list.is_empty() {
                match pieces {
                    Some(pieces) => {
                        self.issue_layers(books, batch_number, (group, pieces), (tier, host), &visit, clock)?;
                    }
                    None => self.issue_chunk(books, batch_number, group, (tier, host), &visit, clock)?,
                }
            }
            let batch = &mut books.batches[index];
            if batch.taken == batch.moves {
                if books.aside.iter().all(|aside| aside.batch != batch_number) {
                    self.stand_behind(batch, tier, &visit)?;
                }
                index += 1;
            }
        }
        books.drop_ended();
        Ok(())
    }

    /// Hands moves that were set aside to the devices, one by one, once their fences are known. Ends those that were called
    /// off, or waited longer than `stall` without a fence: they have not begun.
    pub(super) fn issue_aside(
        &mut self,
        books: &mut Books,
        (tier, host): (&DeviceTier, &PinnedTier),
        (direction, options): (Direction, &LaneOptions),
        clock: &dyn Clock,
    ) -> Result<(), DriverError> {
        let now = clock.now();
        for _ in 0..books.aside.len() {
            let Some(aside) = books.aside.pop_front() else { break };
            let is_called_off = books.batch(aside.batch).writer.is_called_off(aside.index as usize);
            self.parts.clear();
            let is_known = self.parts.knows(&aside.part, tier.fences());
            if is_called_off || now.since(aside.since) >= options.stall {
                books.end_aside(&aside, MoveFault::Cancelled);
            } else if is_known && books.flights.len() < options.chunks_in_flight {
                if books.batch(aside.batch).writer.begin(aside.index as usize) {
                    self.parts.push(&aside.part, aside.index, direction == Direction::Offload);
                    self.parts.arrange();
                    let group = aside.part.group;
                    let path = options.path.unwrap_or_else(|| self.choices[group.index()].path(1));
                    books.batch(aside.batch).path = Some(path);
                    let visit = Visit::begin();
                    self.issue_chunk(books, aside.batch, group, (tier, host), &visit, clock)?;
                } else {
                    books.end_aside(&aside, MoveFault::Cancelled);
                }
            } else {
                books.aside.push_back(aside);
            }
        }
        Ok(())
    }

    /// Takes the next chunk's moves off the queue, and begins them (I1). Moves that were called off end here.
    fn take_parts(
        &mut self,
        books: &mut Books,
        (batch_index, by_layer): (usize, bool),
        (tier, host): (&DeviceTier, &PinnedTier),
        (direction, options): (Direction, &LaneOptions),
        clock: &dyn Clock,
    ) -> GroupId {
        let batch = &mut books.batches[batch_index];
        let left = batch.moves - batch.taken;
        let group = books.waiting[0].group;
        let of_group = books.waiting.iter().take(left).take_while(|part| part.group == group).count();
        let ring = self.ranks[0].ring_bytes();
        let path = *batch.path.get_or_insert_with(|| {
            options.path.unwrap_or_else(|| self.choices[group.index()].path(of_group))
        });
        let part_bytes = stage_stride(group, (tier, host));
        let path = if path == Path::Gather && part_bytes > ring { Path::Batch } else { path };
        batch.path = Some(path);
        let pieces =
            if path.needs_kernels() { 1 } else { tier.ranks()[0].plans[group.index()].pieces_count() };
        let limits = Limits {
            edge_bytes: options.first_chunk_bytes.as_u64(),
            chunk_bytes: if by_layer || path != Path::Gather {
                u64::MAX
            } else {
                options.chunk_bytes.as_u64().min(ring)
            },
            parts_max: MOVES_MAX.min((PIECES_MAX / pieces).max(1)),
        };
        let is_out = direction == Direction::Offload;
        let edges = (is_out, batch.taken == 0);
        let take = if limits.chunk_bytes == u64::MAX {
            of_group.min(limits.parts_max)
        } else {
            chunk_parts(of_group, part_bytes, &limits, edges)
        };
        let parts = &mut self.parts;
        parts.clear();
        for _ in 0..take {
            let part = books.waiting.pop_front().expect("counted above");
            let place = batch.taken;
            batch.taken += 1;
            let index = u32::try_from(place).expect("a queue is shorter");
            if !parts.knows(&part, tier.fences()) {
                let number = books.first_batch + batch_index as u64;
                books.aside.push_back(Aside { part, batch: number, index, since: clock.now() });
            } else if batch.writer.begin(place) {
                parts.push(&part, index, is_out);
            } else {
                batch.ended += 1;
            }
        }
        parts.arrange();
        if batch.ended == batch.moves {
            batch.writer.publish(kv_pager::units::Nanos::ZERO, 0);
        }
        group
    }

    /// Queues the parts in hand on all ranks, as one chunk.
    fn issue_chunk(
        &mut self,
        books: &mut Books,
        batch_number: u64,
        group: GroupId,
        ends: (&DeviceTier, &PinnedTier),
        visit: &Visit,
        clock: &dyn Clock,
    ) -> Result<(), DriverError> {
        let path = books.batch(batch_number).path.expect("chosen when the parts were taken");
        let Self { ranks, scratch, parts, .. } = self;
        let chunk = parts.chunk(books.next_chunk, group, path);
        let carried = ranks.iter_mut().try_fold(0, |_, rank| {
            let carried = rank.carry(&chunk, ends, scratch, visit);
            rank.finish(chunk.number)?;
            carried
        });
        let bytes = ends.1.place(group).stride * parts.list.len() as u64;
        parts.fly(books, (batch_number, bytes), &carried, clock);
        carried.map(|_| ())
    }

    /// Queues the parts in hand on all ranks, some layers after the other: one chunk each, of which the last has the moves.
    fn issue_layers(
        &mut self,
        books: &mut Books,
        batch_number: u64,
        (group, pieces): (GroupId, Vec<LayerPiece>),
        ends: (&DeviceTier, &PinnedTier),
        visit: &Visit,
        clock: &dyn Clock,
    ) -> Result<(), DriverError> {
        let tier = ends.0;
        let layer_fragments = tier.ranks()[0].plans[group.index()].layer_fragments;
        let total = ends.1.place(group).stride * self.parts.list.len() as u64;
        let share = total / pieces.len() as u64;
        let last = pieces.len() - 1;
        for (index, piece) in pieces.into_iter().enumerate() {
            let Self { ranks, scratch, parts, .. } = self;
            let fence = tier.fences().take().ok();
            let chunk = parts.chunk(books.next_chunk, group, Path::Gather);
            let carried = ranks.iter_mut().try_fold(0, |_, rank| {
                let carried = rank.carry_layers(&chunk, piece, ends, scratch, visit);
                if let Some(fence) = fence {
                    rank.record_fence(tier.fences(), fence)?;
                }
                rank.finish(chunk.number)?;
                carried
            });
            if let (Some(fence), Ok(_)) = (fence, &carried) {
                let end = (piece.fragment_first + piece.fragments) / layer_fragments;
                books.batch(batch_number).writer.add_layer_fence(end, fence);
            }
            if index == last || carried.is_err() {
                parts.fly(books, (batch_number, share), &carried, clock);
                carried?;
            } else {
                let copies = carried.unwrap_or(0);
                let chunk = books.next_chunk;
                let issued = clock.now();
                let flight = Flight {
                    chunk,
                    batch: batch_number,
                    moves: 0,
                    copies,
                    bytes: share,
                    issued,
                    fault: None,
                    timed_out: false,
                    ranks_over: 0,
                };
                books.flights.push_back(flight);
                books.next_chunk += 1;
            }
        }
        Ok(())
    }

    /// The pieces of a layer-wise onboarding; `None` where parts have to come whole. A batch is one chunk or is not split by
    /// layers at all, so that a layer's fence stands behind all its parts.
    fn layer_pieces(
        &self,
        books: &Books,
        index: usize,
        tier: &DeviceTier,
        options: &LaneOptions,
    ) -> Option<Vec<LayerPiece>> {
        let batch = &books.batches[index];
        if !batch.by_layer || batch.taken > 0 || batch.moves > MOVES_MAX {
            return None;
        }
        let group = books.waiting[0].group;
        let plan = &tier.ranks()[0].plans[group.index()];
        let has_kernels = tier.ranks().iter().all(|rank| rank.kernels.is_some());
        let fences = tier.fences();
        let is_ready = |part: &Move| {
            part.group == group && fences.is_known(part.source_fence) && fences.is_known(part.target_fence)
        };
        let is_uniform = books.waiting.iter().take(batch.moves).all(is_ready);
        if plan.layer_fragments == 0 || !has_kernels || !is_uniform {
            return None;
        }
        let layer_bytes = plan.fragment_bytes * u64::from(plan.layer_fragments);
        let pieces = layer_schedule(
            plan.fragments() / plan.layer_fragments,
            u32::try_from(options.layer_piece_bytes.as_u64().div_ceil(layer_bytes)).unwrap_or(u32::MAX),
        );
        let piece = |(first, layers): (u32, u32)| LayerPiece {
            fragment_first: first * plan.layer_fragments,
            fragments: layers * plan.layer_fragments,
        };
        let widest = pieces.iter().map(|(_, layers)| u64::from(*layers)).max().unwrap_or(0) * layer_bytes;
        let fits = pieces.len() < EVENTS / 2 && widest * batch.moves as u64 <= self.ranks[0].ring_bytes();
        fits.then(|| pieces.into_iter().map(piece).collect())
    }

    /// Puts a fence behind a batch that is queued whole, and tells its ticket.
    fn stand_behind(
        &mut self,
        batch: &mut Batch,
        tier: &DeviceTier,
        visit: &Visit,
    ) -> Result<(), DriverError> {
        let Ok(fence) = tier.fences().take() else {
            tracing::debug!("no fence was free for a batch; its ticket tells all the same");
            return Ok(());
        };
        for rank in &self.ranks {
            visit.to(rank.device())?;
            rank.record_fence(tier.fences(), fence)?;
        }
        batch.fence = Some(fence);
        batch.writer.set_fence(fence);
        Ok(())
    }
}

impl Parts {
    fn clear(&mut self) {
        self.list.clear();
        self.source_fences.clear();
        self.target_fences.clear();
    }

    /// Whether both fences of `part` can be waited for. Those in hand were looked up before.
    fn knows(&self, part: &Move, fences: &Fences) -> bool {
        (self.source_fences.last() == Some(&part.source_fence) || fences.is_known(part.source_fence))
            && (self.target_fences.last() == Some(&part.target_fence) || fences.is_known(part.target_fence))
    }

    fn push(&mut self, part: &Move, index: u32, is_out: bool) {
        let (device, host) = if is_out { (part.source, part.target) } else { (part.target, part.source) };
        self.list.push((number(host), number(device), index));
        let fences =
            [(&mut self.source_fences, part.source_fence), (&mut self.target_fences, part.target_fence)];
        for (list, fence) in fences {
            if fence != Fence::OVER && list.last() != Some(&fence) {
                list.push(fence);
            }
        }
    }

    /// Puts parts in the order of their host slots, so that runs are as long as they can be.
    fn arrange(&mut self) {
        if !self.list.is_sorted() {
            self.list.sort_unstable();
        }
        self.device_slots.clear();
        self.host_slots.clear();
        self.device_slots.extend(self.list.iter().map(|part| part.1));
        self.host_slots.extend(self.list.iter().map(|part| part.0));
    }

    fn chunk(&self, number: u64, group: GroupId, path: Path) -> Chunk<'_> {
        Chunk {
            number,
            group,
            path,
            device_slots: &self.device_slots,
            host_slots: &self.host_slots,
            source_fences: &self.source_fences,
            target_fences: &self.target_fences,
        }
    }

    /// I1, I2: the chunk in hand is under way, with all its moves.
    fn fly(
        &self,
        books: &mut Books,
        (batch, bytes): (u64, u64),
        carried: &Result<u32, DriverError>,
        clock: &dyn Clock,
    ) {
        books.carried.extend(self.list.iter().map(|part| part.2));
        books.flights.push_back(Flight {
            chunk: books.next_chunk,
            batch,
            moves: self.list.len(),
            copies: *carried.as_ref().unwrap_or(&0),
            bytes,
            issued: clock.now(),
            fault: carried.is_err().then_some(MoveFault::Io),
            timed_out: false,
            ranks_over: 0,
        });
        books.next_chunk += 1;
    }
}

/// `(first layer, how many)`: two pieces of half the length, so that the first layers are there soon, then the rest.
fn layer_schedule(layers: u32, piece: u32) -> Vec<(u32, u32)> {
    let mut pieces = Vec::new();
    let mut first = 0;
    while first < layers {
        let length = if pieces.len() < 2 { piece.div_ceil(2) } else { piece };
        let length = length.clamp(1, layers - first);
        pieces.push((first, length));
        first += length;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::layer_schedule;

    #[test]
    fn layers_come_once_each_and_the_first_ones_soon() {
        for (layers, piece) in [(32, 2), (32, 1), (24, 16), (1, 8), (61, 8)] {
            let pieces = layer_schedule(layers, piece);
            let mut next = 0;
            for (first, length) in &pieces {
                assert_eq!(*first, next);
                assert!(*length >= 1);
                next += length;
            }
            assert_eq!(next, layers);
        }
        assert_eq!(layer_schedule(32, 2)[..3], [(0, 1), (1, 1), (2, 2)]);
    }
}
