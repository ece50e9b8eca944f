//! A tier that is grown, shrunk, or spread over several directories.

use crate::rig::{Labelled, Rig, slot};
use kv_pager::tier::Tier;
use kv_pager_cpu::FileTier;
use kv_pager_cpu::file::Depth;
use kv_pager_cpu::inspect;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn allocated(rig: &Rig) -> u64 {
    fs::metadata(rig.path("kv-pager.0.payloads")).expect("it is there").blocks() * 512
}

#[test]
fn all_bytes_are_taken_at_once_and_given_back_on_shrinking() {
    let mut rig = Rig::new();
    rig.slots = 512;
    drop(rig.open());
    let full = allocated(&rig);
    assert!(full >= 512 * 8192, "{full} bytes of {}", 512 * 8192);
    rig.slots = 16;
    drop(rig.open());
    assert!(allocated(&rig) < 17 * 8192, "{} bytes", allocated(&rig));
}

#[test]
fn what_has_room_survives_a_new_size() {
    let mut rig = Rig::new();
    let chain = Labelled::chain(4);
    let session = rig.open();
    for (index, block) in chain.iter().enumerate() {
        session.write(block, index * 2);
    }
    drop(session);
    rig.slots = 100;
    let session = rig.open();
    assert_eq!(session.tier().persistence().expect("it has").recover().len(), 4);
    assert_eq!(session.read(slot(6)), Ok(chain[3].bytes()));
    session.write(&Labelled::chain_named(1, 5)[0], 99);
    drop(session);
    rig.slots = 5;
    let session = rig.open();
    let found = session.tier().persistence().expect("it has").recover();
    assert_eq!(found.iter().map(|block| block.slot).collect::<Vec<_>>(), [slot(0), slot(2), slot(4)]);
    assert_eq!(session.read(slot(4)), Ok(chain[2].bytes()));
    drop(session);
    // What was cut off does not come back when the files grow again.
    rig.slots = 100;
    let session = rig.open();
    assert_eq!(session.tier().persistence().expect("it has").recover().len(), 3);
}

#[test]
fn several_directories_are_one_tier_in_any_order() {
    let rig = Rig::new();
    let folders = ["a", "b", "c"].map(|name| rig.path(name));
    let slots = 3000;
    let spread = |order: [usize; 3]| {
        rig.open_with(|spec| {
            let file = spec.file.as_mut().expect("there is one");
            file.directories = order.map(|index| folders[index].clone()).to_vec();
            file.slots = vec![slots];
        })
    };
    let chain = Labelled::chain(30);
    let session = spread([0, 1, 2]);
    for (index, block) in chain.iter().enumerate() {
        session.write(block, index * 100);
    }
    drop(session);
    for folder in &folders {
        let bytes = fs::metadata(folder.join("kv-pager.0.payloads")).expect("it is there").len();
        assert!(bytes > 900 * 8192, "{bytes} bytes in {}", folder.display());
    }
    let session = spread([2, 0, 1]);
    let found = session.tier().persistence().expect("it has").recover();
    assert_eq!(found.len(), 30);
    for block in &found {
        assert_eq!(session.read(block.slot), Ok(chain[block.depth as usize].bytes()));
    }
    drop(session);
    assert_eq!(inspect(&folders, Depth::Verify).expect("it can be read").used_slots, 30);
    // Fewer of them, or a stranger among them, is refused, and nothing is lost by it.
    let mut spec = rig.spec();
    spec.directories = folders[..2].to_vec();
    assert!(FileTier::open(&rig.identity(), &spec).is_err());
    spec.directories = vec![folders[0].clone(), folders[1].clone(), rig.path("d")];
    assert!(FileTier::open(&rig.identity(), &spec).is_err());
    assert!(!fs::exists(rig.path("d")).expect("it can be asked"), "what was made on the way is removed");
    assert_eq!(spread([0, 1, 2]).tier().persistence().expect("it has").recover().len(), 30);
}

#[test]
fn a_directory_without_slots_is_one_of_the_tier_all_the_same() {
    let rig = Rig::new();
    let folders = ["a", "b"].map(|name| rig.path(name));
    let open = |slots| {
        rig.open_with(|spec| {
            let file = spec.file.as_mut().expect("there is one");
            file.directories = folders.to_vec();
            file.slots = vec![slots];
        })
    };
    let chain = Labelled::chain(2);
    let bytes = |folder: &Path| fs::metadata(folder.join("kv-pager.0.payloads")).expect("it is there").len();
    // A stripe is of 1,024 slots: none is left for the second directory, then one, then none again.
    for (round, slots) in [100, 1025, 1024].into_iter().enumerate() {
        let session = open(slots);
        assert_eq!(bytes(&folders[1]), u64::from(slots.saturating_sub(1024)) * 8192, "{slots} slots");
        let found = session.tier().persistence().expect("it has").recover();
        assert_eq!(found.len(), round.min(1), "{slots} slots");
        session.write(&chain[0], 7);
        assert_eq!(session.read(slot(7)), Ok(chain[0].bytes()));
        if slots > 1024 {
            session.write(&chain[1], 1024);
        }
        session.tier().persistence().expect("it has").flush().expect("a sound drive");
        assert_eq!(session.tier().scrub().expect("there is memory").damaged, 0);
        drop(session);
        let found = inspect(&folders, Depth::Verify).expect("it can be read");
        assert_eq!((found.slots, found.damages), (u64::from(slots), vec![]));
    }
}

#[test]
fn a_batch_over_the_end_of_a_stripe_goes_where_it_belongs() {
    let rig = Rig::new();
    let session = rig.open_with(|spec| {
        let file = spec.file.as_mut().expect("there is one");
        file.directories = vec![rig.path("a"), rig.path("b")];
        file.slots = vec![4096];
    });
    // Stripes are of 1,024 slots: 1,023 and 2,048 are adjacent in their directory, but not in number.
    let places = [1022, 1023, 1024, 2047, 2048, 2049];
    let chain = Labelled::chain(6);
    for (block, at) in chain.iter().zip(places) {
        session.write(block, at);
    }
    assert_eq!(session.read_together(&places.map(slot)), [Ok(()); 6]);
    assert_eq!(session.read_together(&[1023, 2048].map(slot)), [Ok(()); 2]);
    for (host, block) in [&chain[1], &chain[4]].into_iter().enumerate() {
        assert_eq!(session.host_bytes(slot(host + 1)), block.bytes());
    }
}
