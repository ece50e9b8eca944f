//! How many blocks one hold of the pager's lock looks at, where the feature `hold-blocks` asks for it; nothing otherwise.
//! Layer 3. Uses `ids`, `sync`. Known by: `prefix`.
//!
//! A block counts once a hold, whatever is read or changed of its record or of where its parts are.

use crate::ids::BlockId;
#[cfg(feature = "hold-blocks")]
use crate::sync::{AtomicU32, Ordering};

/// So many blocks are told apart; the last counter is for holds that looked at more.
#[cfg(feature = "hold-blocks")]
const BLOCKS_MAX: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Looks {
    /// By record: the hold that looked at it last.
    #[cfg(feature = "hold-blocks")]
    last: Box<[AtomicU32]>,
    #[cfg(feature = "hold-blocks")]
    hold: u32,
    #[cfg(feature = "hold-blocks")]
    blocks: AtomicU32,
    #[cfg(feature = "hold-blocks")]
    holds: Box<[u64]>,
}

#[cfg(not(feature = "hold-blocks"))]
impl Looks {
    pub(super) fn new(_records: usize) -> Self {
        Self {}
    }

    #[inline]
    #[expect(clippy::unused_self, reason = "the other one counts")]
    pub(super) fn note(&self, _block: BlockId) {}
}

#[cfg(feature = "hold-blocks")]
impl Looks {
    pub(super) fn new(records: usize) -> Self {
        Self {
            last: (0..records).map(|_| AtomicU32::new(0)).collect(),
            hold: 1,
            blocks: AtomicU32::new(0),
            holds: vec![0; BLOCKS_MAX + 1].into_boxed_slice(),
        }
    }

    /// `block` is looked at.
    pub(super) fn note(&self, block: BlockId) {
        let last = &self.last[block.index()];
        if last.load(Ordering::Relaxed) != self.hold {
            last.store(self.hold, Ordering::Relaxed);
            self.blocks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A hold has ended, and the next begins.
    pub(super) fn begin_hold(&mut self) {
        let blocks = std::mem::take(self.blocks.get_mut()) as usize;
        self.holds[blocks.min(BLOCKS_MAX)] += 1;
        self.hold += 1;
    }

    /// What the hold at hand has looked at so far does not count: it was for a check.
    pub(super) fn forget_hold(&mut self) {
        *self.blocks.get_mut() = 0;
    }

    /// How many holds looked at how many blocks.
    pub(super) fn holds(&self) -> &[u64] {
        &self.holds
    }
}
