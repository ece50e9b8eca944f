//! What cannot be opened: it is said why, and what is there is left alone.

use crate::rig::{Labelled, Rig, SLOTS, recovered};
use kv_pager::Error;
use kv_pager::ids::TierId;
use kv_pager::layout::Format;
use kv_pager_cpu::FileTier;
use kv_pager_cpu::file::Identity;
use std::fs::File;
use std::os::unix::fs::FileExt;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

#[test]
fn a_directory_that_cannot_be_written_or_is_a_file_is_an_error_that_says_what_to_do() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    spec.directories = vec!["/proc/no-such-place".into()];
    let refusal = FileTier::open(&rig.identity(), &spec).expect_err("nothing can be made there");
    assert!(matches!(refusal, Error::Io { tier: TierId::File, .. }));
    assert!(refusal.to_string().contains("choose"), "{refusal}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    spec.directories = vec![file.path().to_owned()];
    assert!(FileTier::open(&rig.identity(), &spec).is_err());
    assert!(file.path().exists(), "and it was left alone");
}

#[test]
fn more_than_the_drive_has_is_refused_at_once_and_nothing_is_left_behind() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    spec.slots = vec![u32::MAX - 1];
    spec.directories = vec![rig.path("deeply/nested")];
    let refusal = FileTier::open(&rig.identity(), &spec).expect_err("no drive has 32 TiB to spare");
    assert!(matches!(refusal, Error::OutOfMemory { tier: TierId::File, .. }), "{refusal}");
    assert!(!rig.path("").exists(), "all directories were its own");
}

/// Changes the superblock of `rig`'s directory, and makes its checksums hold again.
fn forge(rig: &Rig, offset: u64, bytes: &[u8]) {
    let path = rig.path("kv-pager.superblock");
    let file = File::options().read(true).write(true).open(path).expect("it is there");
    for copy in [0, 4096] {
        file.write_all_at(bytes, copy + offset).expect("it can be written");
        let mut page = [0; 4096];
        file.read_exact_at(&mut page, copy).expect("it is that long");
        let checksum = xxh3_64_with_seed(&page[24..], xxh3_64(&page[..16]));
        file.write_all_at(&checksum.to_ne_bytes(), copy + 16).expect("it can be written");
    }
}

/// What makes a tier another than the one that is opened.
type Change = fn(&Rig, &mut Identity);

#[test]
fn what_another_version_machine_format_or_model_wrote_is_refused_and_left_alone() {
    let changes: [(&str, Change); 7] = [
        ("version 2", |rig, _| forge(rig, 12, &2_u32.to_ne_bytes())),
        ("byte order", |rig, _| forge(rig, 8, &0x0a0b_0c0d_u32.swap_bytes().to_ne_bytes())),
        ("no file of kv-pager's", |rig, _| forge(rig, 0, b"SOMEBODY")),
        ("in another format", |_, identity| identity.format = Format::Int8),
        ("for another model", |_, identity| identity.fingerprint.0 += 1),
        ("another hash key", |_, identity| identity.hash_key += 1),
        ("split over 1 rank", |_, identity| identity.ranks = 2),
    ];
    for (said, change) in changes {
        let rig = Rig::new();
        let session = rig.open();
        session.write(&Labelled::chain(1)[0], 0);
        drop(session);
        let mut identity = rig.identity();
        change(&rig, &mut identity);
        let before = rig.files(&[""]);
        // Neither if it is opened as it was, nor if it is to become smaller.
        for slots in [SLOTS, 1] {
            let mut spec = rig.spec();
            spec.slots = vec![slots];
            let refusal = FileTier::open(&identity, &spec).expect_err(said);
            assert!(matches!(refusal, Error::Configuration { .. }), "{refusal}");
            assert!(refusal.to_string().contains(said), "{refusal}");
            assert_eq!(rig.files(&[""]), before, "{said}");
        }
    }
}

#[test]
fn a_refused_directory_gets_not_even_a_lock() {
    let rig = Rig::new();
    std::fs::create_dir(rig.path("")).expect("it can be made");
    std::fs::write(rig.path("kv-pager.superblock"), [7; 100]).expect("it can be written");
    let before = rig.files(&[""]);
    assert!(FileTier::open(&rig.identity(), &rig.spec()).is_err());
    assert_eq!(rig.files(&[""]), before);
}

#[test]
fn of_a_tier_that_lost_a_superblock_nothing_is_removed() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    spec.directories = vec![rig.path("a"), rig.path("b")];
    spec.slots = vec![2048];
    drop(FileTier::open(&rig.identity(), &spec).expect("there is room"));
    for is_gone in [false, true] {
        let superblock = rig.path("b/kv-pager.superblock");
        if is_gone {
            std::fs::remove_file(superblock).expect("it is there");
        } else {
            File::options()
                .write(true)
                .open(superblock)
                .expect("it is there")
                .set_len(0)
                .expect("it can be cut");
        }
        let before = rig.files(&["a", "b"]);
        assert!(before.len() > 6, "{:?}", before.keys());
        let refusal = FileTier::open(&rig.identity(), &spec).expect_err("it holds no tier");
        assert!(refusal.to_string().contains("no superblock"), "{refusal}");
        assert_eq!(rig.files(&["a", "b"]), before);
    }
}

#[test]
fn what_is_left_of_a_larger_model_that_was_never_made_is_removed() {
    let rig = Rig::new();
    std::fs::create_dir(rig.path("")).expect("it can be made");
    for name in ["kv-pager.0.headers", "kv-pager.7.headers", "kv-pager.7.payloads", "kv-pager.superblock.new"]
    {
        std::fs::write(rig.path(name), [7; 100]).expect("it can be written");
    }
    let session = rig.open();
    assert_eq!((recovered(&session), session.tier().damaged_at_open()), (0, 0));
    let names: Vec<_> = rig.files(&[""]).into_keys().collect();
    let own =
        ["0.headers", "0.payloads", "lock", "superblock"].map(|name| rig.path(&format!("kv-pager.{name}")));
    assert_eq!(names, own);
}

#[test]
fn zero_sizes_are_refused() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    for slots in [vec![], vec![0], vec![1, 1], vec![u32::MAX]] {
        spec.slots = slots;
        assert!(matches!(FileTier::open(&rig.identity(), &spec), Err(Error::Configuration { .. })));
    }
    spec = rig.spec();
    spec.directories.clear();
    assert!(matches!(FileTier::open(&rig.identity(), &spec), Err(Error::Configuration { .. })));
}
