//! What is planned: load or compute, by the costs and queues that sequences are planned by, and by what the engine reports.

use crate::world::{Engine, Shown, Slots, TOKENS, Witness, named, tokens};
use kv_pager::config::{Limits, Promotion, Watermarks};
use kv_pager::cost::machine::{VirtualMachine, VirtualTierSize};
use kv_pager::cost::{CostModel, LaneCost, LaneProfile, Profile, TokenSpan};
use kv_pager::ids::{Fence, Salt, TierId};
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{Backend, Prompt, Request, Step};
use kv_pager::policy::plan::{Choice, EngineAbility, Plan};
use kv_pager::policy::{LoadPlan, Reason, Steward, StewardSpec, Urgency};
use kv_pager::sync::Mutex;
use kv_pager::tier::LaneEnds;
use kv_pager::units::{Bytes, Nanos};
use kv_pager::{Config, ErrorKind, Pager};
use std::sync::Arc;

const BLOCKS: u32 = 256;
const IN_TURN: EngineAbility = EngineAbility { can_overlap: false, step_tokens_max: 2048 };
const AT_ONCE: EngineAbility = EngineAbility { can_overlap: true, step_tokens_max: 2048 };
/// Whose requests push out those of the default salt.
const OTHERS: Salt = Salt(1);
const READ: LaneEnds = LaneEnds { source: TierId::File, target: TierId::Host };

/// How long computing the prompt takes.
fn compute(profile: &Profile) -> Nanos {
    profile.prefill.cost().in_steps(2048).span(TokenSpan::between(0, BLOCKS * TOKENS))
}

/// An H200 with a drive that takes `times` as long to read the prompt as computing it takes.
#[expect(clippy::cast_precision_loss, reason = "bytes and nanoseconds of a prompt are exact in 52 bits")]
fn profile(times: f64) -> Profile {
    let mut profile = Profile::h200_llama3_8b();
    let bytes = shape("llama3-8b").expect("known").block_bytes().as_u64() * u64::from(BLOCKS);
    let bytes_per_s = bytes as f64 / (compute(&profile).as_u64() as f64 * times) * 1e9;
    profile.lanes.retain(|lane| lane.ends != READ);
    profile.lanes.push(LaneProfile::new(READ, &LaneCost::uniform(0.0, 0.0, bytes_per_s, Bytes::mib(4))));
    profile
}

fn times(time: Nanos, factor: u64) -> Nanos {
    Nanos::new(time.as_u64() * factor)
}

fn letters(letter: u64) -> Vec<u64> {
    (0..u64::from(BLOCKS)).map(|at| letter << 12 | at).collect()
}

/// An engine in whose file, and nowhere nearer, a prompt lies; its costs are as measured.
fn with_prompt_in_file(times: f64, ability: EngineAbility) -> (Engine, Prompt) {
    let profile = profile(times);
    let slots = Slots { device: 2 * BLOCKS, host: BLOCKS, file: 8 * BLOCKS };
    let engine = Engine::new(&profile, slots, StewardSpec::default());
    let prompts = [engine.prompt(&letters(1)), engine.prompt_of(OTHERS, &letters(2))];
    for prompt in &prompts {
        while engine.offload(prompt, 0..BLOCKS as usize) < BLOCKS as usize {}
    }
    let [prompt, _in_host] = prompts;
    assert_eq!(engine.pager.lookup(&prompt), [TierId::File; BLOCKS as usize]);
    engine.pager.set_costs(CostModel::new(&profile).expect("plausible"), ability);
    (engine, prompt)
}

/// Whether most of the prompt is loaded, from its root: the last few blocks cost no more than the token after them, which is computed anyway.
fn is_most(plan: &LoadPlan) -> bool {
    plan.load.start == 0 && plan.load.len() > BLOCKS as usize * 3 / 4
}

fn planned(engine: &Engine, prompt: &Prompt, device_blocks: usize) -> LoadPlan {
    engine.pager.plan(prompt, device_blocks, Urgency::default()).expect("the slots are the engine's")
}

#[test]
fn a_slow_disk_is_not_loaded_from_and_a_fast_one_is() {
    let (engine, prompt) = with_prompt_in_file(10.0, IN_TURN);
    let slow = planned(&engine, &prompt, 0);
    assert!(slow.load.is_empty(), "{slow:?}");
    let plan = slow.plan.expect("costs are known");
    assert_eq!((plan.reasons.choice, slow.reason), (Choice::Recompute, Reason::Cheapest));
    assert!(plan.predicted.finish_by_load > plan.predicted.finish_by_compute);
    let (engine, prompt) = with_prompt_in_file(0.1, IN_TURN);
    let fast = planned(&engine, &prompt, 0);
    assert!(is_most(&fast), "{fast:?}");
    assert!(matches!(fast.plan.expect("known").reasons.choice, Choice::Load | Choice::LoadThenCompute));
    // What is planned comes.
    assert_eq!(engine.onboard(&prompt, fast.load.clone()), fast.load.len());
}

#[test]
fn without_costs_all_is_loaded() {
    let engine = Engine::new(&profile(10.0), Slots { device: 8, host: 8, file: 0 }, StewardSpec::default());
    let prompt = engine.prompt(&[1, 2, 3, 4]);
    assert_eq!(planned(&engine, &prompt, 0).load, 0..0, "nothing is cached");
    engine.offload(&prompt, 0..4);
    let plan = planned(&engine, &prompt, 0);
    assert_eq!((plan.load, plan.plan, plan.reason), (0..4, None, Reason::Asked));
}

#[test]
fn where_the_engine_can_overlap_both_fronts_move() {
    let (engine, prompt) = with_prompt_in_file(0.5, AT_ONCE);
    let plan = planned(&engine, &prompt, 0);
    assert_eq!(plan.plan.expect("known").reasons.choice, Choice::TwoFronts);
    assert!(plan.is_from_back && plan.chunk_blocks > 0);
    assert!(plan.load.start > 0 && plan.load.end > plan.load.start, "{plan:?}");
}

/// What is planned for a sequence that finds the prompt in the file, on the same machine.
fn planned_for_a_sequence(times: f64, ability: EngineAbility, urgency: Urgency) -> Plan {
    // A drive that takes all that is written; what it is believed to take is all that a plan knows.
    let (model, machines) = (shape("llama3-8b").expect("known"), profile(0.01));
    let slots = [(TierId::Device, 2 * BLOCKS), (TierId::Host, BLOCKS), (TierId::File, 32 * BLOCKS)];
    let sizes = slots.map(|(tier, slots)| VirtualTierSize {
        tier,
        bytes: model.block_bytes().checked_mul(u64::from(slots)).expect("small"),
        format: Format::Raw,
    });
    let limits = Limits { sequence_tokens: 16_384, sequences: 4, ..Limits::default() };
    let machine =
        VirtualMachine::new(&model, &machines, &sizes, limits.moves_queued as usize).expect("plausible");
    let backend = Backend { tiers: machine.tiers(), lanes: machine.lanes() };
    let watermarks = Watermarks { low: 0.0, high: 0.0 };
    let config = Config { limits, watermarks, promotion: Promotion::Never, ..Config::default() };
    let pager =
        Pager::new(model, config, backend, Box::new(Steward::default()), machine.clock()).expect("fits");
    let refused = pager.plan(&pager.prepare(&Request::new(&[])), 0, urgency).expect_err("opening plans here");
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    let go_on = || {
        machine.run_until(machine.next_event());
        pager.poll();
    };
    let serve = |letter| {
        let salt = if letter == 1 { Salt::default() } else { OTHERS };
        // The others are short: room for a long one at once is made by dropping what a drive has not taken yet.
        let blocks = if letter == 1 { BLOCKS } else { BLOCKS / 8 };
        let tokens = tokens(&letters(letter)[..blocks as usize]);
        let prompt = pager.prepare(&Request::new(&tokens).with_urgency(urgency).with_salt(salt));
        let mut sequence = loop {
            match pager.open_prompt(&prompt) {
                Ok(sequence) => break sequence,
                Err(_busy) => go_on(),
            }
        };
        loop {
            match sequence.next_step(2048).expect("there is room") {
                Step::Compute(range) => sequence.commit(range, Fence::OVER).expect("as told"),
                Step::Wait => go_on(),
                Step::Ready => break sequence.forecast(),
            }
        }
    };
    (1..48).for_each(|letter| {
        serve(letter);
        while pager.is_busy() {
            go_on();
        }
    });
    // There is room for the whole prompt when it comes: what waits for room is planned anew.
    pager.invalidate(OTHERS).expect("no tier outlives this");
    pager.set_costs(CostModel::new(&profile(times)).expect("plausible"), ability);
    serve(1).expect("it has costs").plan
}

#[test]
fn an_engine_is_planned_for_as_a_sequence_is() {
    for (times, ability) in [(10.0, IN_TURN), (0.1, IN_TURN), (1.0, AT_ONCE), (3.0, AT_ONCE)] {
        for deadline in [None, Some(Nanos::from_millis(20))] {
            let urgency = Urgency { deadline, compute_queue: Some(Nanos::from_millis(5)), waiting: 0 };
            let (engine, prompt) = with_prompt_in_file(times, ability);
            let own = engine.pager.plan(&prompt, 0, urgency).expect("the slots are the engine's");
            assert_eq!(
                own.plan,
                Some(planned_for_a_sequence(times, ability, urgency)),
                "{times}, {ability:?}"
            );
        }
    }
}

#[test]
fn what_the_engine_reports_is_learnt() {
    let (engine, prompt) = with_prompt_in_file(10.0, IN_TURN);
    let profile = profile(10.0);
    assert!(planned(&engine, &prompt, 0).load.is_empty());
    // A busy device: computing waits, loading does not.
    let busy = Urgency { compute_queue: Some(times(compute(&profile), 20)), ..Urgency::default() };
    let plan = engine.pager.plan(&prompt, 0, busy).expect("the slots are the engine's");
    assert!(is_most(&plan), "{plan:?}");
    assert!(is_most(&planned(&engine, &prompt, 0)), "what was said last counts");
    let idle = Urgency { compute_queue: Some(Nanos::ZERO), ..Urgency::default() };
    assert!(engine.pager.plan(&prompt, 0, idle).expect("the slots are the engine's").load.is_empty());
    // A slow one: each step takes a hundred times as long as measured.
    let step = TokenSpan::between(0, BLOCKS * TOKENS);
    for _ in 0..200 {
        engine.pager.observe_prefill(step, times(compute(&profile), 100));
    }
    assert!(is_most(&planned(&engine, &prompt, 0)));
    let learnt = engine.pager.costs().expect("they were set").prefill().in_steps(2048).span(step);
    assert!(learnt > times(compute(&profile), 50), "{learnt:?}");
}

#[test]
fn what_the_engine_has_or_is_getting_is_not_loaded() {
    let (engine, prompt) = with_prompt_in_file(0.1, IN_TURN);
    let all = BLOCKS as usize;
    assert_eq!(planned(&engine, &prompt, 10).load.start, 10);
    assert_eq!(planned(&engine, &prompt, all).load, all..all);
    // More than is cached below, and more than can be matched.
    let longer = engine.prompt(&[letters(1), vec![7, 8, 9]].concat());
    assert_eq!(planned(&engine, &longer, all + 2).load, all + 2..all + 2);
    assert_eq!(planned(&engine, &prompt, all + 5).load, all..all);
    // Somebody else is getting block 200, which can't be had twice at a time.
    let other = engine.pager.onboard(&prompt, &named(200..201), Fence::OVER).expect("the slot is free");
    assert!(planned(&engine, &prompt, 0).load.end <= 200);
    assert_eq!(planned(&engine, &prompt, 201).load.start, 201);
    engine.wait(other);
    assert!(is_most(&planned(&engine, &prompt, 0)));
}

#[test]
fn onboards_that_have_not_ended_wait_for_lanes() {
    let shown = Arc::new(Mutex::new(Shown::default()));
    let slots = Slots { device: 8, host: 8, file: 0 };
    let engine = Engine::with_policy(&profile(1.0), slots, Box::new(Witness(Arc::clone(&shown))));
    let prompt = engine.prompt(&[1, 2, 3, 4]);
    engine.offload(&prompt, 0..4);
    planned(&engine, &prompt, 0);
    let calls = [0..1, 1..4].map(|blocks| engine.pager.onboard(&prompt, &named(blocks), Fence::OVER));
    planned(&engine, &prompt, 0);
    for call in calls {
        engine.wait(call.expect("the slots are free"));
    }
    planned(&engine, &prompt, 0);
    assert_eq!(shown.lock().lanes_waiting, [0, 2, 0]);
}

#[test]
fn a_drive_that_is_faster_than_believed_is_found_out_and_the_engines_slots_are_left_alone() {
    let (engine, prompt) = with_prompt_in_file(0.1, IN_TURN);
    engine.pager.set_costs(CostModel::new(&profile(10.0)).expect("plausible"), IN_TURN);
    assert!(planned(&engine, &prompt, 0).load.is_empty(), "it is believed slow");
    // There is room in the host for a try.
    engine.pager.invalidate(OTHERS).expect("no tier outlives this");
    let loads = |engine: &Engine| {
        let stats = engine.pager.stats();
        let up = LaneEnds { source: TierId::Host, target: TierId::Device };
        stats.lanes.iter().filter(|lane| lane.ends == up).map(|lane| lane.stats.moves).sum::<u64>()
    };
    let before = loads(&engine);
    let mut plans = 0;
    while planned(&engine, &prompt, 0).load.is_empty() {
        plans += 1;
        assert!(plans < 100, "the drive is asked again");
        engine.pager.poll();
        while engine.pager.is_busy() {
            engine.go_on();
        }
    }
    assert_eq!(loads(&engine), before);
    let found = engine.pager.lookup(&prompt);
    assert_eq!(found, [TierId::File; BLOCKS as usize], "PB2: a try brings nothing");
}
