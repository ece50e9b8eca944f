//! Telling the policy: which slots have changed, and which requests were served.
//! Layer 9. Uses `ids`, `policy`. Known by: `pager`.

use super::core::Core;
use crate::ids::{BlockId, GroupId, TierId};
use crate::layout::Format;
use crate::policy::{Changed, Setting, Told, View};
use crate::sequence::{EntryKind, SequenceState};

/// How many changed slots one call tells of at most, so that the lock stays short.
const CHANGES_A_CALL: usize = 1024;

impl Core {
    /// Lets the policy take its memory, and begins to note changes if it wants to be told.
    pub(super) fn start_policy(&mut self) {
        let formats = TierId::ALL
            .map(|tier| self.tiers[tier.index()].as_ref().map_or(Format::Raw, |tier| tier.format()));
        let setting = Setting { model: &self.model, formats, limits: &self.config.limits };
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), self.now);
        self.follows = self.policy.start(&view, &setting);
        if !self.follows {
            return;
        }
        self.changed.reserve(CHANGES_A_CALL);
        self.told
            .reserve(self.config.limits.sequence_tokens.div_ceil(self.model.tokens_per_block()) as usize);
        for tier in TierId::ALL {
            for group in self.groups() {
                if self.pools.has(tier) {
                    self.pools.pool_mut(tier, group).follow_changes();
                }
            }
        }
    }

    /// Tells of slots that have changed. Returns whether there were any.
    pub(super) fn tell_changes(&mut self, tier: TierId, group: GroupId) -> bool {
        if !self.follows {
            return false;
        }
        let mut slots = std::mem::take(&mut self.changed);
        self.pools.pool_mut(tier, group).take_changes(CHANGES_A_CALL, &mut slots);
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), self.now);
        self.policy.follow(&view, &Changed { tier, group, slots: &slots });
        let has_changed = !slots.is_empty();
        slots.clear();
        self.changed = slots;
        has_changed
    }

    /// Tells of a request that is about to be closed.
    pub(super) fn tell_request(&mut self, state: &SequenceState) {
        if !self.follows {
            return;
        }
        let mut told = std::mem::take(&mut self.told);
        let named = state.entries.iter().take_while(|entry| {
            let is_named = matches!(entry.kind, EntryKind::Named | EntryKind::Unnamed | EntryKind::Loading);
            is_named && entry.block.is_some() && !self.index.is_detached(entry.block)
        });
        told.extend(named.map(|entry| entry.block));
        self.tell(&told, state.blocks());
        told.clear();
        self.told = told;
    }

    /// Tells of these blocks, the leading ones of a request of `length`.
    pub(super) fn tell(&mut self, blocks: &[BlockId], length: usize) {
        if !self.follows || blocks.is_empty() {
            return;
        }
        for tier in TierId::ALL {
            for group in self.groups() {
                if self.pools.has(tier) {
                    self.tell_changes(tier, group);
                }
            }
        }
        let length = u32::try_from(length).expect("a sequence has fewer than 2^32 blocks");
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), self.now);
        self.policy.visit(&view, &Told { blocks, length });
    }
}
