//! What makes a profile plausible (PF1).
//! Layer 6. Uses `error`, `layout`, `tier`, `cost`. Known by: `cost::profile`.
//!
//! The bounds are wide: they catch a wrong unit, a torn file and a stall taken for a rate, not a slow machine.

use super::{LaneProfile, PrefillProfile, Profile, wrong};
use crate::cost::{CodecTable, LaneCost, PrefillCost, real};
use crate::error::Error;
use crate::layout::{ModelLayout, shape};
use crate::units::Bytes;

/// Bytes a second of any link, from a network drive to the bus of a device's memory.
const LINK_BYTES_PER_S: std::ops::RangeInclusive<f64> = 1e5..=2e13;
/// The longest start of a batch or call of a copy, in nanoseconds: a minute.
const CALL_NS_MAX: f64 = 6e10;
/// The least that a token takes in the largest step, in nanoseconds: ten million tokens a second.
const TOKEN_NS_MIN: f64 = 100.0;
/// The longest step, in nanoseconds: an hour.
const STEP_NS_MAX: f64 = 3.6e12;

impl Profile {
    /// Looks at every number.
    ///
    /// # Errors
    /// [`Error::Configuration`] that names the first which cannot be.
    pub fn check(&self) -> Result<(), Error> {
        if self.version != Self::VERSION {
            return Err(wrong(format!(
                "it has version {}, and this program reads version {}; measure again with `kv-pager measure`",
                self.version,
                Self::VERSION
            )));
        }
        if self.lanes.is_empty() {
            return Err(wrong("it has no lanes; measure again with `kv-pager measure`".to_owned()));
        }
        for (index, lane) in self.lanes.iter().enumerate() {
            if self.lanes[..index].iter().any(|other| other.ends == lane.ends) {
                return Err(wrong(format!("lane {} stands in it twice; remove one", lane.ends)));
            }
            lane.check()?;
        }
        if self.codecs.len() > CodecTable::FORMATS_MAX {
            return Err(wrong(format!("{} codecs; at most {}", self.codecs.len(), CodecTable::FORMATS_MAX)));
        }
        for codec in &self.codecs {
            for per_byte in [codec.encode_ns_per_byte, codec.decode_ns_per_byte] {
                require((0.0..1e4).contains(&per_byte), || {
                    format!("codec {}: {per_byte} ns a byte", codec.format)
                })?;
            }
        }
        self.prefill.check()
    }

    /// Whether it was measured for a model of this layout.
    ///
    /// # Errors
    /// [`Error::Configuration`] if it names a known model whose parts differ.
    pub fn check_model(&self, layout: &ModelLayout) -> Result<(), Error> {
        match shape(&self.model) {
            Some(measured) if measured.groups() != layout.groups() => Err(wrong(format!(
                "it was measured for {}, whose layout is another; measure again with `kv-pager measure --shape`",
                self.model
            ))),
            _ => Ok(()),
        }
    }

    /// Whether it was measured on the machine of that name with the model of that name. What it says is a start on any other, and is
    /// corrected there; but what was learnt there must not be saved as this one's.
    ///
    /// # Errors
    /// [`Error::Configuration`] that names both machines, or both models.
    pub fn check_origin(&self, machine: &str, model: &str) -> Result<(), Error> {
        for (what, measured, here) in [("machine", &*self.machine, machine), ("model", &*self.model, model)] {
            if measured != here {
                return Err(wrong(format!(
                    "it was measured for the {what} `{measured}`, and this is `{here}`; measure here with `kv-pager measure --out`"
                )));
            }
        }
        Ok(())
    }
}

impl LaneProfile {
    fn check(&self) -> Result<(), Error> {
        let ends = self.ends;
        let knots = &self.knots;
        require((2..=LaneCost::KNOTS_MAX).contains(&knots.len()), || {
            format!("lane {ends}: {} knots", knots.len())
        })?;
        require(knots[0].copy_bytes == Bytes::ZERO, || {
            format!("lane {ends}: the first knot is not at 0 bytes")
        })?;
        require(knots.is_sorted_by(|a, b| a.copy_bytes < b.copy_bytes), || {
            format!("lane {ends}: sizes fall")
        })?;
        require(self.chunk_bytes > Bytes::ZERO, || format!("lane {ends}: chunks of no bytes"))?;
        require((1.0..=Self::BOTH_WAYS_MAX).contains(&self.both_ways_factor), || {
            format!("lane {ends}: {} times slower both ways", self.both_ways_factor)
        })?;
        for call_ns in [self.alpha_ns, knots[0].copy_ns] {
            require((0.0..CALL_NS_MAX).contains(&call_ns), || {
                format!("lane {ends}: {call_ns} ns for a call")
            })?;
        }
        require(knots.iter().all(|knot| knot.copy_ns.is_finite()), || {
            format!("lane {ends}: a time is no number")
        })?;
        let beta = self.cost().classes().last().map_or(0.0, |class| class.beta_bytes_per_s);
        require(LINK_BYTES_PER_S.contains(&beta), || format!("lane {ends}: {beta:.3e} bytes/s"))?;
        for knot in knots {
            let longest_ns = CALL_NS_MAX + 1e9 * real::from_bytes(knot.copy_bytes) / LINK_BYTES_PER_S.start();
            require((0.0..longest_ns).contains(&knot.copy_ns), || {
                format!("lane {ends}: {} ns for a copy of {}", knot.copy_ns, knot.copy_bytes)
            })?;
        }
        Ok(())
    }
}

impl PrefillProfile {
    fn check(&self) -> Result<(), Error> {
        let nodes = &self.nodes;
        require(self.step_tokens_max > 0, || "prefill in steps of no tokens".to_owned())?;
        require((2..=PrefillCost::NODES_MAX).contains(&nodes.len()), || {
            format!("prefill: {} nodes", nodes.len())
        })?;
        require(nodes.is_sorted_by(|a, b| a.tokens < b.tokens), || {
            "prefill: tokens of nodes fall".to_owned()
        })?;
        for node in nodes {
            let times = [node.base_ns, node.context_ns, node.window_ns];
            require(times.iter().all(|time| (0.0..STEP_NS_MAX).contains(time)), || {
                format!("prefill: {node:?}")
            })?;
            require(node.base_ns > 0.0, || format!("prefill: {} tokens in no time", node.tokens))?;
        }
        let last = nodes.last().map_or(f64::NAN, |node| node.base_ns / f64::from(node.tokens));
        require(last >= TOKEN_NS_MIN, || format!("prefill: {last} ns a token"))?;
        Ok(())
    }
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(wrong(format!("{} is not plausible; measure again with `kv-pager measure`", what())))
}
