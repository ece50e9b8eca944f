//! A process that forks: the child moves nothing, waits for nothing and holds nothing; the parent goes on.
#![expect(unsafe_code, reason = "a fork without exec can only be had by code that runs between the two")]

use kv_pager::ids::{Fence, GroupId, MoveId, PrefixHash, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::tier::{BlockLabel, Lane, LaneEnds, Move, Persistence};
use kv_pager::units::Bytes;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec};
use kv_pager_testkit::conformance::wait;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

fn spec(directory: &std::path::Path) -> CpuSpec {
    let file = FileSpec::new(directory.join("tier"), vec![4]);
    CpuSpec {
        host_slots: Some(vec![4]),
        file: Some(file),
        ..CpuSpec::new(shape("tiny").expect("known"), vec![1])
    }
}

fn order(source: usize, target: usize) -> Move {
    let (source, target) = (SlotId::from_index(source), SlotId::from_index(target));
    let fence = Fence::OVER;
    Move { id: MoveId(0), group: GroupId::FIRST, source, target, source_fence: fence, target_fence: fence }
}

fn lane(backend: &CpuBackend) -> Arc<dyn Lane> {
    let ends = LaneEnds { source: TierId::Host, target: TierId::File };
    backend.lanes().into_iter().find(|lane| lane.ends() == ends).expect("there is one")
}

fn carry(backend: &CpuBackend, order: Move) {
    let ticket = lane(backend).submit(&[order]).expect("room");
    wait(&ticket);
    assert_eq!(ticket.outcome(0), Some(Ok(())), "the parent's lanes work");
}

/// Writes a block to slot 3.
fn write_block(backend: &CpuBackend) {
    let label = BlockLabel {
        hash: PrefixHash(1),
        parent: None,
        salt: Salt(0),
        depth: 0,
        tokens: &[TokenId(0); 16],
        extra_keys: &[],
        uses: 1,
    };
    backend.file().expect("there is one").label(GroupId::FIRST, SlotId::from_index(3), &label);
    carry(backend, order(0, 3));
}

/// What the child does before it becomes another program.
fn in_the_child(backend: Arc<CpuBackend>) -> io::Result<()> {
    let lane = lane(&backend);
    let ticket = lane.submit(&[order(0, 1)]).map_err(|_| io::Error::other("refused"))?;
    let nothing_was_moved = ticket.is_over() && ticket.outcome(0) != Some(Ok(()));
    let file = backend.file().expect("there is one");
    file.set_uses(GroupId::FIRST, SlotId::from_index(3), 99);
    let nothing_was_flushed = file.flush().is_err();
    file.void(GroupId::FIRST, SlotId::from_index(0));
    drop(lane);
    // Both owners of it here: the last one ends what would wait for threads that aren't there.
    drop(backend);
    let nothing_was_done = nothing_was_moved && nothing_was_flushed;
    if nothing_was_done { Ok(()) } else { Err(io::Error::other("something was moved or flushed")) }
}

#[test]
fn a_forked_child_moves_nothing_and_the_parent_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spec = spec(directory.path());
    write_block(&CpuBackend::new(&spec).expect("small"));
    spec.file.as_mut().expect("there is one").scrub_bytes_per_s = Some(Bytes::mib(1));
    let backend = Arc::new(CpuBackend::new(&spec).expect("small"));
    while backend.file().expect("there is one").scrubbed().bytes == Bytes::ZERO {
        std::thread::yield_now();
    }
    let headers = || std::fs::read(directory.path().join("tier/kv-pager.0.headers")).expect("it is there");
    let before = headers();
    let own = Arc::clone(&backend);
    let mut command = Command::new("sleep");
    command.arg("30");
    // SAFETY: the closure allocates and takes locks, which a fork of a threaded program may not do if another thread held
    // them: no lane of this process has anything to do now, its scrubber is between two rounds, and the allocator's locks are put in order by the C library.
    unsafe { command.pre_exec(move || in_the_child(Arc::clone(&own))) };
    let mut child = command.spawn().expect("the child found nothing moved");
    drop(command);
    assert_eq!(headers(), before, "the child wrote nothing");
    carry(&backend, order(0, 2));
    drop(backend);
    // The child still runs, and holds no lock: it was not inherited.
    let again = CpuBackend::new(&spec);
    child.kill().expect("it runs");
    child.wait().expect("it is ours");
    assert!(again.is_ok(), "{:?}", again.err());
}
