//! The mapping under a memory tier, with every page in place.
//! Uses nothing. Known by: `memory`.
//!
//! Pages are touched by several threads, because clearing them is what takes the time, and huge ones are asked for, because
//! a pool of slots lives as long as the process and is read all over.

use kv_pager::units::Bytes;
use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};
use std::io;
use std::num::NonZero;
use std::thread;

/// The most threads that touch pages; more only wait for memory.
const THREADS_MAX: usize = 16;

/// An anonymous private mapping of `bytes`, zeroed, every page of which is there.
///
/// # Errors
/// What the kernel says when it refuses the mapping.
pub(super) fn touched(bytes: Bytes) -> io::Result<MmapRaw> {
    let mut map = MmapOptions::new().len(bytes.as_usize()).map_anon()?;
    // Advice: a kernel without huge pages refuses it, and the tier works without.
    if let Err(refusal) = map.advise(Advice::HugePage) {
        tracing::debug!(%refusal, "no huge pages");
    }
    touch(&mut map);
    Ok(map.into())
}

fn touch(map: &mut MmapMut) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let page = Bytes::PAGE.as_usize();
    let share = map.len().div_ceil(threads).next_multiple_of(2 << 20);
    thread::scope(|scope| {
        for piece in map.chunks_mut(share) {
            scope.spawn(move || piece.iter_mut().step_by(page).for_each(|byte| *byte = 0));
        }
    });
}
