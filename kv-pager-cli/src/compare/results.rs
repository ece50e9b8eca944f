//! What a comparison found: the fields of `compare --json`.
//! Known by: `compare`.

use super::contest::Contest;
use super::contestant::Contestant;
use kv_pager::policy::keeping::shadow::Tally;
use serde::Serialize;

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    pub(super) trace: String,
    pub(super) requests: usize,
    /// Blocks asked for: what the rates are shares of.
    pub(super) total_blocks: u64,
    /// Different ones among them.
    pub(super) unique_blocks: u32,
    pub(super) arms: Vec<ArmResults>,
}

impl Results {
    pub(super) fn new(trace: String, contest: &Contest<'_>, arms: Vec<ArmResults>) -> Self {
        Self {
            trace,
            requests: contest.requests(),
            total_blocks: contest.references(),
            unique_blocks: contest.unique_blocks(),
            arms,
        }
    }

    /// The policies, each once, in order.
    pub(super) fn policies(&self) -> Vec<&str> {
        let mut policies: Vec<&str> = Vec::new();
        for arm in &self.arms {
            if !policies.contains(&arm.policy.as_str()) {
                policies.push(&arm.policy);
            }
        }
        policies
    }

    /// What a policy found, by capacity.
    pub(super) fn of<'a>(&'a self, policy: &'a str) -> impl Iterator<Item = &'a ArmResults> + 'a {
        self.arms.iter().filter(move |arm| arm.policy == policy)
    }
}

/// One policy at one capacity.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ArmResults {
    pub(super) policy: String,
    pub(super) capacity_blocks: u32,
    pub(super) prefix_hit_rate: f64,
    pub(super) resident_hit_rate: f64,
    pub(super) evictions: u64,
}

impl ArmResults {
    pub(super) fn new(contestant: Contestant, capacity_blocks: u32, tally: Tally) -> Self {
        Self {
            policy: contestant.to_string(),
            capacity_blocks,
            prefix_hit_rate: tally.prefix_hit_rate(),
            resident_hit_rate: tally.resident_hit_rate(),
            evictions: tally.evictions,
        }
    }
}
