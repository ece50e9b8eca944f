//! Labels that wait for their bytes: what the next move into a slot brings.
//! Uses nothing. Known by: `file::group`.
//!
//! - **C1** a slot has at most one label waiting, the last that was given;
//! - **C2** there are as many buffers as labels ever waited at once, and they are used again.

/// "No buffer".
const NONE: u32 = u32::MAX;

/// The labels of one class, each as the bytes of a header.
#[derive(Debug)]
pub(super) struct Labels {
    header_bytes: usize,
    /// By slot, its buffer.
    buffer_of: Box<[u32]>,
    buffers: Vec<Box<[u8]>>,
    free: Vec<u32>,
}

impl Labels {
    pub(super) fn new(slots: usize, header_bytes: usize) -> Self {
        let buffer_of = vec![NONE; slots].into_boxed_slice();
        Self { header_bytes, buffer_of, buffers: Vec::new(), free: Vec::new() }
    }

    pub(super) fn slots(&self) -> usize {
        self.buffer_of.len()
    }

    /// Keeps what `write` writes for `slot`, unless it says that there is no room.
    pub(super) fn put(&mut self, slot: usize, write: impl FnOnce(&mut [u8]) -> bool) {
        let buffer = match self.buffer_of[slot] {
            NONE => self.free.pop().unwrap_or_else(|| {
                self.buffers.push(vec![0; self.header_bytes].into_boxed_slice());
                u32::try_from(self.buffers.len() - 1).expect("there are fewer than 2^32 slots")
            }),
            buffer => buffer,
        };
        self.buffer_of[slot] = buffer;
        if !write(&mut self.buffers[buffer as usize]) {
            self.clear(slot);
        }
    }

    /// Moves the label of `slot` to `into`; false, and zeros, if it has none.
    pub(super) fn take(&mut self, slot: usize, into: &mut [u8]) -> bool {
        let buffer = self.buffer_of[slot];
        if buffer == NONE {
            into.fill(0);
            return false;
        }
        into.copy_from_slice(&self.buffers[buffer as usize]);
        self.clear(slot);
        true
    }

    /// Forgets the label of `slot`.
    pub(super) fn clear(&mut self, slot: usize) {
        let buffer = std::mem::replace(&mut self.buffer_of[slot], NONE);
        if buffer != NONE {
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Labels;

    #[test]
    fn the_last_label_counts_and_buffers_are_used_again() {
        let mut labels = Labels::new(3, 2);
        for value in 1..100 {
            for slot in 0..3 {
                labels.put(slot, |bytes| {
                    bytes.fill(value);
                    true
                });
            }
            let mut bytes = [9; 2];
            assert!(labels.take(1, &mut bytes));
            assert_eq!(bytes, [value; 2]);
            assert!(!labels.take(1, &mut bytes));
            assert_eq!(bytes, [0; 2]);
        }
        assert_eq!(labels.buffers.len(), 3);
        labels.put(0, |_| false);
        assert!(!labels.take(0, &mut [0; 2]));
    }
}
