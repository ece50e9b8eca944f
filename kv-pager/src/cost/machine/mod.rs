//! A machine in virtual time: tiers without memory, lanes and a compute server that take what a profile says.
//! Layer 6. Uses `ids`, `units`, `error`, `clock`, `layout`, `tier`, `cost`. Known by: simulators; never by the pager.
//!
//! - **V1** nothing happens but by [`VirtualMachine::run_until`] and by the calls of the pager, so that the same calls give the
//!   same course of events (I9);
//! - **V2** a lane works on one chunk at a time, batch by batch in the order of submission;
//! - **V3** no time passes while events are handled: what ends at a moment has ended when the clock stands there;
//! - **V4** there is a lane within the device: the profile's, or one at the rate of the fastest memory that a profile may name.
//!
//! The pager over such a machine, with its [`ManualClock`], is the simulator: the code that decides is the one that serves.

mod compute;
mod lane;
mod link;
mod tier;

pub use compute::{ComputeServer, Computed, JobId};
pub use lane::VirtualLane;
pub use tier::VirtualTier;

use super::{CodecTable, LaneCost, LaneProfile, Profile};
use crate::clock::{Clock, ManualClock, Time};
use crate::error::Error;
use crate::ids::TierId;
use crate::layout::{Format, ModelLayout};
use crate::tier::{Lane, LaneEnds, Tier};
use crate::units::Bytes;
use link::Link;
use std::sync::Arc;

/// Between slots of the device.
const WITHIN_DEVICE: LaneEnds = LaneEnds { source: TierId::Device, target: TierId::Device };

/// One tier of a machine to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VirtualTierSize {
    /// Which.
    pub tier: TierId,
    /// How much it holds; shared out among the groups by their parts' bytes.
    pub bytes: Bytes,
    /// How it keeps parts.
    pub format: Format,
}

/// Tiers, lanes and the clock that they live by.
#[derive(Debug)]
pub struct VirtualMachine {
    clock: Arc<ManualClock>,
    tiers: Vec<Arc<VirtualTier>>,
    lanes: Vec<Arc<VirtualLane>>,
}

impl VirtualMachine {
    /// A machine with these tiers, for a model of this layout, with those lanes of the profile that join them, and with one
    /// within the device (V4). `moves_max` is the limit of each lane's queue.
    ///
    /// # Errors
    /// [`Error::Configuration`] if a tier holds no block, or the profile is not plausible.
    pub fn new(
        model: &ModelLayout,
        profile: &Profile,
        sizes: &[VirtualTierSize],
        moves_max: usize,
    ) -> Result<Self, Error> {
        profile.check()?;
        let clock = Arc::new(ManualClock::new());
        let tiers = sizes.iter().map(|size| VirtualTier::new(model, *size).map(Arc::new));
        let tiers = tiers.collect::<Result<Vec<_>, Error>>()?;
        let codecs = CodecTable::new(&profile.codecs);
        let find = |id: TierId| tiers.iter().find(|tier| tier.id() == id);
        let mut links: Vec<Arc<Link>> = Vec::new();
        let mut lanes = Vec::new();
        let is_within = |of: &LaneProfile| of.ends == WITHIN_DEVICE;
        let within = LaneProfile::new(WITHIN_DEVICE, &LaneCost::uniform(0.0, 0.0, 2e13, Bytes::mib(64)));
        let within = (!profile.lanes.iter().any(is_within)).then_some(&within);
        for of in profile.lanes.iter().chain(within) {
            let (Some(source), Some(target)) = (find(of.ends.source), find(of.ends.target)) else { continue };
            let link = links.iter().find(|link| link.joins(of.ends)).cloned().unwrap_or_else(|| {
                links.push(Arc::new(Link::new(of.ends)));
                Arc::clone(&links[links.len() - 1])
            });
            let lane = VirtualLane::new(of, [source, target], &codecs, link, Arc::clone(&clock), moves_max);
            lanes.push(Arc::new(lane));
        }
        Ok(Self { clock, tiers, lanes })
    }

    /// The clock that everything here lives by.
    pub fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    /// The tiers, for a pager.
    pub fn tiers(&self) -> Vec<Arc<dyn Tier>> {
        self.tiers.iter().map(|tier| Arc::clone(tier) as Arc<dyn Tier>).collect()
    }

    /// The lanes, for a pager.
    pub fn lanes(&self) -> Vec<Arc<dyn Lane>> {
        self.lanes.iter().map(|lane| Arc::clone(lane) as Arc<dyn Lane>).collect()
    }

    /// When a lane will have something to tell; [`Time::NEVER`] if all are idle. `O(lanes)`.
    pub fn next_event(&self) -> Time {
        self.lanes.iter().map(|lane| lane.next_event()).min().unwrap_or(Time::NEVER)
    }

    /// Lets the clock go on to `time`, and everything happen that happens until then, in order. Step from event to event
    /// ([`VirtualMachine::next_event`]) where what happens may lead to new moves.
    pub fn run_until(&self, time: Time) {
        loop {
            let next = self.next_event();
            if next > time {
                break;
            }
            self.clock.advance_to(next);
            for lane in &self.lanes {
                lane.settle(next);
            }
        }
        self.clock.advance_to(time);
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests;
