//! A mapping: anonymous host memory in huge pages, touched in parallel, near the devices that copy from and to it.
//! Uses `numa`. Known by: `pinned`.
//!
//! - **A1** every page is there when the mapping is handed over, on the node that was asked for where the machine has several.
//!
//! Why not the driver's own allocator: it touches pages one by one, on whatever node, which takes several times as long.
#![expect(unsafe_code, reason = "pages are touched by address, each by one thread")]

use crate::numa::{NodeId, processors_of};
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::ops::Range;
use std::{io, thread};

/// The size of a huge page on x86-64 and the usual one elsewhere.
const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;
/// The most threads that touch memory for one node; more do not help.
const TOUCHERS_MAX: usize = 16;

/// Bytes that belong to a node: `(offset, bytes, node)`.
pub(crate) type Placed = (usize, usize, Option<NodeId>);

/// `bytes` zeroed bytes with every page there (A1). `places` covers them, ascending, by whom they should be near; where all
/// say the same, pages are huge.
pub(crate) fn touched(bytes: usize, places: &mut dyn Iterator<Item = Placed>) -> io::Result<MmapRaw> {
    let map = MmapRaw::from(MmapOptions::new().len(bytes).map_anon()?);
    let mut by_node: Vec<(Option<NodeId>, Vec<Range<usize>>)> = Vec::new();
    for (offset, length, node) in places {
        if by_node.iter().all(|(other, _)| *other != node) {
            by_node.push((node, Vec::new()));
        }
        for (_, ranges) in by_node.iter_mut().filter(|(other, _)| *other == node) {
            match ranges.last_mut() {
                Some(last) if last.end == offset => last.end += length,
                _ => ranges.push(offset..offset + length),
            }
        }
    }
    if by_node.len() == 1
        && let Err(error) = map.advise(Advice::HugePage)
    {
        tracing::debug!(%error, "no huge pages for pinned memory");
    }
    thread::scope(|scope| {
        for (node, ranges) in &by_node {
            touch(scope, &map, *node, ranges);
        }
    });
    Ok(map)
}

/// Starts threads, on the node's processors, that touch `ranges`: so they get that node's memory.
fn touch<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    map: &'scope MmapRaw,
    node: Option<NodeId>,
    ranges: &'scope [Range<usize>],
) {
    let processors = node.map(processors_of).unwrap_or_default();
    let available = thread::available_parallelism().map_or(1, usize::from);
    let most = if processors.is_empty() { available } else { processors.len().min(available) };
    let threads = most.clamp(1, TOUCHERS_MAX);
    for index in 0..threads {
        let processors = processors.clone();
        scope.spawn(move || {
            bind_to(&processors);
            for range in ranges {
                let share = range.len().div_ceil(threads).next_multiple_of(HUGE);
                let from = (range.start + index * share).min(range.end);
                touch_range(map, from, (from + share).min(range.end));
            }
        });
    }
}

/// Writes a zero into every page of a range.
fn touch_range(map: &MmapRaw, from: usize, to: usize) {
    assert!(to <= map.len(), "{from}..{to} of {}", map.len());
    for offset in (from..to).step_by(PAGE) {
        // SAFETY: the assertion: `offset` lies inside the mapping.
        let byte = unsafe { map.as_mut_ptr().add(offset) };
        // SAFETY: as above; the mapping is new, and each page of it is written by one thread.
        unsafe { byte.write_volatile(0) };
    }
}

/// Keeps this thread on `processors`; on none given, or where the system refuses, it stays where it is.
fn bind_to(processors: &[usize]) {
    if processors.is_empty() {
        return;
    }
    let mut set = CpuSet::new();
    for processor in processors.iter().filter(|processor| **processor < CpuSet::MAX_CPU) {
        set.set(*processor);
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::debug!(%error, "a thread was not bound to a node");
    }
}

#[cfg(test)]
mod tests {
    use super::{HUGE, PAGE, touched};
    use crate::numa::NodeId;

    #[test]
    fn any_node_will_do() {
        for node in [None, Some(NodeId(0)), Some(NodeId(999))] {
            let map = touched(3 * HUGE + PAGE, &mut [(0, 3 * HUGE + PAGE, node)].into_iter()).expect("small");
            assert_eq!(map.len(), 3 * HUGE + PAGE);
        }
    }

    #[test]
    fn slices_of_slots_may_lie_on_different_nodes() {
        let places =
            (0..64).map(|piece| (piece * PAGE, PAGE, Some(NodeId(u16::try_from(piece % 2).expect("small")))));
        assert_eq!(touched(64 * PAGE, &mut { places }).expect("small").len(), 64 * PAGE);
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        assert!(touched(1 << 60, &mut std::iter::empty()).is_err());
    }
}
