//! Issuing: what waits in a lane's queue becomes chunks on the devices.
//! Uses `lane::{books, cut, path, rank}`. Known by: `lane`, `lane::worker`.
//!
//! - **I1** a move is begun on its ticket before any driver call for it, and its chunk is in the books after the last one;
//! - **I2** a chunk of which the driver refused a part still gets its end on every rank: what was queued of it, there or on the
//!   ranks before, may be writing, and its moves end, as failed, only after that.
//!
//! The calls for one chunk are made rank by rank on the caller's thread, so the first link starts while the next is told.

use super::books::{Aside, Batch, Books, Flight};
use super::chunk::{Chunk, LayerPiece, Scratch, stage_stride};
use super::cut::{Limits, chunk_parts};
use super::layers::layer_pieces;
use super::parts::Parts;
use super::path::{Choice, Path};
use super::rank::RankLane;
use super::{Direction, LaneOptions};
use crate::device::DeviceTier;
use crate::driver::{DriverError, Visit};
use crate::kernels::MOVES_MAX;
use crate::pinned::PinnedTier;
use kv_pager::clock::Clock;
use kv_pager::ids::GroupId;
use kv_pager::tier::MoveFault;

/// What a lane issues with: all that does not change from batch to batch.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) ranks: Vec<RankLane>,
    pub(super) choices: Vec<Choice>,
    scratch: Scratch,
    parts: Parts,
}

/// Pieces of one chunk on the paths that copy piece by piece; a part of more pieces makes a chunk alone.
const PIECES_MAX: usize = 32 << 10;

impl Issuer {
    pub(super) fn new(ranks: Vec<RankLane>, choices: Vec<Choice>) -> Self {
        Self { ranks, choices, scratch: Scratch::new(PIECES_MAX), parts: Parts::new() }
    }

    /// Hands chunks to the devices while there is room for more. Returns the driver's word that a device can't be used any
    /// more, if there was one: then the tier is to be given up. A refusal of one call only fails the chunk's moves.
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
            let pieces = layer_pieces(books, (index, self.ranks[0].ring_bytes()), tier, options);
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
        let carried = on_every_rank(ranks, (&chunk, visit), |rank| rank.carry(&chunk, ends, scratch, visit));
        let bytes = ends.1.place(group).stride * parts.list.len() as u64;
        parts.fly(books, (batch_number, bytes), &carried, clock);
        survive(carried)
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
            let carried = on_every_rank(ranks, (&chunk, visit), |rank| {
                let copies = rank.carry_layers(&chunk, piece, ends, scratch, visit)?;
                if let Some(fence) = fence {
                    rank.record_fence(tier.fences(), fence)?;
                }
                Ok(copies)
            });
            if let (Some(fence), Ok(_)) = (fence, &carried) {
                let end = (piece.fragment_first + piece.fragments) / layer_fragments;
                books.batch(batch_number).writer.add_layer_fence(end, fence);
            }
            if index == last || carried.is_err() {
                parts.fly(books, (batch_number, share), &carried, clock);
                return survive(carried);
            }
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
        Ok(())
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

/// Makes `calls` for a chunk rank by rank, until one refuses, and gives the chunk its end on all of them (I2). Returns what the last
/// rank's calls came to, or the first refusal.
fn on_every_rank(
    ranks: &mut [RankLane],
    (chunk, visit): (&Chunk<'_>, &Visit),
    mut calls: impl FnMut(&mut RankLane) -> Result<u32, DriverError>,
) -> Result<u32, DriverError> {
    let mut carried = Ok(0);
    for rank in ranks {
        if carried.is_ok() {
            carried = rank.refusal().and_then(|()| calls(rank));
        }
        let ended = visit.to(rank.device()).and_then(|()| rank.finish(chunk.number));
        carried = carried.and_then(|copies| ended.map(|()| copies));
    }
    carried
}

/// A refusal of one call has failed its chunk, and the lane goes on.
fn survive(carried: Result<u32, DriverError>) -> Result<(), DriverError> {
    match carried {
        Err(error) if error.is_of_one_call() => {
            tracing::error!(%error, "a card refused its share of a chunk, whose blocks are misses");
            Ok(())
        }
        carried => carried.map(|_| ()),
    }
}
