//! The pager against a model, kept by each of several policies, one of which decides at random: a set of the prefixes that were committed, and a list of what the event stream says is where.
//!
//! Sequences are opened, stepped, appended to, forked, truncated and closed in any order, on a machine whose lanes and compute
//! end when the test says so: well, with a fault, late, or not before their deadline. After each step all invariants are
//! checked; every slot that compute reads must hold the tags of the sequence's own tokens (I3, I4, I5), and at the end nothing
//! may be held or under way (I7).

use kv_pager_testkit::model::{self, Operation, Rig};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// The reference side only says which operations make sense; the claims are in [`Rig`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Operations;

impl ReferenceStateMachine for Operations {
    /// Which of the machines, and which policy.
    type State = (usize, usize);
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<(usize, usize)> {
        (0..model::MACHINES.len(), 0..model::POLICIES).boxed()
    }

    fn transitions(_spec: &(usize, usize)) -> BoxedStrategy<Operation> {
        model::operation().boxed()
    }

    fn apply(spec: (usize, usize), _operation: &Operation) -> (usize, usize) {
        spec
    }
}

/// A rig for one of the kinds of model.
struct RigFor<const KIND: usize>(Rig);

impl<const KIND: usize> StateMachineTest for RigFor<KIND> {
    type SystemUnderTest = Self;
    type Reference = Operations;

    fn init_test((machine, policy): &(usize, usize)) -> Self {
        Self(Rig::new(KIND, *machine, *policy))
    }

    fn apply(mut rig: Self, _spec: &(usize, usize), operation: Operation) -> Self {
        rig.0.apply(&operation);
        rig
    }

    fn check_invariants(rig: &Self, _spec: &(usize, usize)) {
        rig.0.check();
    }

    fn teardown(rig: Self, _spec: (usize, usize)) {
        rig.0.finish();
    }
}

/// As many cases as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn full_attention(sequential 1..120 => RigFor<0>);

    #[test]
    fn a_window_beside_full_attention(sequential 1..120 => RigFor<1>);

    #[test]
    fn a_window_with_sinks_and_a_chunk_beside_full_attention(sequential 1..120 => RigFor<2>);

    #[test]
    fn only_a_window(sequential 1..120 => RigFor<3>);

    #[test]
    fn two_groups_of_full_attention(sequential 1..120 => RigFor<4>);
}

fn run(kind: usize, operations: &[Operation]) {
    let mut rig = Rig::new(kind, 0, 0);
    for operation in operations {
        rig.apply(operation);
        rig.check();
    }
    rig.finish();
}

#[test]
fn a_truncated_sequence_names_its_new_block() {
    run(
        0,
        &[
            Operation::Open { letters: vec![], tail: 0, salt: 1 },
            Operation::Append { sequence: 0, letter: 0, count: 6 },
            Operation::Append { sequence: 0, letter: 1, count: 2 },
            Operation::Step { sequence: 0, tokens_max: 8, part: 8 },
            Operation::Open { letters: vec![0, 1], tail: 0, salt: 1 },
            Operation::Truncate { sequence: 1, tokens: 6 },
            Operation::Append { sequence: 1, letter: 0, count: 2 },
            Operation::Step { sequence: 1, tokens_max: 3, part: 3 },
            Operation::Step { sequence: 1, tokens_max: 3, part: 3 },
        ],
    );
}

#[test]
fn a_sequence_that_is_matched_late_has_used_what_it_found() {
    use Operation::{Append, Close, Open, OpenFor, Stall, Step, Truncate};
    run(
        1,
        &[
            Open { letters: vec![], tail: 0, salt: 0 },
            Open { letters: vec![], tail: 1, salt: 0 },
            Step { sequence: 1, tokens_max: 1, part: 1 },
            Close { sequence: 2 },
            Truncate { sequence: 0, tokens: 0 },
            Append { sequence: 0, letter: 0, count: 4 },
            OpenFor { letters: vec![0], salt: 0, is_high: false, time_to_live: Some(0) },
            Append { sequence: 0, letter: 0, count: 1 },
            Stall { lane: 0 },
            Stall { lane: 0 },
            Step { sequence: 1, tokens_max: 4, part: 4 },
        ],
    );
}

#[test]
fn a_load_that_fails_takes_along_what_was_named_under_it() {
    use Operation::{Append, Close, Compute, Deadline, Fork, Lane, Open, Step};
    run(
        1,
        &[
            Open { letters: vec![1], tail: 0, salt: 0 },
            Append { sequence: 0, letter: 0, count: 5 },
            Fork { sequence: 0 },
            Open { letters: vec![0, 0, 0, 0, 0], tail: 1, salt: 0 },
            Fork { sequence: 0 },
            Step { sequence: 0, tokens_max: 4, part: 4 },
            Lane { lane: 0, count: 1 },
            Close { sequence: 4 },
            Compute { stream: 0, fences: 1 },
            Compute { stream: 0, fences: 1 },
            Fork { sequence: 0 },
            Step { sequence: 1, tokens_max: 9, part: 4 },
            Close { sequence: 2 },
            Compute { stream: 0, fences: 2 },
            Lane { lane: 1, count: 1 },
            Close { sequence: 2 },
            Open { letters: vec![1, 0], tail: 0, salt: 0 },
            Step { sequence: 7, tokens_max: 4, part: 4 },
            Close { sequence: 1 },
            Compute { stream: 0, fences: 1 },
            Close { sequence: 1 },
            Compute { stream: 0, fences: 3 },
            Deadline,
        ],
    );
}
