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
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_pager_keeps_its_invariants(sequential 1..120 => Rig);
}

fn run(operations: &[Operation]) {
    let mut rig = Rig::new();
    for operation in operations {
        rig.apply(operation);
        rig.check();
    }
    rig.finish();
}

#[test]
fn a_truncated_sequence_names_its_new_block() {
    run(&[
        Operation::Open { letters: vec![], tail: 0, salt: 1 },
        Operation::Append { sequence: 0, letter: 0, count: 6 },
        Operation::Append { sequence: 0, letter: 1, count: 2 },
        Operation::Step { sequence: 0, tokens_max: 8, part: 8 },
        Operation::Open { letters: vec![0, 1], tail: 0, salt: 1 },
        Operation::Truncate { sequence: 1, tokens: 6 },
        Operation::Append { sequence: 1, letter: 0, count: 2 },
        Operation::Step { sequence: 1, tokens_max: 3, part: 3 },
        Operation::Step { sequence: 1, tokens_max: 3, part: 3 },
    ]);
}
