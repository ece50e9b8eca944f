//! What a shutdown writes out: what the host has and the file has not, as far as there is room for it and the policy lets it go.
//! Layer 9. Uses `pager::core`. Known by: `pager::shutdown`.
//!
//! - **CO1** the warmest is chosen first, with the ancestors that the file has not: what is colder than all that the file has room for
//!   would push out what was written just before.

use super::super::core::Core;
use super::super::{Pager, slices};
use crate::clock::Time;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::layout::ModelLayout;
use crate::policy::View;
use crate::pool::SlotState;
use std::cmp::Reverse;
use std::collections::HashSet;

/// How many blocks one slice looks at.
pub(super) const BLOCKS_A_SLICE: usize = 256;

/// The least for what was used last, and for a parent before its children.
type Coldness = (Reverse<Time>, u32);

/// A part in the host that the file has not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) block: BlockId,
    pub(super) group: GroupId,
    coldness: Coldness,
}

/// What a slice sees, and its policy with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) demotable: [bool; TierId::COUNT],
    pub(super) now: Time,
}

/// How far one has gone through all slots of a tier.
#[derive(Debug, Default)]
pub(super) struct Round {
    group: usize,
    slot: usize,
}

/// Which parts go: gone through in slices, the warmest first.
#[derive(Debug)]
struct Choice<'a> {
    parts: &'a [Part],
    /// How many of them are chosen or left behind.
    seen: usize,
    /// By group: what the file has.
    kept: [Vec<Coldness>; ModelLayout::GROUPS_MAX],
    /// By group: what comes to it.
    taken: [HashSet<BlockId>; ModelLayout::GROUPS_MAX],
    /// What comes along with the part at hand, itself first, as far as it has been gone through.
    comes: Vec<BlockId>,
    wanted: Vec<Part>,
}

impl<'a> Choice<'a> {
    fn new(parts: &'a [Part], kept: [Vec<Coldness>; ModelLayout::GROUPS_MAX]) -> Self {
        let taken = std::array::from_fn(|_| HashSet::new());
        Self { parts, seen: 0, kept, taken, comes: Vec::new(), wanted: Vec::new() }
    }
}

impl Pager {
    /// Parts in the host that the file has not, the most recently used first.
    pub(super) fn not_in_file(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut round = Round::default();
        slices::repeat(&self.shared, |core| core.not_in_file_slice(&mut round, &mut parts));
        parts.sort_by_key(|part| part.coldness);
        parts
    }

    /// Those of `parts`, warmest first, that may go to the file, and that it has room for beside what it has and is warmer, with their
    /// ancestors.
    pub(super) fn with_room(&self, parts: &[Part]) -> Vec<Part> {
        let mut kept = std::array::from_fn(|_| Vec::new());
        if !parts.is_empty() {
            let mut round = Round::default();
            slices::repeat(&self.shared, |core| core.kept_slice_of_file(&mut round, &mut kept));
        }
        for kept in &mut kept {
            kept.sort_unstable();
        }
        let (mut choice, now) = (Choice::new(parts, kept), self.shared.clock.now());
        slices::repeat(&self.shared, |core| core.choose_slice(&mut choice, now));
        choice.wanted
    }
}

impl Core {
    /// Goes on to the next slots of a tier, by one slice. Returns whether there are no more.
    pub(super) fn go_round(
        &self,
        tier: TierId,
        round: &mut Round,
        mut see: impl FnMut(GroupId, SlotId),
    ) -> bool {
        let mut left = BLOCKS_A_SLICE;
        while self.pools.has(tier) && round.group < self.groups().len() {
            let group = GroupId::from_index(round.group);
            let slots = self.pools.pool(tier, group).capacity() as usize;
            let until = slots.min(round.slot + left);
            (round.slot..until).for_each(|slot| see(group, SlotId::from_index(slot)));
            left -= until - round.slot;
            round.slot = until;
            if until < slots {
                return false;
            }
            *round = Round { group: round.group + 1, slot: 0 };
        }
        true
    }

    /// Adds the next slice of the parts in the host that the file has not. Returns whether that was the last.
    fn not_in_file_slice(&self, round: &mut Round, parts: &mut Vec<Part>) -> bool {
        !self.pools.has(TierId::File)
            || self.go_round(TierId::Host, round, |group, slot| {
                let pool = self.pools.pool(TierId::Host, group);
                let block = pool.block(slot);
                // Those that are held too.
                let is_missing = pool.state(slot) == SlotState::Resident
                    && !self.index.location(block, group, TierId::File).is_some();
                if is_missing {
                    parts.push(Part { block, group, coldness: self.coldness(block) });
                }
            })
    }

    /// Adds the next slice of what the file has. Returns whether that was the last.
    fn kept_slice_of_file(
        &self,
        round: &mut Round,
        kept: &mut [Vec<Coldness>; ModelLayout::GROUPS_MAX],
    ) -> bool {
        self.go_round(TierId::File, round, |group, slot| {
            let block = self.pools.pool(TierId::File, group).block(slot);
            if block.is_some() && self.whole(block, group, TierId::File).is_some() {
                kept[group.index()].push(self.coldness(block));
            }
        })
    }

    fn coldness(&self, block: BlockId) -> Coldness {
        let view = self.index.view(block);
        (Reverse(view.last_use), view.depth)
    }

    /// Goes on choosing by a slice of parts and their ancestors. Returns whether that was its end.
    fn choose_slice(&mut self, choice: &mut Choice<'_>, now: Time) -> bool {
        if !self.is_well(TierId::File) {
            return true;
        }
        self.note_queues();
        let seen = Seen { demotable: self.demotable(), now };
        let mut left = BLOCKS_A_SLICE;
        while let Some(part) = choice.parts.get(choice.seen) {
            let group = part.group;
            if choice.comes.is_empty() {
                if left == 0 {
                    return false;
                }
                left -= 1;
                if !self.may_write_out(part.block, group, seen) {
                    choice.seen += 1;
                    continue;
                }
            }
            let pool = self.pools.pool(TierId::File, group);
            let slots = pool.capacity().saturating_sub(pool.counts().of(SlotState::Retired)) as usize;
            let warmer = choice.kept[group.index()].partition_point(|kept| *kept <= part.coldness);
            let taken = &mut choice.taken[group.index()];
            let has_room = |comes: usize| warmer + taken.len() + comes <= slots;
            let mut next = choice.comes.last().map_or(part.block, |last| self.above(*last, group));
            while has_room(choice.comes.len())
                && next.is_some()
                && !taken.contains(&next)
                && !self.index.location(next, group, TierId::File).is_some()
            {
                if left == 0 {
                    return false;
                }
                left -= 1;
                choice.comes.push(next);
                next = self.above(next, group);
            }
            if has_room(choice.comes.len()) {
                taken.extend(&choice.comes);
                choice.wanted.push(*part);
            }
            choice.comes.clear();
            choice.seen += 1;
        }
        true
    }

    /// Whether the policy lets a part go to the file.
    pub(super) fn may_write_out(
        &mut self,
        block: BlockId,
        group: GroupId,
        Seen { demotable, now }: Seen,
    ) -> bool {
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), demotable, now);
        self.policy.may_write_out(&view, block, group)
    }

    /// What a part must come to the file after.
    fn above(&self, block: BlockId, group: GroupId) -> BlockId {
        if self.model.is_full(group) { self.index.parent(block) } else { BlockId::NONE }
    }
}
