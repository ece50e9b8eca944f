//! Block events: what a router needs to follow which blocks are where.
//! Layer 0. Uses `ids`. Known by: `pager`.
//!
//! - **V1** events are numbered without gaps; a reader that sees a gap has lost what is between (I8: the stream is bounded);
//! - **V2** what is told of a block and a tier alternates: stored there, then removed or moved on from there. A clearing comes before
//!   the blocks go that it erases: of what was stored before it, each that goes is told of once more. Whoever knows of all events
//!   since the start, or since a clearing, knows which blocks are where, but for those that the clearing is about to erase.

use crate::ids::{PrefixHash, TierId};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Something that happened to a block's copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BlockEvent {
    /// A copy can be matched in the tier.
    Stored {
        /// The block.
        hash: PrefixHash,
        /// Its parent, if it has one.
        parent: Option<PrefixHash>,
        /// Where.
        tier: TierId,
    },
    /// The copy in a tier made room; one farther away stays, of which was told when it was stored.
    Moved {
        /// The block.
        hash: PrefixHash,
        /// Where it was.
        source: TierId,
        /// Where its nearest copy is now.
        target: TierId,
    },
    /// The copy in the tier is gone.
    Removed {
        /// The block.
        hash: PrefixHash,
        /// Where it was.
        tier: TierId,
    },
    /// All blocks are being erased. What was told before does not count any more; those that are still there are found until it is
    /// told of each that it is removed.
    Cleared,
}

/// The last events, oldest first.
#[derive(Debug)]
pub struct EventStream {
    events: VecDeque<BlockEvent>,
    limit: usize,
    first: u64,
}

impl EventStream {
    /// A stream that keeps at most `limit` events.
    pub fn new(limit: usize) -> Self {
        Self { events: VecDeque::with_capacity(limit), limit, first: 0 }
    }

    /// Adds an event; the oldest gives way when the stream is full.
    pub fn push(&mut self, event: BlockEvent) {
        if self.events.len() == self.limit {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(event);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The number of the first.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Moves the first events to `into`, `most` of them.
    pub fn drain(&mut self, most: usize, into: &mut Vec<BlockEvent>) {
        let count = self.events.len().min(most);
        self.first += count as u64;
        into.extend(self.events.drain(..count));
    }
}

#[cfg(test)]
mod tests {
    use super::{BlockEvent, EventStream};

    #[test]
    fn a_loss_shows_as_a_gap() {
        let mut stream = EventStream::new(2);
        let mut read = Vec::new();
        stream.push(BlockEvent::Cleared);
        assert_eq!(stream.first(), 0);
        stream.drain(2, &mut read);
        for _ in 0..3 {
            stream.push(BlockEvent::Cleared);
        }
        read.clear();
        assert_eq!(stream.first(), 2, "number 1 gave way");
        stream.drain(1, &mut read);
        assert_eq!((read.len(), stream.first(), stream.len()), (1, 3, 1));
    }
}
