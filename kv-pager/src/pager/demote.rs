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

/// Whether a victim's ancestors can come along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All are there, or can be copied from where the victim is.
    Whole,
    /// One is on its way; try again later.
    Later,
    /// One can't be copied from there; the nearest to the root of those that are only on the device.
    Missing(BlockId),
    /// The chain is longer than the tier.
    Never,
}

impl Core {
    /// Copies `victims`, coldest first, to the next tier, as many as it has room for.
    pub(super) fn demote(&mut self, group: GroupId, from: TierId, victims: &mut Vec<BlockId>, now: Time) {
        let Some(to) = from.farther().filter(|to| self.pools.has(*to)) else { return };
        victims.retain(|block| {
            self.idle_slot(*block, group, from).is_some() && !self.index.location(*block, group, to).is_some()
        });
        victims.truncate(self.engine.room(from, to));
        let wanted = u32::try_from(victims.len()).expect("bounded by the room of a queue");
        let free = match self.ensure_free(to, group, wanted, now) {
            Ok(()) => wanted,
            Err(_busy) => self.free_slots(to, group).min(wanted),
        };
        victims.truncate(free as usize);
        // Making room may have taken some of them.
        victims.retain(|block| self.idle_slot(*block, group, from).is_some());
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        if to == TierId::File && self.model.is_full(group) {
            let limit = self.engine.room(from, to).min(self.free_slots(to, group) as usize);
            self.add_with_ancestors(group, from, to, victims, limit, &mut batch, now);
        } else {
            batch.extend(victims.iter().rev().map(|block| (*block, Purpose::Demote)));
        }
        self.copy_batch(group, from, to, &batch);
        self.batch = batch;
    }

    /// Takes slots for all of `batch`, in runs, and queues the moves.
    fn copy_batch(&mut self, group: GroupId, from: TierId, to: TierId, batch: &[(BlockId, Purpose)]) {
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        let count = u32::try_from(batch.len()).expect("no more than free slots");
        let is_taken = self.pools.pool_mut(to, group).take(count, |slot| slots.push(slot));
        assert!(is_taken, "{count} slots of tier {to} were free, and could not be taken");
        for ((block, purpose), target) in batch.iter().zip(&slots) {
            self.start_copy(Way { block: *block, group, from, to, target: *target }, *purpose);
        }
        self.slots = slots;
    }

    fn start_copy(&mut self, way: Way, purpose: Purpose) {
        let Way { block, group, from, to, target } = way;
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

    /// Adds the victims to `batch`, root to leaf, each after those of its ancestors that are not in `to`; at most `limit`
    /// blocks. Of a long chain the blocks next to the root go first, and the next call goes on from there. A victim whose
    /// ancestors can't come along is dropped, or waits.
    #[expect(clippy::too_many_arguments, reason = "one step of `demote`, split for reading")]
    fn add_with_ancestors(
        &mut self,
        group: GroupId,
        from: TierId,
        to: TierId,
        victims: &[BlockId],
        limit: usize,
        batch: &mut Vec<(BlockId, Purpose)>,
        now: Time,
    ) {
        let mut missing = Vec::new();
        for victim in victims.iter().rev() {
            let room = limit - batch.len();
            match self.missing_ancestors(group, *victim, from, to, batch, &mut missing) {
                Reach::Whole if missing.len() >= room => {
                    let nearest_root = missing.iter().rev().take(room);
                    batch.extend(nearest_root.map(|block| (*block, Purpose::Replicate)));
                    return;
                }
                Reach::Whole => {
                    batch.extend(missing.iter().rev().map(|block| (*block, Purpose::Replicate)));
                    if let Some(copied) = batch.iter_mut().find(|(block, _)| block == victim) {
                        copied.1 = Purpose::Demote;
                    } else {
                        batch.push((*victim, Purpose::Demote));
                    }
                }
                Reach::Later => {}
                Reach::Missing(ancestor) if self.bring_down(group, ancestor, now) => {}
                Reach::Missing(_) | Reach::Never => {
                    self.drop_copy(*victim, group, from);
                }
            }
        }
    }

    /// Copies a block that only the device has to the host, so that it can go on from there. False if that can't be now.
    fn bring_down(&mut self, group: GroupId, block: BlockId, now: Time) -> bool {
        let is_movable = self.whole(block, group, TierId::Device).is_some()
            && !self.index.location(block, group, TierId::Host).is_some()
            && self.engine.room(TierId::Device, TierId::Host) > 0
            && self.free_slots(TierId::Host, group) > 0;
        if is_movable {
            let mut target = SlotId::NONE;
            self.pools.pool_mut(TierId::Host, group).take(1, |slot| target = slot);
            let way = Way { block, group, from: TierId::Device, to: TierId::Host, target };
            self.start_copy(way, Purpose::Replicate);
            self.engine.pump(now);
        }
        is_movable
    }

    /// Collects the ancestors of `block`, nearest first, that are neither in `to` nor in `batch`.
    fn missing_ancestors(
        &self,
        group: GroupId,
        block: BlockId,
        from: TierId,
        to: TierId,
        batch: &[(BlockId, Purpose)],
        missing: &mut Vec<BlockId>,
    ) -> Reach {
        missing.clear();
        // A chain longer than the tier would push out its own front for ever.
        if self.index.view(block).depth >= self.pools.pool(to, group).capacity() {
            return Reach::Never;
        }
        let mut only_on_device = None;
        let mut ancestor = self.index.parent(block);
        while ancestor.is_some() && !self.index.location(ancestor, group, to).is_some() {
            // In a chain the ancestor is the victim just before, so the search from the end is short.
            if batch.iter().rev().any(|(added, _)| *added == ancestor) {
                break;
            }
            if self.whole(ancestor, group, from).is_some() {
                missing.push(ancestor);
            } else if self.index.location(ancestor, group, from).is_some() {
                return Reach::Later;
            } else {
                only_on_device = Some(ancestor);
            }
            ancestor = self.index.parent(ancestor);
        }
        only_on_device.map_or(Reach::Whole, Reach::Missing)
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
