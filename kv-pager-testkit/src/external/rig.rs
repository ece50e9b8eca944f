//! An engine with slots of its own beside the model: what was computed under which name, and what the event stream says is where.
//! Uses `external::engine`, `model`. Known by: tests.

use super::engine::{Engine, EngineSpec};
use super::operation::{ExternalOperation, Worth};
use crate::model::Copies;
use crate::tagged::Fate;
use kv_pager::ids::{GroupId, PrefixHash, Salt, TierId};
use kv_pager::pager::{Delivery, Prompt};
use kv_pager::policy::Urgency;
use kv_pager::pool::SlotState;
use std::collections::{HashMap, HashSet};

/// Rounds in which everything may go on, until something that does not end counts as hanging: where the file is too small for what
/// the host gives up, a load waits for hundreds of copies that go round.
const ROUNDS_MAX: usize = 1_000;

/// The system and its model.
#[derive(Debug)]
pub struct ExternalRig {
    engine: Engine,
    /// The model's set: names of blocks that were computed, and their salts.
    written: HashMap<PrefixHash, Salt>,
    /// Names in prompts without a time to live: what has another may be gone.
    immortal: HashSet<PrefixHash>,
    /// The model's list.
    copies: Copies,
    /// Streams that hang.
    hung: HashSet<usize>,
    /// How many blocks have come back.
    brought: u64,
}

impl ExternalRig {
    /// A rig around such an engine.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn new(spec: EngineSpec) -> Self {
        let engine = Engine::new(spec);
        Self {
            engine,
            written: HashMap::new(),
            immortal: HashSet::new(),
            copies: Copies::default(),
            hung: HashSet::new(),
            brought: 0,
        }
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Lets it happen.
    ///
    /// # Panics
    /// If a claim does not hold.
    pub fn apply(&mut self, operation: &ExternalOperation) {
        match operation {
            ExternalOperation::Offload { letters, salt, from, worth } => {
                self.offload(letters, Salt(*salt), *from, *worth);
            }
            ExternalOperation::Onboard { letters, salt, from, worth } => {
                self.onboard(letters, Salt(*salt), *from, *worth);
            }
            ExternalOperation::Lookup { letters, salt } => {
                let prompt = self.engine.prompt(letters, Salt(*salt));
                self.look_up(&prompt);
            }
            ExternalOperation::Look => self.look(),
            ExternalOperation::Settle => self.settle(),
            ExternalOperation::Forget { which } => self.engine.forget(*which),
            ExternalOperation::Compute { stream, fences } => {
                let stream = stream % self.engine.streams().len();
                if !self.hung.contains(&stream) {
                    self.engine.streams()[stream].advance(*fences);
                }
            }
            ExternalOperation::Hang { stream } => {
                let stream = stream % self.engine.streams().len();
                self.hung.extend((stream > 0).then_some(stream));
            }
            ExternalOperation::Lane { lane, count } => self.engine.advance(*lane, *count, Fate::Done),
            ExternalOperation::Fault { lane, fault } => self.engine.advance(*lane, 1, Fate::Failed(*fault)),
            ExternalOperation::Stall { lane } => self.engine.advance(*lane, 1, Fate::Stalled),
            ExternalOperation::Release => self.engine.release_stalled(),
            ExternalOperation::Deadline => self.engine.let_deadline_pass(),
            ExternalOperation::Invalidate { salt } => {
                self.engine.pager().invalidate(Salt(*salt)).expect("no tier of this machine outlives it");
                self.follow();
                let is_left = |name: &&PrefixHash| self.written[*name] == Salt(*salt);
                assert_eq!(self.copies.names().filter(is_left).count(), 0, "H1: what was erased is told of");
                self.assert_nothing_is_found(Salt(*salt));
            }
            ExternalOperation::Epoch => {
                self.engine.pager().advance_epoch();
                for salt in [0, 1] {
                    self.assert_nothing_is_found(Salt(salt));
                }
            }
        }
        self.engine.pager().poll();
        self.follow();
        self.check();
    }

    fn follow(&mut self) {
        let Self { engine, copies, written, .. } = self;
        copies.follow(engine.pager(), |name| written.contains_key(name));
    }

    /// Asserts all invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.engine.pager().check();
    }

    /// A prompt is found as far as the event stream says, and where it says. Returns how far.
    fn look_up(&mut self, prompt: &Prompt) -> usize {
        let found = self.engine.pager().lookup(prompt);
        self.follow();
        let stored: Vec<TierId> = prompt.names().iter().map_while(|name| self.copies.nearest(name)).collect();
        assert_eq!(found, stored, "what is found of {:?} is what was stored", prompt.tokens());
        let plan =
            self.engine.pager().plan(prompt, 0, Urgency::default()).expect("the slots are the engine's");
        assert!(plan.load.start == 0 && plan.load.end <= found.len(), "{plan:?} of {} blocks", found.len());
        found.len()
    }

    /// A prompt that is about to be used.
    fn prompt(&mut self, letters: &[u32], salt: Salt, worth: Worth) -> Prompt {
        let prompt = self.engine.prompt_worth(letters, salt, worth);
        if worth.time_to_live.is_none() {
            self.immortal.extend(prompt.names());
        }
        prompt
    }

    fn offload(&mut self, letters: &[u32], salt: Salt, from: usize, worth: Worth) {
        let prompt = self.prompt(letters, salt, worth);
        let stored = self.look_up(&prompt);
        let named = self.engine.offload(prompt.clone(), salt, from).to_vec();
        self.written.extend(named.iter().map(|at| (prompt.names()[at.block], salt)));
        let outcomes = self.engine.last_outcomes();
        let still_stored = self.look_up(&prompt).min(stored);
        for (at, outcome) in named.iter().zip(outcomes) {
            if at.block < still_stored {
                assert_eq!(outcome, Delivery::Done, "block {} of {:?} is cached", at.block, prompt.tokens());
            } else {
                assert_ne!(outcome, Delivery::Lost, "no move has begun");
            }
        }
    }

    fn onboard(&mut self, letters: &[u32], salt: Salt, from: usize, worth: Worth) {
        let prompt = self.prompt(letters, salt, worth);
        let stored = self.look_up(&prompt);
        let named = self.engine.onboard(prompt, salt, from).to_vec();
        for (at, outcome) in named.iter().zip(self.engine.last_outcomes()) {
            let expected = if at.block < stored { outcome } else { Delivery::Failed };
            assert_eq!(outcome, expected, "I3: block {} is not cached", at.block);
            assert_ne!(outcome, Delivery::Done, "no move has ended");
        }
    }

    /// The engine takes in what has ended; what was brought was computed, and compute reads it when it gets there.
    fn look(&mut self) {
        for (name, outcome, is_onboard) in self.engine.look() {
            if is_onboard && outcome == Delivery::Done {
                assert!(self.written.contains_key(&name), "I3: {name:x?} was computed");
                self.brought += 1;
            }
        }
    }

    /// Everything goes on that can, once. Returns how many moves have ended.
    fn go_on(&mut self) -> usize {
        let hung = &self.hung;
        let streams = self.engine.streams().iter_mut().enumerate();
        streams.filter(|(at, _)| !hung.contains(at)).for_each(|(_, stream)| stream.advance(u64::MAX));
        let moved = self.engine.machine().advance_all();
        self.look();
        self.engine.pager().poll();
        self.follow();
        self.check();
        moved
    }

    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.go_on() == 0 {
                return;
            }
        }
    }

    fn assert_nothing_is_found(&mut self, salt: Salt) {
        for letter in 0..2 {
            let prompt = self.engine.prompt(&[letter], salt);
            assert_eq!(self.engine.pager().lookup(&prompt), [], "H1: it is gone");
        }
    }

    /// Lets everything end: all tickets do, also those whose fences never are over; nothing is left (I7); and what comes then is
    /// served.
    ///
    /// # Panics
    /// If that is not so.
    pub fn finish(mut self) {
        if !self.hung.is_empty() {
            self.assert_all_ends(Engine::let_deadline_pass);
        }
        self.hung.clear();
        self.assert_all_ends(Engine::release_stalled);
        self.assert_nothing_is_left();
        self.assert_the_mortal_go();
        self.assert_all_are_served();
    }

    fn assert_all_ends(&mut self, also: impl Fn(&Engine)) {
        for _ in 0..ROUNDS_MAX {
            also(&self.engine);
            self.go_on();
            if self.engine.asked() == 0 && !self.engine.pager().is_busy() {
                return;
            }
        }
        panic!(
            "I7: {} calls of the engine's are under way still, or what they have caused",
            self.engine.asked()
        );
    }

    fn assert_nothing_is_left(&self) {
        let pager = self.engine.pager();
        let counts = |tier| pager.occupancy(tier, GroupId::FIRST);
        let device = counts(TierId::Device).expect("there is a device");
        assert_eq!(device.of(SlotState::Free), device.total(), "I7: all slots are the engine's: {device:?}");
        let below = [TierId::Host, TierId::File].into_iter().filter_map(counts);
        let mut resident = 0;
        for counts in below {
            for state in [SlotState::Filling, SlotState::Leaving, SlotState::Quarantined] {
                assert_eq!(counts.of(state), 0, "I7: {state:?} below the device: {counts:?}");
            }
            resident += counts.of(SlotState::Resident) as usize;
        }
        assert_eq!(resident, self.copies.count(), "the event stream tells of all copies");
    }

    /// What only prompts with a time to live have used is gone a while after the last of them (Y1).
    fn assert_the_mortal_go(&mut self) {
        for _ in 0..10 {
            self.engine.let_deadline_pass();
            self.engine.pager().poll();
        }
        self.follow();
        self.check();
        let left = self.copies.names().filter(|name| !self.immortal.contains(*name)).count();
        assert_eq!(left, 0, "Y1: blocks have outlived all that may use them");
        self.assert_nothing_is_left();
    }

    /// A block that is offloaded now comes back, if the engine has two slots left, and the host one.
    fn assert_all_are_served(&mut self) {
        let host = self.engine.pager().occupancy(TierId::Host, GroupId::FIRST).expect("there is a host");
        let is_retired = host.of(SlotState::Retired) == host.total();
        if is_retired || self.engine.pool().free() < 2 {
            return;
        }
        let before = self.brought;
        for _ in 0..ROUNDS_MAX {
            self.offload(&[7], Salt(0), 0, Worth::default());
            self.settle();
            self.onboard(&[7], Salt(0), 0, Worth::default());
            self.settle();
            if self.brought > before {
                return;
            }
        }
        panic!("a block is never served: {host:?}");
    }
}
