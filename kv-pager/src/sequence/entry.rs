//! One block of a sequence.
//! Layer 4. Uses `ids`. Known by: `sequence`, `pager`.

use crate::ids::{BlockId, TierId};

/// What the slot of an entry is to the sequence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind {
    /// Its own: unnamed, may be written once nobody else holds it.
    Own,
    /// Its own, full, and to stay unnamed: another slot has the name, or nothing can be named after a nameless parent.
    Unnamed,
    /// The block's named slot: never written.
    Named,
    /// The block's slot, being filled by moves.
    Loading,
    /// Its own, being filled by a copy of one that is shared.
    Copying,
}

/// One block of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The block, once it is known, and referred to (Q3).
    pub block: BlockId,
    /// How many of its first tokens are in the slot, or will be once the moves into it have ended.
    pub done: u16,
    /// What the slot is.
    pub kind: EntryKind,
    /// Where the bytes were when the sequence was opened; `None` for what it computes.
    pub source: Option<TierId>,
}

impl Entry {
    /// A block to be computed.
    pub const EMPTY: Self = Self { block: BlockId::NONE, done: 0, kind: EntryKind::Own, source: None };

    /// Whether its bytes are there, whole, under the block's name.
    pub fn is_settled(&self) -> bool {
        self.kind == EntryKind::Named
    }
}
