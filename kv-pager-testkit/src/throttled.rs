//! Throttled lanes: a link of a given rate and latency, by a clock.
//! Uses `relay`. Known by: tests of plans, deadlines and costs.
//!
//! - **TH1** the `n`-th byte is through no earlier than `latency` after it was asked for, and than `n / rate` after the link was
//!   last idle: moves go one after the other, in the order of submission;
//! - **TH2** the bytes are copied by the inner lane at once; only the end is told when the time has come.
//!
//! With a manual clock nothing happens but in [`Throttled::pump`]: move the clock, then pump.

use crate::relay::{Fate, Gate, Relay};
use kv_pager::Error;
use kv_pager::clock::{Clock, Time};
use kv_pager::tier::{Lane, LaneEnds, Move, Signal, Ticket, Tier};
use kv_pager::units::{Bytes, Nanos};
use parking_lot::Mutex;
use std::sync::Arc;

/// A link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// From the submission of a move to its first byte.
    pub latency: Nanos,
    /// Bytes in a second.
    pub bytes_per_s: u64,
}

#[derive(Debug)]
struct Link {
    rate: Rate,
    clock: Arc<dyn Clock>,
    /// By group.
    part_bytes: Vec<Bytes>,
    /// When the last byte that was asked for will be through, but for the latency.
    idle_from: Mutex<Time>,
}

impl Gate for Link {
    /// The number is the time of the move's end.
    fn admit(&self, order: &Move) -> Fate {
        let bytes = u128::from(self.part_bytes[order.group.index()].as_u64());
        let span = bytes * 1_000_000_000 / u128::from(self.rate.bytes_per_s);
        let span = Nanos::new(u64::try_from(span).unwrap_or(u64::MAX));
        let mut idle_from = self.idle_from.lock();
        *idle_from = (*idle_from).max(self.clock.now()).after(span);
        Fate::Forward(idle_from.after(self.rate.latency).as_ns())
    }

    fn may_end(&self, _order: &Move, fate: Fate) -> bool {
        match fate {
            Fate::Forward(end_ns) => self.clock.now() >= Time::from_ns(end_ns),
            Fate::Fail(_) | Fate::Hang => true,
        }
    }

    fn patience(&self) -> Nanos {
        Nanos::new(100_000)
    }
}

/// A lane of a given rate.
#[derive(Debug)]
pub struct Throttled {
    relay: Relay,
}

impl Throttled {
    /// Slows `inner` to `rate`, with parts as large as `source`'s slots. Pumps itself; for clocks that go by themselves.
    pub fn new(inner: Arc<dyn Lane>, rate: Rate, source: &dyn Tier, clock: Arc<dyn Clock>) -> Self {
        Self { relay: Relay::new(inner, Self::link(rate, source, clock), Arc::new(Signal::new())) }
    }

    /// As [`Throttled::new`], for a clock that the test moves: ends are told in [`Throttled::pump`].
    pub fn stepped(inner: Arc<dyn Lane>, rate: Rate, source: &dyn Tier, clock: Arc<dyn Clock>) -> Self {
        Self { relay: Relay::stepped(inner, Self::link(rate, source, clock), Arc::new(Signal::new())) }
    }

    fn link(rate: Rate, source: &dyn Tier, clock: Arc<dyn Clock>) -> Arc<dyn Gate> {
        let part_bytes = source.classes().iter().map(|class| class.slot_bytes).collect();
        Arc::new(Link { rate, clock, part_bytes, idle_from: Mutex::new(Time::START) })
    }

    /// When the next move ends, among those that have been submitted and have not ended; `None` if there is none.
    pub fn next_end(&self) -> Option<Time> {
        self.relay.next_number().map(Time::from_ns)
    }

    /// Tells the ends whose time has come.
    pub fn pump(&self) {
        self.relay.pump();
    }
}

impl Lane for Throttled {
    fn ends(&self) -> LaneEnds {
        self.relay.ends()
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        self.relay.submit(batch)
    }
}
