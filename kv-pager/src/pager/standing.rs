//! What requests are worth: blocks that eviction passes over, and blocks that expire.
//! Layer 9. Known by: `pager`.
//!
//! - **Y1** a block that only requests with a time to live have used goes that long after the last of them has closed, from every
//!   tier; one that any other request has used stays as long as anything;
//! - **Y2** nothing goes while a sequence, a hold, a prefetch or a move uses it: it is looked at again after as long;
//! - **Y3** to pass over a block is to pass over those before it: when it goes, and they were not used after it, they go as those of any other
//!   request.
//!
//! A sequence that is closed or cut leaves a list of its blocks, 8 bytes each, and when they expire. They go leaf first.

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

/// What a sequence has left to expire.
#[derive(Debug)]
struct Expiry {
    /// When the sequence let them go: what was used since is somebody else's.
    closed: Time,
    time_to_live: Nanos,
    /// Its blocks, root first.
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
    /// Whether any request has had a time to live, or more than the usual priority: most engines give none.
    is_used: bool,
}

impl Expiries {
    fn add(&mut self, at: Time, expiry: Expiry) {
        self.remembered += expiry.chain.len();
        self.entries.insert((at, self.next), expiry);
        self.next += 1;
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
    /// To its end, or to what others have used.
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
                self.index.note_request(found.block, state.priority.passes(), state.time_to_live.is_some());
            }
        }
    }

    /// What a request with a priority or a time to live makes of its blocks: how often eviction passes over them, and whether they are
    /// mortal. `None` while no request has had either.
    pub(super) fn standing_of(&self, state: &SequenceState) -> Option<(u16, bool)> {
        self.expiries.is_used.then(|| (state.priority.passes(), state.time_to_live.is_some()))
    }

    /// `block` is committed by a request, which made it or found it made.
    pub(super) fn note_committed(&mut self, state: &SequenceState, block: BlockId, is_new: bool) {
        if self.expiries.is_used {
            if is_new && state.time_to_live.is_some() {
                self.index.mark_mortal(block);
            }
            self.index.note_request(block, state.priority.passes(), state.time_to_live.is_some());
        }
    }

    /// Whether eviction passes over `block` this time, for a request of high priority has used it. If not, it was passed over often enough
    /// together with what is before it (Y3).
    pub(super) fn passes_over(&mut self, block: BlockId) -> bool {
        if !self.expiries.is_used || self.index.take_pass(block) {
            return self.expiries.is_used;
        }
        let parent = self.index.parent(block);
        if parent.is_some() && self.index.view(parent).last_use <= self.index.view(block).last_use {
            self.index.spend_passes(parent);
        }
        false
    }

    /// Makes room to remember what a sequence lets go, a slice a hold: what would expire first does so at once (I8). Returns whether
    /// there is room.
    pub(super) fn has_place_to_expire(&mut self, state: &SequenceState) -> bool {
        let slice = self.config.limits.slice_blocks as usize;
        let free = self.index.capacity() - self.expiries.remembered;
        if state.time_to_live.is_none() || state.entries.len().min(slice) <= free {
            return true;
        }
        let next = state.entries.iter().rev().take(slice).map(|entry| entry.block);
        let is_mortal =
            |block: &BlockId| block.is_some() && self.index.is_named(*block) && self.index.is_mortal(*block);
        if next.filter(is_mortal).count() <= free {
            return true;
        }
        let Some(mut first) = self.expiries.take_first() else { return true };
        // The slice has been looked at in this hold.
        let mut left = slice.div_ceil(2);
        if self.expire_chain(&mut first, &mut left) == Walk::More {
            self.expiries.add(self.now, first);
        }
        false
    }

    /// A sequence lets go a slice of its blocks, from `first` on: what only such as it have used will expire. `O(slice)`, if it has a
    /// time to live.
    pub(super) fn note_let_go(&mut self, state: &SequenceState, first: usize) {
        let Some(time_to_live) = state.time_to_live else { return };
        let now = self.now;
        let mut chain = Vec::new();
        for block in state.entries.iter().skip(first).map(|entry| entry.block) {
            if block.is_some() && self.index.is_named(block) && self.index.is_mortal(block) {
                self.index.extend_use(block, now);
                chain.push(Known { block, tag: self.tag(block) });
            }
        }
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
            self.handle(left.min(expiry.chain.len()));
            match self.expire_chain(&mut expiry, &mut left) {
                Walk::Over => {}
                Walk::More => self.expiries.add(now, expiry),
                Walk::InUse => {
                    let at = now.after(expiry.time_to_live.max(Nanos::new(1)));
                    self.expiries.add(at, expiry);
                }
            }
        }
    }

    /// Gives up blocks of such a list, leaf first, as far as nobody else has used them; looks at no more than `left`, which are
    /// counted off.
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
            // Who has used this block has used those before it.
            if !self.index.is_mortal(block) || self.index.view(block).last_use > expiry.closed {
                return Walk::Over;
            }
            if self.index.view(block).references > 0 || self.is_any_used(block) {
                return Walk::InUse;
            }
            // What stands on it goes first.
            if self.index.children(block).any(|child| !self.index.is_detached(child)) {
                return Walk::InUse;
            }
            self.counters.expired += 1;
            self.detach(block);
            self.sweep_detached(block);
            expiry.chain.pop();
        }
        Walk::Over
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
