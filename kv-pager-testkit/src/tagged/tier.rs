//! A tier whose slots hold one tag a token.

use crate::late::FenceBook;
use kv_pager::ids::{Fence, GroupId, SlotId, TierId};
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::sync::Mutex;
use kv_pager::tier::{Health, Persistence, SlotClass, Tier};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What stands for the K and V of one token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Tag(pub u64);

impl Tag {
    /// What a slot holds while it is being written.
    pub const SCRAMBLED: Self = Self(0xdead_dead_dead_dead);
}

/// Slots of tags, by group.
#[derive(Debug)]
pub struct TaggedTier {
    id: TierId,
    classes: Vec<SlotClass>,
    slots: Vec<Mutex<Vec<Vec<Tag>>>>,
    book: Arc<FenceBook>,
    health: Mutex<Health>,
}

impl TaggedTier {
    /// A tier of `slots` slots a group, whose fences are those of `book`.
    pub fn new(id: TierId, model: &ModelLayout, slots: u32, book: Arc<FenceBook>) -> Self {
        let classes = model
            .group_ids()
            .map(|group| SlotClass { slots, slot_bytes: model.slot_bytes(group, Format::Raw) });
        let empty = vec![vec![Tag::default(); model.tokens_per_block() as usize]; slots as usize];
        Self {
            id,
            classes: classes.collect(),
            slots: model.group_ids().map(|_| Mutex::new(empty.clone())).collect(),
            book,
            health: Mutex::new(Health::Well),
        }
    }

    /// The tags in a slot.
    pub fn read(&self, group: GroupId, slot: SlotId) -> Vec<Tag> {
        self.slots[group.index()].lock()[slot.index()].clone()
    }

    /// Writes the tags of the tokens from `first` on.
    pub fn write(&self, group: GroupId, slot: SlotId, first: usize, tags: &[Tag]) {
        self.slots[group.index()].lock()[slot.index()][first..first + tags.len()].copy_from_slice(tags);
    }

    /// Fills a slot with [`Tag::SCRAMBLED`].
    pub fn scramble(&self, group: GroupId, slot: SlotId) {
        self.slots[group.index()].lock()[slot.index()].fill(Tag::SCRAMBLED);
    }

    /// Says that it is well, or is not.
    pub fn set_health(&self, health: Health) {
        *self.health.lock() = health;
    }
}

impl Tier for TaggedTier {
    fn id(&self) -> TierId {
        self.id
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    fn format(&self) -> Format {
        Format::Raw
    }

    fn is_fence_over(&self, fence: Fence) -> bool {
        self.book.is_over(fence)
    }

    fn health(&self) -> Health {
        self.health.lock().clone()
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }
}
