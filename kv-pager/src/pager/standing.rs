//! What requests are worth: blocks that eviction passes over, and blocks that expire.
//! Layer 9. Known by: `pager`.
//!
//! - **Y1** a block that only requests with a time to live have used goes that long after the last of them has closed, from every
//!   tier; one that any other request has used stays as long as anything;
//! - **Y2** nothing goes while a sequence, a hold, a prefetch or a move uses it: it is looked at again after as long;
//! - **Y3** to pass over a block is to pass over those before it: when one that was passed over as often as it was to goes, or is to be
//!   copied so that it can, those before it that were not used after it go as those of any other request. One that never was passed over
//!   takes nothing from them;
//! - **Y4** where the engine owns the device slots, each call that brings or offloads blocks lets go those, and the one that ends the request
//!   lets go all its blocks (SV3): a request whose last call never comes leaves nothing for ever;
//! - **Y5** who has used a block has used those before it: what stands on them takes with it those that have not been used since.
//!
//! A sequence that is closed or cut, and a call of an engine's, leaves a list of its blocks, 8 bytes each, and when they expire. They go
//! leaf first. Lists of calls overlap, and few of them begin at the root, so none is done with before its last block: what was used since
//! is in a later one, but what is before that may not be.

use super::core::Core;
use crate::clock::Time;
use crate::ids::{BlockId, TierId};
use crate::policy::MatchedBlock;
use crate::sequence::SequenceState;
use crate::units::Nanos;
use std::collections::BTreeMap;

/// How many blocks one call looks at, and gives up, at most.
const BLOCKS_A_CALL: usize = 256;

/// A block, and a part of its name: the record may be another block's by the time it is looked at.
#[derive(Clone, Copy, Debug)]
struct Known {
    block: BlockId,
    tag: u32,
}

/// What a sequence, or a call of an engine's, has left to expire.
#[derive(Debug)]
struct Expiry {
    /// When they were let go: what was used since is somebody else's.
    closed: Time,
    time_to_live: Nanos,
    /// The blocks, in the order of the prompt.
    chain: Vec<Known>,
}

/// What is to expire.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    /// By when, and in the order in which they were let go.
    entries: BTreeMap<(Time, u64), Expiry>,
    next: u64,
    /// Blocks in all lists: no more than the index has records, or those that expire first do so at once (I8).
    remembered: usize,
    /// How many lists in a row were looked at for a place, and are in use.
    spared: usize,
    /// Whether any request has had a time to live, or more than the usual priority: most engines give none.
    is_used: bool,
}

impl Expiries {
    fn add(&mut self, at: Time, expiry: Expiry) {
        self.remembered += expiry.chain.len();
        self.entries.insert((at, self.next), expiry);
        self.next += 1;
    }

    /// What is in use is looked at again after as long as it has to live (Y2).
    fn look_again(&mut self, now: Time, expiry: Expiry) {
        self.add(now.after(expiry.time_to_live.max(Nanos::new(1))), expiry);
    }

    fn take_first(&mut self) -> Option<Expiry> {
        let (_, first) = self.entries.pop_first()?;
        self.remembered -= first.chain.len();
        Some(first)
    }
}

/// How far a list was gone through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// To its end, or to what requests without a time to live have used.
    Over,
    /// As far as one call goes.
    More,
    /// To a block that is in use, or has a child.
    InUse,
}

impl Core {
    /// A request is served that may have a time to live, or a priority.
    pub(super) fn note_standing(&mut self, state: &SequenceState) {
        self.expiries.is_used |= state.time_to_live.is_some() || state.priority.passes() > 0;
    }

    /// The matched blocks are used by a request.
    pub(super) fn note_request(&mut self, state: &SequenceState, matched: &[MatchedBlock]) {
        if self.expiries.is_used {
            for found in matched {
                self.note_user(state, found.block, false);
            }
        }
    }

    /// What a request with a priority or a time to live makes of its blocks: how often eviction passes over them, and whether they are
    /// mortal. `None` while no request has had either.
    pub(super) fn standing_of(&self, state: &SequenceState) -> Option<(u16, bool)> {
        self.expiries.is_used.then(|| (state.priority.passes(), state.time_to_live.is_some()))
    }

    /// `block` is used by a request, which made it or found it made.
    pub(super) fn note_user(&mut self, state: &SequenceState, block: BlockId, is_new: bool) {
        if self.expiries.is_used {
            if is_new && state.time_to_live.is_some() {
                self.index.mark_mortal(block);
            }
            self.index.note_request(block, state.priority.passes(), state.time_to_live.is_some());
        }
    }

    /// Whether eviction passes over `block` this time, for a request of high priority has used it.
    pub(super) fn passes_over(&mut self, block: BlockId) -> bool {
        self.expiries.is_used && self.index.take_pass(block)
    }

    /// What is before `block`, if that was passed over together with it as often as it was to (Y3); else `NONE`.
    pub(super) fn passed_with(&self, block: BlockId) -> BlockId {
        if !self.expiries.is_used || !self.index.has_spent_passes(block) {
            return BlockId::NONE;
        }
        let parent = self.index.parent(block);
        if parent.is_some() && self.index.view(parent).last_use <= self.index.view(block).last_use {
            parent
        } else {
            BlockId::NONE
        }
    }

    /// `block`, which [`Core::passed_with`] gave, is not passed over any more.
    pub(super) fn pass_no_more(&mut self, block: BlockId) {
        if block.is_some() {
            self.index.spend_passes(block);
        }
    }

    /// Makes room to remember what a sequence lets go, a slice a hold: what would expire first does so at once (I8). Returns whether
    /// there is room.
    pub(super) fn has_place_to_expire(&mut self, state: &SequenceState) -> bool {
        if self.has_place_for(state, state.entries.len()) {
            return true;
        }
        let slice = self.config.limits.slice_blocks as usize;
        let next = state.entries.iter().rev().take(slice).map(|entry| entry.block);
        let is_mortal =
            |block: &BlockId| block.is_some() && self.index.is_named(*block) && self.index.is_mortal(*block);
        next.filter(is_mortal).count() <= self.places_to_expire() || self.make_place_to_expire()
    }

    /// The same for `blocks` blocks of a request of an engine's, or a slice of them if they are more.
    pub(super) fn has_place_for_call(&mut self, state: &SequenceState, blocks: usize) -> bool {
        self.has_place_for(state, blocks) || self.make_place_to_expire()
    }

    /// Whether a slice of so many blocks can be remembered, if there is need to.
    fn has_place_for(&self, state: &SequenceState, blocks: usize) -> bool {
        let slice = self.config.limits.slice_blocks as usize;
        state.time_to_live.is_none() || blocks.min(slice) <= self.places_to_expire()
    }

    /// How many blocks more can be remembered.
    fn places_to_expire(&self) -> usize {
        self.index.capacity().saturating_sub(self.expiries.remembered)
    }

    /// Lets expire at once what would first, or the next that nothing uses; what is in use is forgotten only if all is. Returns whether
    /// there is nothing.
    fn make_place_to_expire(&mut self) -> bool {
        let Some(mut first) = self.expiries.take_first() else { return true };
        // A slice has been looked at in this hold.
        let mut left = (self.config.limits.slice_blocks as usize).div_ceil(2);
        let spared = std::mem::take(&mut self.expiries.spared);
        match self.expire_chain(&mut first, &mut left) {
            Walk::Over => {}
            Walk::More => self.expiries.add(self.now, first),
            Walk::InUse if spared >= self.expiries.entries.len() => {}
            Walk::InUse => {
                self.expiries.spared = spared + 1;
                self.expiries.look_again(self.now, first);
            }
        }
        false
    }

    /// A sequence lets go a slice of its blocks, from `first` on: what only such as it have used will expire. `O(slice)`, if it has a
    /// time to live.
    pub(super) fn note_let_go(&mut self, state: &SequenceState, first: usize) {
        self.note_over(state, state.entries.iter().skip(first).map(|entry| entry.block), self.now);
    }

    /// The same for a slice of blocks of a request of an engine's, in any order.
    pub(super) fn note_over(
        &mut self,
        state: &SequenceState,
        blocks: impl Iterator<Item = BlockId>,
        now: Time,
    ) {
        let Some(time_to_live) = state.time_to_live else { return };
        let mut chain = Vec::new();
        for block in blocks {
            if block.is_some() && self.index.is_named(block) && self.index.is_mortal(block) {
                self.index.extend_use(block, now);
                chain.push(Known { block, tag: self.tag(block) });
            }
        }
        chain.sort_by_key(|known| self.index.view(known.block).depth);
        if !chain.is_empty() {
            self.expiries.add(now.after(time_to_live), Expiry { closed: now, time_to_live, chain });
        }
    }

    /// The low bits of a name.
    #[expect(clippy::cast_possible_truncation, reason = "a part of the name is enough")]
    fn tag(&self, block: BlockId) -> u32 {
        self.index.view(block).hash.0 as u32
    }

    /// Whether anything has expired.
    pub(super) fn has_expired(&self, now: Time) -> bool {
        self.expiries.entries.first_key_value().is_some_and(|((at, _), _)| *at <= now)
    }

    /// Gives up what has expired, as far as one call goes.
    pub(super) fn expire(&mut self, now: Time) {
        let mut left = BLOCKS_A_CALL;
        while left > 0 && self.has_expired(now) {
            let Some(mut expiry) = self.expiries.take_first() else { return };
            let before = left;
            let walk = self.expire_chain(&mut expiry, &mut left);
            self.handle(before - left);
            match walk {
                Walk::Over => {}
                Walk::More => self.expiries.add(now, expiry),
                Walk::InUse => self.expiries.look_again(now, expiry),
            }
        }
    }

    /// Gives up blocks of such a list, leaf first, and what is before them, as far as nobody else has used them; looks at no more than
    /// `left`, which are counted off.
    fn expire_chain(&mut self, expiry: &mut Expiry, left: &mut usize) -> Walk {
        while let Some(Known { block, tag }) = expiry.chain.last().copied() {
            if *left == 0 {
                return Walk::More;
            }
            *left -= 1;
            // Evicted since, or somebody else's record.
            if !self.index.is_named(block) || self.tag(block) != tag {
                expiry.chain.pop();
                continue;
            }
            // Who has used this block has used those before it (Y5).
            if !self.index.is_mortal(block) {
                return Walk::Over;
            }
            if self.index.view(block).last_use > expiry.closed {
                expiry.chain.pop();
                continue;
            }
            if self.index.view(block).references > 0 || self.is_any_used(block) {
                return Walk::InUse;
            }
            // What stands on it goes first.
            if self.index.children(block).any(|child| !self.index.is_detached(child)) {
                return Walk::InUse;
            }
            let parent = self.index.parent(block);
            self.counters.expired += 1;
            self.detach(block);
            self.sweep_detached(block);
            expiry.chain.pop();
            if expiry.chain.is_empty() && parent.is_some() && self.index.is_named(parent) {
                expiry.chain.push(Known { block: parent, tag: self.tag(parent) });
            }
        }
        Walk::Over
    }

    /// Asserts that no more is remembered than there are records, and a slice (I8).
    pub(super) fn check_expiries(&self) {
        let Expiries { entries, remembered, .. } = &self.expiries;
        let listed: usize = entries.values().map(|expiry| expiry.chain.len()).sum();
        assert!(listed == *remembered, "{listed} blocks are in lists, and {remembered} are remembered");
        let most = self.index.capacity() + self.config.limits.slice_blocks as usize;
        assert!(listed <= most, "I8: {listed} blocks are to expire, and {most} may be");
    }

    /// Whether a hold or a move is at any part of `block`.
    fn is_any_used(&self, block: BlockId) -> bool {
        self.groups().any(|group| {
            TierId::ALL.iter().filter(|tier| self.pools.has(**tier)).any(|tier| {
                let slot = self.index.location(block, group, *tier);
                slot.is_some() && !self.is_unused(group, *tier, slot)
            })
        })
    }
}
