//! Raw requests: what the drive gives to whoever asks it directly.
//! Uses `subject`. Known by: `rates`.

use crate::subject::{Pair, Subject, Way};
use kv_pager::ids::{GroupId, SlotId};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use xxhash_rust::xxh3::xxh3_64;

/// Which requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) way: Way,
    /// With a checksum over each slot, before it is written or after it is read.
    pub(crate) is_checked: bool,
}

/// MiB/s of the slots of `pairs` by `depth` threads of direct requests, from and to the host memory of `subject`.
pub(crate) fn rate(subject: &Subject, pairs: &[Pair], depth: usize, kind: Kind) -> f64 {
    let flags = OFlags::RDWR | OFlags::DIRECT;
    let opened = rustix::fs::open(subject.payloads(), flags, Mode::empty());
    let file = File::from(opened.expect("a file system that takes direct requests"));
    let next = AtomicUsize::new(0);
    let start = subject.clock.now();
    thread::scope(|scope| {
        for _ in 0..depth {
            scope.spawn(|| {
                while let Some(pair) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    request(subject, &file, *pair, kind);
                }
            });
        }
    });
    subject.rate(pairs.len(), subject.clock.now().since(start))
}

fn request(subject: &Subject, file: &File, pair: Pair, kind: Kind) {
    let offset = pair.file as u64 * subject.slot_bytes;
    let mut lent = subject.host().write(GroupId::FIRST, SlotId::from_index(pair.host)).expect("free");
    let bytes = lent.fragment_mut(0);
    let check = |bytes: &[u8]| {
        if kind.is_checked {
            black_box(xxh3_64(bytes));
        }
    };
    let done = match kind.way {
        Way::Read => {
            let done = rustix::io::pread(file, &mut *bytes, offset);
            check(bytes);
            done
        }
        Way::Write => {
            check(bytes);
            rustix::io::pwrite(file, &*bytes, offset)
        }
    };
    assert_eq!(done.expect("a sound drive"), bytes.len());
}
