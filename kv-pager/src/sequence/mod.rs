//! A sequence: one request's tokens, and for each of its blocks a slot and how far it is filled.
//! Layer 4. Uses `ids`, `units`, `layout`, `prefix` (names). Known by: `pager`.
//!
//! - **Q1** there is one entry, and in each table one place, for every block that the tokens reach; a place is empty where a
//!   group that looks through a window needs no part, or none yet;
//! - **Q2** the tokens that are done in a block are its first ones; only the last block that the tokens reach may want fewer
//!   than all;
//! - **Q3** an entry whose block is known refers to it exactly once;
//! - **Q4** the names known are those of the first full blocks.
//!
//! This is plain data that its handle owns, so tokens are hashed and tables read without the pager's lock. Only the pager,
//! under its lock, changes what an entry says of slots.

mod entry;

pub use entry::{Entry, EntryKind};

use crate::ids::{Fence, GroupId, ModelEpoch, PrefixHash, Salt, SequenceId, SlotId, TierId, TokenId};
use crate::layout::ModelLayout;
use crate::prefix::PrefixHasher;
use crate::units::Nanos;
use std::ops::Range;

/// Something beside tokens that the bytes of a block depend on: an adapter (at token 0), an image (where it stands).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExtraKey {
    /// The token from which on it matters.
    pub at_token: u32,
    /// Its hash, made by the engine.
    pub key: u64,
}

/// How important a request is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum RequestPriority {
    /// As any other.
    #[default]
    Normal,
    /// Its loads go before others'. Eviction passes over its blocks twice before it takes them.
    High,
}

impl RequestPriority {
    /// How often eviction passes over the blocks of such a request.
    pub fn passes(self) -> u16 {
        match self {
            Self::Normal => 0,
            Self::High => 2,
        }
    }
}

/// One request's tokens and block tables.
#[derive(Debug)]
pub struct SequenceState {
    /// Its name.
    pub id: SequenceId,
    /// Whose cache it uses.
    pub salt: Salt,
    /// The weights that its names are of.
    pub epoch: ModelEpoch,
    /// How important it is.
    pub priority: RequestPriority,
    /// How long its blocks stay when it has closed, unless others use them.
    pub time_to_live: Option<Nanos>,
    /// All tokens given so far.
    pub tokens: Vec<TokenId>,
    /// What else its blocks depend on, by token.
    pub extra_keys: Vec<ExtraKey>,
    /// Names of the first full blocks (Q4).
    pub hashes: Vec<PrefixHash>,
    /// One for each block (Q1).
    pub entries: Vec<Entry>,
    /// By group: one place for each block (Q1). What an attention kernel takes.
    pub tables: Vec<Vec<SlotId>>,
    /// By group: all places before it, those of sinks aside, are empty because the window has moved on.
    pub slid: Vec<usize>,
    /// All entries before it are done.
    pub cursor: usize,
    /// How many leading blocks were found cached when it was opened.
    pub matched_blocks: usize,
    /// A load did not come since tokens were last computed, and it was opened again: it goes on without loads.
    pub loads_failed: bool,
    /// The tokens that the engine was told to compute, until it commits.
    pub computing: Option<Range<usize>>,
    /// Tokens that this sequence has computed.
    pub computed_tokens: u64,
    /// The compute of others that wrote what was found on the device: its own reads after that.
    pub waits: Vec<Fence>,
    /// The last fence it was given: the compute that may still use its slots.
    pub fence: Fence,
    /// Extra keys of the block at hand, in a buffer that is kept.
    keys_of_block: Vec<u64>,
    tokens_per_block: usize,
}

impl SequenceState {
    /// An empty state with room for `tokens_max` tokens.
    pub fn new(tokens_per_block: u32, groups: usize, tokens_max: u32) -> Self {
        let blocks_max = tokens_max.div_ceil(tokens_per_block) as usize;
        Self {
            id: SequenceId::new(0, 0),
            salt: Salt::default(),
            epoch: ModelEpoch::default(),
            priority: RequestPriority::default(),
            time_to_live: None,
            tokens: Vec::with_capacity(tokens_max as usize),
            extra_keys: Vec::new(),
            hashes: Vec::with_capacity(blocks_max),
            entries: Vec::with_capacity(blocks_max),
            tables: (0..groups).map(|_| Vec::with_capacity(blocks_max)).collect(),
            slid: vec![0; groups],
            cursor: 0,
            matched_blocks: 0,
            loads_failed: false,
            computing: None,
            computed_tokens: 0,
            waits: Vec::new(),
            fence: Fence::OVER,
            keys_of_block: Vec::new(),
            tokens_per_block: tokens_per_block as usize,
        }
    }

    /// Forgets everything but its memory.
    pub fn clear(&mut self) {
        self.salt = Salt::default();
        self.epoch = ModelEpoch::default();
        self.priority = RequestPriority::default();
        self.time_to_live = None;
        self.tokens.clear();
        self.extra_keys.clear();
        self.hashes.clear();
        self.entries.clear();
        self.tables.iter_mut().for_each(Vec::clear);
        self.slid.fill(0);
        self.cursor = 0;
        self.matched_blocks = 0;
        self.loads_failed = false;
        self.computing = None;
        self.computed_tokens = 0;
        self.waits.clear();
        self.fence = Fence::OVER;
    }

    /// Becomes that of a request; nothing is named yet.
    pub fn set_request(&mut self, tokens: &[TokenId], salt: Salt, extra_keys: &[ExtraKey]) {
        self.salt = salt;
        self.tokens.extend_from_slice(tokens);
        self.extra_keys.extend_from_slice(extra_keys);
        self.extra_keys.sort_unstable();
    }

    /// Becomes a copy of `other`, but for its name, its entries and its tables.
    pub fn copy_request(&mut self, other: &Self) {
        self.clear();
        self.salt = other.salt;
        self.epoch = other.epoch;
        self.priority = other.priority;
        self.time_to_live = other.time_to_live;
        self.tokens.extend_from_slice(&other.tokens);
        self.extra_keys.extend_from_slice(&other.extra_keys);
        self.hashes.extend_from_slice(&other.hashes);
        self.slid.copy_from_slice(&other.slid);
        self.cursor = other.cursor;
        self.matched_blocks = other.matched_blocks;
        self.waits.extend_from_slice(&other.waits);
        self.fence = other.fence;
    }

    /// Takes over the entries of `other` in `blocks`, which come next, and their places in the tables.
    pub fn copy_entries(&mut self, other: &Self, blocks: Range<usize>) {
        self.entries.extend_from_slice(&other.entries[blocks.clone()]);
        for (table, theirs) in self.tables.iter_mut().zip(&other.tables) {
            table.extend_from_slice(&theirs[blocks.clone()]);
        }
    }

    /// Makes place for entries up to `blocks`, all to be computed.
    pub fn extend_entries(&mut self, blocks: usize) {
        self.entries.resize(blocks, Entry::EMPTY);
        self.tables.iter_mut().for_each(|table| table.resize(blocks, SlotId::NONE));
    }

    /// Whether a block of it is being copied.
    pub fn has_copying(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == EntryKind::Copying)
    }

    /// Gives up all tokens from `tokens` on; the compute behind `fence` may still use their slots. Returns how many entries stay: the
    /// others are to be let go. None does where a window has slid past what going on needs: then all is opened again.
    pub fn cut(&mut self, model: &ModelLayout, tokens: usize, fence: Fence) -> usize {
        self.computing = None;
        self.fence = fence;
        self.tokens.truncate(tokens);
        self.hashes.truncate(tokens / self.tokens_per_block);
        if self.has_slid_past(model, tokens) { 0 } else { self.blocks() }
    }

    /// Whether a window has left behind what going on at `position` needs: a part that was there, and is not any more.
    fn has_slid_past(&self, model: &ModelLayout, position: usize) -> bool {
        model.group_ids().filter(|group| !model.is_full(*group)).any(|group| {
            let is_gone = |at: usize| {
                let entry = self.entries.get(at);
                entry.is_some_and(|entry| entry.done > 0 && !self.slot(group, at).is_some())
            };
            // Should a copy of the last block fail, it is computed from its start.
            let start = position - position % self.tokens_per_block;
            [start, position].into_iter().any(|from| model.reach(group, from).blocks().any(is_gone))
        })
    }

    /// Tokens in a block.
    pub fn tokens_per_block(&self) -> usize {
        self.tokens_per_block
    }

    /// How many blocks the tokens reach.
    pub fn blocks(&self) -> usize {
        self.tokens.len().div_ceil(self.tokens_per_block)
    }

    /// How many tokens of block `index` there are so far.
    pub fn tokens_wanted(&self, index: usize) -> usize {
        (self.tokens.len() - index * self.tokens_per_block).min(self.tokens_per_block)
    }

    /// The tokens of the full block `index`.
    pub fn block_tokens(&self, index: usize) -> &[TokenId] {
        &self.tokens[index * self.tokens_per_block..(index + 1) * self.tokens_per_block]
    }

    /// The slot of block `index` in `group`.
    pub fn slot(&self, group: GroupId, index: usize) -> SlotId {
        self.tables[group.index()][index]
    }

    /// The extra keys of block `index`, in order: of each its place in the block, and its hash.
    pub fn keys_of_block(&self, index: usize) -> impl Iterator<Item = u64> + '_ {
        let tokens = index * self.tokens_per_block..(index + 1) * self.tokens_per_block;
        let start = tokens.start as u64;
        let in_block = move |key: &&ExtraKey| tokens.contains(&(key.at_token as usize));
        self.extra_keys
            .iter()
            .filter(in_block)
            .flat_map(move |key| [u64::from(key.at_token) - start, key.key])
    }

    /// Takes the names of another epoch for those of its own. Needs no lock.
    pub fn rename(&mut self, epoch: ModelEpoch, hasher: &PrefixHasher) {
        self.epoch = epoch;
        self.hashes.clear();
        self.hash_full_blocks(hasher);
    }

    /// Names all full blocks that have none yet. Needs no lock; allocates nothing within the limits.
    pub fn hash_full_blocks(&mut self, hasher: &PrefixHasher) {
        while self.hashes.len() < self.tokens.len() / self.tokens_per_block {
            let index = self.hashes.len();
            let parent = self.hashes.last().copied().unwrap_or_else(|| hasher.root(self.salt, self.epoch));
            let mut keys = std::mem::take(&mut self.keys_of_block);
            keys.clear();
            keys.extend(self.keys_of_block(index));
            self.hashes.push(hasher.block(parent, self.block_tokens(index), &keys));
            self.keys_of_block = keys;
        }
    }

    /// Where the blocks came from that this sequence did not compute, in tokens by tier.
    pub fn hit_tokens(&self) -> [u64; TierId::COUNT] {
        let mut hits = [0; TierId::COUNT];
        for entry in &self.entries {
            if let (Some(tier), true) = (entry.source, entry.is_settled()) {
                hits[tier.index()] += self.tokens_per_block as u64;
            }
        }
        hits
    }

    /// Asserts Q1, Q2 and Q4, unless it waits to be opened again.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub fn check(&self) {
        if self.entries.is_empty() && self.tables.iter().all(Vec::is_empty) {
            return;
        }
        assert!(self.entries.len() == self.blocks(), "Q1: {} entries", self.entries.len());
        for table in &self.tables {
            assert!(table.len() == self.entries.len(), "Q1: a table of {} slots", table.len());
        }
        assert!(
            self.hashes.len() <= self.tokens.len() / self.tokens_per_block,
            "Q4: {} names",
            self.hashes.len()
        );
        for (index, entry) in self.entries.iter().enumerate() {
            let done = usize::from(entry.done);
            assert!(done <= self.tokens_per_block, "Q2: block {index} has {done} tokens done");
            assert!(
                index >= self.cursor || done >= self.tokens_wanted(index),
                "Q2: block {index} is before the cursor"
            );
        }
    }
}
