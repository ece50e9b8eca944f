//! Taking in what a tier has kept from an earlier process.
//! Layer 9. Known by: `pager`.

use super::core::Core;
use crate::clock::Time;
use crate::ids::{BlockId, Fence, GroupId, TierId};
use crate::prefix::{BlockKeys, PrefixHasher};
use crate::tier::{RecoveredBlock, Tier};
use std::sync::Arc;

impl Core {
    /// Enters the blocks of every tier that has some. A block of another epoch, or whose parent is missing, can't be reached and is
    /// voided.
    pub(super) fn recover(&mut self, now: Time) {
        for tier in TierId::ALL {
            let Some(device) = self.tiers[tier.index()].as_ref().map(Arc::clone) else { continue };
            let Some(persistence) = device.persistence() else { continue };
            for (group, slot) in persistence.retired() {
                self.retire_target(group, tier, slot);
            }
            let mut blocks = persistence.recover();
            // A block's anchor makes its record; its other parts join it.
            let anchor = self.model.anchor();
            blocks.sort_by_key(|found| (found.depth, Some(found.group) != anchor));
            let mut entered = Vec::with_capacity(blocks.len());
            let hasher = PrefixHasher::new(self.config.hash_key, self.config.fingerprint);
            for found in &blocks {
                if found.depth == 0 && !self.is_of_epoch(found, &hasher) {
                    persistence.void(found.group, found.slot);
                    continue;
                }
                match self.enter(&device, found, now) {
                    Some(block) => entered.push((found.uses, found.group, block)),
                    None => persistence.void(found.group, found.slot),
                }
            }
            self.warm(tier, &mut entered);
            self.counters.recovered += entered.len() as u64;
        }
    }

    /// Whether the first block of a chain was named in this epoch. Those after it are found by its name, or not at all.
    fn is_of_epoch(&self, found: &RecoveredBlock, hasher: &PrefixHasher) -> bool {
        let root = hasher.root(found.salt, self.epoch);
        hasher.block(root, &found.tokens, &found.extra_keys) == found.hash
    }

    fn enter(&mut self, tier: &Arc<dyn Tier>, found: &RecoveredBlock, now: Time) -> Option<BlockId> {
        let parent = match found.parent {
            Some(hash) => self.index.find_recovered(hash, found.salt, found.depth.checked_sub(1)?)?,
            None => BlockId::NONE,
        };
        if found.tokens.len() != self.model.tokens_per_block() as usize
            || found.group.index() >= self.groups().len()
        {
            return None;
        }
        let keys =
            BlockKeys { parent, salt: found.salt, tokens: &found.tokens, extra_keys: &found.extra_keys };
        let block = match self.index.find(found.hash, &keys) {
            Some(block) if self.index.location(block, found.group, tier.id()).is_some() => return None,
            Some(block) => block,
            None if self.model.anchor().is_some_and(|anchor| anchor != found.group) => return None,
            None => self.index.insert(found.hash, &keys, now)?,
        };
        // Its children name it by its hash alone.
        self.index.make_findable(block);
        let pool = self.pools.pool_mut(tier.id(), found.group);
        if !pool.take_this(found.slot) {
            self.prune(block);
            return None;
        }
        pool.settle(found.slot, block, Fence::OVER);
        self.index.set_location(block, found.group, tier.id(), found.slot);
        self.index.restore_uses(block, found.uses);
        self.announce_stored(block, found.group, tier.id());
        Some(block)
    }

    /// Puts what was entered in the order of eviction: the most used warmest, each parent warmer than its children. A policy that
    /// keeps an order of its own is told in this one.
    fn warm(&mut self, tier: TierId, entered: &mut [(u32, GroupId, BlockId)]) {
        entered.sort_by_key(|(uses, _, block)| (*uses, std::cmp::Reverse(self.index.view(*block).depth)));
        for group in self.groups() {
            let own = entered.iter().filter(|(_, of, _)| *of == group);
            let slots: Vec<_> = own.map(|(.., block)| self.index.location(*block, group, tier)).collect();
            let pool = self.pools.pool_mut(tier, group);
            for slot in &slots {
                pool.settle_idle(*slot);
            }
            pool.tell_first(slots.into_iter());
        }
    }
}
