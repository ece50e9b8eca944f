//! What requests are worth: those of high priority are loaded first and stay longer, and what only requests with a time to live have used
//! goes that long after the last of them, and not before.

use crate::world::{Engine, Slots, named};
use kv_pager::cost::Profile;
use kv_pager::ids::{Fence, TierId};
use kv_pager::pager::{BlockAt, Deliveries, Delivery, Prompt};
use kv_pager::policy::keeping::Arm;
use kv_pager::policy::{Lru, StewardSpec, Urgency};
use kv_pager::units::Nanos;

/// How long blocks live: thousands of times as long as moves take.
const LIFE: Nanos = Nanos::from_millis(1_000);
/// Blocks of a prompt that takes many batches.
const LONG: usize = 600;
/// Nearly as long.
const MOST_OF_IT: Nanos = Nanos::from_millis(900);
const REST_OF_IT: Nanos = Nanos::from_millis(100);

fn engine(host: u32, file: u32) -> Engine {
    let slots = Slots { device: 64, host, file };
    Engine::with_policy(&Profile::h200_llama3_8b(), slots, Box::new(Lru))
}

/// How many leading blocks of four are cached.
fn cached(engine: &Engine, prompt: &Prompt) -> usize {
    engine.pager.check();
    engine.pager.lookup(prompt).len()
}

/// Others come, a prompt of four blocks each; how many are cached of `prompt` after each.
fn cached_under_pressure(engine: &Engine, prompt: &Prompt, others: std::ops::Range<u64>) -> Vec<usize> {
    let mut left = Vec::new();
    for letter in others {
        let other = engine.prompt(&[letter, 2, 3, 4]);
        // A look for room that only finds parents before their children may be in vain.
        while engine.offload(&other, 0..4) < 4 {}
        left.push(cached(engine, prompt));
    }
    left
}

#[test]
fn blocks_of_a_prompt_of_high_priority_stay_longer() {
    let usual = engine(12, 0);
    let prompt = usual.prompt(&[1, 2, 3, 4]);
    usual.offload(&prompt, 0..4);
    assert_eq!(cached_under_pressure(&usual, &prompt, 10..16), [4, 4, 0, 0, 0, 0]);

    let made = engine(12, 0);
    let prompt = made.urgent_prompt(&[1, 2, 3, 4]);
    made.offload(&prompt, 0..4);
    assert_eq!(cached_under_pressure(&made, &prompt, 10..18), [4, 4, 4, 4, 4, 4, 0, 0], "not for ever");
}

#[test]
fn blocks_that_a_prompt_of_high_priority_finds_stay_longer() {
    // It loads what another has made, or has it in its own slots; or needs it below its own.
    let uses: [fn(&Engine, &Prompt); 3] = [
        |engine, prompt| _ = engine.onboard(prompt, 0..4),
        |engine, prompt| _ = engine.offload(prompt, 0..0),
        |engine, _| {
            let longer = engine.urgent_prompt(&[1, 2, 3, 4, 5, 6]);
            engine.offload(&longer, 4..5);
        },
    ];
    for used in uses {
        let engine = engine(12, 0);
        engine.offload(&engine.prompt(&[1, 2, 3, 4]), 0..4);
        let prompt = engine.urgent_prompt(&[1, 2, 3, 4]);
        used(&engine, &prompt);
        assert_eq!(cached_under_pressure(&engine, &prompt, 10..15), [4; 5], "passed over");
        assert_eq!(cached_under_pressure(&engine, &prompt, 15..30).last(), Some(&0), "not for ever");
    }
}

#[test]
fn blocks_of_high_priority_stay_longer_under_each_arm() {
    for keeping in Arm::ALL {
        let spec = StewardSpec { keeping, ..StewardSpec::default() };
        let left = [false, true].map(|is_urgent| {
            let slots = Slots { device: 64, host: 12, file: 0 };
            let engine = Engine::new(&Profile::h200_llama3_8b(), slots, spec);
            let ids = [1, 2, 3, 4];
            let prompt = if is_urgent { engine.urgent_prompt(&ids) } else { engine.prompt(&ids) };
            engine.offload(&prompt, 0..4);
            cached_under_pressure(&engine, &prompt, 10..30)
        });
        let rounds = left.each_ref().map(|left| left.iter().filter(|cached| **cached == 4).count());
        assert!(rounds[1] >= 3 * rounds[0], "{keeping:?}: {left:?}");
        // Its root is passed over with its leaf, not after it.
        assert_eq!(
            left[1].iter().skip(3 * rounds[0] + 4).max(),
            Some(&0),
            "not for ever, {keeping:?}: {left:?}"
        );
    }
}

/// Which of two prompts that are asked for at once has come when the other has not: the first of the usual priority.
fn first_to_come(engine: &Engine, prompts: &[Prompt; 2]) -> usize {
    let slots = [0, LONG];
    let mut asked: Vec<Deliveries> = prompts
        .iter()
        .zip(slots)
        .map(|(prompt, first)| {
            let slots = named(first..first + LONG);
            let wanted: Vec<BlockAt> = named(0..LONG)
                .iter()
                .zip(slots)
                .map(|(at, BlockAt { slot, .. })| BlockAt { slot, ..*at })
                .collect();
            engine.pager.onboard(prompt, &wanted, Fence::OVER).expect("the slots are free")
        })
        .collect();
    loop {
        let come = asked.iter_mut().position(Deliveries::is_over);
        if let Some(first) = come {
            assert!(!asked[1 - first].is_over(), "they come one after the other");
            assert!(asked[first].poll().iter().all(|outcome| *outcome == Delivery::Done));
            return first;
        }
        engine.go_on();
    }
}

#[test]
fn loads_of_high_priority_go_first() {
    for is_urgent in [false, true] {
        let slots = Slots { device: 2 * 600, host: 2 * 600, file: 0 };
        let engine = Engine::with_policy(&Profile::h200_llama3_8b(), slots, Box::new(Lru));
        let letters =
            [1, 2].map(|letter| (0..LONG as u64).map(|at| letter * 1000 + at).collect::<Vec<u64>>());
        for letters in &letters {
            assert_eq!(engine.offload(&engine.prompt(letters), 0..LONG), LONG);
        }
        let second = if is_urgent { engine.urgent_prompt(&letters[1]) } else { engine.prompt(&letters[1]) };
        let first = first_to_come(&engine, &[engine.prompt(&letters[0]), second]);
        assert_eq!(first, usize::from(is_urgent));
    }
}

#[test]
fn blocks_go_after_their_time_and_not_before_from_every_tier() {
    let engine = engine(4, 64);
    let prompts = [1, 2].map(|letter| engine.mortal_prompt(&[letter, 2, 3, 4], LIFE));
    for prompt in &prompts {
        // Room comes as copies of what the host has reach the file.
        while engine.offload(prompt, 0..4) < 4 {}
    }
    assert_eq!(engine.pager.lookup(&prompts[0]), [TierId::File; 4]);
    assert_eq!(engine.pager.lookup(&prompts[1]), [TierId::Host; 4]);
    engine.rest(MOST_OF_IT);
    assert_eq!(prompts.each_ref().map(|prompt| cached(&engine, prompt)), [4, 4]);
    engine.rest(REST_OF_IT);
    assert_eq!(prompts.each_ref().map(|prompt| cached(&engine, prompt)), [0, 0]);
    assert_eq!(engine.pager.stats().expired, 8);
    // What is made anew is served, and goes as well.
    assert_eq!(engine.offload(&prompts[0], 0..4), 4);
    engine.rest(LIFE);
    assert_eq!(cached(&engine, &prompts[0]), 0);
}

#[test]
fn what_a_prompt_without_a_time_to_live_has_used_stays() {
    let ids = [1, 2, 3, 4, 5, 6];
    // It loads blocks, of which only the last is to come; offloads one that stands on them; or has them in its own slots.
    let uses: [fn(&Engine); 3] = [
        |engine| _ = engine.onboard(&engine.prompt(&[1, 2, 3]), 2..3),
        |engine| _ = engine.offload(&engine.prompt(&[1, 2, 7, 8]), 2..3),
        |engine| _ = engine.offload(&engine.prompt(&[1, 2, 3, 4]), 0..0),
    ];
    for (used, stay) in uses.into_iter().zip([3, 2, 4]) {
        let engine = engine(16, 0);
        let prompt = engine.mortal_prompt(&ids, LIFE);
        engine.offload(&prompt, 0..6);
        used(&engine);
        engine.rest(LIFE);
        assert_eq!(cached(&engine, &prompt), stay);
        // Not even when one with a time to live has used them again.
        engine.offload(&prompt, 0..0);
        engine.rest(LIFE);
        assert_eq!(cached(&engine, &prompt), stay);
    }
}

#[test]
fn what_others_have_made_does_not_expire() {
    let engine = engine(16, 0);
    engine.offload(&engine.prompt(&[1, 2, 3, 4]), 0..4);
    let prompt = engine.mortal_prompt(&[1, 2, 3, 4, 5, 6], LIFE);
    engine.onboard(&prompt, 0..4);
    engine.offload(&prompt, 4..6);
    engine.rest(LIFE);
    assert_eq!(cached(&engine, &prompt), 4);
}

#[test]
fn what_is_asked_for_again_lives_longer() {
    // It loads all; only the end; or has all in its own slots.
    let uses: [fn(&Engine, &Prompt); 3] = [
        |engine, prompt| _ = engine.onboard(prompt, 0..4),
        |engine, prompt| _ = engine.onboard(prompt, 2..4),
        |engine, prompt| _ = engine.offload(prompt, 0..0),
    ];
    for used in uses {
        let engine = engine(16, 0);
        let prompt = engine.mortal_prompt(&[1, 2, 3, 4], LIFE);
        engine.offload(&prompt, 0..4);
        for _ in 0..3 {
            engine.rest(MOST_OF_IT);
            assert_eq!(cached(&engine, &prompt), 4);
            used(&engine, &prompt);
        }
        engine.rest(MOST_OF_IT);
        assert_eq!(cached(&engine, &prompt), 4);
        engine.rest(REST_OF_IT);
        assert_eq!(cached(&engine, &prompt), 0, "as long as it lives after the last");
    }
}

#[test]
fn looking_and_planning_is_no_use() {
    let engine = engine(16, 0);
    let prompt = engine.mortal_prompt(&[1, 2, 3, 4], LIFE);
    engine.offload(&prompt, 0..4);
    engine.rest(MOST_OF_IT);
    let other = engine.prompt(&[1, 2, 3, 4]);
    assert_eq!(cached(&engine, &other), 4);
    engine.pager.plan(&other, 0, Urgency::default()).expect("the slots are the engine's");
    engine.rest(REST_OF_IT);
    assert_eq!(cached(&engine, &prompt), 0);
}

#[test]
fn what_a_request_leaves_whose_last_call_never_comes_goes_as_well() {
    let engine = engine(16, 0);
    let prompt = engine.mortal_prompt(&[1, 2, 3, 4, 5, 6, 7, 8], LIFE);
    for from in [0, 2, 4] {
        engine.offload(&prompt, from..from + 2);
        engine.rest(REST_OF_IT);
    }
    engine.rest(MOST_OF_IT);
    assert_eq!(cached(&engine, &prompt), 0, "each call's blocks with those that stand on them");
    assert_eq!(engine.pager.stats().expired, 6);

    // The one that loads them does not end either, and what it has loaded gives way to others before the rest does.
    engine.offload(&prompt, 0..8);
    engine.rest(MOST_OF_IT);
    engine.onboard(&prompt, 7..8);
    engine.rest(REST_OF_IT);
    assert_eq!(cached(&engine, &prompt), 8, "the rest stays with its end");
    for letter in 20..21 {
        engine.offload(&engine.prompt(&(letter * 100..letter * 100 + 12).collect::<Vec<_>>()), 0..12);
    }
    assert_eq!(cached(&engine, &prompt), 4);
    engine.rest(LIFE);
    assert_eq!(cached(&engine, &prompt), 0);
}

#[test]
fn what_is_on_its_way_when_its_time_is_over_goes_as_long_after() {
    let engine = engine(16, 0);
    let short = Nanos::new(1);
    let prompt = engine.mortal_prompt(&[1, 2, 3, 4], short);
    let out = engine.pager.offload(&prompt, &named(0..4), Fence::OVER).expect("the slots are free");
    engine.pager.poll();
    assert_eq!(engine.pager.stats().expired, 0, "they are being copied");
    assert_eq!(engine.wait(out), 4);
    engine.rest(short);
    assert_eq!(cached(&engine, &prompt), 0);
    // And so is what is being loaded.
    let prompt = engine.mortal_prompt(&[1, 2, 3, 4], LIFE);
    engine.offload(&prompt, 0..4);
    let brief = engine.mortal_prompt(&[1, 2, 3, 4], short);
    let back = engine.pager.onboard(&brief, &named(0..4), Fence::OVER).expect("the slots are free");
    assert_eq!(engine.wait(back), 4, "none goes while it is read");
    engine.rest(short);
    assert_eq!(cached(&engine, &prompt), 0, "the last that has used them lets them live so long");
}

#[test]
fn no_more_is_remembered_than_there_are_blocks() {
    let engine = engine(16, 0);
    let prompt = engine.mortal_prompt(&[1, 2, 3, 4], LIFE);
    for _ in 0..1_000 {
        engine.offload(&prompt, 0..2);
        engine.onboard(&prompt, 0..2);
        engine.offload(&prompt, 2..4);
        engine.pager.check();
    }
    assert_eq!(cached(&engine, &prompt), 4, "what is asked for again is not given up for its own sake");
    engine.rest(LIFE);
    assert_eq!(cached(&engine, &prompt), 0);
}

#[test]
fn a_long_prompt_goes_a_slice_a_call() {
    let blocks = 700;
    let slots = Slots { device: blocks, host: blocks, file: 0 };
    let engine = Engine::with_policy(&Profile::h200_llama3_8b(), slots, Box::new(Lru));
    let prompt = engine.mortal_prompt(&(0..u64::from(blocks)).collect::<Vec<_>>(), LIFE);
    assert_eq!(engine.offload(&prompt, 0..blocks as usize), blocks as usize);
    engine.rest(LIFE);
    assert_eq!(engine.pager.stats().expired, 256);
    assert_eq!(cached(&engine, &prompt), 700 - 512, "its end first, when it is looked up");
    engine.pager.poll();
    assert_eq!(engine.pager.stats().expired, 700);
}
