//! The power goes while a tier is made, grown or shrunk: it opens again, and has what has room in it.
//!
//! The steps of replacing its superblock are recorded. Up to each of them a directory is put together as the cut may leave it: bytes
//! that were not made durable may be missing, and a name that was not made durable may be the old one's.

use crate::rig::{Labelled, Rig, SLOTS, Session, bytes_of, slot};
use kv_pager::sync::Mutex;
use kv_pager::tier::Tier;
use kv_pager_cpu::file::{Drive, FileRole, Interpose, SuperblockStep};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

const FILES: [&str; 2] = ["kv-pager.0.headers", "kv-pager.0.payloads"];

/// A step that was taken, and what it wrote.
type Step = (SuperblockStep, Vec<u8>);

/// Records the steps of one directory.
#[derive(Debug)]
struct Recorder {
    /// Where a new superblock is written.
    new: PathBuf,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Interpose for Recorder {
    fn wrap(&self, _role: FileRole, drive: Box<dyn Drive>) -> Box<dyn Drive> {
        drive
    }

    fn replace_superblock(
        &self,
        step: SuperblockStep,
        carry_out: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        carry_out()?;
        let written = if step == SuperblockStep::Write { fs::read(&self.new)? } else { Vec::new() };
        self.steps.lock().push((step, written));
        Ok(())
    }
}

/// Opens the tier of `rig`; the steps that it took are there once it is dropped.
fn open(rig: &Rig) -> (Session, Arc<Mutex<Vec<Step>>>) {
    let steps = Arc::default();
    let recorder = Recorder { new: rig.path("kv-pager.superblock.new"), steps: Arc::clone(&steps) };
    let session =
        rig.open_with(|spec| spec.file.as_mut().expect("there is one").interpose = Some(Arc::new(recorder)));
    (session, steps)
}

/// What the directory's superblock may be after `steps`, of which what was not made durable `is_kept` or not.
fn superblock(before: Option<&Vec<u8>>, steps: &[Step], is_kept: bool) -> Option<Vec<u8>> {
    let mut named = before.cloned();
    let (mut last, mut new, mut renamed) = (Vec::new(), Vec::new(), None);
    for (step, written) in steps {
        match step {
            SuperblockStep::Write => {
                last.clone_from(written);
                // Otherwise nothing of it reached the drive but its length.
                new = if is_kept { last.clone() } else { vec![0; last.len()] };
            }
            SuperblockStep::Sync => new.clone_from(&last),
            SuperblockStep::Rename if is_kept => named = Some(new.clone()),
            SuperblockStep::Rename => renamed = Some(new.clone()),
            SuperblockStep::SyncDirectory => named = renamed.take().or(named),
        }
    }
    named
}

fn read(rig: &Rig, name: &str) -> Option<Vec<u8>> {
    fs::read(rig.path(name)).ok()
}

/// Puts a directory together.
fn put(rig: &Rig, superblock: Option<&[u8]>, files: &[Option<Vec<u8>>; 2]) {
    fs::create_dir_all(rig.path("")).expect("it can be made");
    let named = [
        ("kv-pager.superblock", superblock),
        (FILES[0], files[0].as_deref()),
        (FILES[1], files[1].as_deref()),
    ];
    for (name, bytes) in named {
        if let Some(bytes) = bytes {
            fs::write(rig.path(name), bytes).expect("it can be written");
        }
    }
}

#[test]
fn a_tier_that_was_being_resized_has_what_has_room_whatever_the_cut_left() {
    for (slots, kept) in [(5, 3), (20, 4)] {
        let mut rig = Rig::new();
        let session = rig.open();
        for (index, block) in Labelled::chain(4).iter().enumerate() {
            session.write(block, index * 2);
        }
        drop(session);
        let files = |rig: &Rig| FILES.map(|name| read(rig, name));
        let (before, files_before) = (read(&rig, "kv-pager.superblock"), files(&rig));
        rig.slots = slots;
        let (session, steps) = open(&rig);
        drop(session);
        let steps = steps.lock().clone();
        assert_eq!(steps.len(), 4, "it was replaced once");
        let is_shrinking = slots < SLOTS;
        for cut in 0..=steps.len() {
            for is_kept in [false, true] {
                let mut again = Rig::new();
                // Files are cut after the superblock was replaced, and grown before.
                let are_cut = !is_shrinking || cut == steps.len();
                let files = if are_cut { files(&rig) } else { files_before.clone() };
                put(&again, superblock(before.as_ref(), &steps[..cut], is_kept).as_deref(), &files);
                again.slots = slots;
                let session = again.open();
                let tier = session.tier();
                let what = format!("{slots} slots, cut at {cut} of {}, kept: {is_kept}", steps.len());
                assert_eq!(tier.damaged_at_open(), 0, "{what}");
                let found = tier.persistence().expect("it has").recover();
                assert_eq!(found.len(), kept, "{what}");
                for block in found {
                    assert_eq!(session.read(block.slot), Ok(bytes_of(block.hash)), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_tier_that_was_being_made_is_made_again_and_one_that_was_made_has_what_was_flushed() {
    let rig = Rig::new();
    let (session, steps) = open(&rig);
    let block = &Labelled::chain(1)[0];
    session.write(block, 0);
    session.tier().persistence().expect("it has").flush().expect("a sound drive");
    let steps = steps.lock().clone();
    assert_eq!(steps.len(), 8, "once as half made, once as made");
    let files = FILES.map(|name| read(&rig, name));
    for cut in 0..=steps.len() {
        for is_kept in [false, true] {
            let again = Rig::new();
            put(&again, superblock(None, &steps[..cut], is_kept).as_deref(), &files);
            let session = again.open();
            if cut == steps.len() {
                let found = session.tier().persistence().expect("it has").recover();
                assert_eq!(found.len(), 1, "kept: {is_kept}");
            } else {
                session.write(block, 0);
            }
            assert_eq!(session.read(slot(0)), Ok(block.bytes()), "cut at {cut}, kept: {is_kept}");
        }
    }
}
