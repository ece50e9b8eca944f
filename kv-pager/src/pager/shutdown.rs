//! Shutting down: what host memory holds and the file has not is written out, and the file is told what was asked for how often.
//! Layer 9. Known by: `pager`.
//!
//! Blocks go most recently used first, each after its ancestors, in slices: the lock is never held for more than one of them. What
//! is colder than all that the file has room for stays behind: it would push out what was written just before. Rounds go on as
//! long as each brings something nearer to the file: where the drive takes nothing, the first is the last.

use super::Pager;
use super::core::Core;
use super::durable;
use super::loads::Way;
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::pool::SlotState;
use crate::transfer::Purpose;
use crate::units::Nanos;
use std::cmp::Reverse;
use std::collections::HashSet;

/// How many blocks one slice looks at.
const BLOCKS_A_SLICE: u32 = 256;

/// Which part of the time is kept for making durable what was written in the rest of it.
const FLUSH_SHARE: u64 = 8;

/// How long a wait is at most before the time is looked at.
const WAIT: Nanos = Nanos::from_millis(10);

/// What a shutdown has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrittenOut {
    /// Blocks of the host's that the file has now, and had not.
    pub blocks: u64,
    /// Blocks of the host's that the file has not: there was no room for them, or no time.
    pub left: u64,
    /// Whether all that the file has survives a loss of power, too. If not, the time ran out before the drive said so; what was
    /// written survives the process all the same.
    pub is_durable: bool,
}

impl Pager {
    /// Writes out what host memory holds and the file has not, and makes it durable, all of it for at most `timeout`, of which
    /// an eighth is kept for the latter. Call it when all sequences are closed. Blocks on I/O. Does nothing where there is no
    /// file tier.
    ///
    /// A drive that doesn't answer in time keeps a thread, and its directories with it, until it does: see
    /// [`WrittenOut::is_durable`].
    ///
    /// # Errors
    /// [`Error::Io`] if the drive refuses to make it durable.
    pub fn write_out(&self, timeout: Nanos) -> Result<WrittenOut, Error> {
        let start = self.shared.clock.now();
        let (all, mut wanted) = {
            let mut core = self.shared.core.lock();
            core.housekeep(start);
            let all = core.not_in_file();
            let wanted = core.with_room(&all);
            (all, wanted)
        };
        let spent = || self.shared.clock.now().since(start);
        let writing = Nanos::new(timeout.as_u64() - timeout.as_u64() / FLUSH_SHARE);
        let has_time = || spent() < writing;
        // Ancestors that only the device has come down to the host first, and go on in the next round.
        while !wanted.is_empty() && has_time() {
            let before = self.shared.core.lock().moves_done;
            self.write_round(&wanted, &has_time);
            let core = self.shared.core.lock();
            wanted.retain(|(block, group)| core.whole(*block, *group, TierId::File).is_none());
            if core.moves_done == before {
                break;
            }
        }
        let mut core = self.shared.core.lock();
        core.housekeep(self.shared.clock.now());
        let is_in_file = |part: &&(BlockId, GroupId)| core.whole(part.0, part.1, TierId::File).is_some();
        let blocks = all.iter().filter(is_in_file).count() as u64;
        core.tell_uses();
        let file = core.tiers[TierId::File.index()].clone();
        drop(core);
        let is_durable = file.map_or(Ok(true), |tier| durable::flush(tier, &|| spent() < timeout))?;
        Ok(WrittenOut { blocks, left: all.len() as u64 - blocks, is_durable })
    }

    /// Starts writing all of `wanted` that can go, and waits for what is under way.
    fn write_round(&self, wanted: &[(BlockId, GroupId)], has_time: &dyn Fn() -> bool) {
        let mut next = 0;
        while next < wanted.len() && has_time() {
            let seen = self.progress();
            let now = self.shared.clock.now();
            let (taken, is_stuck) = self.shared.core.lock().write_slice(&wanted[next..], now);
            next += taken;
            if is_stuck && !self.is_busy() {
                return;
            }
            if is_stuck {
                self.wait(seen, WAIT);
            }
        }
        while self.is_busy() && has_time() {
            self.wait(self.progress(), WAIT);
        }
    }
}

impl Core {
    /// Parts in the host that the file has not, the most recently used first.
    fn not_in_file(&self) -> Vec<(BlockId, GroupId)> {
        if !self.pools.has(TierId::File) {
            return Vec::new();
        }
        let mut parts: Vec<(BlockId, GroupId)> = Vec::new();
        for group in self.groups() {
            let pool = self.pools.pool(TierId::Host, group);
            // Those that are held too.
            let is_resident = |slot: &SlotId| pool.state(*slot) == SlotState::Resident;
            let blocks = pool.slots().filter(is_resident).map(|slot| (pool.block(slot), group));
            parts.extend(
                blocks.filter(|(block, _)| !self.index.location(*block, group, TierId::File).is_some()),
            );
        }
        parts.sort_by_key(|(block, _)| self.coldness(*block));
        parts
    }

    /// The least for what was used last, and for a parent before its children.
    fn coldness(&self, block: BlockId) -> (Reverse<Time>, u32) {
        let view = self.index.view(block);
        (Reverse(view.last_use), view.depth)
    }

    /// Those of `parts`, warmest first, that the file has room for beside what it has and is warmer, with their ancestors.
    fn with_room(&self, parts: &[(BlockId, GroupId)]) -> Vec<(BlockId, GroupId)> {
        let mut wanted = Vec::with_capacity(parts.len());
        if !self.is_well(TierId::File) {
            return wanted;
        }
        for group in self.groups().filter(|_| !parts.is_empty()) {
            let pool = self.pools.pool(TierId::File, group);
            let slots = pool.capacity().saturating_sub(pool.counts().of(SlotState::Retired)) as usize;
            let blocks = pool.slots().map(|slot| pool.block(slot)).filter(|block| block.is_some());
            let blocks = blocks.filter(|block| self.whole(*block, group, TierId::File).is_some());
            let mut kept: Vec<_> = blocks.map(|block| self.coldness(block)).collect();
            kept.sort_unstable();
            let mut taken = HashSet::new();
            for part in parts.iter().filter(|(_, own)| *own == group) {
                let coldness = self.coldness(part.0);
                let warmer = kept.partition_point(|kept| *kept <= coldness);
                let mut comes: Vec<BlockId> = Vec::new();
                let mut next = part.0;
                while next.is_some()
                    && !taken.contains(&next)
                    && !self.index.location(next, group, TierId::File).is_some()
                {
                    comes.push(next);
                    next = if self.model.is_full(group) { self.index.parent(next) } else { BlockId::NONE };
                }
                if warmer + taken.len() + comes.len() <= slots {
                    taken.extend(comes);
                    wanted.push(*part);
                }
            }
        }
        wanted.sort_by_key(|(block, _)| self.coldness(*block));
        wanted
    }

    /// Starts writing the first of `wanted`. Returns how many it is done with, and whether the next one has to wait.
    fn write_slice(&mut self, wanted: &[(BlockId, GroupId)], now: Time) -> (usize, bool) {
        self.housekeep(now);
        if !self.is_well(TierId::File) {
            return (wanted.len(), false);
        }
        for (done, (block, group)) in wanted.iter().take(BLOCKS_A_SLICE as usize).enumerate() {
            let slot = self.whole(*block, *group, TierId::Host);
            let is_still = slot.is_some_and(|slot| !self.pools.pool(TierId::Host, *group).is_moving(slot));
            if !is_still || self.index.location(*block, *group, TierId::File).is_some() {
                continue;
            }
            self.serve(self.index.view(*block).salt);
            let has_room = self.engine.room(TierId::Host, TierId::File) > 0
                && self.ensure_free(TierId::File, *group, 1, now).is_ok();
            if !has_room {
                return (done, true);
            }
            let mut slots = std::mem::take(&mut self.slots);
            slots.clear();
            // The ancestors that the file has not come along.
            let parent = self.index.parent(*block);
            let is_next = !parent.is_some() || self.index.location(parent, *group, TierId::File).is_some();
            let most = if is_next { 1 } else { BLOCKS_A_SLICE };
            let count = self.free_slots(TierId::File, *group).min(most);
            self.pools.pool_mut(TierId::File, *group).take(count, |slot| slots.push(slot));
            slots.reverse();
            let is_ready = !self.model.is_full(*group) || self.has_sent_ancestors(*group, *block, &mut slots);
            let target = if is_ready { slots.pop() } else { None };
            if !is_ready {
                self.clear_host(*group, self.index.view(*block).depth);
            }
            if let Some(target) = target {
                let way = Way { block: *block, group: *group, from: TierId::Host, to: TierId::File, target };
                self.start_copy(way, Purpose::Replicate);
            }
            self.free_all(*group, &mut slots);
            self.slots = slots;
        }
        self.engine.pump(now);
        (wanted.len().min(BLOCKS_A_SLICE as usize), false)
    }

    /// Gives up copies in the host that the file has too, the coldest first, until `slots` are free: what a part stands on, and only
    /// the device has, comes to the file by the host.
    fn clear_host(&mut self, group: GroupId, slots: u32) {
        let wanted = slots.saturating_sub(self.free_slots(TierId::Host, group)) as usize;
        let pool = self.pools.pool(TierId::Host, group);
        let blocks = pool.coldest().map(|slot| pool.block(slot));
        let is_spare = |block: &BlockId| {
            self.whole(*block, group, TierId::File).is_some()
                && self.index.may_evict(*block, group, TierId::Host)
        };
        let spare: Vec<BlockId> = blocks.filter(is_spare).take(wanted).collect();
        for block in spare {
            if let Some(slot) = self.idle_slot(block, group, TierId::Host) {
                self.free_copy(block, group, TierId::Host, slot);
            }
        }
    }

    fn free_all(&mut self, group: GroupId, slots: &mut Vec<SlotId>) {
        for unused in slots.drain(..) {
            self.pools.pool_mut(TierId::File, group).free(unused);
        }
    }

    /// Tells the file how often each of its blocks was asked for, so that hot blocks are still hot after a restart.
    fn tell_uses(&self) {
        let Some(persistence) = self.tiers[TierId::File.index()].as_ref().and_then(|tier| tier.persistence())
        else {
            return;
        };
        for (tier, group, pool) in self.pools.iter().filter(|(tier, ..)| *tier == TierId::File) {
            for slot in pool.slots() {
                let block = pool.block(slot);
                if self.pools.is_whole(tier, group, slot, block) {
                    persistence.set_uses(group, slot, self.index.view(block).uses);
                }
            }
        }
    }
}
