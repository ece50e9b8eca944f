//! Costs: what a move and a prefill take on this machine, and how that is learnt.
//! Layer 6. Uses `ids`, `units`, `error`, `layout`, `tier`. Known by: `transfer`, `policy`, `pager`.
//!
//! - **C1** a prediction is finite and not negative, and allocates nothing;
//! - **C2** more bytes, copies, tokens or context never take less time;
//! - **C3** the same samples in the same order make the same model, bit for bit (I9);
//! - **C4** a model does not grow with what it observes (I8).
//!
//! A [`Profile`] holds what [`fit`] made of samples measured on one machine with one model; a [`CostModel`] is loaded from
//! it, predicts, and is corrected by every transfer and every step of the engine since. Formulas: `docs/cost-model.md`.

pub mod calibrate;
mod codec;
mod correction;
pub mod fit;
mod lane;
mod lane_estimate;
mod lanes;
pub mod machine;
mod prefill;
mod prefill_estimate;
mod profile;
pub(crate) mod real;

pub use codec::{CodecCost, CodecTable};
pub use correction::Learned;
pub use lane::{Knot, LaneCost, Load, SizeClass};
pub use lanes::ByLane;
pub use prefill::{Node, PrefillCost, Steps, TokenSpan};
pub use profile::{LaneProfile, PrefillProfile, Profile};

use crate::error::Error;
use crate::ids::TierId;
use crate::layout::{Format, ModelLayout};
use crate::tier::LaneEnds;
use crate::units::{Bytes, Nanos};
use lane_estimate::LaneEstimate;
use prefill_estimate::PrefillEstimate;

/// What this machine takes, as far as is known now. Plain data without heap.
#[derive(Clone, Debug)]
pub struct CostModel {
    lanes: ByLane<Option<LaneEstimate>>,
    prefill: PrefillEstimate,
    codecs: CodecTable,
}

impl CostModel {
    /// What `profile` says.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the profile is not plausible ([`Profile::check`]).
    pub fn new(profile: &Profile) -> Result<Self, Error> {
        profile.check()?;
        let mut lanes = ByLane::default();
        for lane in &profile.lanes {
            *lanes.get_mut(lane.ends) = Some(LaneEstimate::new(lane.cost()));
        }
        let prefill = PrefillEstimate::new(&profile.prefill.cost());
        Ok(Self { lanes, prefill, codecs: CodecTable::new(&profile.codecs) })
    }

    /// Says how each tier keeps the parts of `model`: from now on the cost of a lane is that with its codec, for the device's lanes
    /// encode and decode. Lanes without it move parts as they are. `O(groups)`.
    pub fn set_formats(&mut self, model: &ModelLayout, formats: [Format; TierId::COUNT]) {
        for tier in [TierId::Host, TierId::File] {
            let format = formats[tier.index()];
            let kept: Bytes = model.group_ids().map(|group| model.slot_bytes(group, format)).sum();
            let raw: Bytes = model.group_ids().map(|group| model.part_bytes(group)).sum();
            let raw_share = real::from_bytes(raw) / real::from_bytes(kept).max(1.0);
            let away = LaneEnds { source: TierId::Device, target: tier };
            let back = LaneEnds { source: tier, target: TierId::Device };
            let codecs = &self.codecs;
            for (ends, byte_ns) in
                [(away, codecs.encode_ns_per_byte(format)), (back, codecs.decode_ns_per_byte(format))]
            {
                if let Some(lane) = self.lanes.get_mut(ends) {
                    lane.set_codec(byte_ns * raw_share);
                }
            }
        }
    }

    /// The cost of a lane, with that of its codec; `None` if it was never measured. `O(1)`.
    pub fn lane(&self, ends: LaneEnds) -> Option<&LaneCost> {
        self.lanes.get(ends).as_ref().map(LaneEstimate::current)
    }

    /// The cost of the engine's steps. `O(1)`.
    pub fn prefill(&self) -> &PrefillCost {
        self.prefill.current()
    }

    /// By what share predictions of the engine's steps were wrong lately, on average: between 0, while none was observed, and a quarter.
    pub fn prefill_error(&self) -> f64 {
        self.prefill.error()
    }

    /// The cost of formats.
    pub fn codecs(&self) -> &CodecTable {
        &self.codecs
    }

    /// Takes in that a lane worked on `load` for `took`, its codec's work in it, without the time it waited. `O(1)`.
    pub fn observe_move(&mut self, ends: LaneEnds, load: Load, took: Nanos) -> Learned {
        self.lanes.get_mut(ends).as_mut().map_or(Learned::Nothing, |lane| lane.observe(load, took))
    }

    /// Takes in that the engine computed `step` in one step of `took`. `O(1)`. A step of fewer tokens than the profile's smallest node,
    /// such as one that decodes, teaches nothing.
    pub fn observe_prefill(&mut self, step: TokenSpan, took: Nanos) -> Learned {
        self.prefill.observe(step, took)
    }

    /// `measured` with the costs as they have been learnt since: what to save at the end, where `measured` is of this machine and
    /// model ([`Profile::check_origin`]).
    ///
    /// # Errors
    /// [`Error::Configuration`] if what was learnt is not plausible ([`Profile::check`]): it is better forgotten.
    pub fn update(&self, measured: &Profile) -> Result<Profile, Error> {
        let mut profile = measured.clone();
        for lane in &mut profile.lanes {
            if let Some(estimate) = self.lanes.get(lane.ends) {
                lane.set_cost(&estimate.without_codec());
            }
        }
        profile.prefill.set_cost(self.prefill());
        profile.check()?;
        Ok(profile)
    }
}

/// The page's examples run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/cost-model.md")]
struct CostModelPage;
