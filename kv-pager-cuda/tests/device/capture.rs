//! An engine that captures a CUDA graph is not disturbed, on another thread or on the same.

use crate::card;
use crate::engine::{Engine, enter};
use crate::rig::{GROUP, assert_well, backend, lane_options, part};
use kv_pager::layout::DeviceLayout;
use kv_pager::tier::{Lane, Tier};
use kv_pager_cuda::{DeviceMemory, Inner};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Says that a thread has ended, also when it panics.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn graphs_are_captured_and_replayed_while_lanes_run() {
    let Some(device) = card("graphs_are_captured_and_replayed_while_lanes_run") else { return };
    let backend = backend(&device, 1, (DeviceLayout::LayerMajor, Inner::Nhd), lane_options());
    let engine = Engine::new(&device);
    let other = Engine::new(&device);
    let buffer = DeviceMemory::allocate(&device, 1 << 20).expect("memory");
    let (is_over, batches, begun) = (AtomicBool::new(false), AtomicU32::new(0), Barrier::new(2));
    let moves: Vec<_> = (0..80).map(|slot| part(GROUP, slot, slot)).collect();
    let go_on = |batches_more: u32| {
        let target = batches.load(Ordering::Relaxed) + batches_more;
        while batches.load(Ordering::Relaxed) < target {
            assert!(!is_over.load(Ordering::Relaxed), "the other thread has ended");
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            enter(&device);
            begun.wait();
            let _over = OnDrop(&is_over);
            while !is_over.load(Ordering::Relaxed) {
                let out = backend.offload.submit(&moves).expect("room");
                let back = backend.onboard.submit_by_layer(&moves).expect("room");
                let fence = backend.device.fence(&[other.raw()]).expect("a fence");
                backend
                    .device
                    .wait_for_fence(0, other.raw(), back.fence().expect("queued"))
                    .expect("recorded");
                assert_well(&out);
                assert_well(&back);
                // Not by waiting for the stream: that call would itself break the engine's capture.
                while !backend.device.is_fence_over(fence) {
                    std::hint::spin_loop();
                }
                drop(DeviceMemory::allocate(&device, 1 << 20).expect("memory"));
                batches.fetch_add(1, Ordering::Relaxed);
            }
        });
        begun.wait();
        let _over = OnDrop(&is_over);
        go_on(2);
        for round in 0..5_u8 {
            let graph = engine.capture(|| {
                engine.set(buffer.address(), round, 1 << 20);
                let error =
                    backend.device.fence(&[engine.raw()]).expect_err("a capturing stream has no fences");
                assert!(error.to_string().contains("capturing"), "{error}");
                // Also on the capturing thread itself.
                let ticket = backend.within.submit(&[part(GROUP, 90, 91)]).expect("room");
                assert_well(&ticket);
                go_on(3);
                engine.set(buffer.address(), round + 1, 1 << 19);
            });
            for _ in 0..3 {
                engine.launch(&graph);
                go_on(1);
            }
            engine.finish();
            let mut bytes = vec![0; 1 << 20];
            buffer.read(0, &mut bytes).expect("a device that works");
            assert!(bytes[..1 << 19].iter().all(|byte| *byte == round + 1));
            assert!(bytes[1 << 19..].iter().all(|byte| *byte == round));
        }
    });
}

#[test]
fn a_quiet_period_starts_nothing() {
    let Some(device) = card("a_quiet_period_starts_nothing") else { return };
    let backend = backend(&device, 1, (DeviceLayout::LayerMajor, Inner::Nhd), lane_options());
    backend.pause();
    let ticket = backend.offload.submit(&[part(GROUP, 0, 0), part(GROUP, 1, 1)]).expect("room");
    assert!(ticket.fence().is_none());
    assert!(ticket.cancel_move(1), "it has not begun");
    assert_eq!(ticket.outcome(0), None);
    backend.resume();
    crate::rig::wait(&ticket);
    assert_eq!(ticket.outcome(0), Some(Ok(())));
}
