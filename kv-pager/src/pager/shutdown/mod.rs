//! Shutting down: what host memory holds and the file has not is written out, and the file is told what was asked for how often.
//! Layer 9. Known by: `pager`.
//!
//! Blocks go most recently used first, each after its ancestors, in slices: the lock is never held for more than one of them. What
//! there is no room for, or the policy does not let go there ([`Policy::may_write_out`](crate::policy::Policy::may_write_out)), stays
//! behind ([`choice`]). Rounds go on as long as each brings something nearer to the file: where the drive takes nothing, the first is the
//! last, and ends early.

mod choice;

use self::choice::{BLOCKS_A_SLICE, Part, Round, Seen};
use super::Pager;
use super::chores::HOLD_BLOCKS;
use super::core::Core;
use super::durable;
use super::loads::Way;
use super::slices;
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::transfer::Purpose;
use crate::units::Nanos;

/// Which part of the time is kept for making durable what was written in the rest of it.
const FLUSH_SHARE: u64 = 8;

/// After so many moves of a round that failed, and none that was done, it ends.
const FAILED_MAX: u64 = 16;

/// How long a wait is at most before the time is looked at.
const WAIT: Nanos = Nanos::from_millis(10);

/// What a shutdown has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrittenOut {
    /// Blocks of the host's that the file has now, and had not.
    pub blocks: u64,
    /// Blocks of the host's that the file has not: there was no room for them, or no time, or the policy kept them from it.
    pub left: u64,
    /// Whether all that the file has survives a loss of power, too. If not, the time ran out before the drive said so; what was
    /// written survives the process all the same.
    pub is_durable: bool,
}

impl Pager {
    /// Writes out what host memory holds, the file has not and the policy lets go there, and makes it durable, all of it for at most
    /// `timeout`, of which an eighth is kept for the latter. Call it when all sequences are closed. Blocks on I/O. Does nothing where
    /// there is no file tier.
    ///
    /// A drive that doesn't answer in time keeps a thread, and its directories with it, until it does: see
    /// [`WrittenOut::is_durable`].
    ///
    /// # Errors
    /// [`Error::Io`] if the drive refuses to make it durable.
    pub fn write_out(&self, timeout: Nanos) -> Result<WrittenOut, Error> {
        let shared = &*self.shared;
        let start = shared.clock.now();
        slices::keep_house(shared, start);
        let all = self.not_in_file();
        let mut wanted = self.with_room(&all);
        let spent = || shared.clock.now().since(start);
        let writing = Nanos::new(timeout.as_u64() - timeout.as_u64() / FLUSH_SHARE);
        let has_time = || spent() < writing;
        // Ancestors that only the device has come down to the host first, and go on in the next round.
        while !wanted.is_empty() && has_time() {
            let before = shared.core.lock().moves_done;
            self.write_round(&wanted, &has_time);
            wanted = self.still_missing(&wanted);
            if shared.core.lock().moves_done == before {
                break;
            }
        }
        slices::keep_house(shared, shared.clock.now());
        let left = self.still_missing(&all).len() as u64;
        let blocks = all.len() as u64 - left;
        let mut round = Round::default();
        slices::repeat(shared, |core| core.tell_uses_slice(&mut round));
        let file = shared.core.lock().tiers[TierId::File.index()].clone();
        let is_durable = file.map_or(Ok(true), |tier| durable::flush(tier, &|| spent() < timeout))?;
        Ok(WrittenOut { blocks, left, is_durable })
    }

    /// Those of `parts` that the file has not.
    fn still_missing(&self, parts: &[Part]) -> Vec<Part> {
        let mut missing = Vec::new();
        let mut slices = parts.chunks(BLOCKS_A_SLICE);
        slices::repeat(&self.shared, |core| {
            let Some(slice) = slices.next() else { return true };
            let is_missing = |part: &&Part| core.whole(part.block, part.group, TierId::File).is_none();
            missing.extend(slice.iter().filter(is_missing));
            false
        });
        missing
    }

    /// Starts writing all of `wanted` that can go, and waits for what is under way. A drive that takes nothing is not asked on.
    fn write_round(&self, wanted: &[Part], has_time: &dyn Fn() -> bool) {
        let shared = &*self.shared;
        let mut next = 0;
        let (done_before, failed_before) = shared.core.lock().moves_so_far();
        while next < wanted.len() && has_time() {
            let seen = self.progress();
            let now = shared.clock.now();
            slices::keep_house(shared, now);
            let (done, failed) = shared.core.lock().moves_so_far();
            if done == done_before && failed - failed_before >= FAILED_MAX {
                break;
            }
            let write = |core: &mut Core| core.write_slice(wanted, &mut next, now);
            let (is_started, core) = slices::with_room(shared, now, shared.core.lock(), write);
            drop(core);
            if is_started.is_err() && !self.is_busy() {
                return;
            }
            if is_started.is_err() {
                self.wait(seen, WAIT);
            }
        }
        while self.is_busy() && has_time() {
            self.wait(self.progress(), WAIT);
        }
    }
}

impl Core {
    /// How many moves were done, and how many were not.
    fn moves_so_far(&self) -> (u64, u64) {
        (self.moves_done, self.moves_ended - self.moves_done)
    }

    /// Starts writing those of `wanted` from `next` on, as many as one hold of the lock may handle; `next` are done with.
    ///
    /// # Errors
    /// [`Error::TierBusy`] if the next one has to wait, or for the next hold, which [`Core::goes_on`] tells.
    fn write_slice(&mut self, wanted: &[Part], next: &mut usize, now: Time) -> Result<(), Error> {
        if !self.is_well(TierId::File) {
            *next = wanted.len();
            return Ok(());
        }
        self.note_queues();
        let seen = Seen { demotable: self.demotable(), now };
        while let Some(Part { block, group, .. }) = wanted.get(*next).copied() {
            // What it stands on is looked at with it.
            if self.left < HOLD_BLOCKS / 2 {
                break;
            }
            self.handle(1);
            self.write_part(block, group, seen)?;
            *next += 1;
        }
        self.engine.pump(now);
        Ok(())
    }

    /// Starts writing a part, if it can go; what it stands on goes, or comes down to the host, before it.
    fn write_part(&mut self, block: BlockId, group: GroupId, seen: Seen) -> Result<(), Error> {
        let slot = self.whole(block, group, TierId::Host);
        let is_still = slot.is_some_and(|slot| !self.pools.pool(TierId::Host, group).is_moving(slot));
        if !is_still || self.index.location(block, group, TierId::File).is_some() {
            return Ok(());
        }
        self.serve(self.index.view(block).salt);
        if self.engine.room(TierId::Host, TierId::File) == 0 {
            return Err(Error::TierBusy { tier: TierId::File });
        }
        self.note_written();
        if !self.may_write_out(block, group, seen) {
            return Ok(());
        }
        self.ensure_free(TierId::File, group, 1, seen.now)?;
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        // The ancestors that the file has not come along.
        let parent = self.index.parent(block);
        let is_next = !parent.is_some() || self.index.location(parent, group, TierId::File).is_some();
        let most = if is_next { 1 } else { self.left };
        let count = self.free_slots(TierId::File, group).min(most);
        self.pools.pool_mut(TierId::File, group).take(count, |slot| slots.push(slot));
        slots.reverse();
        let is_ready = !self.model.is_full(group) || self.has_sent_ancestors(group, block, &mut slots);
        let target = if is_ready { slots.pop() } else { None };
        if !is_ready {
            self.clear_host(group, self.index.view(block).depth);
        }
        if let Some(target) = target {
            let way = Way { block, group, from: TierId::Host, to: TierId::File, target };
            self.start_copy(way, Purpose::Replicate);
        }
        self.free_all(group, &mut slots);
        self.slots = slots;
        Ok(())
    }

    /// Gives up copies in the host that the file has too, the coldest first, until `slots` are free, as far as this hold of the lock
    /// goes: what a part stands on, and only the device has, comes to the file by the host. What can't be given up is warm again.
    fn clear_host(&mut self, group: GroupId, slots: u32) {
        let wanted = slots.saturating_sub(self.free_slots(TierId::Host, group)) as usize;
        let mut passed = std::mem::take(&mut self.passed);
        passed.clear();
        let mut spare = Vec::new();
        let pool = self.pools.pool(TierId::Host, group);
        for slot in pool.coldest().take(self.left as usize) {
            if spare.len() >= wanted {
                break;
            }
            let block = pool.block(slot);
            let is_spare = self.whole(block, group, TierId::File).is_some()
                && self.index.may_evict(block, group, TierId::Host);
            if is_spare {
                spare.push(block);
            } else {
                passed.push(slot);
            }
        }
        self.handle(spare.len() + passed.len());
        for slot in passed.drain(..) {
            self.pools.pool_mut(TierId::Host, group).touch(slot);
        }
        self.passed = passed;
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

    /// Tells the file how often each of the next slice of its blocks was asked for, so that hot blocks are still hot after a restart.
    /// Returns whether that was the last.
    fn tell_uses_slice(&self, round: &mut Round) -> bool {
        let file = self.tiers[TierId::File.index()].as_ref();
        let Some(persistence) = file.and_then(|tier| tier.persistence()) else { return true };
        self.go_round(TierId::File, round, |group, slot| {
            let block = self.pools.pool(TierId::File, group).block(slot);
            if self.pools.is_whole(TierId::File, group, slot, block) {
                persistence.set_uses(group, slot, self.index.view(block).uses);
            }
        })
    }
}
