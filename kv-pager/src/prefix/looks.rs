//! How many blocks one hold of the pager's lock looks at, where the feature `hold-blocks` asks for it; nothing otherwise.
//! Layer 3. Uses `ids`, `sync`. Known by: `prefix`, `transfer`.
//!
//! A block counts once a hold, whatever is read or changed of its record, of where its parts are, or of a move of it that waits.

use crate::ids::BlockId;
#[cfg(feature = "hold-blocks")]
use crate::sync::{AtomicU32, AtomicU64, Ordering};
#[cfg(feature = "hold-blocks")]
use std::sync::Arc;

/// So many blocks are told apart; the last counter is for holds that looked at more.
#[cfg(feature = "hold-blocks")]
const BLOCKS_MAX: usize = 4096;

/// See the module. All clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    #[cfg(feature = "hold-blocks")]
    counters: Arc<Counters>,
}

#[cfg(feature = "hold-blocks")]
#[derive(Debug)]
struct Counters {
    /// By record: the hold that looked at it last.
    last: Box<[AtomicU32]>,
    hold: AtomicU32,
    blocks: AtomicU32,
    holds: Box<[AtomicU64]>,
}

#[cfg(not(feature = "hold-blocks"))]
impl Looks {
    pub(crate) fn new(_records: usize) -> Self {
        Self {}
    }

    #[inline]
    #[expect(clippy::unused_self, reason = "the other one counts")]
    pub(crate) fn note(&self, _block: BlockId) {}
}

#[cfg(feature = "hold-blocks")]
impl Looks {
    pub(crate) fn new(records: usize) -> Self {
        let counters = Counters {
            last: (0..records).map(|_| AtomicU32::new(0)).collect(),
            hold: AtomicU32::new(1),
            blocks: AtomicU32::new(0),
            holds: (0..=BLOCKS_MAX).map(|_| AtomicU64::new(0)).collect(),
        };
        Self { counters: Arc::new(counters) }
    }

    /// `block` is looked at.
    pub(crate) fn note(&self, block: BlockId) {
        let Counters { last, hold, blocks, .. } = &*self.counters;
        let hold = hold.load(Ordering::Relaxed);
        if block.is_some() && last[block.index()].swap(hold, Ordering::Relaxed) != hold {
            blocks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A hold has ended, and the next begins.
    pub(super) fn begin_hold(&self) {
        let Counters { hold, blocks, holds, .. } = &*self.counters;
        let blocks = blocks.swap(0, Ordering::Relaxed) as usize;
        holds[blocks.min(BLOCKS_MAX)].fetch_add(1, Ordering::Relaxed);
        hold.fetch_add(1, Ordering::Relaxed);
    }

    /// What the hold at hand has looked at so far does not count: it was for a check.
    pub(super) fn forget_hold(&self) {
        self.counters.blocks.store(0, Ordering::Relaxed);
    }

    /// How many holds looked at how many blocks.
    pub(super) fn holds(&self) -> Vec<u64> {
        self.counters.holds.iter().map(|holds| holds.load(Ordering::Relaxed)).collect()
    }
}
