//! Host memory as the engine's device.
//! Uses `engine::memory`, the CPU backend. Known by: `engine`.

use super::memory::{KvMemory, PlanesRead, PlanesWrite};
use kv_pager::ids::{GroupId, SlotId};
use kv_pager_cpu::{HostTier, SlotRead, SlotWrite};

/// A slot that a transfer writes while a table names it is a broken rule (I2), and panics.
impl KvMemory for HostTier {
    fn read_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&dyn PlanesRead)) {
        let part = self.read(group, slot).unwrap_or_else(|busy| panic!("I2: the engine reads, but {busy}"));
        visit(&part);
    }

    fn write_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&mut dyn PlanesWrite)) {
        let mut part =
            self.write(group, slot).unwrap_or_else(|busy| panic!("I5: the engine writes, but {busy}"));
        visit(&mut part);
    }
}

impl PlanesRead for SlotRead<'_> {
    fn plane(&self, plane: usize) -> &[u8] {
        Self::plane(self, plane)
    }
}

impl PlanesWrite for SlotWrite<'_> {
    fn plane_mut(&mut self, plane: usize) -> &mut [u8] {
        Self::plane_mut(self, plane)
    }
}
