//! The pager against a model: a set of the prefixes that were committed, and a list of what the event stream says is where.
//!
//! Sequences are opened, stepped, appended to, forked, truncated and closed in any order, on a machine whose lanes and compute
//! end when the test says so: well, with a fault, late, or not before their deadline. After each step all invariants are
//! checked; every slot that compute reads must hold the tags of the sequence's own tokens (I3, I4, I5), and at the end nothing
//! may be held or under way (I7).

mod pager_model;

use pager_model::{Operation, Rig};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// The reference side only says which operations make sense; the claims are in [`Rig`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Operations;

impl ReferenceStateMachine for Operations {
    type State = ();
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Operation> {
        pager_model::operation().boxed()
    }

    fn apply((): (), _operation: &Operation) {}
}

impl StateMachineTest for Rig {
    type SystemUnderTest = Self;
    type Reference = Operations;

    fn init_test((): &()) -> Self {
        Self::new()
    }

    fn apply(mut rig: Self, (): &(), operation: Operation) -> Self {
        rig.apply(&operation);
        rig
    }

    fn check_invariants(rig: &Self, (): &()) {
        rig.check();
    }

    fn teardown(rig: Self, (): ()) {
        rig.finish();
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_pager_keeps_its_invariants(sequential 1..120 => Rig);
}
