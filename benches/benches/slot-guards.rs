//! What it costs an engine to be lent a slot of host memory, and to give it back.
//!
//! `cargo bench -p benches --bench slot-guards`.

use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::{GroupId, SlotId};
use kv_pager::layout::{DeviceLayout, shape};
use kv_pager_cpu::HostTier;
use std::hint::black_box;

const SLOTS: usize = 1024;
const ROUNDS: u32 = 20_000;

fn main() {
    let model = shape("tiny").expect("known");
    for layout in [DeviceLayout::BlockMajor, DeviceLayout::LayerMajor] {
        let slots = u32::try_from(SLOTS).expect("small");
        let tier = HostTier::device(&model, layout, &[slots]).expect("small");
        let read = measure(|slot| {
            let lent = tier.read(GroupId::FIRST, slot).expect("nobody writes");
            black_box(lent.plane(1)[0]);
        });
        let write = measure(|slot| {
            let mut lent = tier.write(GroupId::FIRST, slot).expect("nobody else uses it");
            lent.plane_mut(1)[0] = 1;
        });
        say(&format!(
            "{layout:?}: {read:.1} ns to read from a slot, {write:.1} ns to write to one (best of 5)"
        ));
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
fn say(line: &str) {
    println!("{line}");
}

/// Nanoseconds of one call, over slots that change.
fn measure(call: impl Fn(SlotId)) -> f64 {
    let clock = MonotonicClock::new();
    let spans = (0..5).map(|_| {
        let start = clock.now();
        for round in 0..ROUNDS {
            for slot in 0..64 {
                call(SlotId::from_index((slot * 7 + round as usize) % SLOTS));
            }
        }
        clock.now().since(start).as_secs_f64() * 1e9 / (f64::from(ROUNDS) * 64.0)
    });
    spans.fold(f64::INFINITY, f64::min)
}
