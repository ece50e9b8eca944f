//! What a tier offers whose slots outlive the process: labels that say what each slot holds.
//! Layer 5. Uses `ids`, `error`. Known by: `pager`, file backends.

use crate::error::Error;
use crate::ids::{GroupId, PrefixHash, Salt, SlotId, TokenId};
use std::fmt::Debug;

/// What a slot holds, enough to find it again after a restart and to compare its tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockLabel<'a> {
    /// The block's name.
    pub hash: PrefixHash,
    /// Its parent's name; `None` for the first block of a chain.
    pub parent: Option<PrefixHash>,
    /// Whose cache it is in.
    pub salt: Salt,
    /// The block's place in its chain, from 0.
    pub depth: u32,
    /// `tokens_per_block` tokens.
    pub tokens: &'a [TokenId],
    /// What else the block's bytes depend on: sorted hashes of an adapter, or of an image at an offset.
    pub extra_keys: &'a [u64],
    /// How often it has been asked for, kept so that hot blocks are still hot after a restart.
    pub uses: u32,
}

/// A block that a tier still holds from an earlier process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredBlock {
    /// The slot's class.
    pub group: GroupId,
    /// Where its bytes are.
    pub slot: SlotId,
    /// The block's name.
    pub hash: PrefixHash,
    /// Its parent's name.
    pub parent: Option<PrefixHash>,
    /// Whose cache it is in.
    pub salt: Salt,
    /// The block's place in its chain.
    pub depth: u32,
    /// Its tokens.
    pub tokens: Box<[TokenId]>,
    /// What else its bytes depend on.
    pub extra_keys: Box<[u64]>,
    /// How often it had been asked for.
    pub uses: u32,
}

/// Slots that outlive the process. Contract:
///
/// - **S1** a slot is recovered only if its last write was complete, and then with the label that was given before it;
/// - **S2** a slot that was voided is not recovered, whatever happens next, but for a label and a move that come after; that holds for
///   a move under way into the slot, too;
/// - **S3** `label` and `void` do not block on I/O: they are carried out by the lanes, in the order given.
pub trait Persistence: Debug + Send + Sync {
    /// Says what the next move into `slot` brings. Called before that move is submitted; it takes effect with the bytes.
    fn label(&self, group: GroupId, slot: SlotId, label: &BlockLabel<'_>);

    /// Says that what `slot` holds, or what is on its way there, must not be found again. Says nothing new the second time.
    fn void(&self, group: GroupId, slot: SlotId);

    /// Says how often the block in `slot` has been asked for by now. The next flush keeps it; it is lost in a crash.
    fn set_uses(&self, group: GroupId, slot: SlotId, uses: u32);

    /// Hands over what was found when the tier was opened, parents before children; empty from the second call on.
    fn recover(&self) -> Vec<RecoveredBlock>;

    /// Slots that hold nothing and must not be used, for their drive has failed them before. Constant while a tier is open,
    /// but for slots whose reads ended as damaged.
    fn retired(&self) -> Vec<(GroupId, SlotId)>;

    /// Makes all finished writes durable, and all that was voided. Blocks on I/O.
    ///
    /// # Errors
    /// [`Error::Io`] if the drive refuses.
    fn flush(&self) -> Result<(), Error>;
}
