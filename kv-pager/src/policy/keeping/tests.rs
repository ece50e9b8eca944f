//! Every arm against the contract, and against the plainest model of itself.

mod naive;

use super::lru::Lru;
use super::prices::{DEPTH_BANDS, Prices};
use super::reuse::{Reuse, Rule};
use super::{Arm, Bounds, Departure, EntryId, Keeping, Touch, Visit};
use naive::Naive;
use proptest::prelude::*;
use std::collections::BTreeMap;

const CAPACITY: u32 = 10;
const BOUNDS: Bounds = Bounds { capacity: CAPACITY, request_blocks: 6, tokens_per_block: 512 };

/// What a pager would do with a tier.
#[derive(Clone, Debug)]
enum Step {
    /// Asks for a path of a small tree, and holds its blocks or not.
    Request { path: Vec<u8>, is_held: bool },
    /// Holds nothing any more.
    ReleaseAll,
    /// Loses a leaf.
    Invalidate(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let path = prop::collection::vec(0..3_u8, 1..=6);
    prop_oneof![
        8 => (path, prop::bool::weighted(0.2)).prop_map(|(path, is_held)| Step::Request { path, is_held }),
        1 => Just(Step::ReleaseAll),
        1 => any::<u8>().prop_map(Step::Invalidate),
    ]
}

/// One block in the tier.
#[derive(Debug)]
struct Resident {
    entry: EntryId,
    parent: Option<u64>,
    is_held: bool,
}

/// A tier that knows who is a leaf by looking at everyone.
#[derive(Debug)]
struct Tier {
    keeping: Box<dyn Keeping>,
    naive: Option<Naive>,
    blocks: BTreeMap<u64, Resident>,
    free: Vec<EntryId>,
}

impl Tier {
    fn new(keeping: Box<dyn Keeping>, naive: Option<Naive>) -> Self {
        let free = (0..BOUNDS.entries()).rev().map(EntryId::new).collect();
        Self { keeping, naive, blocks: BTreeMap::new(), free }
    }

    /// Blocks that may be evicted: no child, no hold.
    fn offered(&self) -> Vec<u64> {
        let is_parent = |name: u64| self.blocks.values().any(|block| block.parent == Some(name));
        let leaves = self.blocks.iter().filter(|(name, block)| !block.is_held && !is_parent(**name));
        leaves.map(|(name, _)| *name).collect()
    }

    /// Tells the arm who may be evicted, by telling it everything anew.
    fn offer(&mut self) {
        let offered = self.offered();
        for (name, block) in &self.blocks {
            if offered.contains(name) {
                self.keeping.offer(&[block.entry]);
            } else {
                self.keeping.withhold(&[block.entry]);
            }
        }
    }

    fn request(&mut self, path: &[u8], is_held: bool) {
        let mut touches = Vec::new();
        let mut parent = None;
        let mut name = 1;
        for (depth, step) in (0..).zip(path) {
            name = name * 4 + u64::from(*step);
            let block = self.blocks.entry(name).or_insert_with(|| Resident {
                entry: self.free.pop().expect("the bounds leave room for a request"),
                parent,
                is_held: false,
            });
            block.is_held |= is_held;
            touches.push(Touch { entry: block.entry, name, depth });
            parent = Some(name);
        }
        let length = u32::try_from(path.len()).expect("paths are short");
        self.keeping.visit(&Visit { length, touches: &touches, absent: &[] });
        if let Some(naive) = &mut self.naive {
            touches.iter().rev().for_each(|touch| naive.touch(touch.name));
        }
        self.offer();
    }

    fn depart(&mut self, name: u64, departure: Departure) {
        let block = self.blocks.remove(&name).expect("it was in the tier");
        self.keeping.depart(block.entry, departure);
        if let Some(naive) = &mut self.naive {
            naive.depart(name, departure);
        }
        self.free.push(block.entry);
        self.offer();
    }

    /// Evicts down to the capacity; gives the victims.
    fn trim(&mut self) -> Vec<u64> {
        let mut victims = Vec::new();
        while self.blocks.len() > CAPACITY as usize {
            let offered = self.offered();
            let Some(victim) = self.keeping.victim() else {
                assert!(offered.is_empty(), "K4: {offered:?} are offered and none is the victim");
                break;
            };
            assert_eq!(self.keeping.victim(), Some(victim), "K4: the same victim until something changes");
            let name = self.blocks.iter().find(|(_, block)| block.entry == victim).map(|(name, _)| *name);
            let name = name.expect("KE1: the victim is in the tier");
            assert!(offered.contains(&name), "KE1: {name} was not offered, {offered:?} were");
            if let Some(naive) = &mut self.naive {
                assert_eq!(naive.victim(&offered), name, "the plain model");
            }
            self.depart(name, Departure::Evicted);
            victims.push(name);
        }
        victims
    }

    fn run(&mut self, steps: &[Step]) -> Vec<u64> {
        let mut victims = Vec::new();
        for step in steps {
            match step {
                Step::Request { path, is_held } => {
                    // Room for the request, as a pager would make before.
                    if self.free.len() >= path.len() {
                        self.request(path, *is_held);
                    }
                }
                Step::ReleaseAll => {
                    self.blocks.values_mut().for_each(|block| block.is_held = false);
                    self.offer();
                }
                Step::Invalidate(place) => {
                    let offered = self.offered();
                    if let Some(&name) = offered.get(usize::from(*place) % offered.len().max(1)) {
                        self.depart(name, Departure::Invalidated);
                    }
                }
            }
            victims.extend(self.trim());
            self.keeping.check();
            assert_eq!(self.keeping.len(), self.blocks.len(), "KE2: after {step:?}");
        }
        victims
    }
}

proptest! {
    #[test]
    fn every_arm_keeps_the_contract_and_is_the_same_twice(steps in prop::collection::vec(step(), 1..120)) {
        for arm in Arm::ALL {
            let run = || Tier::new(arm.build(&BOUNDS), Naive::of(arm, CAPACITY as usize)).run(&steps);
            prop_assert_eq!(run(), run(), "KE3: {}", arm);
        }
    }

    #[test]
    fn by_recency_the_model_is_lru(steps in prop::collection::vec(step(), 1..120)) {
        let mut reuse = Reuse::new(&BOUNDS);
        reuse.set_rule(Rule::Recency);
        let by_recency = Tier::new(Box::new(reuse), None).run(&steps);
        prop_assert_eq!(by_recency, Tier::new(Box::new(Lru::new(&BOUNDS)), None).run(&steps));
    }

    #[test]
    fn knowing_nothing_the_model_is_lru(paths in prop::collection::vec(0..200_u64, 1..60)) {
        // Requests of one block, each another one: nothing ever returns, and age alone decides.
        let mut model = Reuse::new(&BOUNDS);
        let mut lru = Lru::new(&BOUNDS);
        for (entry, name) in (0..BOUNDS.capacity).zip(&paths) {
            let touch = Touch { entry: EntryId::new(entry), name: *name * 1000 + u64::from(entry), depth: 0 };
            for keeping in [&mut model as &mut dyn Keeping, &mut lru] {
                keeping.visit(&Visit { length: 1, touches: &[touch], absent: &[] });
                keeping.offer(&[touch.entry]);
            }
        }
        prop_assert_eq!(model.victim(), lru.victim());
    }
}

/// Two blocks of one band and equal use, the older with a copy farther away.
fn cost_aware_with_one_backed() -> Box<dyn Keeping> {
    let mut keeping: Box<dyn Keeping> = Box::new(Reuse::new(&BOUNDS));
    let touch = |entry, name| Touch { entry: EntryId::new(entry), name, depth: 0 };
    for round in 0..40 {
        // Something returns, so that chances are not nothing.
        keeping.visit(&Visit { length: 1, touches: &[touch(0, 7)], absent: &[] });
        keeping.visit(&Visit { length: 1, touches: &[touch(1, 8)], absent: &[] });
        if round % 2 == 0 {
            keeping.visit(&Visit { length: 1, touches: &[touch(1, 8)], absent: &[] });
        }
    }
    keeping.offer(&[EntryId::new(0), EntryId::new(1)]);
    keeping.set_backed(EntryId::new(1), true);
    keeping
}

#[test]
fn of_two_alike_the_one_that_is_cheaper_to_have_back_goes_first() {
    let mut keeping = cost_aware_with_one_backed();
    keeping.set_prices(&Prices { computed: [10.0; DEPTH_BANDS], loaded: [1.0; DEPTH_BANDS] });
    assert_eq!(keeping.victim(), Some(EntryId::new(1)), "loading is cheap");
    keeping.set_prices(&Prices { computed: [1.0; DEPTH_BANDS], loaded: [10.0; DEPTH_BANDS] });
    assert_eq!(keeping.victim(), Some(EntryId::new(0)), "computing is cheap");
    keeping.set_backed(EntryId::new(1), false);
    keeping.set_prices(&Prices::EQUAL);
    assert_eq!(keeping.victim(), Some(EntryId::new(0)), "age decides");
    keeping.check();
}

#[test]
fn every_name_is_an_arm_and_no_other() {
    for arm in Arm::ALL {
        assert_eq!(arm.name().parse(), Ok(arm));
    }
    let error = "random".parse::<Arm>().expect_err("there is none");
    assert!(error.to_string().contains("cost-aware"), "{error}");
}

#[test]
fn a_block_that_left_is_worth_what_it_would_be_worth_here() {
    let mut reuse = Reuse::new(&BOUNDS);
    let touch = |entry: u32, name: u64| Touch { entry: EntryId::new(entry), name, depth: 0 };
    let visit = |reuse: &mut Reuse, touch: Touch| {
        reuse.visit(&Visit { length: 1, touches: &[touch], absent: &[] });
    };
    // Names 1 and 2 return, name 3 does not yet.
    for touch in [touch(1, 1), touch(2, 2), touch(1, 1), touch(2, 2), touch(3, 3)] {
        visit(&mut reuse, touch);
    }
    reuse.set_backed(EntryId::new(1), true);
    let before = reuse.worth(EntryId::new(1)).expect("it goes by value");
    assert!(before > 0.0);
    reuse.depart(EntryId::new(1), Departure::Evicted);
    let after = reuse.worth_of_absent(1).expect("it is remembered");
    assert!((after - before).abs() < 1e-12, "{after}, and {before} when it was here");
    assert_eq!(reuse.worth_of_absent(9), None, "of a stranger nothing is known");
    reuse.set_rule(Rule::Recency);
    assert_eq!((reuse.worth(EntryId::new(2)), reuse.worth_of_absent(1)), (None, None));
}
