//! The free map: a bit a slot, with a summary above it, that finds runs of free slots.
//! Layer 2. Uses `ids`. Known by: `pool`.
//!
//! - **F1** a bit is set exactly where a slot is free; **F2** a summary bit is set exactly where a word has a set bit;
//! - **F3** bits past the capacity are never set.
//!
//! Copies are cheap when slots are adjacent, so a batch takes a run as long as itself where one shows within
//! [`SEARCH_WORDS`] words, else the longest seen there, else the lowest free slots: the search is bounded, the result is good
//! while runs are freed as runs.

use crate::ids::SlotId;
use std::ops::Range;

/// How many words with free slots a search for a run looks at: 16,384 slots.
const SEARCH_WORDS: u32 = 256;
/// Runs shorter than this are not worth a search of their own.
const RUN_MIN: u32 = 8;

/// Which slots are free.
#[derive(Debug)]
pub struct FreeMap {
    words: Vec<u64>,
    summary: Vec<u64>,
    capacity: u32,
}

impl FreeMap {
    /// A map of `capacity` free slots.
    pub fn new(capacity: u32) -> Self {
        let words = capacity.div_ceil(64) as usize;
        let mut map = Self { words: vec![0; words], summary: vec![0; words.div_ceil(64)], capacity };
        map.set(0..capacity);
        map
    }

    /// How many slots there are.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Whether `slot` is free.
    pub fn is_free(&self, slot: SlotId) -> bool {
        self.words[slot.index() / 64] >> (slot.index() % 64) & 1 == 1
    }

    /// Frees `slot`.
    ///
    /// # Panics
    /// If it is free already.
    pub fn put(&mut self, slot: SlotId) {
        assert!(!self.is_free(slot), "slot {slot:?} is put back twice");
        let word = slot.index() / 64;
        self.words[word] |= 1 << (slot.index() % 64);
        self.summary[word / 64] |= 1 << (word % 64);
    }

    /// Takes this very slot.
    ///
    /// # Panics
    /// If it is not free.
    pub fn remove(&mut self, slot: SlotId) {
        assert!(self.is_free(slot), "slot {slot:?} is not free");
        self.clear(slot.as_u32()..slot.as_u32() + 1);
    }

    /// Takes `count` free slots and gives each to `taken`.
    ///
    /// # Panics
    /// If fewer are free.
    pub fn take(&mut self, count: u32, mut taken: impl FnMut(SlotId)) {
        let mut left = count;
        let mut is_worth_a_search = true;
        while left > 0 {
            let run = if is_worth_a_search && left >= RUN_MIN { self.longest_run(left) } else { 0..0 };
            is_worth_a_search = run.end - run.start >= RUN_MIN.max(left / 8);
            let range = if is_worth_a_search { run } else { self.lowest_run(left) };
            assert!(!range.is_empty(), "{left} of {count} slots are wanted, and none is free");
            self.clear(range.clone());
            left -= range.end - range.start;
            range.for_each(|slot| taken(SlotId::from_index(slot as usize)));
        }
    }

    /// The first run of `wanted` slots among the first words with free ones, or the longest there.
    fn longest_run(&self, wanted: u32) -> Range<u32> {
        let mut best = 0..0_u32;
        let mut run = 0..0_u32;
        let mut looked = 0;
        let mut word_index = self.next_word(0);
        while let Some(index) = word_index {
            let base = u32::try_from(index).expect("fewer words than slots") * 64;
            let mut word = self.words[index];
            let mut offset = 0_u32;
            while word != 0 {
                let gap = word.trailing_zeros();
                word >>= gap;
                let ones = word.trailing_ones();
                let start = base + offset + gap;
                if run.end == start {
                    run.end = start + ones;
                } else {
                    run = start..start + ones;
                }
                if run.end - run.start >= wanted {
                    return run.start..run.start + wanted;
                }
                if run.end - run.start > best.end - best.start {
                    best = run.clone();
                }
                offset += gap + ones;
                word = if ones == 64 { 0 } else { word >> ones };
            }
            looked += 1;
            if looked == SEARCH_WORDS {
                break;
            }
            word_index = self.next_word(index + 1);
        }
        best
    }

    /// The run at the lowest free slot, of at most `wanted` slots within one word.
    fn lowest_run(&self, wanted: u32) -> Range<u32> {
        let Some(index) = self.next_word(0) else { return 0..0 };
        let word = self.words[index];
        let gap = word.trailing_zeros();
        let ones = (word >> gap).trailing_ones();
        let start = u32::try_from(index).expect("fewer words than slots") * 64 + gap;
        start..start + ones.min(wanted)
    }

    /// The first word at `from` or after it that has a set bit.
    fn next_word(&self, from: usize) -> Option<usize> {
        let mut index = from / 64;
        let mut bits = *self.summary.get(index)? & (u64::MAX << (from % 64));
        while bits == 0 {
            index += 1;
            bits = *self.summary.get(index)?;
        }
        Some(index * 64 + bits.trailing_zeros() as usize)
    }

    fn set(&mut self, range: Range<u32>) {
        self.apply(range, |word, mask| *word |= mask);
    }

    fn clear(&mut self, range: Range<u32>) {
        self.apply(range, |word, mask| *word &= !mask);
    }

    fn apply(&mut self, range: Range<u32>, change: impl Fn(&mut u64, u64)) {
        let (mut at, end) = (range.start as usize, range.end as usize);
        while at < end {
            let index = at / 64;
            let bits = (64 - at % 64).min(end - at);
            change(&mut self.words[index], (u64::MAX >> (64 - bits)) << (at % 64));
            let summary = &mut self.summary[index / 64];
            if self.words[index] == 0 {
                *summary &= !(1 << (index % 64));
            } else {
                *summary |= 1 << (index % 64);
            }
            at += bits;
        }
    }

    /// Asserts F2 and F3. `O(capacity)`; for tests.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub fn check(&self) {
        for (index, word) in self.words.iter().enumerate() {
            let summary = self.summary[index / 64] >> (index % 64) & 1 == 1;
            assert!(summary == (*word != 0), "F2: word {index} is {word:#x}, its summary bit {summary}");
        }
        let past = self.words.len() * 64 - self.capacity as usize;
        if past > 0 {
            let last = self.words.last().expect("there are bits past the capacity");
            assert!(last >> (64 - past) == 0, "F3: a slot past the capacity {} is free", self.capacity);
        }
    }
}
