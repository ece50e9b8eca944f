//! Demotion: copying victims to the next tier, so that their slots become free.
//! Layer 9. Known by: `pager`.
//!
//! Victims go down together, root to leaf, at ascending slots, so that what was computed together is copied in one piece. Into
//! the file a block goes only with its ancestors (I6).

use super::core::Core;
use super::loads::Way;
use crate::clock::Time;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::tier::BlockLabel;
use crate::transfer::{Priority, Purpose};

/// How many moves may wait for a lane before no more blocks are sent down it: what waits too long is given up, and while it waits
/// it is neither here nor there.
const OFFLOADS_WAITING: usize = 1024;
/// What a search upwards looks at, about.
const STEPS_UP: usize = 8;

/// Whether a victim's ancestors can come along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All are there, or can be copied from where the victim is.
    Whole,
    /// Some are on their way; try again later.
    Later,
    /// Some are only on the device, and the host has no room for them.
    Full,
    /// They can't: the chain is longer than the tier, or the copies can't be had.
    Never,
}

impl Core {
    /// How many more blocks may be sent down this lane now.
    pub(super) fn offload_room(&self, from: TierId, to: TierId) -> usize {
        self.engine.room(from, to).min(OFFLOADS_WAITING.saturating_sub(self.engine.queued(from, to)))
    }

    /// Copies `victims`, coldest first, to the next tier, as many as it has room for.
    pub(super) fn demote(&mut self, group: GroupId, from: TierId, victims: &mut Vec<BlockId>, now: Time) {
        let Some(to) = from.farther().filter(|to| self.pools.has(*to)) else { return };
        victims.retain(|block| {
            self.idle_slot(*block, group, from).is_some() && !self.index.location(*block, group, to).is_some()
        });
        victims.truncate(self.offload_room(from, to));
        let room_for = self.serve_victims(victims);
        let wanted = u32::try_from(victims.len()).expect("bounded by the room of a queue");
        // What can be had at once is used; the rest is made in a hold of its own (CH3).
        if self.ensure_free(to, group, wanted, now).is_err() && self.goes_on {
            self.ask_farther(to, group, wanted);
        }
        self.room_for = room_for;
        victims.truncate(self.free_for_copies(to, group).min(wanted) as usize);
        // Making room may have taken some of them.
        victims.retain(|block| self.idle_slot(*block, group, from).is_some());
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        let count = u32::try_from(victims.len()).expect("bounded by the room of a queue");
        let count = count.min(self.free_for_copies(to, group));
        let is_taken = self.pools.pool_mut(to, group).take(count, |slot| slots.push(slot));
        assert!(is_taken, "{count} slots of tier {to} were free, and could not be taken");
        // Popped from the end: ascending.
        slots.reverse();
        // Victims of one chain follow each other, root to leaf: where one can't go, those after it can't either.
        let mut stuck = (BlockId::NONE, Reach::Later);
        let (mut doomed, mut in_the_way) = (std::mem::take(&mut self.doomed), None);
        for victim in victims.iter().rev() {
            if slots.is_empty() {
                break;
            }
            // It may have gone ahead of a descendant.
            if self.index.location(*victim, group, to).is_some() {
                continue;
            }
            if to == TierId::File && self.model.is_full(group) {
                let is_after_stuck = stuck.0.is_some() && self.index.parent(*victim) == stuck.0;
                let reach =
                    if is_after_stuck { stuck.1 } else { self.send_ancestors(group, *victim, &mut slots) };
                if reach != Reach::Whole {
                    stuck = (*victim, reach);
                    match reach {
                        Reach::Never => doomed.push(*victim),
                        Reach::Full => in_the_way = Some(*victim),
                        Reach::Whole | Reach::Later => {}
                    }
                    continue;
                }
            }
            if to == TierId::Host && self.pools.has(TierId::File) && self.model.is_full(group) {
                self.bring_front(group, *victim, &mut slots);
            }
            if let Some(target) = slots.pop() {
                self.start_copy(Way { block: *victim, group, from, to, target }, Purpose::Demote);
            }
        }
        // The coldest gives its place to what the others stand on.
        for victim in in_the_way.into_iter().chain(doomed.drain(..).rev()) {
            self.drop_copy(victim, group, from);
        }
        self.doomed = doomed;
        for unused in slots.drain(..) {
            self.pools.pool_mut(to, group).free(unused);
        }
        self.slots = slots;
    }

    /// Free slots of a class that no load waits for.
    pub(super) fn free_for_copies(&self, tier: TierId, group: GroupId) -> u32 {
        let promised = if tier == TierId::Host { self.pending.len() } else { 0 };
        self.free_slots(tier, group).saturating_sub(u32::try_from(promised).unwrap_or(u32::MAX))
    }

    pub(super) fn start_copy(&mut self, way: Way, purpose: Purpose) {
        let Way { block, group, from, to, target } = way;
        self.changes += 1;
        self.room_made += 1;
        let source = self.index.location(block, group, from);
        let pool = self.pools.pool_mut(from, group);
        if purpose == Purpose::Demote {
            pool.leave(source);
        }
        pool.begin_move(source);
        let pool = self.pools.pool_mut(to, group);
        pool.reserve(target, block);
        pool.begin_move(target);
        self.index.set_location(block, group, to, target);
        self.label(block, group, to, target);
        self.enqueue(way, purpose, Priority::Offload);
    }

    /// Sends the ancestors of `victim` that the file has not ahead of it, those next to the root first, as far as `slots` go and
    /// the host has them; those that only the device has are brought down. The next call goes on from there. Says whether all
    /// are in the file or on their way there. `O(log depth)`, and as many as are sent or brought down.
    fn send_ancestors(&mut self, group: GroupId, victim: BlockId, slots: &mut Vec<SlotId>) -> Reach {
        let mut missing = std::mem::take(&mut self.missing);
        let most = slots.len().max(1).min(self.left as usize);
        let mut reach = self.missing_ancestors(group, victim, (TierId::Host, most), &mut missing);
        self.handle(missing.len() + STEPS_UP);
        while let (Reach::Whole, Some(ancestor)) = (reach, missing.last().copied()) {
            if self.whole(ancestor, group, TierId::Host).is_some() {
                let Some(target) = slots.pop() else {
                    reach = Reach::Later;
                    break;
                };
                let way = Way { block: ancestor, group, from: TierId::Host, to: TierId::File, target };
                self.start_copy(way, Purpose::Replicate);
                missing.pop();
            } else if self.index.location(ancestor, group, TierId::Host).is_some() {
                reach = Reach::Later;
            } else if self.whole(ancestor, group, TierId::Device).is_some() {
                reach = self.bring_down(group, victim, &mut missing);
            } else {
                reach = Reach::Never;
            }
        }
        let is_next =
            |parent: BlockId| !parent.is_some() || self.index.location(parent, group, TierId::File).is_some();
        if reach == Reach::Whole && !is_next(self.index.parent(victim)) {
            reach = Reach::Later;
            self.goes_on |= self.left == 0;
        }
        self.missing = missing;
        reach
    }

    /// Whether all ancestors of `block` are in the file or on their way there; sends those that can go.
    pub(super) fn has_sent_ancestors(
        &mut self,
        group: GroupId,
        block: BlockId,
        slots: &mut Vec<SlotId>,
    ) -> bool {
        self.send_ancestors(group, block, slots) == Reach::Whole
    }

    /// Copies the ancestors of `victim` that only the device has to the host ahead of it, those next to the root first, if there are
    /// `slots` for them all: so what the host gives up can go on to the file.
    fn bring_front(&mut self, group: GroupId, victim: BlockId, slots: &mut Vec<SlotId>) {
        let mut missing = std::mem::take(&mut self.missing);
        missing.clear();
        let below = [TierId::Host, TierId::File];
        let is_above = |block| below.iter().all(|tier| !self.index.location(block, group, *tier).is_some());
        let mut ancestor = self.index.parent(victim);
        // One that has no place ends it.
        let most = slots.len().min(self.left as usize);
        while ancestor.is_some() && missing.len() < most && is_above(ancestor) {
            missing.push(ancestor);
            ancestor = self.index.parent(ancestor);
        }
        let is_whole = |block: &BlockId| self.whole(*block, group, TierId::Device).is_some();
        if missing.len() >= most || !missing.iter().all(is_whole) {
            missing.clear();
        }
        self.handle(missing.len() + 1);
        for ancestor in missing.iter().rev() {
            let Some(target) = slots.pop() else { break };
            let way = Way { block: *ancestor, group, from: TierId::Device, to: TierId::Host, target };
            self.start_copy(way, Purpose::Replicate);
        }
        self.missing = missing;
    }

    /// Copies ancestors of `victim` that only the device has to the host, those next to the root first, so that they can go on from
    /// there. Uses `missing`.
    fn bring_down(&mut self, group: GroupId, victim: BlockId, missing: &mut Vec<BlockId>) -> Reach {
        if self.free_slots(TierId::Host, group) == 0 {
            return Reach::Full;
        }
        // Room is short, or nothing would be demoted: take a part of it.
        let free = self.free_for_copies(TierId::Host, group) as usize;
        let most =
            free.div_ceil(2).min(self.engine.room(TierId::Device, TierId::Host)).min(self.left as usize);
        self.missing_ancestors(group, victim, (TierId::Device, most), missing);
        self.handle(missing.len());
        let is_above = |block: &BlockId| {
            !self.index.location(*block, group, TierId::Host).is_some()
                && self.whole(*block, group, TierId::Device).is_some()
        };
        missing.retain(is_above);
        let mut slots = std::mem::take(&mut self.slots_above);
        let count = u32::try_from(missing.len()).expect("no more than free slots");
        let is_taken = self.pools.pool_mut(TierId::Host, group).take(count, |slot| slots.push(slot));
        assert!(is_taken, "{count} host slots were free, and could not be taken");
        for (block, target) in missing.iter().rev().zip(slots.drain(..)) {
            let way = Way { block: *block, group, from: TierId::Device, to: TierId::Host, target };
            self.start_copy(way, Purpose::Replicate);
        }
        self.slots_above = slots;
        Reach::Later
    }

    /// Collects those ancestors of `block` that are neither in the file nor on their way there, at most `most` of those next to the
    /// root, the nearest to `block` first; one alone if that is not whole in `from`. `Never` if they can't come there.
    /// `O(log depth + most)`.
    fn missing_ancestors(
        &self,
        group: GroupId,
        block: BlockId,
        (from, most): (TierId, usize),
        missing: &mut Vec<BlockId>,
    ) -> Reach {
        missing.clear();
        let depth = self.index.view(block).depth;
        // A chain longer than the tier would push out its own front for ever.
        if depth >= self.pools.pool(TierId::File, group).capacity() {
            return Reach::Never;
        }
        let is_missing = |above: BlockId| !self.index.location(above, group, TierId::File).is_some();
        let parent = self.index.parent(block);
        if most == 0 || !parent.is_some() || !is_missing(parent) {
            return Reach::Whole;
        }
        // The file holds a block only with all its ancestors (I6).
        let first = self.index.topmost(parent, is_missing);
        // Where the first can't go, those after it can't either.
        let can_go = self.whole(first, group, from).is_some();
        let most = if can_go { u32::try_from(most).unwrap_or(u32::MAX) } else { 1 };
        let last = self.index.view(first).depth.saturating_add(most - 1).min(depth - 1);
        let mut ancestor = self.index.ancestor_at(parent, last);
        while ancestor != first {
            // One whose ancestor was lost may still be on its way there.
            if is_missing(ancestor) {
                missing.push(ancestor);
            }
            ancestor = self.index.parent(ancestor);
        }
        missing.push(first);
        Reach::Whole
    }

    /// Tells a tier that outlives the process what comes into `slot`.
    fn label(&self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        if let Some(persistence) = self.tiers[tier.index()].as_ref().and_then(|tier| tier.persistence()) {
            let view = self.index.view(block);
            let label = BlockLabel {
                hash: view.hash,
                parent: view.parent.is_some().then(|| self.index.view(view.parent).hash),
                salt: view.salt,
                depth: view.depth,
                tokens: view.tokens,
                extra_keys: view.extra_keys,
                uses: view.uses,
            };
            persistence.label(group, slot, &label);
        }
    }
}
