//! Memory that the engine reads and writes K and V in, by slot.
//! Known by: `engine`; backends are adapted to it.

use kv_pager::ids::{GroupId, SlotId};
use kv_pager::layout::ModelLayout;
use parking_lot::RwLock;
use std::fmt::Debug;

/// The device tier as the engine sees it: parts as planes, one a layer and side, in the order of the part's bytes (Y1).
///
/// A slot is only read and written while a sequence's table names it; an implementation asserts that no transfer uses it
/// at the same time (I2), where it can.
pub trait KvMemory: Debug + Send + Sync {
    /// Shows the part in `slot`.
    fn read_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&dyn PlanesRead));

    /// Gives the part in `slot` to be written; what is not written stays.
    fn write_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&mut dyn PlanesWrite));
}

/// A part to be read.
pub trait PlanesRead {
    /// The bytes of all the block's tokens in one layer and side.
    fn plane(&self, plane: usize) -> &[u8];
}

/// A part to be written.
pub trait PlanesWrite {
    /// The bytes of all the block's tokens in one layer and side.
    fn plane_mut(&mut self, plane: usize) -> &mut [u8];
}

/// Slots in plain memory, that no pager knows: for runs without one.
#[derive(Debug)]
pub struct PlainMemory {
    slots: Vec<RwLock<PlainPart>>,
}

#[derive(Debug)]
struct PlainPart {
    bytes: Box<[u8]>,
    plane_bytes: usize,
}

impl PlainMemory {
    /// `slots` zeroed slots for the parts of `model`'s first group.
    pub fn new(model: &ModelLayout, slots: usize) -> Self {
        let part_bytes = model.part_bytes(GroupId::FIRST).as_usize();
        let plane_bytes = model.fragment_bytes(GroupId::FIRST).as_usize();
        let part = || PlainPart { bytes: vec![0; part_bytes].into_boxed_slice(), plane_bytes };
        Self { slots: (0..slots).map(|_| RwLock::new(part())).collect() }
    }
}

impl KvMemory for PlainMemory {
    fn read_part(&self, _group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&dyn PlanesRead)) {
        visit(&*self.slots[slot.index()].read());
    }

    fn write_part(&self, _group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&mut dyn PlanesWrite)) {
        visit(&mut *self.slots[slot.index()].write());
    }
}

impl PlanesRead for PlainPart {
    fn plane(&self, plane: usize) -> &[u8] {
        &self.bytes[plane * self.plane_bytes..][..self.plane_bytes]
    }
}

impl PlanesWrite for PlainPart {
    fn plane_mut(&mut self, plane: usize) -> &mut [u8] {
        &mut self.bytes[plane * self.plane_bytes..][..self.plane_bytes]
    }
}
