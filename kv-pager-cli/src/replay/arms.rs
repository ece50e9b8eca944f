//! The policy that the arguments choose.
//! Known by: `replay::{setup, simulated}`.

use crate::args::{PolicyName, ReplayArguments};
use kv_pager::policy::{Lru, Policy};

/// A policy that has seen nothing yet.
pub(super) fn policy(arguments: &ReplayArguments) -> Box<dyn Policy> {
    match arguments.policy {
        PolicyName::Lru => Box::new(Lru),
    }
}
