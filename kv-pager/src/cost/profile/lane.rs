//! A lane in a profile.
//! Layer 6. Uses `tier`, `units`, `cost::lane`. Known by: `cost::profile`.

use crate::cost::{Knot, LaneCost};
use crate::tier::LaneEnds;
use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// What a lane takes, as it is written down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneProfile {
    /// The tiers it joins.
    pub ends: LaneEnds,
    /// What comes before the first byte of a batch, in nanoseconds.
    pub alpha_ns: f64,
    /// The chunk that saturates it.
    pub chunk_bytes: Bytes,
    /// The time of one copy by its size; the first is the call alone.
    pub knots: Vec<Knot>,
    /// How many times longer copies take while the opposite lane is busy too; 1 when the directions don't feel each other.
    #[serde(default = "alone")]
    pub both_ways_factor: f64,
}

fn alone() -> f64 {
    1.0
}

impl LaneProfile {
    /// The most that opposite lanes are believed to slow each other down.
    pub const BOTH_WAYS_MAX: f64 = 10.0;

    /// `cost`, of the lane between `ends`.
    pub fn new(ends: LaneEnds, cost: &LaneCost) -> Self {
        let (alpha_ns, chunk_bytes) = (cost.alpha_ns(), cost.chunk_bytes());
        Self { ends, alpha_ns, chunk_bytes, knots: cost.knots().to_vec(), both_ways_factor: alone() }
    }

    /// The cost to predict with.
    ///
    /// # Panics
    /// If the profile was not checked.
    pub fn cost(&self) -> LaneCost {
        LaneCost::new(self.alpha_ns, self.chunk_bytes, &self.knots)
    }

    /// Takes over what was learnt.
    pub(in crate::cost) fn set_cost(&mut self, cost: &LaneCost) {
        self.alpha_ns = cost.alpha_ns();
        self.knots = cost.knots().to_vec();
    }
}
