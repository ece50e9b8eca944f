//! Promotion: which blocks of the file to bring to the host while the lanes between them stand idle.
//! Layer 8. Uses `ids`, `pool`, `policy::{decision, view}`, `steward::{fates, standing}`. Known by: `steward`.
//!
//! - **PR1** a block comes after all ancestors that are no nearer than the file: a chain is promoted from its root;
//! - **PR2** free slots cost nothing. Beyond them a block comes only in the place of one that lies in the file too and is worth less
//!   than half of it: what was pushed out does not push back (no chain goes up and down in turns);
//! - **PR3** a call looks at no more than [`LOOKS_A_CALL`] slots and blocks, and all calls together at no more slots than blocks
//!   are told of, but for the first round and those that found more than they could keep.
//!
//! What lies in the file alone left the host when it was worth least there. It is worth promoting where room has become free since (at
//! the start over a file that an earlier process left, above all), or where what took its place has come to be worth less. So a
//! round goes over the whole file and keeps the hottest; then they come, the hottest first, for as long as there is room for them.
//! The host's arm says what they would be worth there; where it can't, what was asked for more often is hotter, and
//! comes only into free slots.

use super::fates::Fates;
use super::standing::{SPARED_AT_ONCE, Standing};
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::policy::{Decision, Idle, Reason, View};
use crate::pool::SlotState;
use std::cmp::Ordering;

/// What one call looks at: about 20 µs.
const LOOKS_A_CALL: usize = 256;
/// The hottest blocks that one round keeps.
const CANDIDATES_MAX: usize = 256;
/// How many times as much as its victim a block must be worth (PR2).
const GAIN: f64 = 2.0;

/// A block that may be worth bringing.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    block: BlockId,
    /// What the host's arm says of it.
    worth: Option<f64>,
    uses: u32,
    depth: u32,
}

impl Candidate {
    /// From the coldest to the hottest; of blocks that are alike the deepest comes first, for its chain is the longest.
    fn order(&self, other: &Self) -> Ordering {
        let worth = |candidate: &Self| candidate.worth.unwrap_or(0.0);
        let by_worth = worth(self).total_cmp(&worth(other));
        by_worth.then(self.uses.cmp(&other.uses)).then(self.depth.cmp(&other.depth))
    }
}

/// One class of slots of the file, and what of it is to be promoted.
#[derive(Debug)]
pub(super) struct Promotion {
    group: GroupId,
    /// Whether its group needs every block.
    is_full: bool,
    /// Slots of the class.
    slots: usize,
    /// The next slot to look at, and how many more the round has.
    hand: usize,
    looks_left: usize,
    /// Blocks told of since the round began.
    told: usize,
    /// The hottest last.
    candidates: Vec<Candidate>,
    /// Whether the round found more than it could keep.
    has_more: bool,
    /// What the candidate that is being promoted is worth, and it and its ancestors that are to come, the root last. Until the first one
    /// that is near has been found, `is_whole` is false.
    worth: Option<f64>,
    chain: Vec<BlockId>,
    is_whole: bool,
}

impl Promotion {
    /// For a class of `slots` slots, where a request has at most `request_blocks`. Allocates all it will ever need.
    pub(super) fn new(group: GroupId, is_full: bool, slots: u32, request_blocks: u32) -> Self {
        Self {
            group,
            is_full,
            slots: slots as usize,
            hand: 0,
            looks_left: slots as usize,
            told: 0,
            candidates: Vec::with_capacity(CANDIDATES_MAX),
            has_more: false,
            worth: None,
            chain: Vec::with_capacity(request_blocks as usize),
            is_whole: false,
        }
    }

    pub(super) fn group(&self) -> GroupId {
        self.group
    }

    /// A request of so many blocks was served: what is hot has changed a little.
    pub(super) fn note_told(&mut self, blocks: usize) {
        self.told += blocks;
    }

    /// What to bring to the host, whose class `host` keeps, and what to evict for it.
    pub(super) fn decide(
        &mut self,
        view: &View<'_>,
        idle: &Idle,
        host: &mut Standing,
        decisions: &mut Vec<Decision>,
    ) {
        let filed = view.occupancy(TierId::File, self.group).of(SlotState::Resident);
        if filed == 0 || self.rests() {
            return;
        }
        // Without free slots, and with an arm that doesn't say what a block is worth, nothing can come.
        let least = host.least_worth();
        if idle.free == 0 && least.is_none() {
            return;
        }
        if self.looks_left > 0 {
            self.look(view, host, if idle.free > 0 { None } else { least });
            return;
        }
        let (mut free, mut left, mut looks) = (idle.free, idle.most, LOOKS_A_CALL);
        let mut spared_looks = SPARED_AT_ONCE;
        while left > 0 && looks > 0 && self.has_chain(view, host, decisions, &mut looks) {
            if free == 0 {
                let Some(decision) = self.victim(view, host, &mut spared_looks) else {
                    return self.end_round();
                };
                decisions.push(decision);
            } else {
                free -= 1;
            }
            let Some(block) = self.chain.pop() else { return };
            decisions.push(Decision::Promote { block, tier: TierId::File, reason: Reason::Hot });
            left -= 1;
        }
    }

    /// Whether the round is over and the next one not due; begins it when it is.
    fn rests(&mut self) -> bool {
        if self.looks_left > 0 || !self.candidates.is_empty() || self.is_whole || !self.chain.is_empty() {
            return false;
        }
        let is_due = self.told >= self.slots || self.has_more;
        if is_due {
            (self.looks_left, self.told, self.has_more) = (self.slots, 0, false);
        }
        !is_due
    }

    /// There is no room for the hottest of what is left, and so for none.
    fn end_round(&mut self) {
        self.candidates.clear();
        self.has_more = false;
        self.drop_chain();
    }

    /// Goes on with the round: keeps the hottest of what is worth more than what would go for it, if anything has to.
    fn look(&mut self, view: &View<'_>, host: &mut Standing, least: Option<f64>) {
        for _ in 0..LOOKS_A_CALL.min(self.looks_left) {
            self.looks_left -= 1;
            let slot = SlotId::from_index(self.hand);
            self.hand = (self.hand + 1) % self.slots;
            let block = view.block_in(TierId::File, self.group, slot);
            if !block.is_some() || self.is_near(view, block) || !view.is_in(block, self.group, TierId::File) {
                continue;
            }
            let seen = view.block(block);
            let worth = host.worth_of_absent(view, block);
            if least.is_none_or(|least| is_gain(worth, least)) {
                self.keep(Candidate { block, worth, uses: seen.uses, depth: seen.depth });
            }
        }
    }

    fn keep(&mut self, candidate: Candidate) {
        let at = self.candidates.partition_point(|other| other.order(&candidate).is_lt());
        if self.candidates.len() < CANDIDATES_MAX {
            self.candidates.insert(at, candidate);
            return;
        }
        self.has_more = true;
        if at > 0 {
            // The coldest makes room.
            self.candidates[..at].rotate_left(1);
            self.candidates[at - 1] = candidate;
        }
    }

    /// Whether there is a chain to promote from its root. If not, takes the hottest candidate, and goes up from it to what is near or
    /// about to be by `decisions` (PR1), as far as `looks` go.
    fn has_chain(
        &mut self,
        view: &View<'_>,
        host: &mut Standing,
        decisions: &[Decision],
        looks: &mut usize,
    ) -> bool {
        self.is_whole &= !self.chain.is_empty();
        while !self.is_whole && *looks > 0 {
            *looks -= 1;
            let next = match self.chain.last() {
                Some(last) if self.is_full => view.block(*last).parent,
                Some(_) => BlockId::NONE,
                None => {
                    let Some(candidate) = self.candidates.pop() else { return false };
                    self.worth = host.worth_of_absent(view, candidate.block);
                    candidate.block
                }
            };
            let is_coming =
                |decision: &Decision| matches!(decision, Decision::Promote { block, .. } if *block == next);
            if !next.is_some() || self.is_near(view, next) || decisions.iter().any(is_coming) {
                self.is_whole = !self.chain.is_empty();
            } else if self.chain.len() == self.chain.capacity() || !view.is_in(next, self.group, TierId::File)
            {
                self.drop_chain();
            } else {
                self.chain.push(next);
            }
        }
        self.is_whole
    }

    fn drop_chain(&mut self) {
        self.chain.clear();
        self.is_whole = false;
    }

    /// Whether a block lies nearer than the file, or is about to.
    fn is_near(&self, view: &View<'_>, block: BlockId) -> bool {
        let near = [TierId::Device, TierId::Host];
        near.iter().any(|tier| view.has(*tier) && view.slot_of(block, self.group, *tier).is_some())
    }

    /// What goes for the next block of the chain (PR2), if anything may.
    fn victim(&self, view: &View<'_>, host: &mut Standing, spared_looks: &mut usize) -> Option<Decision> {
        // Cheap to ask, and no less than this.
        if !is_gain(self.worth, host.least_worth()?) {
            return None;
        }
        let (block, _) = host.victim(view, spared_looks)?;
        if !is_gain(self.worth, host.worth(view, block)?) {
            return None;
        }
        // The chain stands on its root's parent.
        let root = self.chain.last()?;
        let is_free = Fates::has_clean_copy(view, TierId::Host, self.group, block);
        let is_needed = view.block(*root).parent == block;
        (is_free && !is_needed).then_some(Decision::Evict {
            block,
            tier: TierId::Host,
            reason: Reason::Outweighed,
        })
    }
}

/// Whether something of this worth may take the place of what is worth `least` (PR2).
fn is_gain(worth: Option<f64>, least: f64) -> bool {
    worth.is_some_and(|worth| worth > GAIN * least)
}

#[cfg(test)]
mod tests {
    use super::{CANDIDATES_MAX, Candidate, Promotion, is_gain};
    use crate::ids::{BlockId, GroupId};

    fn candidate(index: usize, worth: Option<f64>, uses: u32, depth: u32) -> Candidate {
        Candidate { block: BlockId::from_index(index), worth, uses, depth }
    }

    #[test]
    fn a_round_keeps_the_hottest_and_they_come_hottest_first() {
        let mut promotion = Promotion::new(GroupId::FIRST, true, 1_000, 8);
        for index in 0..CANDIDATES_MAX * 2 {
            // In no order.
            let uses = u32::try_from(index * 7919 % (CANDIDATES_MAX * 2)).expect("small");
            promotion.keep(candidate(index, None, uses, 0));
        }
        assert!(promotion.has_more);
        let uses: Vec<u32> =
            std::iter::from_fn(|| promotion.candidates.pop()).map(|kept| kept.uses).collect();
        let most = u32::try_from(CANDIDATES_MAX * 2).expect("small");
        assert!(uses.iter().copied().eq((most / 2..most).rev()), "{uses:?}");
    }

    #[test]
    fn worth_counts_before_uses_and_uses_before_depth() {
        let ordered = [
            candidate(0, None, 1, 9),
            candidate(1, None, 2, 1),
            candidate(2, None, 2, 5),
            candidate(3, Some(0.1), 1, 0),
            candidate(4, Some(0.2), 1, 0),
        ];
        assert!(ordered.is_sorted_by(|one, other| one.order(other).is_lt()));
    }

    #[test]
    fn what_pushed_something_out_is_not_pushed_out_by_it() {
        let (hot, cold) = (0.5, 0.2);
        assert!(is_gain(Some(hot), cold) && !is_gain(Some(cold), hot));
        assert!(!is_gain(Some(hot), hot * 0.6), "PR2: it would go up and down in turns");
        assert!(!is_gain(None, 0.0), "PR2: nobody says that it is worth anything");
    }
}
