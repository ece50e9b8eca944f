//! Telling the policy: which slots have changed, and which requests were served.
//! Layer 9. Uses `ids`, `policy`. Known by: `pager`.
//!
//! - **TE1** the blocks of a request that is being told stay referred to until all is told: their records are theirs, though their parts
//!   may go, and they may be erased;
//! - **TE2** of one request all slots that have changed before are told first.
//!
//! A request is collected, told and let go in slices of the lock; its names are read without it.

use super::core::Core;
use crate::ids::{BlockId, GroupId, PrefixHash, TierId};
use crate::layout::Format;
use crate::policy::keeping::Study;
use crate::policy::keeping::shadow::{Footprint, Named};
use crate::policy::{Changed, Setting, Told, View};
use crate::sequence::{EntryKind, SequenceState};
use std::sync::Arc;

/// How many changed slots one hold of the lock tells of at most.
const CHANGES_A_CALL: u32 = 128;

/// The request that the policy is being told of, one at a time.
#[derive(Debug, Default)]
pub(super) struct Telling {
    pub(super) blocks: Vec<BlockId>,
    names: Vec<Named>,
    study: Option<Arc<dyn Study>>,
}

impl Telling {
    /// With memory for the longest request.
    pub(super) fn with_capacity(blocks: usize) -> Self {
        Self { blocks: Vec::with_capacity(blocks), names: Vec::with_capacity(blocks), ..Self::default() }
    }

    /// Forgets everything but its memory.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.names.clear();
        self.study = None;
    }

    /// The next block of the request has this name; nothing else is known of it.
    pub(super) fn name(&mut self, hash: PrefixHash) {
        let depth = u32::try_from(self.names.len()).expect("a sequence has fewer than 2^32 blocks");
        self.names.push(Named { name: low_bits(hash), depth });
    }

    /// Whether nothing is to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Lets what reads names read them: without the pager's lock.
    pub(super) fn read(&self, length: usize) {
        if let Some(study) = &self.study {
            let length = u32::try_from(length).expect("a sequence has fewer than 2^32 blocks");
            study.read(&Footprint { length, blocks: &self.names });
        }
    }
}

/// How far a policy has been told of the slots that have changed by now, class by class.
#[derive(Debug, Default)]
pub(super) struct ChangesTold {
    class: usize,
    /// How many of the class are to be told still; `None` before the first.
    left: Option<usize>,
}

/// 64 bits of a block's name.
#[expect(clippy::cast_possible_truncation, reason = "half of the hash is as good a name")]
fn low_bits(hash: PrefixHash) -> u64 {
    hash.0 as u64
}

impl Core {
    /// How each tier keeps parts; [`Format::Raw`] for those that are not there.
    pub(super) fn formats(&self) -> [Format; TierId::COUNT] {
        TierId::ALL.map(|tier| self.tiers[tier.index()].as_ref().map_or(Format::Raw, |tier| tier.format()))
    }

    /// Lets the policy take its memory, and begins to note changes if it wants to be told.
    pub(super) fn start_policy(&mut self) {
        let nearest = if self.is_engines() { TierId::Host } else { TierId::Device };
        let (model, formats, limits) = (&self.model, self.formats(), &self.config.limits);
        let setting = Setting { model, nearest, formats, limits };
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), self.now);
        self.follows = self.policy.start(&view, &setting);
        if !self.follows {
            return;
        }
        self.changed.reserve(CHANGES_A_CALL as usize);
        for tier in TierId::ALL {
            for group in self.groups() {
                if self.pools.has(tier) {
                    self.pools.pool_mut(tier, group).follow_changes();
                }
            }
        }
    }

    /// Tells of slots that have changed, as many as one hold may: the policy looks at their parents too. Returns how many there were.
    pub(super) fn tell_changes(&mut self, tier: TierId, group: GroupId) -> usize {
        if !self.follows {
            return 0;
        }
        let most = CHANGES_A_CALL.min(self.left.div_ceil(2)) as usize;
        let mut slots = std::mem::take(&mut self.changed);
        self.pools.pool_mut(tier, group).take_changes(most, &mut slots);
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), self.now);
        self.policy.follow(&view, &Changed { tier, group, slots: &slots });
        let told = slots.len();
        self.handle(2 * told);
        slots.clear();
        self.changed = slots;
        told
    }

    /// Whether the policy is to be told of requests.
    pub(super) fn tells(&self) -> bool {
        self.follows
    }

    /// Collects the next slice of what is told of a request that is about to be closed: its leading blocks that have a name. Returns
    /// whether there are no more.
    pub(super) fn collect_slice(&self, state: &SequenceState, telling: &mut Telling) -> bool {
        let from = telling.blocks.len();
        let until = state.entries.len().min(from + self.config.limits.slice_blocks as usize);
        for entry in &state.entries[from..until] {
            let is_named = matches!(entry.kind, EntryKind::Named | EntryKind::Unnamed | EntryKind::Loading);
            if !is_named || !entry.block.is_some() || self.index.is_detached(entry.block) {
                return true;
            }
            self.collect(entry.block, telling);
        }
        until == state.entries.len()
    }

    /// `block` is the next one of a request that is told of. It must stay referred to until all is told.
    pub(super) fn collect(&self, block: BlockId, telling: &mut Telling) {
        telling.blocks.push(block);
        telling.name(self.index.hash(block));
    }

    /// Tells of the next slice of the slots that have changed. What changes meanwhile is not waited for. Returns whether all are told.
    pub(super) fn tell_changes_slice(&mut self, told: &mut ChangesTold) -> bool {
        let groups = self.groups().len();
        while told.class < TierId::COUNT * groups {
            let (tier, group) = (TierId::ALL[told.class / groups], GroupId::from_index(told.class % groups));
            if !self.pools.has(tier) {
                *told = ChangesTold { class: told.class + 1, left: None };
                continue;
            }
            let left = told.left.unwrap_or_else(|| self.pools.pool(tier, group).changes());
            // Once at least: what it has chosen before is to be looked at again.
            let count = self.tell_changes(tier, group);
            told.left = Some(left.saturating_sub(count));
            if left <= count || count == 0 {
                *told = ChangesTold { class: told.class + 1, left: None };
            }
            if count > 0 {
                return false;
            }
        }
        true
    }

    /// A request is about to be told: asks what is to read the names of its blocks.
    pub(super) fn begin_telling(&mut self, telling: &mut Telling) {
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), self.now);
        telling.study = self.policy.study(&view);
    }

    /// Tells of the next slice of a request of `length` blocks. Returns whether the policy has taken in all.
    pub(super) fn tell_slice(&mut self, telling: &Telling, length: usize) -> bool {
        let length = u32::try_from(length).expect("a sequence has fewer than 2^32 blocks");
        let view = View::new(&self.pools, &self.index, self.costs.prospects(), self.demotable(), self.now);
        self.policy.visit(&view, &Told { blocks: &telling.blocks, length })
    }
}
