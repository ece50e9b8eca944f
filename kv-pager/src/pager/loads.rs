//! Loads that wait for a queue or a host slot.
//! Layer 9. Known by: `pager`.
//!
//! A load from a file passes through a host slot, where it stays as a clean copy. There may be more to load than the host tier
//! has room for, so loads queue here, each with its device slot, and start as room appears.

use super::core::{Core, FIRST};
use crate::clock::Time;
use crate::ids::{BlockId, Fence, MoveId, SlotId, TierId};
use crate::tier::Move;
use crate::transfer::{Flight, Priority, Purpose};

/// How many loads one call starts at most, so that the lock stays short.
const LOADS_A_CALL: usize = 512;

/// A load that has its device slot. One move is counted at the source slot and one at the device slot from the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingLoad {
    pub(super) block: BlockId,
    pub(super) from: TierId,
    pub(super) device: SlotId,
}

/// What came of an attempt to start a load.
enum Attempt {
    /// It is queued at a lane, or was called off.
    Gone,
    /// It needs a host slot.
    NeedsHostSlot,
    /// Something that ends by itself must end first.
    Later,
}

impl Core {
    /// Starts waiting loads, first come first served, while there is room.
    pub(super) fn issue_loads(&mut self, now: Time) {
        for _ in 0..LOADS_A_CALL.min(self.pending.len()) {
            let Some(load) = self.pending.front().copied() else { return };
            match self.attempt(load) {
                Attempt::Gone => {
                    self.pending.pop_front();
                }
                Attempt::Later => return,
                Attempt::NeedsHostSlot => {
                    let landed = self.land_from_file(now);
                    if landed == 0 {
                        self.give_up_if_stuck();
                        return;
                    }
                }
            }
        }
    }

    fn attempt(&mut self, load: PendingLoad) -> Attempt {
        let PendingLoad { block, from, device } = load;
        if self.pools.pool(TierId::Device, FIRST).holds(device) == 0 || self.index.is_detached(block) {
            self.call_off(load);
            return Attempt::Gone;
        }
        if from == TierId::Host || self.whole(block, TierId::Host).is_some() {
            if self.engine.room(TierId::Host, TierId::Device) == 0 {
                return Attempt::Later;
            }
            if from != TierId::Host {
                self.shift_source(block, from);
            }
            self.enqueue(block, TierId::Host, TierId::Device, device, Purpose::Onboard, Priority::Demand);
            return Attempt::Gone;
        }
        if self.index.location(block, FIRST, TierId::Host).is_some() {
            return Attempt::Later;
        }
        Attempt::NeedsHostSlot
    }

    /// The load reads the host copy that has appeared, not the one it was to read.
    fn shift_source(&mut self, block: BlockId, from: TierId) {
        let before = self.index.location(block, FIRST, from);
        self.pools.pool_mut(from, FIRST).end_move(before);
        let host = self.index.location(block, FIRST, TierId::Host);
        self.pools.pool_mut(TierId::Host, FIRST).begin_move(host);
    }

    /// Starts the first hop of the loads at the front that need a host slot. Returns how many.
    fn land_from_file(&mut self, now: Time) -> usize {
        let needs_slot = |load: &&PendingLoad| {
            load.from == TierId::File
                && !self.index.location(load.block, FIRST, TierId::Host).is_some()
                && !self.index.is_detached(load.block)
                && self.pools.pool(TierId::Device, FIRST).holds(load.device) > 0
        };
        let room = self.engine.room(TierId::File, TierId::Host).min(LOADS_A_CALL);
        let wanted = self.pending.iter().take_while(needs_slot).count().min(room);
        let wanted_slots = u32::try_from(wanted).expect("at most 512");
        // What can be had at once is used; the rest waits.
        let free = match self.ensure_free(TierId::Host, wanted_slots, now) {
            Ok(()) => wanted_slots,
            Err(_busy) => self.free_slots(TierId::Host).min(wanted_slots),
        };
        let mut slots = Vec::with_capacity(free as usize);
        let is_taken = self.pools.pool_mut(TierId::Host, FIRST).take(free, |slot| slots.push(slot));
        assert!(is_taken, "{free} host slots were free, and could not be taken");
        for host in &slots {
            let load = self.pending.pop_front().expect("counted above");
            let pool = self.pools.pool_mut(TierId::Host, FIRST);
            pool.reserve(*host, load.block);
            pool.begin_move(*host);
            self.index.set_location(load.block, FIRST, TierId::Host, *host);
            let purpose = Purpose::Land { device: load.device };
            self.enqueue(load.block, TierId::File, TierId::Host, *host, purpose, Priority::Demand);
        }
        slots.len()
    }

    /// When nothing is under way that could make room, the loads that wait are computed instead: no request is ever stuck.
    fn give_up_if_stuck(&mut self) {
        if !self.engine.is_busy() {
            while let Some(load) = self.pending.pop_front() {
                self.call_off(load);
            }
        }
    }

    fn call_off(&mut self, load: PendingLoad) {
        let source = self.index.location(load.block, FIRST, load.from);
        self.pools.pool_mut(load.from, FIRST).end_move(source);
        self.fail_load(load.block, load.device);
    }

    /// The load into `device` will not come: whoever holds the slot computes the block.
    pub(super) fn fail_load(&mut self, block: BlockId, device: SlotId) {
        self.counters.failed_loads += 1;
        self.index.clear_location(block, FIRST, TierId::Device);
        let pool = self.pools.pool_mut(TierId::Device, FIRST);
        pool.unreserve(device);
        pool.end_move(device);
        self.prune(block);
    }

    /// Queues the move of `block`'s part into `target`. A move is counted at both slots already.
    pub(super) fn enqueue(
        &mut self,
        block: BlockId,
        from: TierId,
        to: TierId,
        target: SlotId,
        purpose: Purpose,
        priority: Priority,
    ) {
        let source = self.index.location(block, FIRST, from);
        let source_fence = self.pools.pool(from, FIRST).fence(source);
        let part =
            Move { id: MoveId(0), group: FIRST, source, target, source_fence, target_fence: Fence::OVER };
        self.engine.enqueue(from, to, Flight { part, block, purpose, priority });
    }
}
