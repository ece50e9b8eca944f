//! The conformance suite's view of this crate's lanes.
//!
//! Slots of a file tier are filled and read through lanes of their own, beside the one under test.

use kv_pager::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use kv_pager::layout::{Attention, DType, DeviceLayout, Entry, KvGroup, ModelLayout};
use kv_pager::tier::{Lane, LaneEnds, Move, Tier};
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, HostTier, LaneSpec};
use kv_pager_testkit::conformance::{End, LaneHarness, wait};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tempfile::TempDir;

/// Slots of each class in each tier; one more of host memory is the window through which files are looked at.
const SLOTS: u32 = 8;

/// As many as the testkit's own lanes take.
const MOVES_QUEUED: usize = 4096;

/// Two groups with different parts, the second smaller than a page.
pub(crate) fn two_groups() -> ModelLayout {
    let group = |layers, kv_heads| KvGroup {
        attention: Attention::Full,
        layers,
        entry: Entry::KeyValue { kv_heads, head_dim: 24 },
        dtype: DType::F16,
    };
    ModelLayout::new(16, vec![group(5, 3), group(1, 1)]).expect("valid")
}

/// A backend with all tiers, its file in a directory of its own.
pub(crate) fn backend(model: &ModelLayout, layout: DeviceLayout) -> (CpuBackend, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    (CpuBackend::new(&spec(model, layout, &directory)).expect("small"), directory)
}

fn spec(model: &ModelLayout, layout: DeviceLayout, directory: &TempDir) -> CpuSpec {
    let slots = |count| vec![count; model.groups().len()];
    CpuSpec {
        device_layout: layout,
        host_slots: Some(slots(SLOTS + 1)),
        file: Some(FileSpec::new(directory.path().join("tier"), slots(SLOTS))),
        memory_lanes: LaneSpec { moves_queued: MOVES_QUEUED, ..LaneSpec::memory() },
        file_lanes: LaneSpec { moves_queued: MOVES_QUEUED, ..LaneSpec::file() },
        ..CpuSpec::new(model.clone(), slots(SLOTS))
    }
}

/// One lane of a backend's, with both its tiers.
pub(crate) struct Pair {
    lane: Option<Arc<dyn Lane>>,
    ends: LaneEnds,
    backend: CpuBackend,
    model: ModelLayout,
    directory: TempDir,
}

impl Pair {
    pub(crate) fn new(model: &ModelLayout, layout: DeviceLayout, ends: (TierId, TierId)) -> Self {
        let ends = LaneEnds { source: ends.0, target: ends.1 };
        let (backend, directory) = backend(model, layout);
        let lane = Some(backend.new_lane(ends).expect("there is such a lane"));
        Self { lane, ends, backend, model: model.clone(), directory }
    }

    pub(crate) fn wrapped(mut self, wrap: impl FnOnce(Arc<dyn Lane>) -> Arc<dyn Lane>) -> Self {
        self.lane = self.lane.take().map(wrap);
        self
    }

    /// Another lane between the same tiers.
    pub(crate) fn fresh_lane(&self) -> Arc<dyn Lane> {
        self.backend.new_lane(self.ends).expect("there is such a lane")
    }

    fn id(&self, end: End) -> TierId {
        match end {
            End::Source => self.ends.source,
            End::Target => self.ends.target,
        }
    }

    fn memory(&self, id: TierId) -> &HostTier {
        match id {
            TierId::Device => self.backend.device(),
            TierId::Host | TierId::File => self.backend.host().expect("there is one"),
        }
    }

    /// Moves one slot over a lane that is not under test.
    fn carry(&self, source: TierId, target: TierId, group: GroupId, from: SlotId, to: SlotId) {
        let ends = LaneEnds { source, target };
        let lane =
            self.backend.lanes().into_iter().find(|lane| lane.ends() == ends).expect("there is such a lane");
        let fences = (Fence::OVER, Fence::OVER);
        let order = Move {
            id: MoveId(0),
            group,
            source: from,
            target: to,
            source_fence: fences.0,
            target_fence: fences.1,
        };
        let ticket = lane.submit(&[order]).expect("room");
        wait(&ticket);
        assert_eq!(ticket.outcome(0), Some(Ok(())), "{order:?}");
    }
}

fn window() -> SlotId {
    SlotId::from_index(SLOTS as usize)
}

fn fill(tier: &HostTier, group: GroupId, slot: SlotId, bytes: &[u8]) {
    let mut write = tier.write(group, slot).expect("nobody else uses it");
    let mut rest = bytes;
    for index in 0..write.fragments() {
        let fragment = write.fragment_mut(index);
        fragment.copy_from_slice(&rest[..fragment.len()]);
        rest = &rest[fragment.len()..];
    }
    assert!(rest.is_empty());
}

fn read(tier: &HostTier, group: GroupId, slot: SlotId) -> Vec<u8> {
    tier.read(group, slot).expect("nobody writes it").fragments().flatten().copied().collect()
}

impl LaneHarness for Pair {
    fn lane(&self) -> &dyn Lane {
        &**self.lane.as_ref().expect("not dropped yet")
    }

    fn tier(&self, end: End) -> &dyn Tier {
        match self.id(end) {
            TierId::File => &**self.backend.file().expect("there is one"),
            id => self.memory(id),
        }
    }

    fn part_bytes(&self, group: GroupId) -> usize {
        self.model.part_bytes(group).as_usize()
    }

    fn fill(&self, end: End, group: GroupId, slot: SlotId, bytes: &[u8]) {
        let id = self.id(end);
        if id == TierId::File {
            fill(self.memory(TierId::Host), group, window(), bytes);
            self.carry(TierId::Host, TierId::File, group, window(), slot);
        } else {
            fill(self.memory(id), group, slot, bytes);
        }
    }

    fn read(&self, end: End, group: GroupId, slot: SlotId) -> Vec<u8> {
        let id = self.id(end);
        if id == TierId::File {
            self.carry(TierId::File, TierId::Host, group, slot, window());
            read(self.memory(TierId::Host), group, window())
        } else {
            read(self.memory(id), group, slot)
        }
    }

    /// A flipped bit on the drive; memory can't be made to fail.
    fn spoil(&self, group: GroupId, slot: SlotId) -> bool {
        if self.ends.source != TierId::File {
            return false;
        }
        let path = self.directory.path().join(format!("tier/kv-pager.{}.payloads", group.index()));
        let file = std::fs::File::options().read(true).write(true).open(path).expect("it is there");
        let offset =
            slot.index() as u64 * self.model.slot_bytes(group, self.tier(End::Source).format()).as_u64();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset + 100).expect("it is that long");
        file.write_all_at(&[byte[0] ^ 4], offset + 100).expect("it can be written");
        true
    }

    fn moves_queued(&self) -> usize {
        MOVES_QUEUED
    }

    fn drop_lane(&mut self) {
        self.lane = None;
    }
}
