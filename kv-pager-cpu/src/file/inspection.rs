//! An inspection: what the files of a tier hold, in numbers.
//! Uses `file::{group, recovery}`. Known by: `file::inspect`, the command line.
//!
//! - **IN2** a write that was cut short and a block whose parent is gone are no damage: they are counted apart.

use super::group::Group;
use super::records::SlotUse;
use super::recovery::{self, Census};
use kv_pager::ids::{GroupId, SlotId};
use kv_pager::tier::RecoveredBlock;
use serde::Serialize;
use std::collections::HashSet;

/// What to do besides reading the headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Nothing.
    Look,
    /// Read every payload.
    Verify,
    /// Read every payload, retire the slots that are damaged, and make superblocks and files whole again. Needs the tier for
    /// itself.
    Repair,
}

/// How far a tier's making had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Making {
    /// There is nothing of a tier's in the directory, or a lock alone.
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
    /// The slot; `None` for a superblock, and for a file that is missing.
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
    pub(super) fn of_nothing(making: Making) -> Self {
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

    pub(super) fn note(&mut self, group: GroupId, slot: SlotId, what: &str) {
        self.damaged_slots += 1;
        let slot = Some(slot.as_u32());
        self.damages.push(Damage { group: Some(group.index()), slot, what: what.to_owned() });
    }
}

impl Inspection {
    pub(super) fn note_date(&mut self, written_s: u64) {
        let (oldest, newest) = self.written_s.unwrap_or((written_s, written_s));
        self.written_s = Some((oldest.min(written_s), newest.max(written_s)));
    }

    pub(super) fn count_slots(&mut self, group: &Group) {
        let records = group.records.lock();
        let used = records.iter().filter(|record| record.usage == SlotUse::Full).count() as u64;
        self.used_slots += used;
        self.payload_bytes += used * group.kept_bytes as u64;
    }

    pub(super) fn count_blocks(&mut self, groups: &[Group], blocks: Vec<RecoveredBlock>) {
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
