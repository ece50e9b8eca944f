//! Fences: each wait has a test, which is shown to notice when the wait is taken out.

use crate::card;
use crate::engine::Engine;
use crate::rig::{
    GROUP, assert_well, backend, lane_options, part, part_bytes, read_device, read_host, write_device,
    write_host,
};
use kv_pager::ids::Fence;
use kv_pager::layout::{DeviceLayout, ModelLayout};
use kv_pager::tier::{Lane, Move, Tier};
use kv_pager::units::Bytes;
use kv_pager_cuda::{
    CudaBackend, CudaBackendBuilder, Device, DeviceMemory, DeviceOptions, DeviceTier, GroupTensors, Inner,
    LaneOptions, Path,
};
use std::sync::Arc;

const OLD: u8 = 0x11;
const NEW: u8 = 0x77;

/// Slots of the group that tests move.
const SLOTS: u32 = 96;
/// Its layers, and the bytes of one slot's keys, or values, in one of them.
const LAYERS: usize = 6;
const FRAGMENT_BYTES: usize = 4096;

/// A backend over an engine's own tensors, whose addresses are therefore known.
struct Fixture {
    backend: CudaBackend,
    engine: Engine,
    scratch: DeviceMemory,
    /// Where slot 0 begins: with the keys of its first layer.
    slot: u64,
    /// Of a part.
    bytes: usize,
    _memory: DeviceMemory,
}

impl Fixture {
    /// Block-major: a part is one piece.
    fn new(device: &Arc<Device>) -> Self {
        Self::over(device, |model, base| GroupTensors::block_major((model, GROUP), SLOTS, base, Inner::Nhd))
    }

    /// A tensor for each layer's keys, and one for its values.
    fn layer_major(device: &Arc<Device>) -> Self {
        Self::over(device, |model, base| {
            let tensors = |side: usize| -> Vec<u64> {
                (0..LAYERS).map(|layer| base + tensor_offset(2 * layer + side)).collect()
            };
            GroupTensors::separate((model, GROUP), SLOTS, (&tensors(0), &tensors(1)), Inner::Nhd)
        })
    }

    #[expect(unsafe_code, reason = "an engine's tensors are named by address")]
    fn over(device: &Arc<Device>, tensors: impl Fn(&ModelLayout, u64) -> GroupTensors) -> Self {
        use crate::rig::{clock, model};
        let model = model();
        let memory = DeviceMemory::allocate(device, 32 << 20).expect("memory");
        let groups = vec![
            tensors(&model, memory.address()),
            GroupTensors::block_major(
                (&model, kv_pager::ids::GroupId::from_index(1)),
                40,
                memory.address() + (16 << 20),
                Inner::Nhd,
            ),
        ];
        // SAFETY: the memory is the fixture's, dropped after the backend; 96 and 40 slots are less than 16 MiB each.
        let tier = unsafe {
            DeviceTier::with_tensors(&model, &[Arc::clone(device)], &[groups], &DeviceOptions::default())
        };
        // One layer a piece.
        let lanes = LaneOptions { layer_piece_bytes: Bytes::new(8 << 10), ..lane_options() };
        let builder = CudaBackendBuilder::new(model, vec![0], vec![128, 48]).with_lane_options(lanes);
        let tier = tier.expect("valid tensors");
        let backend = builder.without_calibration().build_over(tier, &clock()).expect("a small backend");
        let bytes = part_bytes(&backend, GROUP);
        let scratch = DeviceMemory::allocate(device, bytes).expect("memory");
        Self { backend, engine: Engine::new(device), scratch, slot: memory.address(), bytes, _memory: memory }
    }

    fn fence(&self) -> Fence {
        self.backend.device.fence(&[self.engine.raw()]).expect("a fence")
    }

    fn scratch(&self) -> Vec<u8> {
        self.engine.finish();
        let mut bytes = vec![0; self.bytes];
        self.scratch.read(0, &mut bytes).expect("a device that works");
        bytes
    }

    /// Of a layer-major one: where the keys of `layer` of slot 0 are.
    fn keys(&self, layer: usize) -> u64 {
        self.slot + tensor_offset(2 * layer)
    }

    /// The first fragment of the scratch memory.
    fn scratch_fragment(&self) -> Vec<u8> {
        let mut bytes = self.scratch();
        bytes.truncate(FRAGMENT_BYTES);
        bytes
    }
}

/// Where tensor `index` of a layer-major fixture begins.
fn tensor_offset(index: usize) -> u64 {
    (index * SLOTS as usize * FRAGMENT_BYTES) as u64
}

/// The first byte that an offload brings while the engine still writes the source.
fn offload_while_written(fixture: &Fixture, path: Path) -> Vec<u8> {
    write_device(&fixture.backend, GROUP, 0, &vec![OLD; fixture.bytes]);
    fixture.engine.be_slow();
    fixture.engine.set(fixture.slot, NEW, fixture.bytes);
    let fence = fixture.fence();
    assert!(!fixture.backend.device.is_fence_over(fence), "the engine is not slow enough for this test");
    let moves = [Move { source_fence: fence, ..part(GROUP, 0, 3) }];
    assert_well(&fixture.backend.offload.submit_by_path(&moves, path).expect("room"));
    let brought = read_host(&fixture.backend, GROUP, 3);
    fixture.engine.finish();
    brought
}

#[test]
fn an_offload_waits_for_the_compute_that_writes_its_source() {
    let Some(device) = card("an_offload_waits_for_the_compute_that_writes_its_source") else { return };
    let fixture = Fixture::new(&device);
    for path in Path::ALL {
        assert!(offload_while_written(&fixture, path) == vec![NEW; fixture.bytes], "{path}");
    }
    fixture.backend.offload.ignore_fences_for_test();
    assert!(
        offload_while_written(&fixture, Path::Gather) != vec![NEW; fixture.bytes],
        "the wait was taken out"
    );
}

/// What compute reads out of a slot into which an onboard was submitted meanwhile.
fn onboard_while_read(fixture: &Fixture, path: Path) -> Vec<u8> {
    write_device(&fixture.backend, GROUP, 0, &vec![OLD; fixture.bytes]);
    write_host(&fixture.backend, GROUP, 5, &vec![NEW; fixture.bytes]);
    fixture.engine.be_slow();
    fixture.engine.copy(fixture.scratch.address(), fixture.slot, fixture.bytes);
    let moves = [Move { target_fence: fixture.fence(), ..part(GROUP, 5, 0) }];
    assert_well(&fixture.backend.onboard.submit_by_path(&moves, path).expect("room"));
    assert!(read_device(&fixture.backend, GROUP, 0) == vec![NEW; fixture.bytes], "{path}");
    fixture.scratch()
}

#[test]
fn an_onboard_waits_for_the_compute_that_reads_its_target() {
    let Some(device) = card("an_onboard_waits_for_the_compute_that_reads_its_target") else { return };
    let fixture = Fixture::new(&device);
    for path in Path::ALL {
        assert!(onboard_while_read(&fixture, path) == vec![OLD; fixture.bytes], "{path}");
    }
    fixture.backend.onboard.ignore_fences_for_test();
    assert!(onboard_while_read(&fixture, Path::Gather) != vec![OLD; fixture.bytes], "the wait was taken out");
}

/// What the engine reads out of a slot after an onboard was submitted, with or without its stream waiting for the ticket.
fn read_after_onboard(fixture: &Fixture, waits: bool) -> Vec<u8> {
    write_device(&fixture.backend, GROUP, 0, &vec![OLD; fixture.bytes]);
    write_host(&fixture.backend, GROUP, 5, &vec![NEW; fixture.bytes]);
    // Many parts ahead, so that the last is there late; and the lane waits for the engine once more.
    let mut moves: Vec<_> = (1..90).map(|slot| part(GROUP, slot, slot)).collect();
    moves.push(part(GROUP, 5, 0));
    let slow = Engine::new(fixture.engine.stream.device());
    slow.be_slow();
    moves[0].target_fence = fixture.backend.device.fence(&[slow.raw()]).expect("a fence");
    let ticket = fixture.backend.onboard.submit_by_path(&moves, Path::Gather).expect("room");
    let fence = ticket.fence().expect("all of it is queued");
    if waits {
        fixture.backend.device.wait_for_fence(0, fixture.engine.raw(), fence).expect("it was recorded");
    }
    fixture.engine.copy(fixture.scratch.address(), fixture.slot, fixture.bytes);
    let read = fixture.scratch();
    assert_well(&ticket);
    assert!(fixture.backend.device.is_fence_over(fence));
    read
}

#[test]
fn the_engines_stream_waits_for_a_ticket() {
    let Some(device) = card("the_engines_stream_waits_for_a_ticket") else { return };
    let fixture = Fixture::new(&device);
    assert!(read_after_onboard(&fixture, true) == vec![NEW; fixture.bytes]);
    assert!(read_after_onboard(&fixture, false) != vec![NEW; fixture.bytes], "the wait was taken out");
}

/// What the engine reads of the keys of `layer` after a layer-wise onboard was submitted, with or without its stream waiting for
/// that layer.
fn read_layer_after_onboard(fixture: &Fixture, layer: usize, waits: bool) -> Vec<u8> {
    write_device(&fixture.backend, GROUP, 0, &vec![OLD; fixture.bytes]);
    write_host(&fixture.backend, GROUP, 5, &vec![NEW; fixture.bytes]);
    let mut moves: Vec<_> = (1..60).map(|slot| part(GROUP, slot, slot)).collect();
    moves.push(part(GROUP, 5, 0));
    // The lane waits for a slow engine before it writes the first layer.
    let slow = Engine::new(fixture.engine.stream.device());
    slow.be_slow();
    let held = fixture.backend.device.fence(&[slow.raw()]).expect("a fence");
    moves[0].target_fence = held;
    let ticket = fixture.backend.onboard.submit_by_layer(&moves).expect("room");
    let fence = ticket.layer_fence(u32::try_from(layer).expect("few")).expect("all of it is queued");
    assert!(!fixture.backend.device.is_fence_over(held), "the engine is not slow enough for this test");
    if waits {
        fixture.backend.device.wait_for_fence(0, fixture.engine.raw(), fence).expect("it was recorded");
    }
    fixture.engine.copy(fixture.scratch.address(), fixture.keys(layer), FRAGMENT_BYTES);
    let read = fixture.scratch_fragment();
    assert_well(&ticket);
    assert!(fixture.backend.device.is_fence_over(fence));
    read
}

#[test]
fn the_engines_stream_waits_for_a_layer() {
    let Some(device) = card("the_engines_stream_waits_for_a_layer") else { return };
    let fixture = Fixture::layer_major(&device);
    for layer in 0..LAYERS {
        let read = read_layer_after_onboard(&fixture, layer, true);
        assert!(read == vec![NEW; FRAGMENT_BYTES], "layer {layer}");
    }
    for layer in [0, LAYERS - 1] {
        let read = read_layer_after_onboard(&fixture, layer, false);
        assert!(read != vec![NEW; FRAGMENT_BYTES], "layer {layer}: the wait was taken out");
    }
}

/// What compute reads of the first layer of a slot into which a layer-wise onboard was submitted meanwhile.
fn onboard_layers_while_read(fixture: &Fixture) -> Vec<u8> {
    write_device(&fixture.backend, GROUP, 0, &vec![OLD; fixture.bytes]);
    write_host(&fixture.backend, GROUP, 5, &vec![NEW; fixture.bytes]);
    fixture.engine.be_slow();
    fixture.engine.copy(fixture.scratch.address(), fixture.keys(0), FRAGMENT_BYTES);
    let moves = [Move { target_fence: fixture.fence(), ..part(GROUP, 5, 0) }];
    let ticket = fixture.backend.onboard.submit_by_layer(&moves).expect("room");
    assert_ne!(ticket.layer_fence(0), ticket.fence(), "it was not cut into layers");
    assert_well(&ticket);
    assert!(read_device(&fixture.backend, GROUP, 0) == vec![NEW; fixture.bytes]);
    fixture.scratch_fragment()
}

#[test]
fn a_layer_wise_onboard_waits_for_the_compute_that_reads_its_target() {
    let Some(device) = card("a_layer_wise_onboard_waits_for_the_compute_that_reads_its_target") else {
        return;
    };
    let fixture = Fixture::layer_major(&device);
    assert!(onboard_layers_while_read(&fixture) == vec![OLD; FRAGMENT_BYTES]);
    fixture.backend.onboard.ignore_fences_for_test();
    assert!(onboard_layers_while_read(&fixture) != vec![OLD; FRAGMENT_BYTES], "the wait was taken out");
}

#[test]
fn fences_are_reused_only_when_they_are_over() {
    let Some(device) = card("fences_are_reused_only_when_they_are_over") else { return };
    let options = DeviceOptions { fences: 4, ..DeviceOptions::default() };
    let layout = (DeviceLayout::BlockMajor, Inner::Nhd);
    let backend = crate::rig::backend_with(&device, 1, layout, lane_options(), &options);
    let engine = Engine::new(&device);
    for _ in 0..100 {
        let fence = backend.device.fence(&[engine.raw()]).expect("a fence that is over is free again");
        engine.finish();
        assert!(backend.device.is_fence_over(fence));
    }
    engine.hold_up();
    let held: Vec<_> = (0..4).map(|_| backend.device.fence(&[engine.raw()]).expect("four places")).collect();
    let error = backend.device.fence(&[engine.raw()]).expect_err("all are under way");
    assert_eq!(error.kind(), kv_pager::ErrorKind::Retry);
    assert!(held.iter().all(|fence| !backend.device.is_fence_over(*fence)));
    engine.let_go();
    engine.finish();
    assert!(held.iter().all(|fence| backend.device.is_fence_over(*fence)));
    assert!(!backend.device.is_fence_over(Fence(u64::MAX)));
}

#[test]
fn a_move_with_an_unknown_fence_lets_others_pass() {
    let Some(device) = card("a_move_with_an_unknown_fence_lets_others_pass") else { return };
    let backend = backend(&device, 1, (DeviceLayout::LayerMajor, Inner::Nhd), lane_options());
    let never = Move { source_fence: Fence(u64::MAX - 1), ..part(GROUP, 0, 0) };
    let late = backend.offload.submit(&[never]).expect("room");
    assert_well(&backend.offload.submit(&[part(GROUP, 1, 1)]).expect("room"));
    assert_eq!(late.outcome(0), None);
    late.cancel();
    crate::rig::wait(&late);
    assert!(late.outcome(0).is_some_and(|outcome| outcome.is_err()));
}
