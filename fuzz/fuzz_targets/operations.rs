//! Any stream of operations leaves the pager's invariants whole. The first three bytes choose the model, the machine and the policy.
#![no_main]

use kv_pager_testkit::model::{KINDS, MACHINES, POLICIES, Rig, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [kind, machine, policy, rest @ ..] = bytes else { return };
    let [kind, machine, policy] = [kind, machine, policy].map(|byte| usize::from(*byte));
    let mut rig = Rig::new(kind % KINDS, machine % MACHINES.len(), policy % POLICIES);
    for operation in decode(rest) {
        rig.apply(&operation);
        rig.check();
    }
    rig.finish();
});
