//! The prefix index: which block has which name, who its parent is, and where its parts are.
//! Layer 3. Uses `ids`, `clock`, `units`. Known by: `sequence` and above.
//!
//! - **X1** a chained block is in the chain of its hash exactly once; one that is not, or is detached, in none;
//! - **X2** a block's children are exactly the blocks whose parent it is; `children_in` counts those with a location in a tier;
//! - **X3** a match compares tokens, extra keys, salt and parent: two blocks of one hash are a miss, never a mix-up (I4);
//! - **X4** a block's record lives while it has a location, a child or a reference, and not longer (I8).
//!
//! The hash table is chained through the records themselves. A table that grows and rehashes would allocate and stall
//! under churn; here everything is made once, for as many blocks as there are slots.

mod block;
mod chains;
mod extra;
mod hash;
mod locations;
mod looks;
mod notes;
mod tenants;
mod tree;
mod uses;

pub use block::{BlockKeys, BlockView};
pub use hash::PrefixHasher;
pub(crate) use looks::Looks;
pub use tenants::{TenantId, Tenants, UNLIMITED};

use crate::clock::Time;
use crate::ids::{BlockId, GroupId, ModelEpoch, PrefixHash, Salt, SlotId, TierId, TokenId};
use block::Record;
use extra::ExtraKeys;
use std::collections::HashMap;
use uses::Uses;

/// All blocks that are known.
#[derive(Debug)]
pub struct PrefixIndex {
    records: Vec<Record>,
    /// `tokens_per_block` tokens a record.
    tokens: Vec<TokenId>,
    /// `groups * TierId::COUNT` slots a record.
    locations: Vec<SlotId>,
    /// By record: the ancestor that a search upwards jumps to; `NONE` for the first of a chain.
    jumps: Vec<BlockId>,
    /// First block of each chain; a power of two of them, one for one or two blocks.
    chains: Vec<BlockId>,
    extra_keys: ExtraKeys,
    free: BlockId,
    used: u32,
    tokens_per_block: usize,
    /// By group: whether it needs every block.
    needs_all: Vec<bool>,
    /// The group whose locations are counted by tier: the first that needs every block.
    anchor: Option<GroupId>,
    /// Whether blocks are named in an epoch of an odd number now.
    is_odd_epoch: bool,
    tenants: Tenants,
    looks: Looks,
}

impl PrefixIndex {
    /// An index for at most `capacity` blocks of `tokens_per_block` tokens; `needs_all` tells of each group whether it needs
    /// every block.
    /// Allocates, a block: 84 bytes, 4 a token, 12 a group, and 2 to 4 for the chains.
    ///
    /// # Panics
    /// If there is no room for names: 2³² − 1 blocks or more.
    pub fn new(capacity: usize, tokens_per_block: usize, needs_all: &[bool]) -> Self {
        assert!(capacity < u32::MAX as usize, "{capacity} blocks are more than there are names");
        let records = (0..capacity)
            .map(|index| {
                Record::vacant(if index + 1 < capacity {
                    BlockId::from_index(index + 1)
                } else {
                    BlockId::NONE
                })
            })
            .collect();
        Self {
            records,
            tokens: vec![TokenId(0); capacity * tokens_per_block],
            locations: vec![SlotId::NONE; capacity * needs_all.len() * TierId::COUNT],
            jumps: vec![BlockId::NONE; capacity],
            chains: vec![BlockId::NONE; capacity.div_ceil(2).next_power_of_two()],
            extra_keys: ExtraKeys::default(),
            free: if capacity > 0 { BlockId::from_index(0) } else { BlockId::NONE },
            used: 0,
            tokens_per_block,
            needs_all: needs_all.to_vec(),
            anchor: needs_all.iter().position(|needs_all| *needs_all).map(GroupId::from_index),
            is_odd_epoch: false,
            tenants: Tenants::new(0, vec![UNLIMITED; needs_all.len() * TierId::COUNT]),
            looks: Looks::new(capacity),
        }
    }

    /// How many blocks are known.
    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Whether no block is known.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// How many may be.
    pub fn capacity(&self) -> usize {
        self.records.len()
    }

    /// The block of this name with these very keys; `None` also where another one has the hash (X3).
    ///
    /// Most blocks have one child, or are asked for along the newest chain: the parent's first child is looked at before the
    /// hash table is.
    #[inline]
    pub fn find(&self, hash: PrefixHash, keys: &BlockKeys<'_>) -> Option<BlockId> {
        if keys.parent.is_some() {
            let newest = self.record(keys.parent).first_child;
            if !newest.is_some() {
                return None;
            }
            let record = self.record(newest);
            if record.hash() == hash && !record.is_detached() && self.is_same(newest, keys) {
                return Some(newest);
            }
            if !record.sibling_next.is_some() {
                return None;
            }
        }
        self.find_chained(hash, keys)
    }

    #[inline]
    fn is_same(&self, block: BlockId, keys: &BlockKeys<'_>) -> bool {
        let record = self.record(block);
        record.parent == keys.parent
            && record.salt == keys.salt
            && is_equal(self.tokens(block), keys.tokens)
            && self.extra_keys.is_equal(record.extra_keys, keys.extra_keys)
    }

    /// Adds a block of this name, with no location and no reference. `None` if the index is full.
    /// Allocates only where there are extra keys.
    ///
    /// # Panics
    /// If the tokens are not `tokens_per_block`, or the parent is not known.
    pub fn insert(&mut self, hash: PrefixHash, keys: &BlockKeys<'_>, now: Time) -> Option<BlockId> {
        assert!(keys.tokens.len() == self.tokens_per_block, "{} tokens in a block", keys.tokens.len());
        let block = self.free;
        if !block.is_some() {
            return None;
        }
        self.free = self.record(block).chain_next;
        self.used += 1;
        let depth = if keys.parent.is_some() { self.record(keys.parent).depth + 1 } else { 0 };
        let extra_keys = self.extra_keys.insert(keys.extra_keys);
        let mut record = Record::new(hash, keys, depth, now);
        record.extra_keys = extra_keys;
        record.notes.set_odd_epoch(self.is_odd_epoch);
        record.notes.set_tenant(self.tenants.enter(keys.salt));
        self.records[block.index()] = record;
        self.note_jump(block, keys.parent);
        self.copy_tokens(block, keys.tokens);
        if keys.parent.is_some() {
            // It takes the place of an older sibling, which is found by its hash from now on.
            let sibling = self.record(keys.parent).first_child;
            if sibling.is_some() {
                self.make_findable(sibling);
            }
            self.adopt(block, keys.parent);
        } else {
            self.make_findable(block);
        }
        Some(block)
    }

    /// Adds a block as [`PrefixIndex::insert`] does, for a sequence that has just computed it into `slot` of the device: referred to
    /// once, used once, and there. For a model of one group; in one pass, for this is what most blocks go through.
    ///
    /// # Panics
    /// Those of [`PrefixIndex::insert`].
    pub fn insert_computed(
        &mut self,
        hash: PrefixHash,
        keys: &BlockKeys<'_>,
        slot: SlotId,
        now: Time,
    ) -> Option<BlockId> {
        assert!(keys.tokens.len() == self.tokens_per_block, "{} tokens in a block", keys.tokens.len());
        let block = self.free;
        if !block.is_some() {
            return None;
        }
        self.looks.note(block);
        let mut depth = 0;
        let mut sibling = BlockId::NONE;
        if keys.parent.is_some() {
            let above = &mut self.records[keys.parent.index()];
            depth = above.depth + 1;
            above.children_in[TierId::Device.index()] += 1;
            sibling = std::mem::replace(&mut above.first_child, block);
        }
        let record = &mut self.records[block.index()];
        self.free = record.chain_next;
        self.used += 1;
        *record = Record::new(hash, keys, depth, now);
        record.sibling_next = sibling;
        record.references = 1;
        record.uses = Uses::ONE;
        record.notes.set_odd_epoch(self.is_odd_epoch);
        let tenant = self.tenants.enter(keys.salt);
        record.notes.set_tenant(tenant);
        self.tenants.count_in(tenant, TierId::Device.index());
        if !keys.extra_keys.is_empty() {
            record.extra_keys = self.extra_keys.insert(keys.extra_keys);
        }
        if sibling.is_some() {
            self.make_findable(sibling);
            self.record_mut(sibling).sibling_prev = block;
        }
        if !keys.parent.is_some() {
            self.make_findable(block);
        }
        self.locations[block.index() * TierId::COUNT + TierId::Device.index()] = slot;
        self.note_jump(block, keys.parent);
        self.copy_tokens(block, keys.tokens);
        Some(block)
    }

    /// Removes a block whose only copy is in `tier`, copy and record, if nothing else keeps it. Returns its parent if it went.
    /// For a model of one group; in one pass, for this is how most blocks end.
    ///
    /// # Panics
    /// If the parent has not counted it.
    pub fn remove_last(&mut self, block: BlockId, tier: TierId) -> Option<BlockId> {
        let record = &self.records[block.index()];
        let start = block.index() * TierId::COUNT;
        let locations = &mut self.locations[start..start + TierId::COUNT];
        let is_last = TierId::ALL.iter().all(|at| locations[at.index()].is_some() == (*at == tier));
        if record.references > 0 || record.first_child.is_some() || !is_last {
            return None;
        }
        locations[tier.index()] = SlotId::NONE;
        self.tenants.count_out(record.notes.tenant(), tier.index());
        let Record { parent, extra_keys, .. } = *record;
        if parent.is_some() {
            let count = &mut self.records[parent.index()].children_in[tier.index()];
            *count = count.checked_sub(1).expect("X2: a child was counted");
        }
        self.unchain(block);
        self.orphan(block);
        self.vacate(block, extra_keys);
        Some(parent)
    }

    fn vacate(&mut self, block: BlockId, extra_keys: u32) {
        self.extra_keys.remove(extra_keys);
        self.tenants.leave(self.record(block).notes.tenant());
        self.records[block.index()] = Record::vacant(self.free);
        self.free = block;
        self.used -= 1;
    }

    fn copy_tokens(&mut self, block: BlockId, tokens: &[TokenId]) {
        let start = block.index() * self.tokens_per_block;
        let kept = &mut self.tokens[start..start + self.tokens_per_block];
        let (eights, rest) = kept.as_chunks_mut::<8>();
        let (given_eights, given_rest) = tokens.as_chunks::<8>();
        for (kept, given) in eights.iter_mut().zip(given_eights) {
            *kept = *given;
        }
        rest.copy_from_slice(given_rest);
    }

    /// Takes `block` out of its hash chain, if it is in one: no match finds it any more. Its record stays until it is removed.
    ///
    /// # Panics
    /// If the chain is broken.
    pub fn detach(&mut self, block: BlockId) {
        if !self.record(block).is_detached() {
            self.unchain(block);
            self.record_mut(block).mark_detached();
        }
    }

    /// Removes `block` and frees its record, if nothing keeps it: no location, no child, no reference (X4).
    /// Returns its parent if it went, which may now be removable itself.
    pub fn remove_unused(&mut self, block: BlockId) -> Option<BlockId> {
        let record = &self.records[block.index()];
        if record.references > 0 || record.first_child.is_some() || self.has_location(block) {
            return None;
        }
        let Record { parent, extra_keys, .. } = *record;
        self.unchain(block);
        self.orphan(block);
        self.vacate(block, extra_keys);
        Some(parent)
    }

    /// What counts the blocks that are looked at.
    pub(crate) fn looks(&self) -> Looks {
        self.looks.clone()
    }

    /// A hold of the pager's lock begins: what the last one looked at is counted.
    #[cfg(feature = "hold-blocks")]
    pub(crate) fn begin_hold(&self) {
        self.looks.begin_hold();
    }

    /// What the hold at hand has looked at so far does not count.
    #[cfg(feature = "hold-blocks")]
    pub(crate) fn forget_hold(&self) {
        self.looks.forget_hold();
    }

    /// How many holds of the pager's lock looked at how many different blocks; the last counts those that looked at more.
    #[cfg(feature = "hold-blocks")]
    pub(crate) fn holds(&self) -> Vec<u64> {
        self.looks.holds()
    }

    /// A sequence begins to rely on the record of `block`.
    pub fn add_reference(&mut self, block: BlockId) {
        self.record_mut(block).references += 1;
    }

    /// A sequence has done with it; [`PrefixIndex::remove_unused`] may follow.
    ///
    /// # Panics
    /// If there is none.
    pub fn drop_reference(&mut self, block: BlockId) {
        let record = self.record_mut(block);
        assert!(record.references > 0, "block {block:?} has no reference to drop");
        record.references -= 1;
    }

    /// Blocks are named in `epoch` from now on. None of the epoch before the last may be left.
    pub fn begin_epoch(&mut self, epoch: ModelEpoch) {
        self.is_odd_epoch = epoch.is_odd();
    }

    /// Whether `block` was named in the epoch before this.
    pub fn is_stale(&self, block: BlockId) -> bool {
        self.record(block).notes.is_odd_epoch() != self.is_odd_epoch
    }

    /// Tells tenants apart from now on: call it before the first block. A class is a tier and a group, by [`PrefixIndex::class`].
    ///
    /// # Panics
    /// If there is a block.
    pub fn set_tenants(&mut self, tenants: Tenants) {
        assert!(self.is_empty(), "{} blocks are counted to nobody's table", self.used);
        self.tenants = tenants;
    }

    /// Who has how many slots.
    pub fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    /// The same, to set quotas.
    pub fn tenants_mut(&mut self) -> &mut Tenants {
        &mut self.tenants
    }

    /// The number of a class among the tenants' counts.
    pub fn class(group: GroupId, tier: TierId) -> usize {
        group.index() * TierId::COUNT + tier.index()
    }

    /// Who `block` is counted to.
    pub fn tenant(&self, block: BlockId) -> TenantId {
        self.record(block).notes.tenant()
    }

    /// A request has used `block`: eviction passes over it `passes` times, unless it would more often anyway, and only those with a
    /// time to live leave it mortal.
    pub fn note_request(&mut self, block: BlockId, passes: u16, is_mortal: bool) {
        let notes = &mut self.record_mut(block).notes;
        notes.set_passes(passes.max(notes.passes()));
        notes.set_mortal(is_mortal && notes.is_mortal());
    }

    /// A request with a time to live has made `block`: nobody else has used it.
    pub fn mark_mortal(&mut self, block: BlockId) {
        self.record_mut(block).notes.set_mortal(true);
    }

    /// Whether only requests with a time to live have used `block`.
    pub fn is_mortal(&self, block: BlockId) -> bool {
        self.record(block).notes.is_mortal()
    }

    /// Whether eviction passes over `block` once more; it does so once less after that.
    pub fn take_pass(&mut self, block: BlockId) -> bool {
        let notes = &mut self.record_mut(block).notes;
        match notes.passes() {
            0 => return false,
            1 => notes.spend_passes(),
            more => notes.set_passes(more - 1),
        }
        true
    }

    /// Eviction does not pass over `block` until the next request that asks for it: it has done so as often as it was to.
    pub fn spend_passes(&mut self, block: BlockId) {
        self.record_mut(block).notes.spend_passes();
    }

    /// Whether eviction has passed over `block` as often as it was to, and no request has used it since.
    pub fn has_spent_passes(&self, block: BlockId) -> bool {
        self.record(block).notes.has_spent()
    }

    /// Notes that `block` was in use until then, which is no new request, nor takes back a later use.
    pub fn extend_use(&mut self, block: BlockId, until: Time) {
        let record = self.record_mut(block);
        record.last_use = record.last_use.max(until);
    }

    /// How many sequences rely on the record of `block`.
    pub fn references(&self, block: BlockId) -> u32 {
        self.record(block).references
    }

    /// The name of `block`.
    pub fn hash(&self, block: BlockId) -> PrefixHash {
        self.record(block).hash()
    }

    /// Notes that `block` was asked for.
    pub fn note_use(&mut self, block: BlockId, now: Time) {
        let record = self.record_mut(block);
        record.last_use = now;
        record.uses.add();
    }

    /// Notes that `block` was asked for by a request of which [`PrefixIndex::note_end`] will tell.
    pub fn note_use_ahead(&mut self, block: BlockId, now: Time) {
        let record = self.record_mut(block);
        record.last_use = now;
        record.uses.add_ahead();
    }

    /// Notes that a request which has used `block` was over then: it counts as one use, also where that was noted ahead, and takes back
    /// no later one.
    pub fn note_end(&mut self, block: BlockId, end: Time) {
        let record = self.record_mut(block);
        record.last_use = record.last_use.max(end);
        record.uses.end();
    }

    /// Sets how often `block` was asked for in an earlier life.
    pub fn restore_uses(&mut self, block: BlockId, uses: u32) {
        self.record_mut(block).uses = Uses::of(uses);
    }

    /// What is known of `block`.
    pub fn view(&self, block: BlockId) -> BlockView<'_> {
        let record = self.record(block);
        BlockView {
            hash: record.hash(),
            parent: record.parent,
            salt: record.salt,
            depth: record.depth,
            uses: record.uses.count(),
            last_use: record.last_use,
            references: record.references,
            tokens: self.tokens(block),
            extra_keys: self.extra_keys.get(record.extra_keys),
        }
    }

    /// The parent of `block`; `NONE` for the first of a chain.
    pub fn parent(&self, block: BlockId) -> BlockId {
        self.record(block).parent
    }

    /// Whether `block` is known, and can be found.
    pub fn is_named(&self, block: BlockId) -> bool {
        let record = self.record(block);
        record.is_known() && !record.is_detached()
    }

    /// Whether `block` was detached: its bytes may be moving still, but nobody will match it.
    pub fn is_detached(&self, block: BlockId) -> bool {
        self.record(block).is_detached()
    }

    /// The salts of all blocks, for erasing those of one. `O(capacity)`.
    pub fn blocks(&self) -> impl Iterator<Item = (BlockId, Salt)> + '_ {
        let known = |(index, record): (usize, &Record)| {
            record.is_known().then(|| (BlockId::from_index(index), record.salt))
        };
        self.records.iter().enumerate().filter_map(known)
    }

    fn tokens(&self, block: BlockId) -> &[TokenId] {
        let start = block.index() * self.tokens_per_block;
        &self.tokens[start..start + self.tokens_per_block]
    }

    fn record(&self, block: BlockId) -> &Record {
        self.looks.note(block);
        &self.records[block.index()]
    }

    fn record_mut(&mut self, block: BlockId) -> &mut Record {
        self.looks.note(block);
        &mut self.records[block.index()]
    }

    /// Asserts X1, X2, X4 and X5. `O(capacity)`; for tests.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub fn check(&self) {
        let mut chained = vec![false; self.records.len()];
        for chain in 0..self.chains.len() {
            let mut at = self.chains[chain];
            while at.is_some() {
                assert!(!chained[at.index()], "X1: block {at:?} is chained twice");
                assert!(
                    self.chain(self.record(at).hash()) == chain,
                    "X1: block {at:?} is in a foreign chain"
                );
                chained[at.index()] = true;
                at = self.record(at).chain_next;
            }
        }
        let mut used = 0;
        let (mut records_of, mut slots_of) = (HashMap::new(), HashMap::new());
        for (index, record) in self.records.iter().enumerate() {
            if !record.is_known() {
                continue;
            }
            used += 1;
            let block = BlockId::from_index(index);
            assert!(chained[index] == record.is_chained(), "X1: block {block:?} is {record:?}");
            let is_first = record.parent.is_some() && self.record(record.parent).first_child == block;
            assert!(
                record.is_chained() || record.is_detached() || is_first,
                "X5: nobody finds block {block:?}, which is {record:?}"
            );
            assert!(
                record.references > 0 || record.first_child.is_some() || self.has_location(block),
                "X4: nothing keeps block {block:?}"
            );
            self.check_children(block);
            *records_of.entry(record.notes.tenant()).or_insert(0) += 1;
            for group in (0..self.needs_all.len()).map(GroupId::from_index) {
                for tier in
                    TierId::ALL.into_iter().filter(|tier| self.location(block, group, *tier).is_some())
                {
                    *slots_of.entry((record.notes.tenant(), Self::class(group, tier))).or_insert(0) += 1;
                }
            }
        }
        self.tenants.check(&records_of, &slots_of);
        assert!(used == self.len(), "X4: {used} blocks are known, {} counted", self.len());
    }

    /// Where the parts of `block` are, by group: see [`PrefixIndex::location`].
    fn location_index(&self, block: BlockId, group: GroupId, tier: TierId) -> usize {
        self.looks.note(block);
        (block.index() * self.needs_all.len() + group.index()) * TierId::COUNT + tier.index()
    }
}

/// Whether two blocks have the same tokens: eight at a time, for a slice of a newtype is compared one by one.
#[inline]
fn is_equal(left: &[TokenId], right: &[TokenId]) -> bool {
    let differing = |left: &[TokenId], right: &[TokenId]| {
        left.iter().zip(right).fold(0, |differing, (left, right)| differing | (left.0 ^ right.0))
    };
    let (left_eights, left_rest) = left.as_chunks::<8>();
    let (right_eights, right_rest) = right.as_chunks::<8>();
    let in_eights =
        left_eights.iter().zip(right_eights).fold(0, |so_far, (left, right)| so_far | differing(left, right));
    left.len() == right.len() && in_eights | differing(left_rest, right_rest) == 0
}

#[cfg(test)]
mod tests;
