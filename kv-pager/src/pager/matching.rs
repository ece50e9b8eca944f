//! Matching: the longest prefix of a prompt from which every group can go on.
//! Layer 9. Known by: `pager`.

use super::core::Core;
use super::whereabouts::Whereabouts;
use crate::ids::{BlockId, GroupId};
use crate::policy::MatchedBlock;
use crate::prefix::BlockKeys;
use crate::sequence::SequenceState;
use std::ops::Range;

impl Core {
    /// The leading blocks of the prompt that are cached somewhere, in every group that needs them all, cut back to where every
    /// other group finds its reach. `O(blocks * groups)`.
    pub(super) fn match_prefix(&self, state: &SequenceState, matched: &mut Vec<MatchedBlock>) {
        self.match_on(state, matched, usize::MAX);
        if !self.is_uniform() {
            self.cut_to_reach(state.tokens_per_block(), matched);
        }
    }

    /// Goes on with a match by at most `blocks_max` blocks, in the groups that need all. Returns whether that was its end. What
    /// was matched before must have been referred to since.
    pub(super) fn match_on(
        &self,
        state: &SequenceState,
        matched: &mut Vec<MatchedBlock>,
        blocks_max: usize,
    ) -> bool {
        // What earlier weights computed is not found.
        if state.epoch != self.epoch {
            return true;
        }
        let from = matched.len();
        let mut parent = matched.last().map_or(BlockId::NONE, |last| last.block);
        if parent.is_some() && self.index.is_detached(parent) {
            return true;
        }
        let mut extra_keys = Vec::new();
        let is_uniform = self.is_uniform();
        let end = self.model.matchable_blocks(state.tokens.len());
        let until = end.min(from.saturating_add(blocks_max));
        let tokens = &state.tokens[from * state.tokens_per_block()..];
        let blocks = state.hashes[from..until].iter().zip(tokens.chunks_exact(state.tokens_per_block()));
        for (index, (hash, tokens)) in (from..).zip(blocks) {
            if !state.extra_keys.is_empty() {
                extra_keys.clear();
                extra_keys.extend(state.keys_of_block(index));
            }
            let keys = BlockKeys { parent, salt: state.salt, tokens, extra_keys: &extra_keys };
            let Some(block) = self.index.find(*hash, &keys) else { return true };
            parent = block;
            if is_uniform {
                let Some(part) = self.find_part(block, GroupId::FIRST) else { return true };
                matched.push(part.of(block));
                continue;
            }
            let mut there = Whereabouts::READY;
            for group in self.full_groups() {
                let Some(part) = self.find_part(block, group) else { return true };
                there = there.with(part);
            }
            matched.push(there.of(block));
        }
        until == end
    }

    /// Cuts a match to the longest one at whose end every group that looks through a window finds what it needs.
    fn cut_to_reach(&self, size: usize, matched: &mut Vec<MatchedBlock>) {
        // A second group may cut what the first one found long enough: go round until none does.
        loop {
            let before = matched.len();
            for group in self.windowed_groups() {
                self.cut_to_group(group, size, matched);
            }
            if matched.len() == before {
                break;
            }
        }
        self.note_farthest(size, matched);
    }

    fn cut_to_group(&self, group: GroupId, size: usize, matched: &mut Vec<MatchedBlock>) {
        // How many blocks up to each have their part: a reach is there if the run at its last block is long enough.
        let mut run = 0;
        let count = |found: &MatchedBlock| {
            run = if self.nearest_part(found.block, group).is_some() { run + 1 } else { 0 };
            run
        };
        let runs: Vec<usize> = matched.iter().map(count).collect();
        let has = |range: &Range<usize>| range.is_empty() || runs[range.end - 1] >= range.len();
        let has_reach = |blocks: &usize| {
            let reach = self.model.reach(group, blocks * size);
            has(&reach.sinks) && has(&reach.window)
        };
        matched.truncate((0..=matched.len()).rev().find(has_reach).unwrap_or(0));
    }

    /// A block is as far as the farthest of the parts that will be needed.
    fn note_farthest(&self, size: usize, matched: &mut [MatchedBlock]) {
        let position = matched.len() * size;
        for group in self.windowed_groups() {
            for at in self.model.reach(group, position).blocks() {
                let found = &mut matched[at];
                if let Some(part) = self.find_part(found.block, group) {
                    *found = Whereabouts::from(*found).with(part).of(found.block);
                }
            }
        }
    }
}
