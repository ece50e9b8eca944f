//! A standing: one tier's class of slots, kept by an arm.
//! Layer 8. Uses `ids`, `policy::{keeping, view}`. Known by: `steward`.
//!
//! - **ST1** the arm knows an entry for each slot that is not unknown, under the name of the block that lay there when
//!   the slot was last looked at;
//! - **ST2** offered is what was idle, and had no child in the tier, when it was last looked at;
//! - **ST3** a victim is looked at once more before it is named, and is not named again before the next look;
//! - **ST4** a request is taken in slice by slice, and what leaves the tier between two of them is not touched after;
//! - **ST5** where requests bring blocks into this tier, those on their way count as being here, and one that has arrived before its request
//!   was told comes in with it all the same: its coming alone was no use;
//! - **ST6** a victim that was passed over is spared until as many blocks have left as the tier holds, or nothing else may go: it is not
//!   offered meanwhile, and the arm learns nothing of it.
//!
//! It follows by looking: a slot that is told of is compared with what was known of it, and so is its parent. Whatever
//! happened in between, and in whatever order, the two agree afterwards. An entry of the arm is a slot.

use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::policy::Told;
use crate::policy::View;
use crate::policy::keeping::shadow::Named;
use crate::policy::keeping::{
    Bounds, Departure, EntryId, Keeping, Order, Prices, Slice, Study, Touch, Visit,
};
use std::sync::Arc;

/// Slots that are looked at after the arm got ready for all of them: few enough for what it got ready to be there still.
const LOOKS_AT_ONCE: usize = 128;
/// Slots of what is spared that are looked at in one look for room, however many victims that names.
pub(super) const SPARED_AT_ONCE: usize = 32;

/// What the arm has been told of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing.
    Unknown,
    /// That it is there, and not offered (KE2).
    Withheld,
    /// That it may go.
    Offered,
}

/// What is known of a slot.
#[derive(Clone, Copy, Debug)]
struct Record {
    name: u64,
    block: BlockId,
    parent: BlockId,
    /// Children that were named as victims since the last look.
    leaving_children: u32,
    stage: Stage,
    is_backed: bool,
    /// Whether it is to be looked at again, told of or not.
    is_due: bool,
    /// Whether it is passed over, and until how many blocks have left (ST6).
    is_spared: bool,
    spared_until: u64,
}

const VACANT: Record = Record {
    name: 0,
    block: BlockId::NONE,
    parent: BlockId::NONE,
    leaving_children: 0,
    stage: Stage::Unknown,
    is_backed: false,
    is_due: false,
    is_spared: false,
    spared_until: 0,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    tier: TierId,
    group: GroupId,
    /// Whether its group needs every block, so that the leaf rule holds.
    is_full: bool,
    /// Whether requests bring their blocks here, and not to a nearer tier (ST5).
    is_nearest: bool,
    arm: Box<dyn Keeping>,
    records: Box<[Record]>,
    /// Slots to be looked at again: victims that may have stayed, and their parents.
    due: Vec<SlotId>,
    /// What is spared, longest first, but for what could not go when it was looked at (ST6).
    spared: Order,
    /// How many blocks have left.
    departed: u64,
    /// Names of what has come and gone since the last look: a kept buffer.
    changed: Vec<u64>,
    /// The request at hand: its blocks here, and the others.
    touches: Vec<Touch>,
    absent: Vec<Named>,
    turn: Turn,
}

/// How far the request at hand has been taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// So many of its blocks have been looked for.
    Find { from: usize },
    /// The arm was asked whether it knows so many of those that are here, then of the others, and how deep the first is that it does
    /// not know.
    Ask { from: usize, unknown: Option<u32> },
    /// So many of those that are here are to be touched, and so much of the front was known.
    Touch { left: usize, known: u32 },
    /// So many of the others are to be noted.
    Note { left: usize, known: u32 },
}

/// 64 bits of a block's name.
#[expect(clippy::cast_possible_truncation, reason = "half of the hash is as good a name")]
fn name_of(view: &View<'_>, block: BlockId) -> u64 {
    view.hash(block).0 as u64
}

fn entry(slot: SlotId) -> EntryId {
    EntryId::new(u32::try_from(slot.index()).expect("slots are counted in 32 bits"))
}

impl Standing {
    /// Kept by `arm`. Allocates all it will ever need.
    pub(super) fn new(
        arm: Box<dyn Keeping>,
        tier: TierId,
        group: GroupId,
        is_full: bool,
        bounds: &Bounds,
    ) -> Self {
        Self {
            tier,
            group,
            is_full,
            is_nearest: false,
            arm,
            records: vec![VACANT; bounds.capacity as usize].into_boxed_slice(),
            due: Vec::with_capacity(bounds.capacity as usize),
            spared: Order::new(bounds.capacity),
            departed: 0,
            changed: Vec::with_capacity(2 * LOOKS_AT_ONCE),
            touches: Vec::with_capacity(bounds.request_blocks as usize),
            absent: Vec::with_capacity(bounds.request_blocks as usize),
            turn: Turn::Find { from: 0 },
        }
    }

    /// The same, of a tier below an engine's slots that requests bring their blocks to.
    pub(super) fn below_engine(self) -> Self {
        Self { is_nearest: true, ..self }
    }

    /// What reads the names of requests for its arm.
    pub(super) fn study(&self) -> Option<Arc<dyn Study>> {
        self.arm.study()
    }

    /// The name of its arm.
    pub(super) fn name(&self) -> &'static str {
        self.arm.name()
    }

    /// Whether it keeps this class.
    pub(super) fn keeps(&self, tier: TierId, group: GroupId) -> bool {
        (self.tier, self.group) == (tier, group)
    }

    pub(super) fn tier(&self) -> TierId {
        self.tier
    }

    pub(super) fn set_prices(&mut self, prices: &Prices) {
        self.arm.set_prices(prices);
    }

    /// Looks at these slots, and at those that are due. `O(slots)`.
    pub(super) fn follow(&mut self, view: &View<'_>, slots: &[SlotId]) {
        self.end_sparing(view);
        let mut due = std::mem::take(&mut self.due);
        for slot in &due {
            let record = &mut self.records[slot.index()];
            record.is_due = false;
            record.leaving_children = 0;
        }
        for slots in due.chunks(LOOKS_AT_ONCE).chain(slots.chunks(LOOKS_AT_ONCE)) {
            self.warm(view, slots);
            for slot in slots {
                self.look(view, *slot);
            }
        }
        due.clear();
        self.due = due;
    }

    /// Lets the arm get ready for what has come into these slots and gone from them, before one is looked at after the other.
    fn warm(&mut self, view: &View<'_>, slots: &[SlotId]) {
        self.changed.clear();
        let mut departures = 0;
        for slot in slots {
            let Record { name, block: before, stage, .. } = self.records[slot.index()];
            let block = view.block_in(self.tier, self.group, *slot);
            let is_known = stage != Stage::Unknown;
            if is_known && before != block {
                self.changed.push(name);
                departures += 1;
            }
            let is_same = is_known && before == block;
            if block.is_some() && !is_same && view.is_idle(self.tier, self.group, *slot) {
                self.changed.push(name_of(view, block));
            }
        }
        self.arm.warm(&self.changed, departures);
    }

    /// Goes on taking in a request, by at most `left` looks at its blocks, which are counted off. All is taken in if some are left
    /// after it. Each turn goes over the whole request (ST4): from the root on to find and to ask, from the leaf on to touch and to
    /// note.
    pub(super) fn visit(&mut self, view: &View<'_>, told: &Told<'_>, left: &mut usize) {
        while *left > 0 {
            match self.turn {
                Turn::Find { from } => self.find(view, told, from, left),
                Turn::Ask { from, unknown } => self.ask(told, from, unknown, left),
                Turn::Touch { left: until, known } => self.touch(view, told, until, known, left),
                Turn::Note { left: 0, .. } => {
                    self.turn = Turn::Find { from: 0 };
                    return;
                }
                Turn::Note { left: until, known } => self.note(view, told, until, known, left),
            }
        }
    }

    /// Finds the next blocks: here, or not.
    fn find(&mut self, view: &View<'_>, told: &Told<'_>, from: usize, left: &mut usize) {
        if from == 0 {
            self.touches.clear();
            self.absent.clear();
        }
        let until = told.blocks.len().min(from + *left);
        *left -= until - from;
        for (depth, block) in (0..told.length).zip(told.blocks).take(until).skip(from) {
            let slot = view.slot_of(*block, self.group, self.tier);
            let name = name_of(view, *block);
            if self.is_here(view, *block) {
                self.notice(view, slot);
                self.withdraw(view, slot);
                self.touches.push(Touch { entry: entry(slot), name, depth });
            } else {
                self.absent.push(Named { name, depth });
            }
        }
        let is_over = until == told.blocks.len();
        self.turn = if is_over { Turn::Ask { from: 0, unknown: None } } else { Turn::Find { from: until } };
    }

    /// Asks the arm for the first block that it does not know: of those here, then of the others.
    fn ask(&mut self, told: &Told<'_>, from: usize, unknown: Option<u32>, left: &mut usize) {
        let here = self.touches.len();
        let end = if from < here { here } else { here + self.absent.len() };
        let until = end.min(from + *left);
        *left -= until - from;
        let (touches, absent) = if from < here {
            (&self.touches[from..until], &[][..])
        } else {
            (&[][..], &self.absent[from - here..until - here])
        };
        let found = self.arm.first_unknown(&Visit { length: told.length, touches, absent });
        let unknown = unknown.into_iter().chain(found).min();
        let next = if found.is_some() { end } else { until };
        self.turn = if next < here + self.absent.len() {
            Turn::Ask { from: next, unknown }
        } else {
            Turn::Touch { left: here, known: unknown.unwrap_or(told.length) }
        };
    }

    /// Touches the next blocks that are here still.
    fn touch(&mut self, view: &View<'_>, told: &Told<'_>, until: usize, known: u32, left: &mut usize) {
        let first = until.saturating_sub(*left);
        *left -= until - first;
        let mut kept = first;
        for at in first..until {
            let touch = self.touches[at];
            let block = told.blocks[touch.depth as usize];
            let slot = SlotId::from_index(touch.entry.index());
            if view.slot_of(block, self.group, self.tier) == slot && self.is_here(view, block) {
                self.notice(view, slot);
                self.withdraw(view, slot);
                self.set_known(slot);
                self.touches[kept] = touch;
                kept += 1;
            }
        }
        if until > 0 {
            let visit = Visit { length: told.length, touches: &self.touches[first..kept], absent: &[] };
            let is_last = first == 0 && self.absent.is_empty();
            self.arm.visit_slice(&Slice { visit, known, is_last });
        }
        for at in first..kept {
            let slot = SlotId::from_index(self.touches[at].entry.index());
            self.review(view, slot);
        }
        self.turn = match first {
            0 => Turn::Note { left: self.absent.len(), known },
            _ => Turn::Touch { left: first, known },
        };
    }

    /// Lets the arm take note of the next of the others, as far as they have not come since.
    fn note(&mut self, view: &View<'_>, told: &Told<'_>, until: usize, known: u32, left: &mut usize) {
        let first = until.saturating_sub(*left);
        *left -= until - first;
        let mut kept = first;
        for at in first..until {
            let other = self.absent[at];
            if !self.is_here(view, told.blocks[other.depth as usize]) {
                self.absent[kept] = other;
                kept += 1;
            }
        }
        let visit = Visit { length: told.length, touches: &[], absent: &self.absent[first..kept] };
        self.arm.visit_slice(&Slice { visit, known, is_last: first == 0 });
        self.turn = Turn::Note { left: first, known };
    }

    /// Whether a block of the request at hand is here, or as good as here (ST5).
    fn is_here(&self, view: &View<'_>, block: BlockId) -> bool {
        view.is_in(block, self.group, self.tier)
            || self.is_nearest && view.is_bound_for(block, self.group, self.tier)
    }

    /// Takes back that the block in `slot` has come, if it came with the request that is being told (ST5).
    fn withdraw(&mut self, view: &View<'_>, slot: SlotId) {
        let Record { block, stage, name, parent, is_due, .. } = self.records[slot.index()];
        if self.is_nearest && stage != Stage::Unknown && view.is_untold(block) {
            self.arm.depart(entry(slot), Departure::Withdrawn);
            self.spare_no_longer(slot);
            self.records[slot.index()] = Record { name, block, parent, is_due, ..VACANT };
        }
    }

    /// A victim that was named is passed over (ST6).
    pub(super) fn pass_over(&mut self, view: &View<'_>, block: BlockId) {
        let Some(slot) = self.slot_of(view, block) else { return };
        self.spare_no_longer(slot);
        self.spared.push(entry(slot));
        let spared_until = self.departed + self.records.len() as u64;
        let record = self.records[slot.index()];
        self.records[slot.index()] = Record { is_spared: true, spared_until, ..record };
        self.review(view, slot);
    }

    /// What stands in the slot is not spared any more.
    fn spare_no_longer(&mut self, slot: SlotId) {
        if std::mem::replace(&mut self.records[slot.index()].is_spared, false) {
            self.spared.remove(entry(slot));
        }
    }

    /// The slot of what has been spared longest.
    fn longest_spared(&self) -> Option<SlotId> {
        self.spared.oldest().map(|entry| SlotId::from_index(entry.index()))
    }

    /// What has been spared long enough is offered again.
    fn end_sparing(&mut self, view: &View<'_>) {
        for _ in 0..SPARED_AT_ONCE {
            let is_over = |slot: &SlotId| self.records[slot.index()].spared_until <= self.departed;
            let Some(slot) = self.longest_spared().filter(is_over) else { return };
            self.spare_no_longer(slot);
            self.look(view, slot);
        }
    }

    /// Offers what has been spared longest of that which could go, if any of the first is. Looks at `looks` of them at most, which are
    /// counted off; those that could not go are looked at last next time.
    fn spare_one_less(&mut self, view: &View<'_>, looks: &mut usize) -> bool {
        for _ in 0..self.spared.len().min(*looks) {
            let Some(slot) = self.longest_spared() else { return false };
            *looks -= 1;
            self.notice(view, slot);
            if !self.records[slot.index()].is_spared {
                // It has gone. What lies there now is told of like anything that comes.
                continue;
            }
            if self.could_go_now(view, slot) {
                self.spare_no_longer(slot);
                self.look(view, slot);
                return true;
            }
            self.spared.remove(entry(slot));
            self.spared.push(entry(slot));
        }
        false
    }

    /// The next victim (ST3), with how likely it is asked for again, as far as the arm says. If there is none but what is spared, looks
    /// at `spared_looks` of that at most, which are counted off.
    pub(super) fn victim(
        &mut self,
        view: &View<'_>,
        spared_looks: &mut usize,
    ) -> Option<(BlockId, Option<f64>)> {
        loop {
            let Some(victim) = self.arm.victim() else {
                if self.spare_one_less(view, spared_looks) {
                    continue;
                }
                return None;
            };
            let slot = SlotId::from_index(victim.index());
            let record = self.records[slot.index()];
            let odds = self.arm.odds(victim);
            self.arm.withhold(&[victim]);
            self.records[slot.index()].stage = Stage::Withheld;
            self.set_due(slot);
            let is_there = view.block_in(self.tier, self.group, slot) == record.block;
            if !is_there || !self.could_go_now(view, slot) {
                continue;
            }
            self.count_leaving(view, record.parent);
            return Some((record.block, odds));
        }
    }

    /// What the block that would go next is worth, if the arm says. It is not looked at once more: the next that may go can be worth
    /// more.
    pub(super) fn least_worth(&mut self) -> Option<f64> {
        let victim = self.arm.victim()?;
        self.arm.worth(victim)
    }

    /// What a block that lies here is worth, if the arm says.
    pub(super) fn worth(&mut self, view: &View<'_>, block: BlockId) -> Option<f64> {
        let slot = self.slot_of(view, block)?;
        self.arm.worth(entry(slot))
    }

    /// What a block that lies farther away would be worth here.
    pub(super) fn worth_of_absent(&mut self, view: &View<'_>, block: BlockId) -> Option<f64> {
        self.arm.worth_of_absent(name_of(view, block))
    }

    /// A child of `parent` is about to leave: once all have, the parent is the next that may.
    fn count_leaving(&mut self, view: &View<'_>, parent: BlockId) {
        let Some(slot) = self.slot_of(view, parent) else { return };
        self.records[slot.index()].leaving_children += 1;
        self.set_due(slot);
        self.review(view, slot);
    }

    fn set_known(&mut self, slot: SlotId) {
        let stage = &mut self.records[slot.index()].stage;
        if *stage == Stage::Unknown {
            *stage = Stage::Withheld;
        }
    }

    fn set_due(&mut self, slot: SlotId) {
        if !std::mem::replace(&mut self.records[slot.index()].is_due, true) {
            self.due.push(slot);
        }
    }

    /// The slot of `block` here, if it is recorded as that.
    fn slot_of(&self, view: &View<'_>, block: BlockId) -> Option<SlotId> {
        if !block.is_some() {
            return None;
        }
        let slot = view.slot_of(block, self.group, self.tier);
        (slot.is_some() && self.records[slot.index()].block == block).then_some(slot)
    }

    fn look(&mut self, view: &View<'_>, slot: SlotId) {
        self.notice(view, slot);
        let Record { block, stage, name, .. } = self.records[slot.index()];
        if !block.is_some() {
            return;
        }
        if stage == Stage::Unknown && view.is_idle(self.tier, self.group, slot) {
            let depth = view.block(block).depth;
            self.set_known(slot);
            self.arm.admit(&Touch { entry: entry(slot), name, depth });
        }
        self.review(view, slot);
    }

    /// Brings the record up to what lies in the slot (ST1).
    fn notice(&mut self, view: &View<'_>, slot: SlotId) {
        let before = self.records[slot.index()];
        let block = view.block_in(self.tier, self.group, slot);
        let name = if block.is_some() { name_of(view, block) } else { 0 };
        if (before.block, before.name) == (block, name) {
            return;
        }
        if before.stage != Stage::Unknown {
            self.arm.depart(entry(slot), Departure::Evicted);
            self.departed += 1;
        }
        let parent = if block.is_some() { view.parent(block) } else { BlockId::NONE };
        self.spare_no_longer(slot);
        self.records[slot.index()] = Record { name, block, parent, is_due: before.is_due, ..VACANT };
        for parent in [before.parent, parent] {
            if let Some(slot) = self.slot_of(view, parent) {
                self.review(view, slot);
            }
        }
    }

    /// Offers or withholds what stands in the slot (ST2).
    fn review(&mut self, view: &View<'_>, slot: SlotId) {
        let record = self.records[slot.index()];
        if record.stage == Stage::Unknown {
            return;
        }
        let mut farther = TierId::ALL[self.tier.index() + 1..].iter();
        let is_backed = farther.any(|tier| view.is_in(record.block, self.group, *tier));
        if is_backed != record.is_backed {
            self.arm.set_backed(entry(slot), is_backed);
            self.records[slot.index()].is_backed = is_backed;
        }
        let stage = if self.may_go(view, slot) { Stage::Offered } else { Stage::Withheld };
        if stage != record.stage {
            self.records[slot.index()].stage = stage;
            match stage {
                Stage::Offered => self.arm.offer(&[entry(slot)]),
                Stage::Unknown | Stage::Withheld => self.arm.withhold(&[entry(slot)]),
            }
        }
    }

    /// Whether nothing holds the part in `slot`, no child that stays lies in the tier, and it is not spared.
    fn may_go(&self, view: &View<'_>, slot: SlotId) -> bool {
        !self.records[slot.index()].is_spared && self.could_go(view, slot)
    }

    /// The same, spared or not.
    fn could_go(&self, view: &View<'_>, slot: SlotId) -> bool {
        let record = &self.records[slot.index()];
        view.is_idle(self.tier, self.group, slot)
            && (!self.is_full
                || view.children_in(record.block, self.group, self.tier) <= record.leaving_children)
    }

    /// The same, and no move is at it: what is being copied goes in a later look.
    fn could_go_now(&self, view: &View<'_>, slot: SlotId) -> bool {
        self.could_go(view, slot) && !view.is_moving(self.tier, self.group, slot)
    }

    /// Asserts ST1. `O(slots)`; for tests.
    pub(super) fn check(&self) {
        self.arm.check();
        let known = self.records.iter().filter(|record| record.stage != Stage::Unknown).count();
        assert_eq!(known, self.arm.len(), "ST1: what the arm of tier {} knows", self.tier);
        let due = self.records.iter().filter(|record| record.is_due).count();
        assert_eq!(due, self.due.len(), "ST3: slots that are due in tier {}", self.tier);
        self.spared.check();
        let spared = self.records.iter().filter(|record| record.is_spared);
        assert_eq!(spared.clone().count(), self.spared.len(), "ST6: what is spared in tier {}", self.tier);
        let offered = spared.filter(|record| record.stage == Stage::Offered).count();
        assert_eq!(offered, 0, "ST6: spared, and offered");
    }
}
