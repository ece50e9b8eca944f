//! What the model claims of the pager, after every operation and at the end.
//! Uses `model`. Known by: `model`, tests.
//!
//! Block events tell what is where; holds keep what they say; with nothing held, nothing is under way or outlives its use, and
//! whoever asks is served.

use super::{Cache, DEADLINE, Operation, Rig};
use kv_pager::ids::{GroupId, PrefixHash, Salt, TierId, TokenId};
use kv_pager::pager::{KeptSlots, Request};
use kv_pager::pool::SlotState;

impl Rig {
    /// What is held stays, and can be matched, whatever the pressure: unless it gave way to a request, was lost with a move, or
    /// erased, or is more than a new quota.
    pub(super) fn look_at_holds(&mut self, operation: &Operation) {
        let may_lose = matches!(
            operation,
            Operation::Fault { .. }
                | Operation::Deadline
                | Operation::Invalidate { .. }
                | Operation::Epoch
                | Operation::Quota { .. }
        );
        let gave_way = self.pager.stats().holds_gave_way;
        let epoch = self.pager.epoch();
        for at in 0..self.holds.len() {
            let held = &self.holds[at];
            let kept = held.hold.kept();
            let before = held.kept.on_device + held.kept.in_host;
            let now = kept.on_device + kept.in_host;
            assert!(now + kept.moving <= kept.wanted, "{kept:?}");
            if !may_lose && gave_way == held.gave_way && !self.has_faults {
                // What is being brought nearer is held on its way.
                assert!(
                    now + kept.moving >= before,
                    "a hold kept {:?}, and keeps {kept:?} after {operation:?}",
                    held.kept
                );
            }
            if kept.moving == 0 && self.model.anchor().is_some() {
                let is_there = |name: &PrefixHash| self.copies.has(name);
                if let Some(tokens) = &held.tokens {
                    let names = self.names(Cache { salt: held.salt, epoch, is_mortal: false }, tokens);
                    assert!(names[..now].iter().all(is_there), "{kept:?}, and not all of it is stored");
                } else {
                    let of_salt = |name: &&PrefixHash| self.committed[*name] == (epoch, held.salt);
                    let stored = self.committed.keys().filter(of_salt).filter(|name| is_there(name)).count();
                    assert!(now <= stored, "{kept:?} of a salt that has {stored} blocks stored");
                }
            }
            self.holds[at].kept = kept;
            self.holds[at].gave_way = gave_way;
        }
    }

    pub(super) fn follow_events(&mut self) {
        let Self { pager, copies, committed, .. } = self;
        copies.follow(pager, |name| committed.contains_key(name));
    }

    /// Asserts all invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.pager.check();
        for opened in &self.sequences {
            opened.sequence.check();
        }
    }

    /// Closes everything and lets everything end: nothing may be left (I7).
    ///
    /// # Panics
    /// If something is.
    pub fn finish(mut self) {
        self.look_at_what_waits();
        self.hung.clear();
        while !self.sequences.is_empty() {
            self.close(0);
        }
        self.let_all_end();
        // Nobody fails for what is kept ahead of need (K3).
        self.check_liveness();
        self.prefetches.clear();
        self.holds.clear();
        self.let_all_end();
        self.follow_events();
        self.pager.check();
        assert!(!self.pager.is_busy(), "I7: something is under way still");
        assert_eq!(
            self.pager.stats().kept,
            [KeptSlots::default(); TierId::COUNT],
            "I7: something is kept still"
        );
        for (tier, group) in
            TierId::ALL.into_iter().flat_map(|tier| self.model.group_ids().map(move |group| (tier, group)))
        {
            let Some(counts) = self.pager.occupancy(tier, group) else { continue };
            for state in [SlotState::Filling, SlotState::Leaving, SlotState::Quarantined] {
                // A move that may go on for ever keeps its slots.
                let is_clear = counts.of(state) == 0 || self.has_lost_slots && state != SlotState::Leaving;
                assert!(is_clear, "I7: {state:?} slots in {tier}, {group:?}: {counts:?}");
            }
        }
        let told = self.model.anchor().unwrap_or(GroupId::FIRST);
        let stored = self.copies.count();
        let resident = TierId::ALL.into_iter().filter_map(|tier| self.pager.occupancy(tier, told));
        let resident: u32 = resident.map(|counts| counts.of(SlotState::Resident)).sum();
        let is_told = stored == resident as usize || self.has_lost_slots;
        assert!(is_told, "the event stream tells of {stored} copies, and there are {resident}");
        self.check_mortality();
        let is_stale = |name: &&PrefixHash| self.committed[*name].0 != self.pager.epoch();
        let stale = self.copies.names().filter(is_stale).count();
        assert!(stale == 0, "H2: {stale} blocks of earlier epochs are left");
        self.check_liveness();
    }

    /// What only requests with a time to live have used is gone when all of those are over (Y1).
    fn check_mortality(&mut self) {
        for _ in 0..100 {
            self.clock.advance(DEADLINE);
            self.pager.poll();
        }
        self.follow_events();
        let left = self.copies.names().filter(|name| !self.immortal.contains(*name)).count();
        assert!(left == 0 || self.has_lost_slots, "Y1: {left} blocks have outlived all that may use them");
    }

    /// While streams hang, deadlines pass: nobody is told to wait for ever, whatever fences do.
    fn look_at_what_waits(&mut self) {
        if self.hung.is_empty() {
            return;
        }
        self.has_faults = true;
        for at in 0..self.sequences.len() {
            // Each of its blocks may be loaded over two hops, or copied, in turn.
            let is_served = (0..200).any(|_| {
                let must_wait = self.step(at, 64, 64);
                self.let_deadlines_pass();
                !must_wait
            });
            assert!(is_served, "{:?} waits for ever", self.sequences[at].sequence.id());
        }
    }

    fn let_deadlines_pass(&mut self) {
        (0..self.machine.streams()).for_each(|stream| {
            if !self.hung.contains(&stream) {
                self.machine.compute(stream, u64::MAX);
            }
        });
        self.machine.advance_all();
        self.clock.advance(DEADLINE);
        self.pager.poll();
        self.follow_events();
        self.check();
    }

    fn let_all_end(&mut self) {
        for _ in 0..1000 {
            (0..self.machine.streams()).for_each(|stream| self.machine.compute(stream, u64::MAX));
            let moved = self.machine.advance_all();
            (0..self.machine.lanes()).for_each(|lane| self.machine.release_stalled(lane));
            self.pager.poll();
            if moved == 0 && self.machine.is_idle() && !self.pager.is_busy() {
                break;
            }
        }
    }

    /// With nothing held by a sequence and everything ending well, a request that fits is served in the end: some hundred copies may
    /// come to nothing before the coldest is given up without one.
    fn check_liveness(&self) {
        let tokens: Vec<TokenId> = (100..140).map(TokenId).collect();
        for _ in 0..1000 {
            match self.pager.open(&Request::new(&tokens).with_salt(Salt(9))) {
                Ok(_) => return,
                Err(_) => self.machine.advance_all(),
            };
        }
        assert!(
            self.has_lost_slots,
            "a request is never served: {:?}",
            self.pager.open(&Request::new(&tokens)).err()
        );
    }
}
