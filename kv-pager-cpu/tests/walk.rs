//! The pager over this crate's starved tiers, driven by seeded random operations: the same walk as on a card.

use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::config::Config;
use kv_pager::ids::{GroupId, SlotId};
use kv_pager::layout::DeviceLayout;
use kv_pager::pager::Backend;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, HostTier};
use kv_pager_testkit::engine::{KvMemory, PlanesRead, PlanesWrite};
use kv_pager_testkit::walk::{
    DEVICE_SLOTS, FILE_SLOTS, Ground, HOST_SLOTS, assert_went_everywhere, walk, walk_model,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

fn backend(layout: DeviceLayout) -> (CpuBackend, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let spec = CpuSpec {
        device_layout: layout,
        fingerprint: Config::default().fingerprint,
        hash_key: Config::default().hash_key.0,
        host_slots: Some(vec![HOST_SLOTS; 2]),
        file: Some(FileSpec::new(directory.path(), vec![FILE_SLOTS; 2])),
        ..CpuSpec::new(walk_model(), vec![DEVICE_SLOTS; 2])
    };
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    (CpuBackend::with_clock(&spec, &clock).expect("small tiers"), directory)
}

#[test]
fn every_byte_comes_back_whatever_is_evicted() {
    for layout in [DeviceLayout::LayerMajor, DeviceLayout::BlockMajor] {
        let walk_once = |seed| {
            let (cpu, _directory) = backend(layout);
            let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
            walk(Ground { backend, memory: &**cpu.device() }, seed, 1000)
        };
        let walks: Vec<_> = (0..5).map(walk_once).collect();
        assert_went_everywhere(&walks);
    }
}

/// Memory that spoils one plane in each sixteenth write: one alone might be of a block that nobody reads again.
#[derive(Debug)]
struct Spoiling {
    device: Arc<HostTier>,
    writes: AtomicU32,
}

impl KvMemory for Spoiling {
    fn read_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&dyn PlanesRead)) {
        self.device.read_part(group, slot, visit);
    }

    fn write_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&mut dyn PlanesWrite)) {
        self.device.write_part(group, slot, &mut |part| {
            visit(part);
            if self.writes.fetch_add(1, Ordering::Relaxed) % 16 == 15 {
                part.plane_mut(1).iter_mut().for_each(|byte| *byte ^= 1);
            }
        });
    }
}

#[test]
#[should_panic(expected = "I4: token")]
fn a_wrong_byte_is_seen() {
    let (cpu, _directory) = backend(DeviceLayout::LayerMajor);
    let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
    let memory = Spoiling { device: Arc::clone(cpu.device()), writes: AtomicU32::new(0) };
    walk(Ground { backend, memory: &memory }, 0, 1000);
}
