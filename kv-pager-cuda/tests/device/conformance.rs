//! The testkit's contract of tiers and lanes, on the card, files under pinned memory included.

use crate::card;
use crate::rig::{clock, lane_options, model};
use kv_pager::ids::TierId::{self, Device, File, Host};
use kv_pager::ids::{Fence, GroupId, ModelFingerprint, MoveId, SlotId};
use kv_pager::layout::{DeviceLayout, ModelLayout};
use kv_pager::tier::{Lane, LaneEnds, Move, Tier};
use kv_pager_cpu::{FileSpec, FileTier};
use kv_pager_cuda::{
    CudaBackendBuilder, CudaFileSpec, Device as Card, DeviceOptions, DeviceTier, Inner, LaneOptions,
    OwnedSlots, PinnedTier, stacked_layout,
};
use kv_pager_testkit::conformance::{End, LaneHarness, check_lane, check_tier, wait};
use std::sync::Arc;
use tempfile::TempDir;

const SLOTS: u32 = 8;
const MOVES_QUEUED: usize = 512;

/// A backend of which one lane is under test; files are looked at through one more slot of host memory.
struct Pair {
    device: Arc<DeviceTier>,
    host: Arc<PinnedTier>,
    file: Arc<FileTier>,
    lane: Option<Arc<dyn Lane>>,
    others: Vec<Arc<dyn Lane>>,
    ends: LaneEnds,
    layout: ModelLayout,
    _directory: TempDir,
}

impl Pair {
    fn new(card: &Arc<Card>, ranks: usize, layout: DeviceLayout, (source, target): (TierId, TierId)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let devices: Vec<_> = (0..ranks).map(|_| Arc::clone(card)).collect();
        let owned = OwnedSlots { slots: vec![SLOTS; 2], layout, inner: Inner::Nhd };
        let device = DeviceTier::with_own_memory(&model(), &devices, &owned, &DeviceOptions::default());
        let device = device.expect("a small tier");
        let layout = stacked_layout(device.slice(), ranks).expect("small");
        let file = FileSpec::new(directory.path().join("tier"), vec![SLOTS; 2]);
        let mut file = CudaFileSpec::new(file, ModelFingerprint::default(), 0);
        file.lanes.moves_queued = MOVES_QUEUED;
        let lanes = LaneOptions { moves_max: MOVES_QUEUED, ..lane_options() };
        let builder =
            CudaBackendBuilder::new(model(), vec![0; ranks], vec![SLOTS + 1; 2]).with_lane_options(lanes);
        let backend =
            builder.without_calibration().with_file(file).build_over(device, &clock()).expect("small");
        let ends = LaneEnds { source, target };
        let (of_it, others): (Vec<_>, Vec<_>) =
            backend.lanes().into_iter().partition(|lane| lane.ends() == ends);
        let file = backend.file.clone().expect("there is one");
        let (device, host) = (Arc::clone(&backend.device), Arc::clone(&backend.host));
        let lane = of_it.into_iter().next();
        Self { device, host, file, lane, others, ends, layout, _directory: directory }
    }

    fn id(&self, end: End) -> TierId {
        match end {
            End::Source => self.ends.source,
            End::Target => self.ends.target,
        }
    }

    fn carry(&self, (source, target): (TierId, TierId), group: GroupId, from: SlotId, to: SlotId) {
        let ends = LaneEnds { source, target };
        let lane = self.others.iter().chain(&self.lane).find(|lane| lane.ends() == ends);
        let lane = lane.expect("there is such a lane");
        let (id, fence) = (MoveId(0), Fence::OVER);
        let part = Move { id, group, source: from, target: to, source_fence: fence, target_fence: fence };
        let ticket = lane.submit(&[part]).expect("room");
        wait(&ticket);
        assert_eq!(ticket.outcome(0), Some(Ok(())), "{part:?}");
    }
}

fn window() -> SlotId {
    SlotId::from_index(SLOTS as usize)
}

impl LaneHarness for Pair {
    fn lane(&self) -> &dyn Lane {
        &**self.lane.as_ref().expect("not dropped yet")
    }

    fn tier(&self, end: End) -> &dyn Tier {
        match self.id(end) {
            Device => self.device.as_ref(),
            Host => self.host.as_ref(),
            File => self.file.as_ref(),
        }
    }

    fn part_bytes(&self, group: GroupId) -> usize {
        self.layout.part_bytes(group).as_usize()
    }

    fn fill(&self, end: End, group: GroupId, slot: SlotId, bytes: &[u8]) {
        match self.id(end) {
            Device => self.device.write_slot(group, slot, bytes).expect("a device that works"),
            Host => self.host.write_slot(group, slot, bytes),
            File => {
                self.host.write_slot(group, window(), bytes);
                self.carry((Host, File), group, window(), slot);
            }
        }
    }

    fn read(&self, end: End, group: GroupId, slot: SlotId) -> Vec<u8> {
        let mut bytes = vec![0; self.part_bytes(group)];
        match self.id(end) {
            Device => self.device.read_slot(group, slot, &mut bytes).expect("a device that works"),
            Host => self.host.read_slot(group, slot, &mut bytes),
            File => {
                self.carry((File, Host), group, slot, window());
                self.host.read_slot(group, window(), &mut bytes);
            }
        }
        bytes
    }

    fn spoil(&self, _group: GroupId, _slot: SlotId) -> bool {
        false
    }

    fn moves_queued(&self) -> usize {
        MOVES_QUEUED
    }

    fn drop_lane(&mut self) {
        self.lane = None;
    }
}

const PAIRS: [(TierId, TierId); 5] =
    [(Device, Device), (Device, Host), (Host, Device), (Host, File), (File, Host)];

#[test]
fn every_tier_keeps_its_contract() {
    let Some(card) = card("every_tier_keeps_its_contract") else { return };
    for layout in [DeviceLayout::LayerMajor, DeviceLayout::BlockMajor] {
        let pair = Pair::new(&card, 1, layout, (Device, Host));
        let tiers: [&dyn Tier; 3] = [pair.device.as_ref(), pair.host.as_ref(), pair.file.as_ref()];
        for tier in tiers {
            check_tier(tier, &model());
        }
    }
}

#[test]
fn every_lane_keeps_its_contract() {
    let Some(card) = card("every_lane_keeps_its_contract") else { return };
    for layout in [DeviceLayout::LayerMajor, DeviceLayout::BlockMajor] {
        for ends in PAIRS {
            check_lane(|| Pair::new(&card, 1, layout, ends));
        }
    }
}

#[test]
fn a_lane_over_two_ranks_keeps_its_contract() {
    let Some(card) = card("a_lane_over_two_ranks_keeps_its_contract") else { return };
    for ends in PAIRS {
        check_lane(|| Pair::new(&card, 2, DeviceLayout::LayerMajor, ends));
    }
}
