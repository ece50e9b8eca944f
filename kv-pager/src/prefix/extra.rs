//! Extra keys of the few blocks that have some: an adapter's hash, an image at an offset.
//! Layer 3. Uses nothing. Known by: `prefix`.
//!
//! - **E1** an entry is used by exactly one block; entries are reused, so there are never more than blocks (I8).

/// The extra keys by entry.
#[derive(Debug, Default)]
pub(super) struct ExtraKeys {
    entries: Vec<Box<[u64]>>,
    vacant: Vec<u32>,
}

/// The entry of a block without extra keys.
pub(super) const NO_EXTRA_KEYS: u32 = u32::MAX;

impl ExtraKeys {
    /// Keeps `keys`. Allocates, but for none.
    #[inline]
    pub(super) fn insert(&mut self, keys: &[u64]) -> u32 {
        if keys.is_empty() {
            return NO_EXTRA_KEYS;
        }
        let entry = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(Box::default());
            u32::try_from(self.entries.len() - 1).expect("there are fewer entries than blocks")
        });
        self.entries[entry as usize] = keys.into();
        entry
    }

    pub(super) fn get(&self, entry: u32) -> &[u64] {
        if entry == NO_EXTRA_KEYS { &[] } else { &self.entries[entry as usize] }
    }

    /// Whether an entry has these very keys. None is told from none without comparing bytes: `memcmp` of nothing, at an address
    /// that is nowhere, costs 100 ns where it is made of masked loads.
    pub(super) fn is_equal(&self, entry: u32, keys: &[u64]) -> bool {
        if keys.is_empty() { entry == NO_EXTRA_KEYS } else { self.get(entry) == keys }
    }

    #[inline]
    pub(super) fn remove(&mut self, entry: u32) {
        if entry != NO_EXTRA_KEYS {
            self.entries[entry as usize] = Box::default();
            self.vacant.push(entry);
        }
    }
}
