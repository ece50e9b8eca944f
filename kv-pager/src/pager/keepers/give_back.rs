//! How keepers give back: when they end, when a move failed or a block was erased, and when a request needs the room.
//! Layer 9. Known by: `pager`.

use super::{KEPT_IN, Keeper, KeeperId, KeeperKind, Subject};
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::pager::core::Core;
use crate::policy::Need;
use crate::sequence::SequenceState;

impl Core {
    /// Gives back one slot, if it is held.
    pub(super) fn drop_kept(&mut self, keeper: &mut Keeper, at: usize, group: GroupId, tier: TierId) {
        let place = keeper.place(at, group, tier);
        let slot = std::mem::replace(&mut keeper.slots[place], SlotId::NONE);
        if slot.is_some() {
            keeper.held[tier.index()][group.index()] -= 1;
            self.keepers.held[keeper.kind.index()][tier.index()][group.index()] -= 1;
            let block = self.pools.pool(tier, group).block(slot);
            self.pools.pool_mut(tier, group).release(slot);
            self.sweep_detached(block);
        }
    }

    /// Forgets the last block again, if no part of it is held: a reference without a slot could outnumber the records.
    pub(super) fn forget_unheld(&mut self, keeper: &mut Keeper) {
        let at = keeper.blocks.len() - 1;
        let first = keeper.place(at, GroupId::FIRST, TierId::Device);
        if keeper.slots[first..].iter().all(|slot| !slot.is_some()) {
            self.cut_keeper(keeper, at);
        }
    }

    /// Gives back all blocks from `first` on, the leaf first.
    pub(super) fn cut_keeper(&mut self, keeper: &mut Keeper, first: usize) {
        while keeper.blocks.len() > first {
            let at = keeper.blocks.len() - 1;
            for group in self.groups() {
                for tier in KEPT_IN {
                    self.drop_kept(keeper, at, group, tier);
                }
            }
            let places = keeper.place(at, GroupId::FIRST, TierId::Device);
            keeper.slots.truncate(places);
            let block = keeper.blocks.pop().expect("longer than `first`");
            if let Subject::Salt(search) = &mut keeper.subject {
                search.note_given_back(block);
            }
            self.unrefer(block);
        }
        keeper.far = keeper.far.min(first);
        keeper.near = keeper.near.min(first);
        keeper.sound = keeper.sound.min(first);
    }

    /// Gives back all blocks from `first` on, as [`Core::cut_keeper`] does; where they are more than a slice, a slot of the first at
    /// once, and the rest as the calls that follow come to it (K7).
    fn cut_from(&mut self, keeper: &mut Keeper, first: usize, group: GroupId, tier: TierId) {
        if keeper.blocks.len() - first <= self.config.limits.slice_blocks as usize {
            self.cut_keeper(keeper, first);
        } else {
            self.drop_kept(keeper, first, group, tier);
            keeper.give_up_from(first);
        }
    }

    /// Looks for what a keeper holds for nothing, since a move failed or a block was erased, and gives it back, with what comes after
    /// it; looks at, and gives back, no more than `left` blocks, which are counted off. It waits then, for what failed once would fail
    /// again at once. Returns whether it is whole (K7).
    pub(super) fn mend_keeper(&mut self, keeper: &mut Keeper, left: &mut usize) -> bool {
        while keeper.broken.is_none() && keeper.sound < keeper.blocks.len() {
            let Some(fewer) = left.checked_sub(1) else { return false };
            *left = fewer;
            if self.is_broken(keeper, keeper.sound) {
                keeper.broken = Some(keeper.sound);
            } else {
                keeper.sound += 1;
            }
        }
        let Some(first) = keeper.broken else { return true };
        while keeper.blocks.len() > first {
            let Some(fewer) = left.checked_sub(1) else { return false };
            *left = fewer;
            self.cut_keeper(keeper, keeper.blocks.len() - 1);
        }
        keeper.broken = None;
        keeper.put_off();
        true
    }

    /// Whether a keeper holds something of block `at` for nothing.
    fn is_broken(&self, keeper: &Keeper, at: usize) -> bool {
        let block = keeper.blocks[at];
        let is_empty = |group: GroupId, tier: TierId| {
            let slot = keeper.slot(at, group, tier);
            slot.is_some() && self.pools.pool(tier, group).block(slot) != block
        };
        self.index.is_detached(block)
            || self.groups().any(|group| KEPT_IN.iter().any(|tier| is_empty(group, *tier)))
    }

    /// Gives back what a hold has beyond the quota of its salt, which may be less than it was (K2).
    pub(super) fn keep_to_quota(&mut self, keeper: &mut Keeper, left: &mut usize) {
        if !keeper.is_hold() || !self.index.tenants().has_quotas() {
            return;
        }
        for tier in KEPT_IN {
            for group in self.groups() {
                let quota = self.quota_of(keeper.salt, tier, group);
                while keeper.held[tier.index()][group.index()] > quota && *left > 0 {
                    *left -= 1;
                    let leaf = keeper.last_in(tier, group).expect("some are held");
                    self.cut_from(keeper, leaf, group, tier);
                    keeper.search_again();
                }
            }
        }
    }

    /// Gives back what keepers hold of `block`, for a copy of it is bad; what comes after it follows (K7).
    pub(in crate::pager) fn stop_keeping(&mut self, block: BlockId) {
        let mut list = std::mem::take(&mut self.keepers.list);
        for keeper in &mut list {
            if let Some(first) = keeper.blocks.iter().position(|kept| *kept == block) {
                for group in self.groups() {
                    for tier in KEPT_IN {
                        self.drop_kept(keeper, first, group, tier);
                    }
                }
                keeper.give_up_from(first);
            }
        }
        self.keepers.list = list;
    }

    /// What is held of the epoch before is given back (K7), and prompts are to be named anew.
    pub(in crate::pager) fn give_up_kept(&mut self) {
        self.keepers.list.iter_mut().for_each(|keeper| keeper.give_up_from(0));
    }

    /// A prompt that is named in another epoch than this one: it is given out, to be named without the lock, and its keeper waits for
    /// [`Core::put_back_prompt`].
    pub(in crate::pager) fn stale_prompt(&mut self) -> Option<(KeeperId, SequenceState)> {
        let epoch = self.epoch;
        self.keepers.list.iter_mut().filter(|keeper| !keeper.is_away).find_map(|keeper| {
            let Subject::Prompt(prompt) = &mut keeper.subject else { return None };
            (prompt.epoch != epoch).then(|| {
                keeper.is_away = true;
                (keeper.id, std::mem::replace(&mut **prompt, SequenceState::new(1, 0, 0)))
            })
        })
    }

    /// A prompt comes back, named anew. Dropped, if its keeper has ended.
    pub(in crate::pager) fn put_back_prompt(&mut self, id: KeeperId, named: SequenceState) {
        let keeper = self.keepers.list.iter_mut().find(|keeper| keeper.id == id);
        let Some(keeper) = keeper else { return };
        keeper.is_away = false;
        if let Subject::Prompt(prompt) = &mut keeper.subject {
            **prompt = named;
        }
    }

    /// Prefetches give back what they hold of a class, the newest first and leaf first, until `slots` more can be taken.
    /// Returns whether any can (K3).
    pub(in crate::pager) fn prefetches_give_way(&mut self, tier: TierId, group: GroupId, slots: u32) -> bool {
        self.give_way(KeeperKind::Prefetch, tier, group, slots)
    }

    /// Holds do likewise: the last resort of all.
    pub(in crate::pager) fn holds_give_way(&mut self, tier: TierId, group: GroupId, slots: u32) -> bool {
        self.give_way(KeeperKind::Hold(tier), tier, group, slots)
    }

    /// Gives back as many as this hold of the lock may handle; the next goes on, if that is none.
    fn give_way(&mut self, kind: KeeperKind, tier: TierId, group: GroupId, slots: u32) -> bool {
        let held = self.keepers.held[kind.index()].get(tier.index()).map_or(0, |held| held[group.index()]);
        if held == 0 {
            return false;
        }
        if self.left == 0 {
            self.goes_on = true;
            return true;
        }
        let mut list = std::mem::take(&mut self.keepers.list);
        let mut given = 0;
        for keeper in list.iter_mut().rev().filter(|keeper| keeper.kind.index() == kind.index()) {
            let mut is_cut = false;
            while given < slots && self.left > 0 {
                let Some(leaf) = keeper.last_in(tier, group) else { break };
                self.handle(1);
                // The room would not be for whom it is made (W1).
                if !self.may_drop_for(Need { tier, group, slots, demotions: 0 }, keeper.blocks[leaf]) {
                    break;
                }
                let slot = keeper.slot(leaf, group, tier);
                self.cut_from(keeper, leaf, group, tier);
                is_cut = true;
                let pool = self.pools.pool(tier, group);
                given += u32::from(pool.holds(slot) == 0 && !pool.is_moving(slot));
            }
            if is_cut {
                if keeper.broken.is_none() {
                    keeper.put_off();
                }
                self.keepers.gave_way += u64::from(keeper.is_hold());
            }
        }
        self.keepers.list = list;
        given > 0
    }
}
