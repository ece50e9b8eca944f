//! The prefill in a profile.
//! Layer 6. Uses `cost::prefill`. Known by: `cost::profile`.

use crate::cost::{Node, PrefillCost};
use serde::{Deserialize, Serialize};

/// What the engine takes, as it is written down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillProfile {
    /// The largest step that the engine takes.
    pub step_tokens_max: u32,
    /// The window of those layers that have one.
    #[serde(default)]
    pub window_tokens: Option<u32>,
    /// The time of a step by its tokens.
    pub nodes: Vec<Node>,
}

impl PrefillProfile {
    /// `cost`, for an engine that takes steps of at most `step_tokens_max`.
    pub fn new(step_tokens_max: u32, cost: &PrefillCost) -> Self {
        Self { step_tokens_max, window_tokens: cost.window_tokens(), nodes: cost.nodes().to_vec() }
    }

    /// The cost to predict with.
    ///
    /// # Panics
    /// If the profile was not checked.
    pub fn cost(&self) -> PrefillCost {
        PrefillCost::new(self.window_tokens, &self.nodes)
    }

    /// Takes over what was learnt.
    pub(in crate::cost) fn set_cost(&mut self, cost: &PrefillCost) {
        self.nodes = cost.nodes().to_vec();
    }
}
