//! Inspecting: what the files of a tier hold, and whether it is whole.
//! Uses `file::{connect, recovery, verify, volume}`. Known by: the command line.
//!
//! - **Y1** looking and verifying write nothing, and may be done while a process uses the tier;
//! - **Y2** a write that was cut short and a block whose parent is gone are no damage: they are counted apart.

use super::connect::{Connection, connect};
use super::group::Group;
use super::header::{Found, SlotState};
use super::records::SlotUse;
use super::recovery::{self, Census};
use super::superblock::{Stage, Superblock};
use super::verify;
use super::volume::{Volume, fault, file, read_superblock, refusal};
use super::{FileKind, now_s};
use kv_pager::Error;
use kv_pager::ids::{GroupId, SlotId, TierId};
use kv_pager::tier::RecoveredBlock;
use serde::Serialize;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What to do besides reading the headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Nothing.
    Look,
    /// Read every payload.
    Verify,
    /// Read every payload, and retire what is damaged. Needs the tier for itself.
    Repair,
}

/// How far a tier's making had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Making {
    /// There is nothing of a tier's in the directory.
    Empty,
    /// It was being made, and holds nothing.
    HalfCreated,
    /// It is a tier.
    Complete,
}

/// Something that is not what was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Damage {
    /// The group of layers; `None` for a superblock.
    pub group: Option<usize>,
    /// The slot; `None` for a superblock.
    pub slot: Option<u32>,
    /// For people.
    pub what: String,
}

/// A block that is asked for often.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HotBlock {
    /// Its name, in hexadecimal.
    pub hash: String,
    /// Its place in its chain.
    pub depth: u32,
    /// How often it was asked for.
    pub uses: u32,
}

/// What a tier holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Inspection {
    /// How far its making had come.
    pub making: Making,
    /// Files with headers and payloads.
    pub files: u64,
    /// Slots of all classes.
    pub slots: u64,
    /// Slots that hold a payload.
    pub used_slots: u64,
    /// Slots that are not to be used.
    pub retired_slots: u64,
    /// Slots whose write was cut short; they are free.
    pub interrupted_slots: u64,
    /// Slots whose header is damaged, or whose payload was read and is.
    pub damaged_slots: u64,
    /// Blocks that can be reached.
    pub blocks: u64,
    /// Blocks whose parent is gone; they are dropped when the tier is opened.
    pub orphaned_blocks: u64,
    /// Ends of chains: blocks that are nobody's parent.
    pub chains: u64,
    /// Different salts.
    pub tenants: u64,
    /// The formats payloads are kept in.
    pub formats: Vec<String>,
    /// Bytes of all payloads, without padding.
    pub payload_bytes: u64,
    /// Seconds since 1970 of the oldest and the newest payload.
    pub written_s: Option<(u64, u64)>,
    /// Bytes of payloads that were read.
    pub verified_bytes: u64,
    /// The blocks that were asked for most.
    pub hottest: Vec<HotBlock>,
    /// What is damaged.
    pub damages: Vec<Damage>,
}

/// How many hot blocks are listed.
const HOTTEST: usize = 10;

impl Inspection {
    fn of_nothing(making: Making) -> Self {
        Self {
            making,
            files: 0,
            slots: 0,
            used_slots: 0,
            retired_slots: 0,
            interrupted_slots: 0,
            damaged_slots: 0,
            blocks: 0,
            orphaned_blocks: 0,
            chains: 0,
            tenants: 0,
            formats: Vec::new(),
            payload_bytes: 0,
            written_s: None,
            verified_bytes: 0,
            hottest: Vec::new(),
            damages: Vec::new(),
        }
    }

    /// Whether anything is not what was written.
    pub fn is_damaged(&self) -> bool {
        !self.damages.is_empty()
    }

    fn note(&mut self, group: GroupId, slot: SlotId, what: &str) {
        self.damaged_slots += 1;
        let slot = Some(slot.as_u32());
        self.damages.push(Damage { group: Some(group.index()), slot, what: what.to_owned() });
    }
}

/// A directory, and what its superblock says.
struct Looked<'a> {
    directory: &'a Path,
    superblock: Option<Superblock>,
    /// Of two.
    whole_copies: usize,
}

/// Looks into all directories of one tier, in any order. Blocks on I/O.
///
/// # Errors
/// [`Error::Configuration`] if they are not all directories of one tier, or can't be read by this version, or are in use and
/// were to be repaired; [`Error::Io`] for what the system refuses.
pub fn inspect(directories: &[PathBuf], depth: Depth) -> Result<Inspection, Error> {
    let mut looked = Vec::new();
    for directory in directories {
        fs::read_dir(directory).map_err(|source| fault(directory, "read the directory", source))?;
        let found = read_superblock(directory)?;
        let whole_copies = found.as_ref().map_or(0, |(_, copies)| *copies);
        looked.push(Looked { directory, superblock: found.map(|(block, _)| block), whole_copies });
    }
    let mut inspection = Inspection::of_nothing(making(&looked));
    if inspection.making != Making::Complete {
        return Ok(inspection);
    }
    let volumes = match depth {
        Depth::Look | Depth::Verify => Vec::new(),
        Depth::Repair => directories.iter().map(|path| Volume::claim(path)).collect::<Result<_, _>>()?,
    };
    let superblock = in_order(&mut looked)?;
    let paths: Vec<&Path> = looked.iter().map(|looked| looked.directory).collect();
    let connection =
        Connection { access: superblock.access, interpose: None, is_writable: depth == Depth::Repair };
    let (groups, _) = connect(&paths, &superblock, connection)?;
    inspection.files = 2 * (groups.len() * paths.len()) as u64;
    inspection.formats = vec![superblock.format.to_string()];
    inspection.slots = superblock.slots.iter().map(|&slots| u64::from(slots)).sum();
    for worn in looked.iter().filter(|looked| looked.whole_copies < 2) {
        let what = format!("{}: one copy of the superblock is damaged", worn.directory.display());
        inspection.damages.push(Damage { group: None, slot: None, what });
    }
    let mut blocks = Vec::new();
    for group in &groups {
        blocks.append(&mut look(group, &paths, &mut inspection));
        if depth != Depth::Look {
            verify_all(group, &mut inspection)?;
        }
        inspection.count_slots(group);
    }
    let is_whole = |block: &RecoveredBlock| {
        groups[block.group.index()].records.lock()[block.slot.index()].usage == SlotUse::Full
    };
    blocks.retain(is_whole);
    inspection.count_blocks(&groups, blocks);
    repair(&groups, volumes, &superblock)?;
    Ok(inspection)
}

fn making(looked: &[Looked<'_>]) -> Making {
    let is_at = |stage| {
        looked.iter().filter_map(|looked| looked.superblock.as_ref()).any(|block| block.stage == stage)
    };
    let has_files = |looked: &Looked<'_>| {
        let names = fs::read_dir(looked.directory).into_iter().flatten().flatten();
        let mut names = names.map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with("kv-pager."))
    };
    if is_at(Stage::Complete) {
        Making::Complete
    } else if looked.iter().any(has_files) {
        Making::HalfCreated
    } else {
        Making::Empty
    }
}

/// Sorts the directories of one tier into the tier's order.
fn in_order(looked: &mut [Looked<'_>]) -> Result<Superblock, Error> {
    let count = looked.len();
    let index = |looked: &Looked<'_>| looked.superblock.as_ref().map_or(u32::MAX, |block| block.stripe_index);
    looked.sort_by_key(index);
    let first = looked[0].superblock.clone().ok_or_else(|| refusal(looked[0].directory, "it is no tier"))?;
    for (place, looked) in looked.iter().enumerate() {
        let belongs = looked.superblock.as_ref().is_some_and(|block| {
            block.set == first.set
                && block.stripe_index as usize == place
                && block.stripe_count as usize == count
        });
        if !belongs {
            let why =
                format!("the tier has {} directories; give all of them, and no other", first.stripe_count);
            return Err(refusal(looked.directory, &why));
        }
    }
    Ok(first)
}

/// Reads the headers of a class.
fn look(group: &Group, paths: &[&Path], inspection: &mut Inspection) -> Vec<RecoveredBlock> {
    let size = |path: &&Path| {
        fs::metadata(file(path, group.id.index(), FileKind::Payloads)).map_or(0, |meta| meta.len())
    };
    let sizes: Vec<u64> = paths.iter().map(size).collect();
    let mut census = Census::default();
    let blocks = recovery::read_headers(group, &sizes, &mut census, |slot, found, usage| match found {
        Found::Damaged => inspection.note(group.id, slot, "its header is damaged"),
        Found::Sound(stamp, _) => match stamp.state {
            SlotState::Full if usage == SlotUse::Empty => {
                inspection.note(group.id, slot, "its payload lies behind the end of its file");
            }
            SlotState::Full => inspection.note_date(stamp.written_s),
            SlotState::Retired => inspection.retired_slots += 1,
            SlotState::Void | SlotState::Writing | SlotState::Nameless => {}
        },
        Found::Blank => {}
    });
    inspection.interrupted_slots += census.interrupted;
    blocks
}

/// Reads the payloads of a class; what is damaged becomes spoiled.
fn verify_all(group: &Group, inspection: &mut Inspection) -> Result<(), Error> {
    let mut buffer = verify::Buffer::new(group).map_err(|source| Error::Io {
        tier: TierId::File,
        action: "cannot get memory to read payloads into".to_owned(),
        source,
    })?;
    for piece in verify::pieces(group) {
        let bytes = verify::verify(group, &piece, &mut buffer, |slot, is_whole| {
            if !is_whole {
                inspection.note(group.id, slot, "its payload is damaged");
                group.spoil(slot);
            }
        });
        inspection.verified_bytes += bytes;
    }
    Ok(())
}

/// Retires what is damaged, and makes superblocks whole again. Does nothing without locks.
fn repair(groups: &[Group], mut volumes: Vec<Volume>, superblock: &Superblock) -> Result<(), Error> {
    if volumes.is_empty() {
        return Ok(());
    }
    let fault =
        |source| Error::Io { tier: TierId::File, action: "cannot retire damaged slots".to_owned(), source };
    for group in groups {
        group.retire_listed();
        group.housekeep(now_s()).map_err(fault)?;
        group.files.iter().try_for_each(|files| files.headers.sync()).map_err(fault)?;
    }
    for volume in volumes.iter_mut().filter(|volume| volume.is_superblock_worn()) {
        let stripe_index = volume.superblock().map_or(0, |block| block.stripe_index);
        volume.write_superblock(&Superblock { stripe_index, ..superblock.clone() })?;
    }
    Ok(())
}

impl Inspection {
    fn note_date(&mut self, written_s: u64) {
        let (oldest, newest) = self.written_s.unwrap_or((written_s, written_s));
        self.written_s = Some((oldest.min(written_s), newest.max(written_s)));
    }

    fn count_slots(&mut self, group: &Group) {
        let records = group.records.lock();
        let used = records.iter().filter(|record| record.usage == SlotUse::Full).count() as u64;
        self.used_slots += used;
        self.payload_bytes += used * group.kept_bytes as u64;
    }

    fn count_blocks(&mut self, groups: &[Group], blocks: Vec<RecoveredBlock>) {
        let all: HashSet<_> = blocks.iter().map(|block| block.hash).collect();
        let reachable = recovery::reachable(groups, blocks, &mut Census::default());
        let names: HashSet<_> = reachable.iter().map(|block| block.hash).collect();
        let parents: HashSet<_> = reachable.iter().filter_map(|block| block.parent).collect();
        self.blocks = names.len() as u64;
        self.orphaned_blocks = (all.len() - names.len()) as u64;
        self.chains = names.difference(&parents).count() as u64;
        self.tenants = reachable.iter().map(|block| block.salt).collect::<HashSet<_>>().len() as u64;
        let mut hottest: Vec<&RecoveredBlock> = reachable.iter().collect();
        hottest.sort_by_key(|block| (u32::MAX - block.uses, block.depth, block.hash));
        hottest.dedup_by_key(|block| block.hash);
        self.hottest = hottest
            .into_iter()
            .take(HOTTEST)
            .map(|block| HotBlock {
                hash: format!("{:032x}", block.hash.0),
                depth: block.depth,
                uses: block.uses,
            })
            .collect();
    }
}
