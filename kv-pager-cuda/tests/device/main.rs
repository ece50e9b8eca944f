//! What this crate does on a card. Without one each test says that it is skipped, and why.
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod capture;
mod conformance;
mod engine;
mod faults;
mod fences;
mod layers;
mod pager;
mod ranks;
mod rig;
mod round_trip;
mod scrub;

use kv_pager_cuda::{Device, open_device, probe};
use std::sync::Arc;

/// The first card; `None`, after saying why, where there is none.
fn card(test: &str) -> Option<Arc<Device>> {
    match probe() {
        Ok(_) => Some(open_device(0).expect("a card that was found")),
        Err(why) => {
            eprintln!("{test}: skipped: {why}");
            None
        }
    }
}

#[test]
fn what_cannot_be_had_is_a_clear_error() {
    use kv_pager::layout::{DeviceLayout, shape};
    use kv_pager::{Error, ErrorKind};
    use kv_pager_cuda::{DeviceOptions, DeviceTier, Inner, OwnedSlots};
    let Some(device) = card("what_cannot_be_had_is_a_clear_error") else { return };
    let model = shape("llama3-8b").expect("known");
    let owned =
        |slots| OwnedSlots { slots: vec![slots], layout: DeviceLayout::LayerMajor, inner: Inner::Nhd };
    let devices = [Arc::clone(&device)];
    let error = DeviceTier::with_own_memory(&model, &devices, &owned(1 << 20), &DeviceOptions::default());
    let error = error.expect_err("2 TiB");
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    let error = open_device(999).expect_err("no such card");
    assert_eq!(error.kind(), ErrorKind::Configuration);
}
