//! When requests of a virtual replay arrive.
//! Known by: `replay::simulated`.

use crate::replay::queue::stretched;
use kv_pager::clock::Time;
use kv_pager_testkit::trace::Request;

/// When requests arrive.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::replay) enum Arrivals {
    /// A closed loop: so many are there at once, and the next arrives when one is served.
    Closed(usize),
    /// When the stream says, so many times as far apart.
    Scaled(f64),
}

impl Arrivals {
    /// When `request`, the next of the stream, arrives, if by `now` with `present` others being there; [`Time::NEVER`] if that
    /// takes one of them to leave.
    pub(super) fn of(self, request: &Request, present: usize, now: Time) -> Time {
        match self {
            Self::Closed(places) if present < places => now,
            Self::Closed(_) => Time::NEVER,
            Self::Scaled(scale) => Time::START.after(stretched(request.arrival, scale)),
        }
    }
}
