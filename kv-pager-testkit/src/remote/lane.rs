//! A lane whose other half is a worker.
//! Uses `remote::link`. Known by: `remote::process`.

use super::link::{Link, Shared};
use kv_pager::Error;
use kv_pager::tier::{Lane, LaneEnds, Move, Ticket};
use std::sync::Arc;

/// A lane of a worker's. What it is given has begun, for it may be on its way: a lane before it keeps what is to be called off.
#[derive(Debug)]
pub struct RemoteLane {
    ends: LaneEnds,
    link: Arc<Shared>,
    /// Its number on the worker.
    lane: u32,
    limit: usize,
}

impl RemoteLane {
    /// Lane number `lane` of the worker, which takes at most `limit` moves at a time.
    pub fn new(link: &Link, lane: u32, ends: LaneEnds, limit: usize) -> Self {
        Self { ends, link: Arc::clone(link.shared()), lane, limit }
    }
}

impl Lane for RemoteLane {
    fn ends(&self) -> LaneEnds {
        self.ends
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        self.link.submit(self.lane, batch, self.limit)
    }
}
