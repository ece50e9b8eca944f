//! Chores: what every call does first, in as many holds of the lock as it takes.
//! Layer 9. Uses `pager::core`. Known by: `pager::slices`.
//!
//! - **CH1** one hold handles at most [`HOLD_BLOCKS`] blocks by chores, and begins none that may take more than it has left;
//! - **CH2** a call does of each chore what it would do in one hold: the rest is the next call's;
//! - **CH3** room that somebody needs farther away, to have room nearer, is made in holds of its own, the farthest tier first. Who
//!   asked for it goes on after that ([`Core::goes_on`]).
//!
//! What has ended is taken in, room is made at the watermarks, what waits is started (G1).

use super::core::Core;
use crate::clock::Time;
use crate::ids::{GroupId, Salt, TierId};

/// How many blocks one hold of the lock handles, beside those of the slice of a sequence at hand. What hangs on them, parents and
/// children, and what a policy looks at once more, comes on top.
pub(super) const HOLD_BLOCKS: u32 = 224;

/// How many slots one call makes room for in a class, and how many loads it starts, at most.
const SLOTS_A_CALL: u32 = 512;
const LOADS_A_CALL: usize = 512;
/// How many moves end after a look for room that found none before balancing looks again.
const BALANCE_MOVES: u64 = 64;

/// What is done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    #[default]
    Begin,
    TakeIn,
    GiveBack,
    Prune,
    Reclaim,
    Expire,
    Balance,
    Load,
    Keep,
    Promote,
    Probe,
    Over,
}

/// How far a call has come with its chores.
#[derive(Debug, Default)]
pub(super) struct Chores {
    stage: Stage,
    /// Which class is balanced, and how many slots it is to have free, if that is known.
    class: usize,
    target: Option<u32>,
    /// How many loads it has started.
    loads: usize,
    /// Whether only loads are to be started.
    is_for_loads: bool,
}

impl Chores {
    /// The one chore of starting loads that wait.
    pub(super) fn loads() -> Self {
        Self { stage: Stage::Load, is_for_loads: true, ..Self::default() }
    }
}

/// Room that was asked for to have room nearer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Farther {
    slots: u32,
    room_for: Option<Salt>,
}

impl Core {
    /// Goes on with chores, by one hold. Returns whether they are over.
    pub(super) fn chores_slice(&mut self, chores: &mut Chores, now: Time) -> bool {
        self.now = now;
        if !self.make_room_farther(now) {
            return false;
        }
        while chores.stage != Stage::Over {
            let Some(next) = self.do_chore(chores, now) else { return false };
            chores.stage = if chores.is_for_loads { Stage::Over } else { next };
        }
        self.engine.pump(now)
    }

    /// Does the chore at hand. Returns the next one; `None` if this one takes another hold.
    fn do_chore(&mut self, chores: &mut Chores, now: Time) -> Option<Stage> {
        let is_fresh = self.is_fresh();
        match chores.stage {
            Stage::Begin => {
                self.look_again();
                self.look_after().then_some(Stage::TakeIn)
            }
            Stage::TakeIn => self.take_in(now).then_some(Stage::GiveBack),
            Stage::GiveBack => {
                self.release_parked();
                self.room_for = None;
                Some(if self.is_tidy(now) { Stage::Over } else { Stage::Prune })
            }
            Stage::Prune => (self.falls_on() && self.prune_on()).then_some(Stage::Reclaim),
            Stage::Reclaim if !is_fresh && self.stale_from.is_some() => None,
            Stage::Reclaim => {
                self.reclaim_stale();
                Some(Stage::Expire)
            }
            Stage::Expire if !is_fresh && self.has_expired(now) => None,
            Stage::Expire => {
                self.expire(now);
                Some(Stage::Balance)
            }
            Stage::Balance => self.balance_slice(chores, now).then_some(Stage::Load),
            Stage::Load => {
                let before = self.pending.len();
                self.issue_loads(now);
                chores.loads += before - self.pending.len();
                (!self.goes_on || chores.loads >= LOADS_A_CALL).then_some(Stage::Keep)
            }
            Stage::Keep if !is_fresh && self.has_keepers() => None,
            Stage::Keep => {
                self.advance_keepers(now);
                Some(Stage::Promote)
            }
            Stage::Promote if !is_fresh && self.stands_idle() => None,
            Stage::Promote => {
                self.promote(now);
                Some(Stage::Probe)
            }
            Stage::Probe if !is_fresh && self.wants_probe() => None,
            Stage::Probe => {
                self.probe();
                Some(Stage::Over)
            }
            Stage::Over => None,
        }
    }

    /// Whether there is nothing else to do: what most calls find.
    fn is_tidy(&self, now: Time) -> bool {
        let is_all_gone = self.falls.is_empty() && self.strays.is_empty() && self.unpruned.is_empty();
        let has_room = || {
            let mut near = [TierId::Device, TierId::Host].into_iter().filter(|tier| self.pools.has(*tier));
            near.all(|tier| self.groups().all(|group| !self.is_below_low(tier, group)))
        };
        is_all_gone
            && self.stale_from.is_none()
            && self.pending.is_empty()
            && !self.has_keepers()
            && !self.has_expired(now)
            && has_room()
            && !self.stands_idle()
            && !self.wants_probe()
    }

    /// Whether a class has fewer free slots, those about to be free counted, than its low watermark asks for.
    fn is_below_low(&self, tier: TierId, group: GroupId) -> bool {
        let (low, _) = self.config.watermarks.slots(self.pools.pool(tier, group).capacity());
        self.free_slots(tier, group) < low
            && self.free_slots(tier, group) + self.leaving_slots(tier, group) < low
    }

    /// Keeps the free slots of the device and the host between the watermarks, a hold at a time. Returns whether both are balanced, as
    /// far as one call goes.
    fn balance_slice(&mut self, chores: &mut Chores, now: Time) -> bool {
        let groups = self.groups().len();
        while chores.class < 2 * groups {
            let (tier, group) =
                (TierId::ALL[chores.class / groups], GroupId::from_index(chores.class % groups));
            if !self.balance(tier, group, &mut chores.target, now) {
                return false;
            }
            (chores.class, chores.target) = (chores.class + 1, None);
        }
        true
    }

    /// Brings a class to its high watermark, if it is below the low one. After a look that found no room to make, the next waits until
    /// some moves have ended or a sequence was closed: looking costs as much as moving. False if it goes on in the next hold.
    fn balance(&mut self, tier: TierId, group: GroupId, target: &mut Option<u32>, now: Time) -> bool {
        if !self.pools.has(tier) || self.moves_ended < self.balance_again[tier.index()] {
            return true;
        }
        let (low, high) = self.config.watermarks.slots(self.pools.pool(tier, group).capacity());
        let coming = self.free_slots(tier, group) + self.leaving_slots(tier, group);
        if target.is_none() && coming >= low {
            return true;
        }
        let wanted = *target.get_or_insert(high.min(coming + SLOTS_A_CALL));
        if coming >= wanted {
            return true;
        }
        let need = self.need(tier, group, wanted - coming);
        if need.slots == 0 {
            return false;
        }
        let before = self.room_made;
        if !self.make_room(need, now) {
            return false;
        }
        let has_more = self.free_slots(tier, group) + self.leaving_slots(tier, group) > coming;
        // As long as that gets on.
        if self.goes_on && self.room_made != before || has_more && need.slots < wanted - coming {
            return false;
        }
        if !has_more {
            self.balance_again[tier.index()] = self.moves_ended + BALANCE_MOVES;
        }
        true
    }

    /// Room of a class is needed, to have room nearer, and could not be made in this hold.
    pub(super) fn ask_farther(&mut self, tier: TierId, group: GroupId, slots: u32) {
        self.is_asked_farther = true;
        let asked = &mut self.farther[tier.index()][group.index()];
        let slots = asked.map_or(slots, |asked| asked.slots.max(slots));
        *asked = Some(Farther { slots, room_for: self.room_for });
    }

    /// Makes room that was asked for to have room nearer, the farthest first, by one hold. Returns whether none was asked for: then
    /// this hold can be used for something else.
    pub(super) fn make_room_farther(&mut self, now: Time) -> bool {
        if !self.is_asked_farther {
            return true;
        }
        for tier in TierId::ALL.into_iter().rev() {
            for group in self.groups() {
                let Some(asked) = self.farther[tier.index()][group.index()].take() else { continue };
                let room_for = std::mem::replace(&mut self.room_for, asked.room_for);
                // What can't be had now is not waited for.
                let is_free = self.ensure_free(tier, group, asked.slots, now);
                if is_free.is_err() && self.goes_on {
                    self.ask_farther(tier, group, asked.slots);
                }
                self.room_for = room_for;
                return false;
            }
        }
        self.is_asked_farther = false;
        true
    }

    /// Whether this hold has handled nothing yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.left == HOLD_BLOCKS
    }

    /// So many blocks are handled in this hold.
    pub(super) fn handle(&mut self, blocks: usize) {
        self.left = self.left.saturating_sub(u32::try_from(blocks).unwrap_or(u32::MAX));
    }
}
