//! The power goes: of what was written since the last barrier any part may be there, in any order, torn at sectors.
//!
//! A tier's writes are recorded, then played back up to each of them onto a copy of the files from before: what a barrier
//! covered is there, of the rest a drawn part. Whatever is found then is what was written, or is told to be damaged.

use crate::rig::{Labelled, Rig, SLOTS, bytes_of, slot};
use kv_pager::ids::SlotId;
use kv_pager::sync::Mutex;
use kv_pager::tier::{MoveFault, Tier};
use kv_pager_cpu::file::{Drive, FileKind, FileRole, Interpose};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What a drive keeps or loses as one.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Event {
    Write {
        kind: FileKind,
        offset: u64,
        bytes: Vec<u8>,
    },
    Barrier {
        kind: FileKind,
    },
    /// Not of the drive's: from here on this is to be found, whatever comes.
    Flushed {
        blocks: HashMap<SlotId, u128>,
    },
}

#[derive(Debug, Default)]
struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Interpose for Recorder {
    fn wrap(&self, role: FileRole, drive: Box<dyn Drive>) -> Box<dyn Drive> {
        Box::new(Recorded { events: Arc::clone(&self.0), kind: role.kind, drive })
    }
}

#[derive(Debug)]
struct Recorded {
    events: Arc<Mutex<Vec<Event>>>,
    kind: FileKind,
    drive: Box<dyn Drive>,
}

impl Drive for Recorded {
    fn read(&self, into: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.drive.read(into, offset)
    }

    fn write(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = from.iter().flat_map(|slice| slice.iter().copied()).collect();
        let written = self.drive.write(from, offset)?;
        assert_eq!(written, bytes.len(), "small writes are whole");
        self.events.lock().push(Event::Write { kind: self.kind, offset, bytes });
        Ok(written)
    }

    fn depth(&self) -> usize {
        self.drive.depth()
    }

    fn announce(&self, offset: u64, bytes: u64) {
        self.drive.announce(offset, bytes);
    }

    fn forget(&self, offset: u64, bytes: u64) {
        self.drive.forget(offset, bytes);
    }

    fn sync(&self) -> io::Result<()> {
        self.drive.sync()?;
        self.events.lock().push(Event::Barrier { kind: self.kind });
        Ok(())
    }
}

fn random(seed: u64, step: usize) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&step.to_le_bytes(), seed)
}

fn name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Headers => "kv-pager.0.headers",
        FileKind::Payloads => "kv-pager.0.payloads",
    }
}

/// Writes, overwrites, gives up and flushes. Returns the files from before, and what happened to them.
fn record(seed: u64) -> (Rig, Vec<Event>) {
    let (rig, before) = (Rig::new(), Rig::new());
    drop(rig.open());
    copy(&rig, &before);
    let events = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder(Arc::clone(&events));
    let session =
        rig.open_with(|spec| spec.file.as_mut().expect("there is one").interpose = Some(Arc::new(recorder)));
    let mut blocks = HashMap::new();
    for step in 0..40 {
        let at = usize::try_from(random(seed, step) % u64::from(SLOTS)).expect("small");
        match random(seed, step) / 64 % 8 {
            0 => {
                session.void(at);
                blocks.remove(&slot(at));
            }
            1 => {
                session.tier().persistence().expect("it has").flush().expect("a sound drive");
                events.lock().push(Event::Flushed { blocks: blocks.clone() });
            }
            2 => {
                // Each a request of its own.
                let places = [at, at + 3, at + 6].map(|at| at % SLOTS as usize);
                let name = |place: usize| random(seed, step + 1000 * (place + 1)) | 1;
                let chains = places.map(|place| Labelled::chain_named(1, name(place)));
                let together: Vec<_> = places.into_iter().zip(chains.iter().map(|chain| &chain[0])).collect();
                assert!(session.write_together(&together).iter().all(Result::is_ok));
                blocks.extend(together.iter().map(|(place, block)| (slot(*place), block.hash().0)));
            }
            _ => {
                let block = &Labelled::chain_named(1, random(seed, step) | 1)[0];
                session.write(block, at);
                blocks.insert(slot(at), block.hash().0);
            }
        }
    }
    drop(session);
    let events = events.lock().clone();
    (before, events)
}

fn copy(from: &Rig, to: &Rig) {
    fs::create_dir_all(to.path("")).expect("it can be made");
    for file in ["kv-pager.superblock", "kv-pager.0.headers", "kv-pager.0.payloads"] {
        fs::copy(from.path(file), to.path(file)).expect("it can be copied");
    }
}

/// The files as the power cut before event `cut` may leave them; `seed` draws what was lost.
fn after_cut(before: &Rig, events: &[Event], cut: usize, seed: u64) -> Rig {
    let rig = Rig::new();
    copy(before, &rig);
    let files = [FileKind::Headers, FileKind::Payloads]
        .map(|kind| (kind, File::options().write(true).open(rig.path(name(kind))).expect("it was copied")));
    for (kind, file) in &files {
        let of_kind = |event: &&(usize, &Event)| match event.1 {
            Event::Write { kind: own, .. } | Event::Barrier { kind: own } => own == kind,
            Event::Flushed { .. } => false,
        };
        let numbered: Vec<_> = events[..cut].iter().enumerate().collect();
        let own: Vec<_> = numbered.iter().filter(of_kind).collect();
        let covered = own.iter().rposition(|(_, event)| matches!(event, Event::Barrier { .. })).unwrap_or(0);
        let mut order: Vec<usize> = (0..own.len()).collect();
        // What a barrier covers is there, in order; the rest comes in any.
        order[covered..].sort_by_key(|index| random(seed, own[*index].0));
        for index in order {
            let (number, Event::Write { offset, bytes, .. }) = own[index] else { continue };
            for (sector, piece) in bytes.chunks(SECTOR).enumerate() {
                let is_lost = index >= covered && random(seed + 1, number * 1000 + sector).is_multiple_of(3);
                if !is_lost {
                    file.write_all_at(piece, offset + (sector * SECTOR) as u64).expect("it can be written");
                }
            }
        }
    }
    rig
}

#[test]
fn whatever_a_power_cut_leaves_is_what_was_written_or_told_to_be_damaged() {
    let mut damaged = 0;
    let mut found = 0;
    for seed in 0..2 {
        let (before, events) = record(seed);
        for cut in 0..=events.len() {
            for draw in 0..2 {
                let rig = after_cut(&before, &events, cut, draw * 100 + seed);
                let session = rig.open();
                let recovered = session.tier().persistence().expect("it has").recover();
                for block in &recovered {
                    match session.read(block.slot) {
                        Ok(bytes) => {
                            assert_eq!(bytes, bytes_of(block.hash), "seed {seed}, cut {cut}, draw {draw}");
                        }
                        Err(fault) => {
                            assert_eq!(fault, MoveFault::Damaged, "seed {seed}, cut {cut}, draw {draw}");
                            damaged += 1;
                        }
                    }
                    found += 1;
                }
            }
        }
    }
    assert!(damaged > 0, "the cuts did not test much: all of {found} blocks were whole");
    assert!(found > 2 * damaged, "{damaged} of {found} blocks were damaged");
}

#[test]
fn what_was_flushed_is_there_unless_it_was_overwritten_since() {
    let (before, events) = record(7);
    let flushes = events.iter().enumerate().filter_map(|(index, event)| match event {
        Event::Flushed { blocks } => Some((index, blocks)),
        _ => None,
    });
    let mut checked = 0;
    for (cut, blocks) in flushes {
        let rig = after_cut(&before, &events, cut, 3);
        let session = rig.open();
        let recovered = session.tier().persistence().expect("it has").recover();
        let found: HashMap<_, _> = recovered.iter().map(|block| (block.slot, block.hash.0)).collect();
        assert_eq!(&found, blocks, "after event {cut}; and nothing that was given up before comes back");
        for block in recovered {
            assert_eq!(session.read(block.slot), Ok(bytes_of(block.hash)));
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} blocks");
}
