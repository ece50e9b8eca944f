//! Any stream of operations leaves the pager's invariants whole. The first two bytes choose the model and the machine.
#![no_main]

use kv_pager_testkit::model::{KINDS, MACHINES, Rig, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [kind, machine, rest @ ..] = bytes else { return };
    let mut rig = Rig::new(usize::from(*kind) % KINDS, usize::from(*machine) % MACHINES.len());
    for operation in decode(rest) {
        rig.apply(&operation);
        rig.check();
    }
    rig.finish();
});
