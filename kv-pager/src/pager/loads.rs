//! Loads that wait for a queue or a host slot.
//! Layer 9. Known by: `pager`.
//!
//! A load from a file passes through a host slot, where it stays as a clean copy. There may be more to load than the host tier
//! has room for, so loads queue here, each with its device slot, and start as room appears. One whose source is lost, or the host
//! on its way, is called off: its block is computed; so is one that has waited here as long as a move may wait in a lane's queue.

use super::core::Core;
use super::deliveries::Delivery;
use crate::clock::Time;
use crate::ids::{BlockId, GroupId, MoveId, SlotId, TierId};
use crate::sequence::RequestPriority;
use crate::tier::Move;
use crate::transfer::{Flight, Goal, Place, Priority, Purpose, Queued};

/// A load that has its device slot. One move is counted at the source slot and one at the device slot from the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingLoad {
    pub(super) block: BlockId,
    pub(super) group: GroupId,
    pub(super) from: TierId,
    pub(super) device: SlotId,
    /// Which queue of a lane it will wait in.
    pub(super) priority: Priority,
    /// When it is called off if it waits still.
    pub(super) deadline: Time,
}

impl Queued for PendingLoad {
    fn goal(&self) -> Goal {
        Goal { block: self.block, group: self.group, slot: self.device }
    }

    fn priority(&self) -> Priority {
        self.priority
    }
}

/// The queue for loads of a request.
pub(super) fn urgency_of(priority: RequestPriority) -> Priority {
    match priority {
        RequestPriority::Normal => Priority::Demand,
        RequestPriority::High => Priority::Urgent,
    }
}

/// Whose part goes from where to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) block: BlockId,
    pub(super) group: GroupId,
    pub(super) from: TierId,
    pub(super) to: TierId,
    pub(super) target: SlotId,
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
    /// When a load that is ordered now has waited too long.
    pub(super) fn load_deadline(&self) -> Time {
        self.now.after(self.config.limits.move_deadline)
    }

    /// The loads of each priority that have waited longest.
    fn oldest_loads(&self) -> impl Iterator<Item = Place> + '_ {
        Priority::ALL.into_iter().filter_map(|priority| self.pending.first(priority))
    }

    /// When the next load that waits here is called off.
    pub(super) fn next_load_deadline(&self) -> Time {
        self.oldest_loads().map(|at| self.pending.item(at).deadline).min().unwrap_or(Time::NEVER)
    }

    /// Calls off the loads that have waited too long, as many as this hold may handle.
    fn call_off_late(&mut self, now: Time) {
        while self.left > 0 {
            let late = self.oldest_loads().find(|at| self.pending.item(*at).deadline <= now);
            let Some(late) = late else { return };
            let load = self.pending.take(late);
            self.handle(1);
            self.call_off(load);
        }
    }

    /// Starts waiting loads, the urgent first, then first come first served, while there is room, and as many as this hold of the lock
    /// may handle; if those are not all, it [goes on](Core::goes_on) in the next.
    pub(super) fn issue_loads(&mut self, now: Time) {
        self.call_off_late(now);
        while let Some(front) = self.pending.front() {
            if self.left == 0 {
                self.goes_on = true;
                return;
            }
            match self.attempt(*self.pending.item(front)) {
                Attempt::Gone => {
                    self.pending.take(front);
                    self.handle(1);
                }
                Attempt::Later => return,
                Attempt::NeedsHostSlot => {
                    if self.land_from_file(now) == 0 {
                        if self.goes_on {
                            return;
                        }
                        self.overtake();
                        self.give_up_if_stuck();
                        return;
                    }
                }
            }
        }
    }

    /// Starts the loads out of host memory that wait behind one that needs a slot there: the slots that it could have may be theirs. Some
    /// of this hold is left for giving up.
    fn overtake(&mut self) {
        let mut next = self.pending.front().and_then(|front| self.pending.behind(front));
        let kept = self.left / 2;
        while self.left > kept {
            let Some(at) = next else { return };
            next = self.pending.behind(at);
            self.handle(1);
            let load = *self.pending.item(at);
            let is_in_host = self.whole(load.block, load.group, TierId::Host).is_some();
            if is_in_host && matches!(self.attempt(load), Attempt::Gone) {
                self.pending.take(at);
            }
        }
    }

    fn attempt(&mut self, load: PendingLoad) -> Attempt {
        let PendingLoad { block, group, from, device, priority, .. } = load;
        let is_in_host = self.whole(block, group, TierId::Host).is_some();
        let is_cut_off = !is_in_host && (self.lost[from.index()] || self.lost[TierId::Host.index()]);
        if is_cut_off || self.device(group).holds(device) == 0 || self.index.is_detached(block) {
            self.call_off(load);
            return Attempt::Gone;
        }
        if from == TierId::Host || is_in_host {
            if self.engine.room(TierId::Host, TierId::Device) == 0 {
                return Attempt::Later;
            }
            if from != TierId::Host {
                self.shift_source(load);
            }
            let way = Way { block, group, from: TierId::Host, to: TierId::Device, target: device };
            self.enqueue(way, Purpose::Onboard, priority);
            return Attempt::Gone;
        }
        if self.index.location(block, group, TierId::Host).is_some() {
            return Attempt::Later;
        }
        Attempt::NeedsHostSlot
    }

    /// The load reads the host copy that has appeared, not the one it was to read.
    fn shift_source(&mut self, load: PendingLoad) {
        let before = self.index.location(load.block, load.group, load.from);
        self.let_go_source(load.block, load.group, load.from, before);
        let host = self.index.location(load.block, load.group, TierId::Host);
        self.pools.pool_mut(TierId::Host, load.group).begin_move(host);
    }

    /// Starts the first hop of the loads at the front that need a host slot, as far as they are of one group. Returns how many.
    fn land_from_file(&mut self, now: Time) -> usize {
        let Some(first) = self.pending.waiting().next().copied() else { return 0 };
        let group = first.group;
        let needs_slot = |load: &&PendingLoad| {
            load.group == group
                && load.from == TierId::File
                && !self.index.location(load.block, group, TierId::Host).is_some()
                && !self.index.is_detached(load.block)
                && self.pools.pool(TierId::Device, group).holds(load.device) > 0
        };
        let tenants = self.index.tenants();
        let salt = Some(self.index.view(first.block).salt);
        let is_same =
            |load: &&PendingLoad| !tenants.has_quotas() || Some(self.index.view(load.block).salt) == salt;
        // Half of what this hold may handle, for room is to be made for them.
        let most = self.left.div_ceil(2) as usize;
        let room = self.engine.room(TierId::File, TierId::Host).min(most);
        let wanted = self.pending.waiting().take(room).take_while(needs_slot).take_while(is_same).count();
        self.handle(wanted);
        let wanted_slots = u32::try_from(wanted).expect("no more than a hold handles");
        let room_for = std::mem::replace(&mut self.room_for, salt);
        // What can be had at once is used; the rest waits.
        let free = match self.ensure_free(TierId::Host, group, wanted_slots, now) {
            Ok(()) => wanted_slots,
            Err(_busy) => self.free_slots(TierId::Host, group).min(wanted_slots),
        };
        self.room_for = room_for;
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        let is_taken = self.pools.pool_mut(TierId::Host, group).take(free, |slot| slots.push(slot));
        assert!(is_taken, "{free} host slots were free, and could not be taken");
        for host in slots.drain(..) {
            let front = self.pending.front().expect("counted above");
            let PendingLoad { block, device, priority, .. } = self.pending.take(front);
            let pool = self.pools.pool_mut(TierId::Host, group);
            pool.reserve(host, block);
            pool.begin_move(host);
            self.index.set_location(block, group, TierId::Host, host);
            let way = Way { block, group, from: TierId::File, to: TierId::Host, target: host };
            self.enqueue(way, Purpose::Land { device }, priority);
        }
        self.slots = slots;
        free as usize
    }

    /// When nothing is under way that could make room, the loads that wait are computed instead: no request is ever stuck. As many as this
    /// hold may handle, and one at least; the next goes on.
    fn give_up_if_stuck(&mut self) {
        if self.engine.is_busy() {
            return;
        }
        while let Some(front) = self.pending.front() {
            self.handle(1);
            let load = self.pending.take(front);
            self.call_off(load);
            if self.left == 0 {
                self.goes_on = true;
                return;
            }
        }
    }

    pub(super) fn call_off(&mut self, load: PendingLoad) {
        let source = self.index.location(load.block, load.group, load.from);
        self.pools.pool_mut(load.from, load.group).end_move(source);
        self.fail_load(load.block, load.group, load.device);
        self.sweep_source(load.block, load.group, load.from, source);
    }

    /// The load into `device` will not come: whoever holds the slot computes the block.
    pub(super) fn fail_load(&mut self, block: BlockId, group: GroupId, device: SlotId) {
        self.counters.failed_loads += 1;
        self.keepers.note_failure();
        if self.is_engines() {
            self.device(group).end_move(device);
            self.hand_back(block, device, Delivery::Failed);
            return;
        }
        self.index.clear_location(block, group, TierId::Device);
        let pool = self.device(group);
        pool.unreserve(device);
        pool.end_move(device);
        self.drop_strays(block);
        self.signal.ring();
    }

    /// Queues a move. It is counted at both slots already.
    pub(super) fn enqueue(&mut self, way: Way, purpose: Purpose, priority: Priority) {
        let Way { block, group, from, to, target } = way;
        let source = self.index.location(block, group, from);
        let source_fence = self.pools.pool(from, group).fence(source);
        let target_fence = self.pools.pool(to, group).fence(target);
        let part = Move { id: MoveId(0), group, source, target, source_fence, target_fence };
        let flight = Flight { part, block, purpose, priority, deadline: Time::NEVER };
        self.engine.enqueue(from, to, flight, self.now);
    }
}
