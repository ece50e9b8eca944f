//! Where the fronts meet: a sequence that waits for loads computes some of them instead.
//! Layer 9. Uses `ids`, `policy`, `transfer`. Known by: `pager`.
//!
//! - **ME1** only loads that have not begun are called off, and only where nobody else waits for them;
//! - **ME2** what is called off is a miss like any other: the sequence computes it (I3);
//! - **ME3** while others have something to compute, nothing is called off in time, for they will need the device too; while there is
//!   something that they can compute now, nothing before twice the time that it was given is over, or the deadline leaves no more
//!   than the time to compute it;
//! - **ME4** a late load that can't be called off is left: it goes on (I2), to stay cached where it lands, and the sequence
//!   computes into another slot, as much as one step does and there is room for.
//!
//! Loads come from the back to the front while the front is computed. Where the two would be done at different times, the policy
//! says how many blocks are better computed now; those of a load that is late all are. Where groups look through windows, what
//! comes later can't be used without what is late: then the sequence is opened again, and computes all that is not there.

use super::core::Core;
use super::course::Lateness;
use crate::clock::Time;
use crate::ids::{BlockId, Fence, TierId};
use crate::policy::{View, Waiting};
use crate::pool::SlotState;
use crate::sequence::{Entry, EntryKind, SequenceState};
use crate::transfer::{Flight, Goal, Purpose};
use crate::units::Nanos;
use std::ops::Range;

/// What a sequence waits for, as far as it has been counted.
#[derive(Clone, Debug)]
pub(super) struct Meeting {
    /// From which entry on.
    at: usize,
    /// Up to which one.
    counted: usize,
    waiting: Waiting,
    /// The entries whose loads are to be called off, once that is known, and whether any was.
    to_cut: Range<usize>,
    has_cut: bool,
    /// Those whose loads are to be left if none was (ME4).
    to_leave: Range<usize>,
}

/// What has come of a look where the fronts meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Met {
    /// All that is to be loaded is waited for.
    Wait,
    /// Not all has been counted, or is to be [called off](Core::cut_slice).
    More,
    /// The sequence is to be opened again, and to go on without loads.
    Reopen,
}

impl Core {
    /// Counts a slice of what is waited for from entry `at` on, which has not come, and at its end says which loads are to be called
    /// off, if the policy would rather compute or their time is over. Keeps in `meeting` how far it has come. A step computes
    /// `tokens_max` tokens.
    pub(super) fn meet(
        &mut self,
        state: &mut SequenceState,
        at: usize,
        tokens_max: usize,
        meeting: &mut Option<Meeting>,
        now: Time,
    ) -> Met {
        if self.is_engines() || state.entries[at].kind != EntryKind::Loading {
            return Met::Wait;
        }
        let lateness = self.course(state).lateness(now);
        // While others compute, waiting costs the device nothing; but nobody waits on and on for a lane that stands still.
        let others = match lateness {
            Lateness::InTime => self.others_work(state),
            Lateness::Late => self.others_startable(state),
            Lateness::Overdue => Nanos::ZERO,
        };
        if others > Nanos::ZERO {
            return Met::Wait;
        }
        // What comes later can't be used without what is waited for.
        let is_windowed = self.windowed_groups().next().is_some();
        if lateness == Lateness::InTime && is_windowed {
            return Met::Wait;
        }
        let slice = self.config.limits.slice_blocks as usize;
        let mut so_far = meeting
            .take()
            .filter(|so_far| so_far.at == at && !so_far.has_cut)
            .unwrap_or_else(|| self.begin_meeting(state, at));
        let until = state.entries.len().min(so_far.counted + slice);
        while so_far.counted < until {
            let place = so_far.counted;
            if !self.is_coming(state, place) {
                break;
            }
            // Its source may have gone since.
            if let Some(from) = state.entries[place].source {
                so_far.waiting.blocks[from.index()] += 1;
            }
            so_far.counted += 1;
        }
        if so_far.counted == until && until < state.entries.len() {
            *meeting = Some(so_far);
            return Met::More;
        }
        let blocks = so_far.counted - at;
        let (wanted, left) = if lateness == Lateness::InTime {
            let prospects = self.costs.prospects();
            let view = View::new(&self.pools, &self.index, prospects, self.demotable(), now);
            (self.policy.meet(&view, &so_far.waiting).min(blocks), 0)
        } else {
            (blocks, blocks.min(tokens_max.div_ceil(state.tokens_per_block())))
        };
        if wanted == 0 {
            return Met::Wait;
        }
        *meeting = Some(Meeting { to_cut: at..at + wanted, to_leave: at..at + left, ..so_far });
        Met::More
    }

    /// Calls off the next slice of the loads that are to be, and then leaves those that are late and have begun. `None` if there are
    /// none; otherwise whether it is worth looking again: it is not if all go on.
    pub(super) fn cut_slice(
        &mut self,
        state: &mut SequenceState,
        meeting: &mut Option<Meeting>,
        now: Time,
    ) -> Option<Met> {
        let slice = self.config.limits.slice_blocks as usize;
        let next = |range: &Range<usize>| range.start..range.end.min(range.start + slice);
        let cut = meeting.as_mut()?;
        if !cut.to_cut.is_empty() {
            let called = next(&cut.to_cut);
            cut.to_cut.start = called.end;
            let blocks = self.call_off_loads(state, called.clone(), now);
            cut.has_cut |= blocks > 0;
            // Loads come from the back, so that those that have not begun are the first.
            self.note_cut(state, called.start..called.start + blocks);
            let is_over = cut.to_cut.is_empty() && !cut.has_cut && cut.to_leave.is_empty();
            return Some(if is_over { Met::Wait } else { Met::More });
        }
        if cut.has_cut || cut.to_leave.is_empty() {
            return None;
        }
        if self.windowed_groups().next().is_some() {
            *meeting = None;
            return Some(Met::Reopen);
        }
        let left = next(&cut.to_leave);
        cut.to_leave.start = left.end;
        let blocks = self.leave_loads(state, left.clone(), now);
        if blocks == 0 {
            cut.to_leave = 0..0;
        }
        self.note_cut(state, left.start..left.start + blocks);
        // What was left in an earlier slice can be computed.
        Some(if blocks > 0 || left.start > cut.at { Met::More } else { Met::Wait })
    }

    /// Takes other slots for those of these entries that have not come (ME4), as far as there are any, the first first. Returns of how many it
    /// took some.
    fn leave_loads(&mut self, state: &mut SequenceState, places: Range<usize>, now: Time) -> usize {
        let late = places.clone().filter(|place| self.is_coming(state, *place)).count();
        let wanted = u32::try_from(late).expect("no more than a slice");
        let (mut slots, mut left_blocks) = (wanted, 0);
        for group in self.groups() {
            let is_free = self.ensure_free_for(state, group, wanted, now).is_ok();
            slots = slots.min(if is_free { wanted } else { self.free_slots(TierId::Device, group) });
        }
        for place in places {
            if slots == 0 {
                break;
            }
            if !self.is_coming(state, place) {
                continue;
            }
            slots -= 1;
            for group in self.groups() {
                let left = state.slot(group, place);
                let pool = self.pools.pool_mut(TierId::Device, group);
                let table = &mut state.tables[group.index()];
                let is_taken = pool.take_held(1, |fresh| table[place] = fresh);
                assert!(is_taken, "a device slot was free, and could not be taken");
                self.let_go_slot(group, left, Fence::OVER);
            }
            self.compute_instead(state, place);
            self.counters.cut_loads += 1;
            left_blocks += 1;
        }
        left_blocks
    }

    /// Makes block `at`, whose load does not come, one to be computed. If its tokens were cut since, what will be computed is another.
    pub(super) fn compute_instead(&mut self, state: &mut SequenceState, at: usize) {
        let Entry { block, done, .. } = state.entries[at];
        let is_other = usize::from(done) < state.tokens_per_block();
        state.entries[at] = Entry { block: if is_other { BlockId::NONE } else { block }, ..Entry::EMPTY };
        if is_other {
            self.unrefer(block);
        }
    }

    fn begin_meeting(&mut self, state: &SequenceState, at: usize) -> Meeting {
        let waiting = Waiting {
            tokens: at * state.tokens_per_block(),
            blocks: [0; TierId::COUNT],
            urgency: self.course(state).urgency,
        };
        Meeting { at, counted: at, waiting, to_cut: 0..0, has_cut: false, to_leave: 0..0 }
    }

    /// Whether a load into entry `place` is on its way, or waits to be.
    fn is_coming(&self, state: &SequenceState, place: usize) -> bool {
        let entry = &state.entries[place];
        entry.kind == EntryKind::Loading
            && self.groups().any(|group| {
                let slot = state.slot(group, place);
                slot.is_some() && {
                    let pool = self.pools.pool(TierId::Device, group);
                    pool.state(slot) == SlotState::Filling && pool.block(slot) == entry.block
                }
            })
    }

    /// Calls off the loads into these entries that have not begun (ME1). Returns of how many there were any.
    fn call_off_loads(&mut self, state: &SequenceState, places: Range<usize>, now: Time) -> usize {
        let mut goals = std::mem::take(&mut self.goals);
        for place in places {
            let block = state.entries[place].block;
            for group in self.groups() {
                let slot = state.slot(group, place);
                let is_there = slot.is_some() && block.is_some();
                // Others that wait for it have plans of their own; what was left goes on elsewhere.
                let is_meant = is_there
                    && self.device(group).holds(slot) == 1
                    && self.index.location(block, group, TierId::Device) == slot;
                if is_meant {
                    goals[TierId::Device.index()].push(Goal { block, group, slot });
                    let in_host = self.index.location(block, group, TierId::Host);
                    let landing = Goal { block, group, slot: in_host };
                    goals[TierId::Host.index()].extend(in_host.is_some().then_some(landing));
                }
            }
        }
        let [on_device, in_host, _] = &mut goals;
        let before = self.counters.failed_loads;
        let mut loads = std::mem::take(&mut self.called_off);
        self.pending.take_found(on_device, |_| true, &mut loads);
        loads.drain(..).for_each(|load| self.call_off(load));
        self.called_off = loads;
        let Self { engine, index, .. } = self;
        engine.call_off(TierId::Host, TierId::Device, on_device, |flight| flight.purpose == Purpose::Onboard);
        let is_for_it = |flight: &Flight, device| {
            index.location(flight.block, flight.part.group, TierId::Device) == device
        };
        engine.call_off(
            TierId::File,
            TierId::Host,
            in_host,
            |flight| matches!(flight.purpose, Purpose::Land { device } if is_for_it(flight, device)),
        );
        on_device.clear();
        in_host.clear();
        self.goals = goals;
        if !self.take_in(now) {
            // The rest ends with the next call, which whoever waits is to make.
            self.signal.ring();
        }
        let cut = self.counters.failed_loads - before;
        self.counters.cut_loads += cut;
        let blocks = cut.div_ceil(self.groups().len() as u64);
        usize::try_from(blocks).expect("no more than a slice")
    }
}
