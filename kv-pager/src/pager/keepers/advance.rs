//! How keepers go on: blocks are taken in from the root, and brought nearer as far as room and shares allow.
//! Layer 9. Known by: `pager`.

use super::search::LOOKS_A_CALL;
use super::{KEPT_IN, Keeper, KeeperKind, Subject};
use crate::clock::Time;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::pager::core::Core;
use crate::pager::loads::Way;
use crate::prefix::{BlockKeys, UNLIMITED};
use crate::sequence::{Entry, EntryKind, SequenceState};
use crate::transfer::{Goal, Priority, Purpose};
use std::ops::Range;

/// How many blocks one call takes in at most, for all keepers together.
const BLOCKS_A_CALL: usize = 128;
/// How many slots are asked of the policy at a time.
const SLOTS_ASKED: u32 = 32;

impl Core {
    /// Whether there is any keeper.
    pub(in crate::pager) fn has_keepers(&self) -> bool {
        !self.keepers.list.is_empty()
    }

    /// Lets keepers go on, in turns: each as far as there is room, all together no more than a call may handle.
    pub(in crate::pager) fn advance_keepers(&mut self, now: Time) {
        if self.keepers.list.is_empty() {
            return;
        }
        // What making room frees or starts on the way is not theirs to give.
        let mut list = std::mem::take(&mut self.keepers.list);
        if std::mem::take(&mut self.keepers.has_failed) {
            for keeper in &mut list {
                keeper.sound = 0;
            }
        }
        self.keepers.has_asked = [false; KEPT_IN.len()];
        self.keepers.looks_left = LOOKS_A_CALL;
        let mut left = BLOCKS_A_CALL.min(self.left as usize);
        let count = list.len();
        let first = self.keepers.turn % count;
        for keeper in (first..first + count).map(|at| at % count) {
            self.advance_keeper(&mut list[keeper], &mut left, now);
        }
        self.keepers.turn = first + 1;
        self.keepers.list = list;
    }

    fn advance_keeper(&mut self, keeper: &mut Keeper, left: &mut usize, now: Time) {
        if !self.mend_keeper(keeper, left) {
            return;
        }
        self.keep_to_quota(keeper, left);
        if keeper.is_away || keeper.is_waiting || keeper.broken.is_some() || keeper.is_done() {
            return;
        }
        self.serve(keeper.salt);
        while *left > 0 && keeper.far < keeper.wanted && self.take_in_block(keeper, now) {
            if let Subject::Salt(search) = &mut keeper.subject {
                search.go_down();
            }
            keeper.far += 1;
            *left -= 1;
        }
        if keeper.nearest() == TierId::Device {
            while *left > 0 && keeper.near < keeper.far && self.bring_near(keeper, now) {
                keeper.near += 1;
                *left -= 1;
            }
        }
        keeper.sound = keeper.blocks.len();
    }

    /// Takes in the next block, root first. False if it is not cached, or something has to end before.
    fn take_in_block(&mut self, keeper: &mut Keeper, now: Time) -> bool {
        self.handle(1);
        let at = keeper.far;
        let is_new = keeper.blocks.len() == at;
        if is_new {
            let Some(block) = self.find_wanted(keeper) else { return false };
            self.index.add_reference(block);
            keeper.blocks.push(block);
            if let Subject::Salt(search) = &mut keeper.subject {
                search.note_taken(block);
            }
            let places = (at + 1) * self.groups().len() * KEPT_IN.len();
            keeper.slots.resize(places, SlotId::NONE);
        }
        let block = keeper.blocks[at];
        for group in self.groups() {
            let is_taken = KEPT_IN.iter().any(|tier| keeper.slot(at, group, *tier).is_some());
            let is_full = self.model.is_full(group);
            let is_wanted = match &keeper.subject {
                Subject::Prompt(prompt) => {
                    let position = keeper.wanted * prompt.tokens_per_block();
                    is_full || self.model.reach(group, position).contains(at)
                }
                // Windows are cached where requests have ended, and others will go on there.
                Subject::Salt(_) => true,
            };
            if is_taken || !is_wanted {
                continue;
            }
            if !self.is_cached(block, group) {
                if is_full {
                    self.forget_unheld(keeper);
                    return false;
                }
                continue;
            }
            if !self.take_in_part(keeper, block, group, now) {
                self.forget_unheld(keeper);
                return false;
            }
        }
        true
    }

    /// The next block that a keeper wants, if it is cached in every group that needs all.
    fn find_wanted(&mut self, keeper: &mut Keeper) -> Option<BlockId> {
        let prompt = match &mut keeper.subject {
            Subject::Salt(search) => return self.find_of_salt(keeper.salt, search),
            Subject::Prompt(prompt) => prompt,
        };
        let at = keeper.far;
        let parent = at.checked_sub(1).map_or(BlockId::NONE, |before| keeper.blocks[before]);
        let extra_keys: Vec<u64> = prompt.keys_of_block(at).collect();
        let keys =
            BlockKeys { parent, salt: prompt.salt, tokens: prompt.block_tokens(at), extra_keys: &extra_keys };
        let block = self.index.find(prompt.hashes[at], &keys)?;
        self.full_groups().all(|group| self.is_cached(block, group)).then_some(block)
    }

    pub(super) fn is_cached(&self, block: BlockId, group: GroupId) -> bool {
        KEPT_IN.iter().any(|tier| self.coming(block, group, *tier).is_some())
            || self.whole(block, group, TierId::File).is_some()
    }

    /// The slot of a part that is whole in `tier`, or will be when a move has ended.
    fn coming(&self, block: BlockId, group: GroupId, tier: TierId) -> Option<SlotId> {
        let is_ours = tier != TierId::Device || !self.is_engines();
        if !is_ours || !self.pools.has(tier) || self.lost[tier.index()] {
            return None;
        }
        let slot = self.index.location(block, group, tier);
        (slot.is_some() && self.pools.pool(tier, group).block(slot) == block).then_some(slot)
    }

    /// Holds a part where it is near enough, or starts to bring it to the host.
    fn take_in_part(&mut self, keeper: &mut Keeper, block: BlockId, group: GroupId, now: Time) -> bool {
        let nearest = keeper.nearest();
        let at = keeper.blocks.len() - 1;
        for tier in &KEPT_IN[nearest.index()..] {
            if let Some(slot) = self.coming(block, group, *tier) {
                return self.keep_slot(keeper, at, group, *tier, slot);
            }
        }
        let from =
            [TierId::Device, TierId::File].into_iter().find(|from| self.whole(block, group, *from).is_some());
        let Some(from) = from else { return false };
        self.start_toward(keeper, at, group, (from, TierId::Host), now)
    }

    /// Brings the next block from the host to the device. False if something has to end before.
    fn bring_near(&mut self, keeper: &mut Keeper, now: Time) -> bool {
        let at = keeper.near;
        let block = keeper.blocks[at];
        for group in self.groups() {
            let in_host = keeper.slot(at, group, TierId::Host);
            if keeper.slot(at, group, TierId::Device).is_some() || !in_host.is_some() {
                continue;
            }
            let is_kept = match self.coming(block, group, TierId::Device) {
                Some(slot) => self.keep_slot(keeper, at, group, TierId::Device, slot),
                None if self.whole(block, group, TierId::Host) != Some(in_host) => false,
                None => self.start_toward(keeper, at, group, (TierId::Host, TierId::Device), now),
            };
            if !is_kept {
                return false;
            }
            self.drop_kept(keeper, at, group, TierId::Host);
        }
        true
    }

    /// Starts a move of a part to a slot that the keeper holds from now on. False if there is no room for it.
    fn start_toward(
        &mut self,
        keeper: &mut Keeper,
        at: usize,
        group: GroupId,
        (from, to): (TierId, TierId),
        now: Time,
    ) -> bool {
        let block = keeper.blocks[at];
        let has_room = self.pools.has(to)
            && !self.lost[to.index()]
            && !self.index.location(block, group, to).is_some()
            && self.has_share(keeper, to, group)
            && self.engine.room(from, to) > 0
            && self.has_spare(to, group, now);
        if !has_room {
            return false;
        }
        // Making room may have begun to bring this very block, for what stands on it.
        if self.index.location(block, group, to).is_some() {
            return self
                .coming(block, group, to)
                .is_some_and(|slot| self.keep_slot(keeper, at, group, to, slot));
        }
        // It may have taken the source.
        let Some(source) = self.whole(block, group, from) else { return false };
        let mut target = SlotId::NONE;
        let pool = self.pools.pool_mut(to, group);
        let is_taken = pool.take(1, |slot| target = slot);
        assert!(is_taken, "a slot of tier {to} was spare, and could not be taken");
        pool.reserve(target, block);
        pool.begin_move(target);
        self.pools.pool_mut(from, group).begin_move(source);
        self.index.set_location(block, group, to, target);
        let is_kept = self.keep_slot(keeper, at, group, to, target);
        assert!(is_kept, "there was a share of tier {to} left a moment ago");
        let purpose = if to == TierId::Device { Purpose::Onboard } else { Purpose::Replicate };
        self.enqueue(Way { block, group, from, to, target }, purpose, Priority::Prefetch);
        true
    }

    /// Whether a keeper may hold one more slot of a class (K2).
    fn has_share(&self, keeper: &Keeper, tier: TierId, group: GroupId) -> bool {
        let reserves = &self.config.reserves;
        let (share, quota) = match keeper.kind {
            KeeperKind::Prefetch => (reserves.prefetched_share, UNLIMITED),
            KeeperKind::Hold(_) => (reserves.held_share, self.quota_of(keeper.salt, tier, group)),
        };
        let most = reserves.slots(share, self.pools.pool(tier, group).capacity());
        let held = self.keepers.held[keeper.kind.index()][tier.index()][group.index()];
        held < most && keeper.held[tier.index()][group.index()] < quota
    }

    /// Whether a class has a free slot beyond those that the low watermark sets aside. Asks the policy for some, once a call.
    fn has_spare(&mut self, tier: TierId, group: GroupId, now: Time) -> bool {
        let (low, _) = self.config.watermarks.slots(self.pools.pool(tier, group).capacity());
        let coming = self.free_slots(tier, group) + self.leaving_slots(tier, group);
        if coming <= low && !self.keepers.has_asked[tier.index()] {
            self.keepers.has_asked[tier.index()] = true;
            self.make_room(self.need(tier, group, low + SLOTS_ASKED - coming), now);
        }
        self.free_for_copies(tier, group) > low
    }

    /// Holds a slot, if the share allows.
    fn keep_slot(
        &mut self,
        keeper: &mut Keeper,
        at: usize,
        group: GroupId,
        tier: TierId,
        slot: SlotId,
    ) -> bool {
        if !self.has_share(keeper, tier, group) {
            return false;
        }
        keeper.held[tier.index()][group.index()] += 1;
        self.keepers.held[keeper.kind.index()][tier.index()][group.index()] += 1;
        self.pools.pool_mut(tier, group).hold(slot);
        let place = keeper.place(at, group, tier);
        keeper.slots[place] = slot;
        true
    }

    /// Moves ahead what a request waits for at these entries that was queued for a queued one (K4).
    pub(in crate::pager) fn hasten(&mut self, state: &SequenceState, places: Range<usize>) {
        let mut goals = std::mem::take(&mut self.goals);
        for Entry { block, .. } in
            state.entries[places].iter().filter(|entry| entry.kind == EntryKind::Loading)
        {
            for group in self.groups() {
                for tier in KEPT_IN {
                    let slot = self.index.location(*block, group, tier);
                    let goal = Goal { block: *block, group, slot };
                    goals[tier.index()].extend(slot.is_some().then_some(goal));
                }
            }
        }
        let [on_device, in_host, _] = &mut goals;
        self.engine.hasten(TierId::Host, TierId::Device, on_device);
        self.engine.hasten(TierId::File, TierId::Host, in_host);
        on_device.clear();
        in_host.clear();
        self.goals = goals;
    }
}
