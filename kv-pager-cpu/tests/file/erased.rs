//! What a pager erases stays erased when the files are opened again, whatever is being written or read meanwhile.

use crate::rig::Rig;
use crate::served::{PROMPTS, ROOMY, STUCK, open, prompt, serve, spec, spec_on, start, start_when_free};
use crate::shim::Device;
use kv_pager::ids::Salt;
use kv_pager::units::Nanos;

#[test]
fn what_is_erased_while_it_is_being_written_is_not_found_again() {
    let (rig, device) = (Rig::new(), Device::new());
    let first = start(&spec_on(&rig, ROOMY, &device));
    for number in 0..PROMPTS {
        serve(&first, &prompt(number));
    }
    device.hang();
    let written = first.write_out(Nanos::from_millis(50)).expect("nothing is refused");
    assert_eq!(written.blocks, 0);
    assert!(first.is_busy(), "it is being written");
    first.invalidate_all().expect("nothing is refused");
    // The pager never looks again, and the drive answers when it is gone.
    drop(first);
    device.release();
    let second = start_when_free(&spec(&rig, ROOMY));
    assert_eq!(second.stats().recovered, 0);
}

#[test]
fn what_is_erased_while_it_is_being_read_is_not_found_again() {
    let (rig, device) = (Rig::new(), Device::new());
    let spec_of_both = spec_on(&rig, ROOMY, &device);
    let first = start(&spec_of_both);
    for number in 0..PROMPTS {
        serve(&first, &prompt(number));
    }
    first.write_out(STUCK).expect("the drive is well");
    drop(first);
    let second = start(&spec_of_both);
    assert!(second.stats().recovered > 0);
    device.hang();
    let sequence = open(&second, &prompt(0));
    assert!(second.is_busy(), "it is being read");
    second.invalidate(Salt::default()).expect("nothing is refused");
    drop(sequence);
    drop(second);
    device.release();
    let third = start_when_free(&spec(&rig, ROOMY));
    assert_eq!(third.stats().recovered, 0);
}
