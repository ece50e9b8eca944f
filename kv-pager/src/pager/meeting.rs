//! Where the fronts meet: a sequence that waits for loads computes some of them instead.
//! Layer 9. Uses `ids`, `policy`, `transfer`. Known by: `pager`.
//!
//! - **ME1** only loads that have not begun are called off, and only where nobody else waits for them;
//! - **ME2** what is called off is a miss like any other: the sequence computes it (I3).
//!
//! - **ME3** while others have something to compute, nothing is called off before twice the time that it was given is over.
//!
//! Loads come from the back to the front while the front is computed. Where the two would be done at different times, or a load
//! is late, the policy says how many blocks are better computed now.

use super::core::Core;
use super::course::Lateness;
use crate::clock::Time;
use crate::ids::{GroupId, SlotId, TierId};
use crate::policy::{View, Waiting};
use crate::pool::SlotState;
use crate::sequence::{EntryKind, SequenceState};
use crate::transfer::{Flight, Purpose};
use crate::units::Nanos;

impl Core {
    /// Calls off loads from entry `at` on, which has not come, if the policy would rather compute or their time is over. Returns
    /// whether any was, so that it is worth looking again.
    pub(super) fn meet(&mut self, state: &mut SequenceState, at: usize, now: Time) -> bool {
        let is_windowed = self.windowed_groups().next().is_some();
        if is_windowed || self.is_engines() || state.entries[at].kind != EntryKind::Loading {
            return false;
        }
        let mut waiting = Waiting {
            tokens: at * state.tokens_per_block(),
            blocks: [0; TierId::COUNT],
            urgency: self.course(state).urgency,
        };
        let mut blocks = 0;
        for place in at..state.entries.len() {
            let Some(from) = state.entries[place].source.filter(|_| self.is_coming(state, place)) else {
                break;
            };
            waiting.blocks[from.index()] += 1;
            blocks += 1;
        }
        let lateness = self.course(state).lateness(now);
        // While others compute, waiting costs the device nothing; but nobody waits on and on for a lane that stands still.
        if lateness != Lateness::Twice && self.others_work(state) > Nanos::ZERO {
            return false;
        }
        let is_late = lateness != Lateness::InTime;
        let wanted = if is_late {
            blocks
        } else {
            let prospects = self.costs.prospects();
            let view = View::new(&self.pools, &self.index, prospects, self.demotable(), now);
            self.policy.meet(&view, &waiting).min(blocks)
        };
        wanted > 0 && self.call_off_loads(state, at, wanted, now)
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

    fn call_off_loads(&mut self, state: &SequenceState, at: usize, blocks: usize, now: Time) -> bool {
        let mut meant = std::mem::take(&mut self.meant);
        meant.clear();
        for place in at..at + blocks {
            for group in self.groups() {
                let slot = state.slot(group, place);
                // Others that wait for it have plans of their own.
                if slot.is_some() && self.device(group).holds(slot) == 1 {
                    meant.push((group, slot));
                }
            }
        }
        meant.sort_unstable();
        let before = self.counters.failed_loads;
        let has = |meant: &[(GroupId, SlotId)], group, slot| meant.binary_search(&(group, slot)).is_ok();
        for _ in 0..self.pending.len() {
            let Some(load) = self.pending.pop_front() else { break };
            if has(&meant, load.group, load.device) {
                self.call_off(load);
            } else {
                self.pending.push_back(load);
            }
        }
        let is_meant = |flight: &Flight| match flight.purpose {
            Purpose::Onboard => has(&meant, flight.part.group, flight.part.target),
            Purpose::Land { device } => has(&meant, flight.part.group, device),
            Purpose::Demote | Purpose::Replicate | Purpose::Promote | Purpose::CopyOnWrite => false,
        };
        self.engine.call_off(TierId::Host, TierId::Device, is_meant);
        self.engine.call_off(TierId::File, TierId::Host, is_meant);
        self.meant = meant;
        self.take_in(now);
        let cut = self.counters.failed_loads - before;
        self.counters.cut_loads += cut;
        cut > 0
    }
}
