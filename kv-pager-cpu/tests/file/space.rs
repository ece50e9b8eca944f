//! What a tier takes of a drive and of memory: its own size, and no more.

use crate::rig::{Labelled, Rig, slot};
use kv_pager::Error;
use kv_pager::ids::TierId;
use kv_pager::tier::{MoveFault, Tier};
use kv_pager::units::Bytes;
use kv_pager_cpu::file::Access;
use kv_pager_cpu::{CpuSpec, FileTier};
use std::path::Path;
use std::process::Command;

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// A small file system, if this process may mount one.
struct SmallDrive {
    folder: tempfile::TempDir,
}

impl SmallDrive {
    fn mount(mib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().to_str().expect("made of ASCII");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "kv-pager-test", path])?;
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDrive {
    fn drop(&mut self) {
        run("umount", &[self.path().to_str().expect("made of ASCII")]);
    }
}

#[test]
fn a_drive_that_is_too_small_is_an_error_at_start_and_nothing_is_left_behind() {
    let Some(drive) = SmallDrive::mount(1) else {
        skipped("this process may mount nothing");
        return;
    };
    let rig = Rig::new();
    let mut spec = rig.spec();
    spec.slots = vec![1000];
    spec.directories = vec![drive.path().join("tier")];
    let refusal = FileTier::open(&rig.identity(), &spec).expect_err("it needs 8 MiB");
    assert!(matches!(refusal, Error::OutOfMemory { tier: TierId::File, .. }), "{refusal}");
    // What fits is taken whole, and keeps its room whoever fills the drive then.
    spec.slots = vec![40];
    spec.directories = vec![drive.path().join("tier")];
    let session = rig.open_with(|backend| backend.file = Some(spec.clone()));
    assert!(std::fs::write(drive.path().join("filler"), vec![1; 1 << 20]).is_err(), "the drive is full now");
    for block in Labelled::chain(30) {
        let at = usize::try_from(block.hash().0).expect("small");
        session.write(&block, at);
        assert_eq!(session.read(slot(at)), Ok(block.bytes()));
    }
    drop(session);
    // And it grows no larger than there is room for, and is what it was.
    spec.slots = vec![1000];
    assert!(matches!(FileTier::open(&rig.identity(), &spec), Err(Error::OutOfMemory { .. })));
    spec.slots = vec![40];
    let tier = FileTier::open(&rig.identity(), &spec).expect("as before");
    assert_eq!(tier.persistence().expect("it has").recover().len(), 30);
}

#[test]
fn a_drive_with_room_for_one_of_two_directories_is_left_with_neither() {
    let Some(drive) = SmallDrive::mount(12) else {
        skipped("this process may mount nothing");
        return;
    };
    let rig = Rig::new();
    let mut spec = rig.spec();
    // A stripe of 8 MiB for each of them.
    spec.slots = vec![2048];
    spec.directories = vec![drive.path().join("a"), drive.path().join("b")];
    let refusal = FileTier::open(&rig.identity(), &spec).expect_err("it needs 16 MiB");
    assert!(matches!(refusal, Error::OutOfMemory { tier: TierId::File, .. }), "{refusal}");
    assert_eq!(std::fs::read_dir(drive.path()).expect("it is there").count(), 0);
    // All slots of a small class may stand in the first.
    spec.slots = vec![1024];
    drop(FileTier::open(&rig.identity(), &spec).expect("it needs 8 MiB"));
}

/// Bytes of a file in the page cache, if there is a program to tell.
fn cached(path: &Path) -> Option<u64> {
    run("fincore", &["-bnr", "-o", "RES", path.to_str()?])?.trim().parse().ok()
}

#[test]
fn payloads_fill_no_page_cache() {
    for access in [Access::Direct, Access::Buffered] {
        let mut rig = Rig::new();
        rig.slots = 4096;
        let session = rig.open_with(|spec| spec.file.as_mut().expect("there is one").access = access);
        for index in 0..2048 {
            session.write(&Labelled::chain_named(1, index)[0], usize::try_from(index).expect("small"));
        }
        session.tier().persistence().expect("it has").flush().expect("a sound drive");
        for index in 0..2048 {
            session.read(slot(index)).expect("it was written");
        }
        let Some(cached) = cached(&rig.path("kv-pager.0.payloads")) else {
            skipped("no fincore to tell what is cached");
            return;
        };
        assert!(cached < 1 << 20, "{access:?}: {cached} of {} bytes are cached", 2048 * 8192);
    }
}

#[test]
fn what_is_written_besides_payloads_is_little_for_large_slots() {
    let rig = Rig::new();
    let session = rig.open();
    for round in 0..10 {
        session.write(&Labelled::chain_named(1, round)[0], 3);
    }
    let written = session.tier().bytes_written();
    assert_eq!(written.payloads.as_u64(), 10 * 8192);
    // A header to void and one to fill: at worst two pages on the drive, which beside 512 KiB are 1.6 percent.
    assert_eq!(written.headers.as_u64(), 19 * 256, "the first time there was nothing to void");
}

#[test]
fn a_budget_for_writes_is_kept() {
    let rig = Rig::new();
    let budget = |spec: &mut CpuSpec| {
        let day = Bytes::new(24 * 3 * 8192 + 1);
        spec.file.as_mut().expect("there is one").write_bytes_per_day = Some(day);
    };
    let session = rig.open_with(budget);
    let chain = Labelled::chain(5);
    let outcomes: Vec<_> = (0..5).map(|index| session.try_write(&chain[index], index)).collect();
    let spent = Err(MoveFault::Cancelled);
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), spent, spent]);
    assert_eq!(session.read(slot(2)), Ok(chain[2].bytes()));
    assert_eq!(session.tier().bytes_written().payloads, Bytes::new(3 * 8192));
    drop(session);
    // Starting again earns nothing.
    let session = rig.open_with(budget);
    assert_eq!(session.try_write(&chain[3], 3), spent);
}
