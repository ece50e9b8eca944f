//! The staging ring: which bytes of a lane's staging memory a chunk may use, and after which earlier chunk.
//! Uses nothing of the crate. Known by: `lane`.
//!
//! - **G1** a place is one piece, never across the ring's end;
//! - **G2** places of chunks that are not over overlap only if the later one was told to wait for the earlier;
//! - **G3** chunks are reserved and released in the order of their numbers.
//!
//! It is a ring of bytes, not of equal buffers: a batch's first chunk is small, so that the link starts early, and the
//! others are large, so that the link still has work while a kernel of the engine holds the multiprocessors.

use std::collections::VecDeque;

/// Where a chunk's bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// From the start of the staging memory.
    pub(crate) offset: u64,
    /// The chunk that must be over first.
    pub(crate) after: Option<u64>,
}

#[derive(Debug)]
struct Live {
    chunk: u64,
    start: u64,
}

/// The ring's books. Positions only grow; the offset is the position modulo the ring's size.
#[derive(Debug)]
pub(crate) struct StagingRing {
    bytes: u64,
    head: u64,
    /// In order of both chunk and start.
    live: VecDeque<Live>,
}

impl StagingRing {
    /// A ring of `bytes` bytes, with room for `places` places before it allocates.
    pub(crate) fn new(bytes: u64, places: usize) -> Self {
        Self { bytes, head: 0, live: VecDeque::with_capacity(places) }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A place of `bytes` for `chunk` (G1 to G3).
    ///
    /// # Panics
    /// If the ring is smaller than that.
    pub(crate) fn reserve(&mut self, chunk: u64, bytes: u64) -> Place {
        assert!(bytes <= self.bytes, "{bytes} bytes of a ring of {}", self.bytes);
        let offset = self.head % self.bytes;
        let skipped = if offset + bytes > self.bytes { self.bytes - offset } else { 0 };
        let start = self.head + skipped;
        self.head = start + bytes;
        let mut after = None;
        while let Some(oldest) = self.live.front() {
            if oldest.start + self.bytes >= self.head {
                break;
            }
            after = Some(oldest.chunk);
            self.live.pop_front();
        }
        self.live.push_back(Live { chunk, start });
        Place { offset: start % self.bytes, after: after.filter(|after| *after != chunk) }
    }

    /// Says that `chunk` and all before it are over.
    pub(crate) fn release(&mut self, chunk: u64) {
        while self.live.front().is_some_and(|oldest| oldest.chunk <= chunk) {
            self.live.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StagingRing;

    /// The offsets and lengths that chunks not over hold, by brute force.
    fn assert_g2(ring_bytes: u64, sizes: &[u64], depth: usize) {
        let mut ring = StagingRing::new(ring_bytes, 8);
        let mut held: Vec<(u64, u64, u64)> = Vec::new();
        for (chunk, bytes) in sizes.iter().enumerate() {
            let chunk = chunk as u64;
            let place = ring.reserve(chunk, *bytes);
            assert!(place.offset + bytes <= ring_bytes, "G1");
            if let Some(after) = place.after {
                held.retain(|(other, ..)| *other > after);
            }
            for (other, offset, length) in &held {
                let apart = place.offset + bytes <= *offset || offset + length <= place.offset;
                assert!(apart, "G2: chunk {chunk} at {place:?} and {other} at {offset}+{length}");
            }
            held.push((chunk, place.offset, *bytes));
            if held.len() > depth {
                let (over, ..) = held.remove(0);
                ring.release(over);
            }
        }
    }

    #[test]
    fn chunks_that_are_not_over_never_share_bytes() {
        let mut seed = 7_u64;
        let mut random = |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % limit + 1
        };
        for depth in [1, 3, 1000] {
            let sizes: Vec<u64> = (0..2000).map(|_| random(100)).collect();
            assert_g2(256, &sizes, depth);
            assert_g2(100, &sizes, depth);
        }
        assert_g2(64, &[64; 20], 1000);
    }

    #[test]
    fn a_ring_with_room_makes_nobody_wait() {
        let mut ring = StagingRing::new(100, 4);
        assert!((0..4).all(|chunk| ring.reserve(chunk, 25).after.is_none()));
        assert_eq!(ring.reserve(4, 25).after, Some(0));
        assert_eq!(ring.reserve(5, 30).after, Some(2), "it overlaps two places");
    }
}
