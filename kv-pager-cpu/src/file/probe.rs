//! A probe: whether a drive is read faster around the page cache or through it.
//! Uses `file::drive`. Known by: `file::open`, when a tier is made.
//!
//! Both ways read the same cold pieces in as many threads as a lane has; whichever takes less time is kept for the life of
//! the tier (F2), in its superblock. Some file systems take direct requests and serve them slowly, one after the other.

use super::drive::{self, Access, Drive, FileDrive};
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::sync::{AtomicU64, Ordering};
use kv_pager::units::Nanos;
use memmap2::{Advice, MmapMut};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;
use std::thread;

const PIECE_BYTES: u64 = 1 << 20;
const PIECES: u64 = 16;
const THREADS: usize = 8;
/// A way must be so much faster (in percent) than direct access to be preferred: the page cache costs memory and copies.
const LEAD_PERCENT: u64 = 115;

/// Which way is faster for the payload file at `path`, which holds nothing yet. Writes its first 16 MiB; too small a file,
/// or one that can't be opened both ways, is not measured.
///
/// # Errors
/// What the system says.
pub(super) fn faster(path: &Path, file_bytes: u64) -> io::Result<Access> {
    let (direct, way) = FileDrive::payloads(path, Access::Auto, true)?;
    if way != Access::Direct || file_bytes < PIECE_BYTES * PIECES {
        return Ok(way);
    }
    let (buffered, _) = FileDrive::payloads(path, Access::Buffered, true)?;
    let piece_bytes = usize::try_from(PIECE_BYTES).expect("1 MiB");
    // As host memory has them: into small pages a drive may read at a third of the rate.
    let mut memory = MmapMut::map_anon(2 * THREADS * piece_bytes)?;
    if let Err(refusal) = memory.advise(Advice::HugePage) {
        tracing::debug!(%refusal, "no huge pages");
    }
    memory.fill(0);
    for index in 0..PIECES {
        drive::write_all(&direct, &mut [IoSlice::new(&memory[..piece_bytes])], index * PIECE_BYTES)?;
    }
    direct.sync()?;
    // In turns, so that what else the drive does meets both.
    let (mut direct_ns, mut buffered_ns) = (u64::MAX, u64::MAX);
    for _ in 0..3 {
        direct_ns = direct_ns.min(read_all_pieces(&direct, &mut memory)?.as_u64());
        buffered.forget(0, PIECE_BYTES * PIECES);
        buffered_ns = buffered_ns.min(read_all_pieces(&buffered, &mut memory)?.as_u64());
        buffered.forget(0, PIECE_BYTES * PIECES);
    }
    tracing::debug!(direct_ns, buffered_ns, path = %path.display(), "probed");
    let is_buffered = buffered_ns.saturating_mul(LEAD_PERCENT) / 100 < direct_ns;
    Ok(if is_buffered { Access::Buffered } else { Access::Direct })
}

fn read_all_pieces(drive: &FileDrive, memory: &mut [u8]) -> io::Result<Nanos> {
    let clock = MonotonicClock::new();
    let next = AtomicU64::new(0);
    let read = |piece: &mut [u8]| -> io::Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= PIECES {
                return Ok(());
            }
            drive::read_all(drive, &mut [IoSliceMut::new(piece)], index * PIECE_BYTES)?;
        }
    };
    let pieces = memory.chunks_exact_mut(usize::try_from(PIECE_BYTES).expect("1 MiB")).take(THREADS);
    let start = clock.now();
    drive.announce(0, PIECE_BYTES * PIECES);
    thread::scope(|scope| {
        let threads: Vec<_> = pieces.map(|piece| scope.spawn(|| read(piece))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it doesn't panic"))
    })?;
    Ok(clock.now().since(start))
}
