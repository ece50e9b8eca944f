//! A process that is killed at any moment: what it had written whole is found again, and nothing reads as damaged.
//!
//! The child is this test binary again, running the ignored test below in a directory that its parent names. It tells of
//! each write before and after it; the parent kills it at a random line, and compares.

use crate::rig::{Labelled, Rig, SLOTS, bytes_of, slot};
use kv_pager::ids::PrefixHash;
use kv_pager::tier::Tier;
use kv_pager_cpu::file::{Depth, Making};
use kv_pager_cpu::inspect;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

const DIRECTORY: &str = "KV_PAGER_CRASH_DIRECTORY";
const SEED: &str = "KV_PAGER_CRASH_SEED";
const SLOTS_MADE: &str = "KV_PAGER_CRASH_SLOTS";

/// A number for each step of a seed.
fn random(seed: u64, step: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&step.to_le_bytes(), seed)
}

fn child(rig: &Rig, seed: u64) -> Child {
    let own = std::env::current_exe().expect("a test has a binary");
    Command::new(own)
        .args(["--exact", "crash::the_child_that_is_killed", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, rig.root())
        .env(SEED, seed.to_string())
        .env(SLOTS_MADE, rig.slots.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be started")
}

#[test]
#[ignore = "runs as the child of the tests below"]
fn the_child_that_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let seed: u64 = std::env::var(SEED).expect("given with it").parse().expect("a number");
    let mut rig = Rig::at(directory.into());
    rig.slots = std::env::var(SLOTS_MADE).expect("given with it").parse().expect("a number");
    let session = rig.open();
    let mut out = std::io::stdout();
    let mut tell = |line: String| {
        writeln!(out, "{line}").expect("the parent reads");
        out.flush().expect("the parent reads");
    };
    let slots = usize::try_from(SLOTS).expect("few");
    for step in 0..100_000 {
        let number = random(seed, step);
        let at = usize::try_from(number % u64::from(SLOTS)).expect("small");
        // Batches of several slots, some of them adjacent; reads, slots given up and flushes between them.
        let stride = if number.is_multiple_of(2) { 1 } else { 3 };
        let count = usize::try_from(number / 8 % 4).expect("small") + 1;
        match number / 64 % 8 {
            0 => {
                tell(format!("> {at}"));
                session.void(at);
            }
            // There may be nothing in it.
            1 => drop(session.read(slot(at))),
            2 => session.tier().persistence().expect("it has").flush().expect("a sound drive"),
            _ => {
                let places: Vec<usize> = (0..count).map(|index| (at + index * stride) % slots).collect();
                let name = |index: usize| random(seed, step * 16 + index as u64) | 1;
                let blocks: Vec<_> = (0..count).map(|index| Labelled::chain_named(1, name(index))).collect();
                let batch: Vec<_> =
                    places.iter().copied().zip(blocks.iter().map(|chain| &chain[0])).collect();
                for at in &places {
                    tell(format!("> {at}"));
                }
                let outcomes = session.write_together(&batch);
                assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
                for (at, block) in &batch {
                    tell(format!("= {at} {:x}", block.hash().0));
                }
            }
        }
    }
}

/// Kills the child at line `lines`, and tells what it said last of each slot: that it holds a block, or that it was at it.
fn kill_at(child: &mut Child, lines: usize) -> HashMap<usize, Option<PrefixHash>> {
    let out = child.stdout.take().expect("it is piped");
    let mut said = HashMap::new();
    // What it had said by then and was not yet heard comes after.
    for (number, line) in BufReader::new(out).lines().map_while(Result::ok).enumerate() {
        note(&mut said, &line);
        if number == lines {
            child.kill().expect("it runs");
        }
    }
    child.wait().expect("it was ours");
    said
}

fn note(said: &mut HashMap<usize, Option<PrefixHash>>, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [">", at] => drop(said.insert(at.parse().expect("a slot"), None)),
        ["=", at, hash] => {
            let hash = u128::from_str_radix(hash, 16).expect("a name");
            said.insert(at.parse().expect("a slot"), Some(PrefixHash(hash)));
        }
        // The test harness talks on the same pipe.
        _ => {}
    }
}

#[test]
fn a_second_process_is_refused_and_disturbs_nothing() {
    let rig = Rig::new();
    let session = rig.open();
    let block = &Labelled::chain(1)[0];
    session.write(block, 0);
    let second = child(&rig, 1).wait_with_output().expect("it was started");
    assert!(!second.status.success(), "it opened a tier that was in use");
    assert!(!String::from_utf8_lossy(&second.stdout).contains("> "), "it wrote");
    assert_eq!(session.read(slot(0)), Ok(block.bytes()));
    drop(session);
    let found = inspect(&rig.spec().directories, Depth::Verify).expect("it can be read");
    assert_eq!((found.used_slots, found.damages), (1, vec![]));
}

#[test]
fn killed_under_load_it_has_what_was_whole_and_nothing_damaged() {
    let rig = Rig::new();
    let mut compared = 0;
    for round in 0..20 {
        let mut child = child(&rig, round);
        let lines = 5 + usize::try_from(random(99, round) % 300).expect("small");
        let said = kill_at(&mut child, lines);
        let found = inspect(&rig.spec().directories, Depth::Verify).expect("it can be read");
        assert_eq!(found.damages, [], "round {round}");
        let session = rig.open();
        assert_eq!(session.tier().damaged_at_open(), 0, "round {round}");
        let recovered = session.tier().persistence().expect("it has").recover();
        for (&at, hash) in &said {
            // What it was at when it died may be there, or what was there before, or nothing.
            let Some(hash) = hash else { continue };
            let found = recovered.iter().find(|block| block.slot == slot(at)).map(|block| block.hash);
            assert_eq!(found, Some(*hash), "round {round}: slot {at}");
            compared += 1;
        }
        for block in recovered {
            assert_eq!(session.read(block.slot), Ok(bytes_of(block.hash)), "round {round}");
        }
    }
    assert!(compared > 50, "{compared} blocks were compared");
}

/// What is there after each step of making a tier, in order.
const STEPS: [&str; 4] =
    ["kv-pager.lock", "kv-pager.superblock", "kv-pager.0.headers", "kv-pager.0.payloads"];

#[test]
fn killed_while_it_is_made_the_tier_is_made_again() {
    let mut half_made = 0;
    for round in 0..24 {
        let mut rig = Rig::new();
        // Large enough to be a while in the making.
        rig.slots = 1 << 14;
        let mut child = child(&rig, round);
        let step = rig.path(STEPS[usize::try_from(round).expect("small") % STEPS.len()]);
        while !step.exists() {
            assert!(child.try_wait().expect("it is ours").is_none(), "it ended by itself");
            std::hint::spin_loop();
        }
        // And a while after that.
        for _ in 0..random(7, round) % 400 {
            std::thread::yield_now();
        }
        child.kill().expect("it runs");
        child.wait().expect("it was ours");
        let found = inspect(&rig.spec().directories, Depth::Verify).expect("it can be looked at");
        assert_eq!(found.damages, [], "round {round}: {:?}", found.making);
        half_made += u32::from(found.making != Making::Complete);
        let session = rig.open();
        let block = &Labelled::chain(1)[0];
        session.write(block, 0);
        assert_eq!(session.read(slot(0)), Ok(block.bytes()));
    }
    assert!(half_made > 0, "all of them were made whole before they were killed");
}
