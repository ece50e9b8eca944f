//! Faulty lanes: some moves fail, are damaged, are late or never end, as a seeded script says.
//! Uses `relay`. Known by: conformance and model tests.
//!
//! - **FA1** the same script and the same moves give the same faults, whatever the threads do;
//! - **FA2** a move that fails leaves its target as it was; one that is damaged may have left anything there.

use crate::relay::{Fate, Gate, Relay};
use kv_pager::Error;
use kv_pager::ids::MoveId;
use kv_pager::tier::{Lane, LaneEnds, Move, MoveFault, Signal, Ticket};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many of a thousand moves meet which fault; what is left goes well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultScript {
    /// Decides which.
    pub seed: u64,
    /// Moves that end as [`MoveFault::Io`], untouched.
    pub fail_per_mille: u16,
    /// Moves that end as [`MoveFault::Damaged`].
    pub damage_per_mille: u16,
    /// Moves that wait until [`Faulty::release`].
    pub delay_per_mille: u16,
    /// Moves that begin and don't end until the lane is dropped.
    pub hang_per_mille: u16,
}

impl FaultScript {
    /// The number of the drawn thousandth that decides over `id`.
    fn draw(&self, id: MoveId) -> u64 {
        xxh3_64_with_seed(&id.0.to_le_bytes(), self.seed) % 1000
    }
}

/// Moves that are told to wait.
const DELAYED: u64 = 1;

#[derive(Debug)]
struct Script {
    script: FaultScript,
    /// Moves that were drawn to wait, and have not been released.
    waiting: Mutex<HashSet<MoveId>>,
}

impl Gate for Script {
    fn admit(&self, order: &Move) -> Fate {
        let script = &self.script;
        let mut drawn = self.script.draw(order.id);
        for (share, fate) in [
            (script.fail_per_mille, Fate::Fail(MoveFault::Io)),
            (script.damage_per_mille, Fate::Fail(MoveFault::Damaged)),
            (script.hang_per_mille, Fate::Hang),
            (script.delay_per_mille, Fate::Forward(DELAYED)),
        ] {
            if drawn < u64::from(share) {
                if fate == Fate::Forward(DELAYED) {
                    self.waiting.lock().insert(order.id);
                }
                return fate;
            }
            drawn -= u64::from(share);
        }
        Fate::Forward(0)
    }

    fn may_begin(&self, order: &Move) -> bool {
        !self.waiting.lock().contains(&order.id)
    }
}

/// A lane with faults.
#[derive(Debug)]
pub struct Faulty {
    relay: Relay,
    script: Arc<Script>,
    signal: Arc<Signal>,
}

impl Faulty {
    /// Puts `script` before `inner`.
    pub fn new(inner: Arc<dyn Lane>, script: FaultScript) -> Self {
        let script = Arc::new(Script { script, waiting: Mutex::default() });
        let signal = Arc::new(Signal::new());
        let gate = Arc::<Script>::clone(&script);
        Self { relay: Relay::new(inner, gate, Arc::clone(&signal)), script, signal }
    }

    /// Lets every move begin that waits.
    pub fn release(&self) {
        self.script.waiting.lock().clear();
        self.signal.ring();
    }
}

impl Lane for Faulty {
    fn ends(&self) -> LaneEnds {
        self.relay.ends()
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        self.relay.submit(batch)
    }
}
