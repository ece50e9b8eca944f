//! A tier under everything at once: batches of writes and reads, slots given up and written again at once, flushes and
//! scrubbing beside them. No move meets the housekeeping, and every read gives what was written last.

use crate::rig::{Labelled, Rig, SLOTS, bytes_of, slot};
use kv_pager::ids::PrefixHash;
use kv_pager::tier::Tier;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn random(step: u64, what: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&step.to_le_bytes(), what)
}

#[test]
fn no_move_meets_the_housekeeping_and_every_read_gives_what_was_written_last() {
    let rig = Rig::new();
    let session = rig.open();
    let is_over = AtomicBool::new(false);
    let mut held: HashMap<usize, PrefixHash> = HashMap::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(session.tier().scrub().expect("there is memory").damaged, 0);
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                session.tier().persistence().expect("it has").flush().expect("a sound drive");
            }
        });
        for step in 0..3000 {
            let at = usize::try_from(random(step, 1) % u64::from(SLOTS)).expect("small");
            let persistence = session.tier().persistence().expect("it has");
            match random(step, 2) % 4 {
                0 => {
                    session.void(at);
                    held.remove(&at);
                }
                1 => match held.get(&at) {
                    Some(hash) => assert_eq!(session.read(slot(at)), Ok(bytes_of(*hash)), "step {step}"),
                    None => assert!(session.read(slot(at)).is_err(), "step {step}"),
                },
                _ => {
                    let block = &Labelled::chain_named(1, step + 1)[0];
                    assert_eq!(session.try_write(block, at), Ok(()), "step {step}");
                    persistence.set_uses(kv_pager::ids::GroupId::FIRST, slot(at), 5);
                    held.insert(at, block.hash());
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    drop(session);
    let session = rig.open();
    let found = session.tier().persistence().expect("it has").recover();
    let found: HashMap<usize, PrefixHash> =
        found.iter().map(|block| (block.slot.index(), block.hash)).collect();
    assert_eq!(found, held);
}
