//! The built-in policy in a pager, in virtual time: what it loads, what it computes instead, and what it writes.

use kv_pager::config::Limits;
use kv_pager::cost::machine::{VirtualMachine, VirtualTierSize};
use kv_pager::cost::{CostModel, LaneCost, LaneProfile, Load, Profile, TokenSpan};
use kv_pager::ids::{Fence, TierId, TokenId};
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{Backend, Forecast, Request, Sequence, SequenceReport, Step};
use kv_pager::policy::keeping::{Arm, Departure, EntryId, Keeping, Visit};
use kv_pager::policy::plan::{Aim, Choice, EngineAbility, Loader, Loading, Plan, Situation};
use kv_pager::policy::{
    Changed, Decision, FileWrites, LoadPlan, Matched, Need, Policy, Setting, Steward, StewardSpec, Told,
    Urgency, View,
};
use kv_pager::sync::Mutex;
use kv_pager::tier::LaneEnds;
use kv_pager::units::{Bytes, Nanos};
use kv_pager::{Config, Pager};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const TOKENS: u32 = 16;
const ENGINE: EngineAbility = EngineAbility { can_overlap: true, step_tokens_max: 2048 };
const READ: LaneEnds = LaneEnds { source: TierId::File, target: TierId::Host };
const WRITE: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::File };

/// A machine with room for so many blocks by tier, and an engine on it.
struct World {
    machine: VirtualMachine,
    pager: Pager,
    profile: Profile,
}

/// An H200 whose lanes to and from the host carry `host_bytes_per_s`, and that has no file.
fn profile_of_host(host_bytes_per_s: f64) -> Profile {
    let mut profile = Profile::h200_llama3_8b();
    profile.lanes.clear();
    for (source, target) in [(TierId::Host, TierId::Device), (TierId::Device, TierId::Host)] {
        let lane = LaneCost::uniform(20_000.0, 20_000.0, host_bytes_per_s, Bytes::mib(16));
        profile.lanes.push(LaneProfile::new(LaneEnds { source, target }, &lane));
    }
    profile
}

/// An H200 whose file lane reads `file_bytes_per_s`.
fn profile(file_bytes_per_s: f64) -> Profile {
    let mut profile = Profile::h200_llama3_8b();
    let read = LaneCost::uniform(200_000.0, 20_000.0, file_bytes_per_s, Bytes::mib(4));
    profile.lanes.retain(|lane| lane.ends != READ);
    profile.lanes.push(LaneProfile::new(READ, &read));
    profile
}

impl World {
    fn new(profile: Profile, blocks: [u64; 3], policy: Box<dyn Policy>) -> Self {
        let model = shape("llama3-8b").expect("known");
        let block_bytes = model.block_bytes();
        let size = |(tier, blocks): (TierId, u64)| VirtualTierSize {
            tier,
            bytes: block_bytes.checked_mul(blocks).expect("small"),
            format: Format::Raw,
        };
        let is_there = |size: &VirtualTierSize| size.bytes > Bytes::ZERO;
        let sizes: Vec<VirtualTierSize> =
            TierId::ALL.into_iter().zip(blocks).map(size).filter(is_there).collect();
        let within = LaneEnds { source: TierId::Device, target: TierId::Device };
        let mut lanes = profile.clone();
        lanes.lanes.push(LaneProfile::new(within, &LaneCost::uniform(0.0, 0.0, 2e12, Bytes::mib(64))));
        let limits = Limits { sequence_tokens: 16_384, sequences: 4, ..Limits::default() };
        let machine =
            VirtualMachine::new(&model, &lanes, &sizes, limits.moves_queued as usize).expect("plausible");
        let backend = Backend { tiers: machine.tiers(), lanes: machine.lanes() };
        let config = Config { limits, ..Config::default() };
        let pager = Pager::new(model, config, backend, policy, machine.clock()).expect("fits");
        Self { machine, pager, profile }
    }

    fn with_costs(self) -> Self {
        self.pager.set_costs(CostModel::new(&self.profile).expect("plausible"), ENGINE);
        self
    }

    fn prefill(&self, tokens: std::ops::Range<usize>) -> Nanos {
        let [start, end] = [tokens.start, tokens.end].map(|at| u32::try_from(at).expect("short"));
        let cost = self.profile.prefill.cost();
        cost.in_steps(ENGINE.step_tokens_max).span(TokenSpan::between(start, end))
    }

    /// Serves a prompt; every call of the engine takes its time.
    fn serve(&self, tokens: &[TokenId]) -> (SequenceReport, Option<Forecast>) {
        let mut sequence = self.open(tokens);
        loop {
            match sequence.next_step(ENGINE.step_tokens_max as usize).expect("room") {
                Step::Compute(range) => {
                    let took = self.prefill(range.clone());
                    let until = self.machine.now().after(took);
                    while self.machine.next_event() < until {
                        self.machine.run_until(self.machine.next_event());
                        self.pager.poll();
                    }
                    self.machine.run_until(until);
                    sequence.observe(range.clone(), took);
                    sequence.commit(range, Fence::OVER).expect("as told");
                }
                Step::Wait => self.machine.run_until(self.machine.next_event()),
                Step::Ready => break,
            }
        }
        let ends = (sequence.report(), sequence.forecast());
        sequence.close(Fence::OVER);
        self.pager.check();
        ends
    }

    fn open(&self, tokens: &[TokenId]) -> Sequence {
        self.open_with(tokens, Urgency::default())
    }

    fn open_with(&self, tokens: &[TokenId], urgency: Urgency) -> Sequence {
        loop {
            match self.pager.open(&Request::new(tokens).with_urgency(urgency)) {
                Ok(sequence) => return sequence,
                Err(_busy) => self.machine.run_until(self.machine.next_event()),
            }
        }
    }

    /// Lets everything that is under way end.
    fn settle(&self) {
        while self.pager.is_busy() {
            self.machine.run_until(self.machine.next_event());
            self.pager.poll();
        }
    }

    fn blocks_over(&self, ends: LaneEnds) -> u64 {
        let stats = self.pager.stats();
        stats.lanes.iter().filter(|lane| lane.ends == ends).map(|lane| lane.stats.moves).sum()
    }
}

/// A prompt of `blocks` blocks and a token.
fn prompt(letter: u32, blocks: u32) -> Vec<TokenId> {
    (0..=blocks * TOKENS).map(|at| TokenId(letter << 20 | at)).collect()
}

fn steward(spec: StewardSpec) -> Box<dyn Policy> {
    Box::new(Steward::new(spec))
}

/// A world in whose file, and nowhere nearer, a prompt of 256 blocks lies.
fn world_with_a_filed_prompt(machine: Profile, costs: Profile, loading: Loading) -> (World, Vec<TokenId>) {
    let spec = StewardSpec { loading, keeping: Arm::Lru, ..StewardSpec::default() };
    let mut world = World::new(machine, [300, 300, 4000], steward(spec));
    world.profile = costs;
    let world = world.with_costs();
    let wanted = prompt(1, 256);
    world.serve(&wanted);
    for letter in 2..6 {
        world.serve(&prompt(letter, 256));
    }
    world.settle();
    (world, wanted)
}

#[test]
fn without_costs_every_hit_is_loaded() {
    let world = World::new(profile(1.3e9), [300, 600, 4000], steward(StewardSpec::default()));
    let wanted = prompt(1, 256);
    world.serve(&wanted);
    world.serve(&prompt(2, 256));
    let (report, forecast) = world.serve(&wanted);
    assert_eq!((report.hit_tokens.iter().sum::<u64>(), report.computed_tokens), (256 * 16, 1));
    assert_eq!(forecast, None);
}

#[test]
fn two_fronts_beat_loading_and_computing() {
    let slow = profile(1.3e9);
    let (world, wanted) = world_with_a_filed_prompt(slow.clone(), slow, Loading::Adaptive);
    let (report, forecast) = world.serve(&wanted);
    let Forecast { plan, outcome } = forecast.expect("costs are known");
    assert_eq!(plan.reasons.choice, Choice::TwoFronts, "{plan:?}");
    assert!(report.hit_tokens[TierId::File.index()] > 0 && report.computed_tokens > 1000, "{report:?}");
    let error = outcome.prediction_error(&plan.predicted);
    assert!(error < 0.1, "{error}: {plan:?} {outcome:?}");
    assert!(outcome.finish < plan.predicted.finish_by_compute, "{plan:?} {outcome:?}");
    assert!(outcome.finish < plan.predicted.finish_by_load, "{plan:?} {outcome:?}");
}

#[test]
fn a_drive_that_got_slow_costs_little_more_than_computing_and_is_not_asked_again() {
    let (world, wanted) = world_with_a_filed_prompt(profile(2e7), profile(2.6e9), Loading::Adaptive);
    let (_, forecast) = world.serve(&wanted);
    let Forecast { plan, outcome } = forecast.expect("costs are known");
    assert!(plan.load.blocks() > 0, "{plan:?}");
    let computing = plan.predicted.finish_by_compute.as_u64();
    assert!(outcome.finish.as_u64() < 2 * computing, "{outcome:?}, and computing takes {computing} ns");
    assert!(world.pager.stats().cut_loads > 0);
    // What was cut teaches nothing; what was read in the end does.
    world.settle();
    for letter in (2..6).chain(2..6) {
        world.serve(&prompt(letter, 256));
        world.settle();
    }
    let costs = world.pager.costs().expect("set");
    let load = Load { bytes: Bytes::mib(64), copies: 16 };
    let believed = costs.lane(READ).expect("measured").busy(load);
    let first = CostModel::new(&profile(2.6e9)).expect("plausible").lane(READ).expect("measured").busy(load);
    assert!(believed.as_u64() > 5 * first.as_u64(), "it believes {believed:?}, and {first:?} at first");
}

#[test]
fn always_recompute_loads_nothing_and_always_load_computes_nothing_again() {
    for (loading, computed) in [(Loading::AlwaysRecompute, 256 * 16 + 1), (Loading::AlwaysLoad, 1)] {
        let (world, wanted) = world_with_a_filed_prompt(profile(1.3e9), profile(1.3e9), loading);
        assert_eq!(world.serve(&wanted).0.computed_tokens, computed, "{loading:?}");
    }
}

#[test]
fn writes_to_the_file_are_earned_by_a_second_use() {
    for (file_writes, expected) in [(FileWrites::All, 1..3000), (FileWrites::Earned, 0..1)] {
        let spec = StewardSpec { file_writes, keeping: Arm::Lru, ..StewardSpec::default() };
        let world = World::new(profile(1.3e9), [300, 300, 4000], steward(spec));
        (1..8).for_each(|letter| _ = world.serve(&prompt(letter, 256)));
        world.settle();
        let written = world.blocks_over(WRITE);
        assert!(expected.contains(&written), "{file_writes:?}: {written} blocks");
        // What is asked for again goes on to the file when its turn comes.
        (1..8).for_each(|_| _ = world.serve(&prompt(8, 256)));
        (9..13).for_each(|letter| _ = world.serve(&prompt(letter, 256)));
        world.settle();
        assert!(world.blocks_over(WRITE) >= written + 200, "{file_writes:?}: {}", world.blocks_over(WRITE));
    }
}

#[test]
fn no_more_is_written_than_the_days_budget() {
    let block_bytes = shape("llama3-8b").expect("known").block_bytes();
    let budget = block_bytes.checked_mul(24 * 100).expect("small");
    let spec = StewardSpec { write_bytes_per_day: Some(budget), keeping: Arm::Lru, ..StewardSpec::default() };
    let world = World::new(profile(1.3e9), [300, 300, 4000], steward(spec));
    (1..12).for_each(|letter| _ = world.serve(&prompt(letter, 256)));
    world.settle();
    let hours = world.machine.now().since(kv_pager::clock::Time::START).as_u64() / 3_600_000_000_000;
    let written = world.blocks_over(WRITE);
    // An hour's share may have been saved up; ancestors that a block needs there come along.
    assert!(written > 0 && written <= 2 * 100 * (hours + 1), "{written} blocks in {hours} hours");
}

/// A front of `front` blocks that many prompts share, then `tail` blocks of its own, and a token.
fn branch(front: u32, letter: u32, tail: u32) -> Vec<TokenId> {
    let own = (front * TOKENS..=(front + tail) * TOKENS).map(|at| TokenId(letter << 20 | at));
    (0..front * TOKENS).map(TokenId).chain(own).collect()
}

#[test]
fn tails_reach_the_file_though_what_they_stand_on_stays_on_the_device() {
    let spec = StewardSpec { keeping: Arm::Lru, ..StewardSpec::default() };
    let world = World::new(profile(1.3e9), [300, 60, 4000], steward(spec));
    // Each uses the front again, so that it never leaves the device.
    (1..21).for_each(|letter| _ = world.serve(&branch(20, letter, 50)));
    world.settle();
    let written = world.blocks_over(WRITE);
    assert!(written >= 500, "the front and most tails that had to leave: {written} blocks");
}

#[test]
fn writes_are_given_up_only_where_the_device_would_wait_for_them() {
    let dropped = |work_blocks: u32| {
        let world = World::new(profile(1.3e9), [2100, 200, 40_000], steward(StewardSpec::default()));
        let world = world.with_costs();
        // Each comes back once, so that there is something to expect.
        for letter in 1..20 {
            world.serve(&prompt(letter, 40));
            world.serve(&prompt(letter, 20));
        }
        // What an open sequence has still to compute.
        let work = world.open(&prompt(4000, work_blocks));
        (20..80).for_each(|letter| _ = world.serve(&prompt(letter, 50)));
        drop(work);
        world.pager.stats().drops
    };
    let [idle, busy] = [1, 1000].map(dropped);
    assert!(
        idle > 100 && 4 * busy < idle,
        "{idle} blocks were dropped with an idle device, {busy} with a busy one"
    );
}

#[test]
fn writes_wait_in_the_free_slots_of_a_large_host() {
    let policy = steward(StewardSpec::default());
    let world = World::new(profile(1.3e9), [600, 2000, 40_000], policy).with_costs();
    for letter in 1..160 {
        // Some come back when they are in the file.
        for ago in [0, 20, 60, 90] {
            if letter > ago {
                world.serve(&prompt(letter - ago, 50));
                world.machine.run_until(world.machine.now().after(Nanos::from_millis(20)));
            }
        }
    }
    let written = world.blocks_over(LaneEnds { source: TierId::Host, target: TierId::File });
    let dropped = world.pager.stats().drops;
    // Nothing is queued on the device when the writes of a request begin.
    assert!(dropped * 8 < written, "{written} blocks were written to the file, {dropped} dropped");
}

/// A steward's plan, with how many requests waited for lanes, and the plans for so many and for none.
#[derive(Debug)]
struct Priced {
    lanes_waiting: u32,
    made: Plan,
    expected: Plan,
    blind: Plan,
}

/// A steward that is watched.
#[derive(Debug)]
struct Watched {
    steward: Steward,
    loader: Loader,
    seen: Arc<Mutex<Vec<Priced>>>,
}

impl Policy for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    fn start(&mut self, view: &View<'_>, setting: &Setting<'_>) -> bool {
        self.steward.start(view, setting)
    }

    fn follow(&mut self, view: &View<'_>, changed: &Changed<'_>) {
        self.steward.follow(view, changed);
    }

    fn visit(&mut self, view: &View<'_>, told: &Told<'_>) -> bool {
        self.steward.visit(view, told)
    }

    fn plan(&mut self, view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        let load = self.steward.plan(view, matched);
        let prospects = view.prospects();
        let with = |lanes_waiting| {
            let situation = Situation {
                costs: prospects.costs.expect("set"),
                queues: prospects.queues,
                compute_queue: prospects.compute_queue,
                deadline: None,
                aim: Aim::Throughput { compute_waiting: matched.urgency.waiting, lanes_waiting },
            };
            self.loader.plan(matched, &situation)
        };
        if let (Some(made), 1..) = (load.plan, matched.urgency.waiting) {
            let (lanes_waiting, expected) = (prospects.lanes_waiting, with(prospects.lanes_waiting));
            self.seen.lock().push(Priced { lanes_waiting, made, expected, blind: with(0) });
        }
        load
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        self.steward.make_room(view, need, decisions);
    }
}

#[test]
fn who_waits_for_lanes_is_priced_where_throughput_counts() {
    let model = shape("llama3-8b").expect("known");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let steward = Steward::new(StewardSpec { keeping: Arm::Lru, ..StewardSpec::default() });
    let loader = Loader::new(&model, [Format::Raw; 3], ENGINE, Loading::Adaptive);
    let watched = Watched { steward, loader, seen: Arc::clone(&seen) };
    let world = World::new(profile(7e9), [1200, 300, 4000], Box::new(watched)).with_costs();
    (1..9).for_each(|letter| _ = world.serve(&prompt(letter, 256)));
    world.settle();
    // Two sequences wait for their loads: of what lies in the file, and of the same.
    let mut others = [1, 1].map(|letter| world.open(&prompt(letter, 256)));
    for other in &mut others {
        while let Step::Compute(range) = other.next_step(4096).expect("room") {
            other.commit(range, Fence::OVER).expect("as told");
        }
    }
    let urgency = Urgency { waiting: 1, ..Urgency::default() };
    drop(world.open_with(&prompt(2, 256), urgency));
    drop(others);
    world.settle();
    drop(world.open_with(&prompt(3, 256), urgency));
    let seen = seen.lock();
    // One that finds no room is planned anew.
    let waiting = seen.iter().find(|priced| priced.lanes_waiting > 0).expect("others wait");
    let none = seen.last().expect("two were opened");
    // The second one may find what it shares come by the time there was room for it.
    assert!((1..=2).contains(&waiting.lanes_waiting) && none.lanes_waiting == 0, "{waiting:?}, {none:?}");
    assert_eq!(waiting.made, waiting.expected);
    assert!(waiting.made.load.blocks() < waiting.blind.load.blocks(), "{waiting:?}");
    assert_eq!(none.made, none.blind);
}

#[test]
fn a_host_behind_a_slow_link_costs_little_more_than_none() {
    // At 2 GB/s a block takes three times as long to write, and to bring back, as to compute.
    for bytes_per_s in [2e9, 5e9, 12e9, 50e9] {
        let took = |host: u64| {
            let policy = steward(StewardSpec::default());
            let world = World::new(profile_of_host(bytes_per_s), [2400, host, 0], policy).with_costs();
            for letter in (1..25).chain(1..25).chain(30..60).chain(1..25) {
                world.serve(&prompt(letter, 160 + 4 * letter));
            }
            world.machine.now().as_ns()
        };
        let [without, with] = [0, 6000].map(took);
        assert!(with <= without * 110 / 100, "at {bytes_per_s} bytes/s: {with} ns, {without} without a host");
        assert!(bytes_per_s < 50e9 || with < without * 95 / 100, "{with} ns, {without} without a host");
    }
}

/// Evicts by the number of the entry, the largest first, and counts how often it was asked.
#[derive(Debug)]
struct ByNumber {
    known: BTreeSet<EntryId>,
    offered: BTreeSet<EntryId>,
    asked: Arc<AtomicU64>,
}

impl Keeping for ByNumber {
    fn name(&self) -> &'static str {
        "by-number"
    }

    fn visit(&mut self, visit: &Visit<'_>) {
        self.known.extend(visit.touches.iter().map(|touch| touch.entry));
    }

    fn offer(&mut self, entries: &[EntryId]) {
        self.offered.extend(entries);
    }

    fn withhold(&mut self, entries: &[EntryId]) {
        self.offered.retain(|entry| !entries.contains(entry));
    }

    fn victim(&mut self) -> Option<EntryId> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.offered.last().copied()
    }

    fn depart(&mut self, entry: EntryId, _departure: Departure) {
        assert!(self.known.remove(&entry));
        self.offered.remove(&entry);
    }

    fn len(&self) -> usize {
        self.known.len()
    }

    fn check(&self) {
        assert!(self.offered.is_subset(&self.known));
    }
}

#[test]
fn an_order_of_ones_own_keeps_a_live_pager() {
    let asked = TierId::ALL.map(|_| Arc::new(AtomicU64::new(0)));
    let counters = asked.clone();
    let spec = StewardSpec { has_shadows: true, ..StewardSpec::default() };
    let steward = Steward::with_keeping(spec, move |tier, _bounds| {
        let asked = Arc::clone(&counters[tier.index()]);
        Box::new(ByNumber { known: BTreeSet::new(), offered: BTreeSet::new(), asked })
    });
    assert_eq!(steward.name(), "own");
    let world = World::new(profile(7e9), [300, 200, 1000], Box::new(steward)).with_costs();
    for letter in (1..12).chain(1..12) {
        world.serve(&prompt(letter, 60 + 10 * letter));
    }
    world.settle();
    assert!(asked.iter().all(|asked| asked.load(Ordering::Relaxed) > 0), "{asked:?}");
    assert!(world.pager.stats().evictions.iter().all(|slots| *slots > 0), "{:?}", world.pager.stats());
}

#[test]
fn every_arm_serves_a_stream_that_does_not_fit() {
    for keeping in Arm::ALL {
        let spec = StewardSpec { keeping, has_shadows: true, ..StewardSpec::default() };
        let world = World::new(profile(7e9), [300, 200, 1000], steward(spec)).with_costs();
        for round in 0..3 {
            for letter in 1..8 {
                world.serve(&prompt(letter, 60 + 20 * letter));
                world.serve(&prompt(100 + round * 10 + letter, 100));
            }
        }
        let answers = world.pager.answers();
        assert_eq!(answers.len(), 3 * (Arm::ALL.len() + 1), "three tiers");
        let hits = |tier: TierId, arm: Arm, capacity: u32| {
            let of = |answer: &&kv_pager::policy::Answer| {
                (answer.tier, answer.arm, answer.capacity) == (tier, arm, capacity)
            };
            answers.iter().find(of).expect("it was asked").tally.prefix
        };
        assert!(hits(TierId::Host, keeping, 400) >= hits(TierId::Host, keeping, 200), "{keeping}");
        assert!(hits(TierId::File, keeping, 2000) > 0, "{keeping}: {answers:?}");
    }
}
