//! Served: requests of an engine that owns its device slots, told to the policy as those are that had a sequence.
//! Layer 9. Uses `pager::{core, external, slices, standing, telling}`. Known by: `pager::external`.
//!
//! - **SV1** a request is told once and whole (SL4), when its last block is offloaded: all its blocks that have a record, in the host or on
//!   their way there, and the names of those that found no room;
//! - **SV2** each request is one use of each of its blocks, whether it was onboarded, made, or the engine had it;
//! - **SV3** it is over then: its blocks are let go, and those that only requests with a time to live have used begin to expire (Y4).
//!
//! An engine that copies blocks before its request is over gives the last of them with the call at the end; one that has nothing to copy
//! gives none.

use super::Shared;
use super::core::Core;
use super::external::{BlockAt, Front};
use super::handle::Prompt;
use super::slices;
use super::telling::Telling;
use crate::clock::Time;
use crate::ids::BlockId;
use crate::sequence::SequenceState;

/// Whether the offload of `given` is the last call of its request (SV1).
pub(super) fn is_end(prompt: &Prompt, given: &[BlockAt]) -> bool {
    given.is_empty() || given.iter().any(|at| at.block + 1 == prompt.names().len())
}

/// Tells the policy of a request, whose tokens and names `state` has, and counts it.
pub(super) fn tell(shared: &Shared, state: &SequenceState, now: Time) {
    let mut telling = shared.telling.lock();
    telling.clear();
    // What earlier weights computed is nobody's request any more.
    let mut is_stale = false;
    slices::repeat(shared, |core| {
        is_stale = state.epoch != core.epoch;
        is_stale || core.refer_slice(state, shared.request_blocks, &mut telling)
    });
    if shared.tells && !is_stale {
        let known = telling.blocks.len();
        let others = state.hashes.iter().take(shared.request_blocks).skip(known);
        others.for_each(|name| telling.name(*name));
        slices::tell(shared, &mut telling, state.blocks(), now);
    }
    slices::repeat(shared, |core| core.end_slice(state, &mut telling, now));
}

impl Core {
    /// Collects the next slice of a request of an engine's: its leading blocks that have a record, which are referred to until it is told
    /// (TE1). Returns whether there are no more, or `most` are known.
    fn refer_slice(&mut self, state: &SequenceState, most: usize, telling: &mut Telling) -> bool {
        let from = telling.blocks.len();
        let mut front = Front { blocks: from, last: telling.blocks.last().copied().unwrap_or(BlockId::NONE) };
        if front.last.is_some() && !self.is_still(state, from - 1, front.last) {
            return true;
        }
        let end = state.hashes.len().min(most);
        while front.blocks < end.min(from + self.config.limits.slice_blocks as usize) {
            let Some(block) = self.after(state, &front) else { return true };
            self.index.add_reference(block);
            self.collect(block, telling);
            front = Front { blocks: front.blocks + 1, last: block };
        }
        front.blocks == end
    }

    /// Counts a use of the next slice of what was told, which is as recently used as can be, the leaf first; lets it go, and refers to it
    /// no longer. Returns whether that was all.
    fn end_slice(&mut self, state: &SequenceState, telling: &mut Telling, now: Time) -> bool {
        if !self.has_place_for_call(state, telling.blocks.len()) {
            return false;
        }
        let first = telling.blocks.len().saturating_sub(self.config.limits.slice_blocks as usize);
        for block in &telling.blocks[first..] {
            self.note_user(state, *block, false);
            self.index.note_end(*block, now);
        }
        self.note_over(state, telling.blocks[first..].iter().copied(), now);
        for block in telling.blocks.drain(first..).rev() {
            self.warm_below(block);
            self.unrefer(block);
        }
        telling.blocks.is_empty()
    }
}
