//! The pager over device slots of an engine's own, against a model: a set of what was computed under which name, and a list of what the
//! event stream says is where.
//!
//! Blocks are offloaded, looked up, onboarded, erased and forgotten in any order, and their slots reused, on a machine whose lanes and
//! compute end when the test says so: well, with a fault, late, or not before their deadline. What is found must be what was stored,
//! what comes back is read by compute that comes later (I3, I4), and at the end all slots are the engine's (I7).

use kv_pager::config::Watermarks;
use kv_pager::ids::{Salt, TierId};
use kv_pager::tier::MoveFault;
use kv_pager_testkit::external::{EngineSpec, ExternalOperation, ExternalRig, Worth, external_operation};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// The reference side only says which operations make sense; the claims are in [`ExternalRig`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Operations;

impl ReferenceStateMachine for Operations {
    type State = EngineSpec;
    type Transition = ExternalOperation;

    fn init_state() -> BoxedStrategy<EngineSpec> {
        let file = prop_oneof![Just(0), 3..=20_u32];
        let low = prop_oneof![Just(0.0), Just(0.1)];
        let moves_queued = prop_oneof![3 => Just(64), 1 => 1..4_u32];
        let device = prop_oneof![Just(24), 3..10_u32];
        (device, 1..=16_u32, file, low, any::<bool>(), moves_queued, 1..=2_usize)
            .prop_map(|(device, host, file, low, has_steward, moves_queued, streams)| EngineSpec {
                watermarks: Watermarks { low, high: 2.0 * low },
                has_steward,
                moves_queued,
                streams,
                ..EngineSpec::tight(device, host, file)
            })
            .boxed()
    }

    fn transitions(_spec: &EngineSpec) -> BoxedStrategy<ExternalOperation> {
        external_operation().boxed()
    }

    fn apply(spec: EngineSpec, _operation: &ExternalOperation) -> EngineSpec {
        spec
    }
}

struct Test(ExternalRig);

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = Operations;

    fn init_test(spec: &EngineSpec) -> Self {
        Self(ExternalRig::new(*spec))
    }

    fn apply(mut test: Self, _spec: &EngineSpec, operation: ExternalOperation) -> Self {
        test.0.apply(&operation);
        test
    }

    fn check_invariants(test: &Self, _spec: &EngineSpec) {
        test.0.check();
    }

    fn teardown(test: Self, _spec: EngineSpec) {
        test.0.finish();
    }
}

/// As many cases as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn an_engine_gets_back_what_it_gave(sequential 1..100 => Test);
}

/// Offloads the blocks of a prompt, and lets everything end.
fn offload(rig: &mut ExternalRig, letters: Vec<u32>) {
    rig.apply(&ExternalOperation::Offload { letters, salt: 0, from: 0, worth: Worth::default() });
    rig.apply(&ExternalOperation::Settle);
}

/// An engine reuses the slots of a prompt for those of another while the first ones are being copied.
fn reuse(is_hasty: bool) {
    let mut rig = ExternalRig::new(EngineSpec { is_hasty, ..EngineSpec::tight(4, 8, 0) });
    for letter in 0..2 {
        rig.apply(&ExternalOperation::Offload {
            letters: vec![letter; 3],
            salt: 0,
            from: 0,
            worth: Worth::default(),
        });
    }
    rig.finish();
}

#[test]
fn an_engine_that_waits_for_its_tickets_is_served() {
    reuse(false);
}

#[test]
#[should_panic(expected = "BP1")]
fn an_engine_that_reuses_a_slot_before_its_ticket_has_ended_is_caught() {
    reuse(true);
}

#[test]
fn nothing_stays_in_the_host_above_what_was_damaged_there() {
    let mut rig = ExternalRig::new(EngineSpec::tight(24, 5, 5));
    // The second prompt's blocks take the place of the first one's, which go to the file with what they stand on.
    offload(&mut rig, vec![0, 0, 0]);
    offload(&mut rig, vec![0, 1, 0, 0]);
    let second = rig.engine().prompt(&[0, 1, 0], Salt(0));
    assert_eq!(rig.engine().pager().lookup(&second), [TierId::Host; 3]);
    rig.apply(&ExternalOperation::Onboard { letters: vec![0], salt: 0, from: 0, worth: Worth::default() });
    rig.apply(&ExternalOperation::Compute { stream: 0, fences: u64::MAX });
    let to_device = 2;
    rig.apply(&ExternalOperation::Fault { lane: to_device, fault: MoveFault::Damaged });
    assert_eq!(rig.engine().pager().lookup(&second), [TierId::File]);
    rig.finish();
}

#[test]
fn what_is_on_its_way_to_the_file_is_not_sent_there_again() {
    let watermarks = Watermarks { low: 0.1, high: 0.2 };
    let mut rig = ExternalRig::new(EngineSpec { watermarks, ..EngineSpec::tight(24, 13, 7) });
    offload(&mut rig, vec![0; 2]);
    rig.apply(&ExternalOperation::Offload {
        letters: vec![0; 13],
        salt: 0,
        from: 0,
        worth: Worth::default(),
    });
    rig.apply(&ExternalOperation::Compute { stream: 0, fences: u64::MAX });
    let (to_host, to_file) = (1, 3);
    rig.apply(&ExternalOperation::Lane { lane: to_host, count: 3 });
    rig.apply(&ExternalOperation::Fault { lane: to_file, fault: MoveFault::Unwritable });
    rig.finish();
}
