//! What is kept: the policy is told of each request once and whole, so that it keeps what it would of sequences, and its shadows tell the
//! truth.

use crate::world::{Engine, Shown, Slots, TOKENS, Witness};
use kv_pager::cost::Profile;
use kv_pager::ids::TierId;
use kv_pager::pager::Prompt;
use kv_pager::policy::keeping::shadow::{Footprint, Named, Shadow};
use kv_pager::policy::keeping::{Arm, Bounds};
use kv_pager::policy::{FileWrites, StewardSpec};
use kv_pager::sync::Mutex;
use kv_pager_testkit::scenario::Scenario;
use kv_pager_testkit::trace::Trace;
use std::sync::Arc;

/// In which calls the blocks of a request that are not cached are offloaded.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Style {
    /// All blocks of the request in one.
    Whole,
    /// Only those that are new.
    New,
    /// Those that are new, some at a time, as they are computed.
    AsTheyCome,
}

/// The hits per reference of an engine that serves `stream` from host memory alone, and those that its shadows tell of every arm.
fn served(stream: &Trace, arm: Arm, capacity: u32, style: Style) -> (f64, Vec<(Arm, f64)>) {
    let device = longest(stream);
    let spec = StewardSpec { keeping: arm, has_shadows: true, ..StewardSpec::default() };
    let engine = Engine::new(&Profile::h200_llama3_8b(), Slots { device, host: capacity, file: 0 }, spec);
    let (mut hits, mut references) = (0, 0);
    for request in stream.requests() {
        let prompt = engine.prompt(&request.ids);
        let (found, all) = (engine.pager.lookup(&prompt).len(), request.ids.len());
        assert_eq!(engine.onboard(&prompt, 0..found), found, "what was found comes");
        match style {
            Style::Whole => {
                engine.offload(&prompt, 0..all);
            }
            Style::New => {
                engine.offload(&prompt, found..all);
            }
            Style::AsTheyCome => {
                let mut from = found;
                while from < all {
                    engine.offload(&prompt, from..all.min(from + 8));
                    from += 8;
                }
                if found == all {
                    engine.offload(&prompt, 0..0);
                }
            }
        }
        hits += found;
        references += all;
    }
    engine.pager.check();
    let told = engine.pager.answers().into_iter().filter(|answer| answer.capacity == capacity);
    let shadows = told.map(|answer| {
        assert_eq!(answer.tier, TierId::Host, "the device is the engine's");
        (answer.arm, answer.tally.prefix_hit_rate())
    });
    (rate(hits, references), shadows.collect())
}

fn rate(hits: usize, references: usize) -> f64 {
    let float = |count: usize| f64::from(u32::try_from(count).expect("a stream is short"));
    float(hits) / float(references)
}

fn longest(stream: &Trace) -> u32 {
    let longest = stream.requests().iter().map(|request| request.ids.len()).max().unwrap_or(1);
    u32::try_from(longest).expect("a request is short")
}

/// What `compare` says of the arm.
fn compared(stream: &Trace, arm: Arm, capacity: u32) -> f64 {
    let bounds = Bounds { capacity, request_blocks: longest(stream), tokens_per_block: TOKENS };
    let mut shadow = Shadow::new(arm, &bounds);
    for request in stream.requests() {
        let blocks: Vec<Named> =
            (0..).zip(&request.ids).map(|(depth, &name)| Named { name, depth }).collect();
        let length = u32::try_from(blocks.len()).expect("a request is short");
        shadow.request(&Footprint { length, blocks: &blocks });
    }
    shadow.tally().prefix_hit_rate()
}

/// Streams on which the default hits more than `lru`, in so many slots.
const TELLING: [(Scenario, u32); 3] =
    [(Scenario::Scans, 1827), (Scenario::Tenants, 400), (Scenario::Twins, 1827)];

/// How far from what `compare` says an arm may be that makes room before a request comes, not after it. By last use that is the same.
const TOLERANCE: f64 = 0.015;

fn stream_of(scenario: Scenario) -> Trace {
    let mut stream = scenario.generate(1);
    stream.truncate_references(40_000);
    stream
}

#[test]
fn an_engines_host_hits_what_compare_says_of_each_arm() {
    for (scenario, capacity) in TELLING {
        let stream = stream_of(scenario);
        let [lru, aware] = [Arm::Lru, Arm::CostAware].map(|arm| compared(&stream, arm, capacity));
        assert!(aware > lru + 0.05, "{scenario:?} tells them apart: {lru:.4}, {aware:.4}");
        for style in [Style::Whole, Style::New, Style::AsTheyCome] {
            let (rate, _) = served(&stream, Arm::Lru, capacity, style);
            assert!((rate - lru).abs() < 0.001, "{scenario:?}, {style:?}, lru: {rate:.4}, not {lru:.4}");
            let (rate, _) = served(&stream, Arm::CostAware, capacity, style);
            assert!((rate - aware).abs() < TOLERANCE, "{scenario:?}, {style:?}: {rate:.4}, not {aware:.4}");
        }
    }
}

#[test]
fn its_shadows_tell_of_whole_requests() {
    let (scenario, capacity) = TELLING[0];
    let stream = stream_of(scenario);
    let (_, shadows) = served(&stream, Arm::CostAware, capacity, Style::New);
    assert_eq!(shadows.len(), Arm::ALL.len());
    for (arm, told) in shadows {
        let expected = compared(&stream, arm, capacity);
        assert!((told - expected).abs() < 1e-9, "{arm:?}: {told:.4}, not {expected:.4}");
    }
}

/// An engine whose host holds eight blocks, and whose file takes what has earned it.
fn frugal() -> Engine {
    let spec = StewardSpec { file_writes: FileWrites::Earned, ..StewardSpec::default() };
    Engine::new(&Profile::h200_llama3_8b(), Slots { device: 8, host: 8, file: 64 }, spec)
}

/// Where four blocks lie, made by one request and used as `hits` says, when others have pushed them out of the host.
fn pushed_out(hits: impl Fn(&Engine, &Prompt)) -> Vec<TierId> {
    let engine = frugal();
    let prompt = engine.prompt(&[1, 2, 3, 4]);
    hits(&engine, &prompt);
    for other in 1..=20 {
        // Room comes as what has earned it is written.
        while engine.offload(&engine.prompt(&[other * 10, other * 10 + 1]), 0..2) < 2 {}
    }
    let found = engine.pager.lookup(&prompt);
    assert!(found.iter().all(|tier| *tier == TierId::File), "others are in the host: {found:?}");
    engine.pager.check();
    found
}

#[test]
fn the_first_hit_earns_a_place_in_the_file() {
    let made = pushed_out(|engine, prompt| {
        engine.offload(prompt, 0..4);
    });
    assert_eq!(made, [], "asked for once");
    let made_in_turns = pushed_out(|engine, prompt| {
        engine.offload(prompt, 0..2);
        engine.offload(prompt, 0..3);
        engine.offload(prompt, 3..4);
    });
    assert_eq!(made_in_turns, [], "one request, in however many calls");
    let loaded = pushed_out(|engine, prompt| {
        engine.offload(prompt, 0..4);
        engine.onboard(prompt, 0..4);
    });
    assert_eq!(loaded, [TierId::File; 4], "asked for again, as a sequence would");
    let had = pushed_out(|engine, prompt| {
        engine.offload(prompt, 0..4);
        engine.offload(prompt, 0..0);
    });
    assert_eq!(had, [TierId::File; 4], "the engine had it in its own slots");
}

#[test]
fn a_request_is_one_use_of_its_blocks() {
    let shown = Arc::new(Mutex::new(Shown::default()));
    let slots = Slots { device: 8, host: 8, file: 0 };
    let policy = Box::new(Witness(Arc::clone(&shown)));
    let engine = Engine::with_policy(&Profile::h200_llama3_8b(), slots, policy);
    let prompt = engine.prompt(&[1, 2, 3, 4]);
    for _ in 0..3 {
        let found = engine.pager.lookup(&prompt).len();
        engine.onboard(&prompt, 0..found);
        engine.offload(&prompt, 0..4);
    }
    engine.offload(&prompt, 0..0);
    engine.offload(&prompt, 0..0);
    // What is told is counted then, unless it was when it was loaded.
    assert_eq!(shown.lock().uses, [0, 2, 3, 3, 4]);
}
