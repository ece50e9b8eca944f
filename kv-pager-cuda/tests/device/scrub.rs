//! A file tier under pinned memory reads its payloads again when it is told to.

use crate::card;
use crate::rig::{clock, lane_options, model};
use kv_pager::ids::{Fence, GroupId, ModelFingerprint, MoveId, PrefixHash, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::DeviceLayout;
use kv_pager::tier::{BlockLabel, LaneEnds, Move, Persistence};
use kv_pager::units::Bytes;
use kv_pager_cpu::FileSpec;
use kv_pager_cuda::{CudaBackend, CudaBackendBuilder, CudaFileSpec, Inner, OwnedSlots};
use kv_pager_testkit::conformance::wait;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn build(directory: &Path, scrub_bytes_per_s: Option<Bytes>) -> CudaBackend {
    let owned = OwnedSlots { slots: vec![1; 2], layout: DeviceLayout::BlockMajor, inner: Inner::Nhd };
    let file = FileSpec { scrub_bytes_per_s, ..FileSpec::new(directory, vec![4; 2]) };
    CudaBackendBuilder::new(model(), vec![0], vec![1; 2])
        .with_lane_options(lane_options())
        .with_file(CudaFileSpec::new(file, ModelFingerprint::default(), 0))
        .without_calibration()
        .build(&owned, &clock())
        .expect("a small backend")
}

#[test]
fn damage_under_pinned_memory_is_found_before_it_is_asked_for() {
    if card("damage_under_pinned_memory_is_found_before_it_is_asked_for").is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let backend = build(directory.path(), None);
    let tokens = vec![TokenId(0); model().tokens_per_block() as usize];
    let slot = SlotId::from_index;
    let label = BlockLabel {
        hash: PrefixHash(1),
        parent: None,
        salt: Salt(0),
        depth: 0,
        tokens: &tokens,
        extra_keys: &[],
        uses: 0,
    };
    backend.file.as_ref().expect("there is one").label(GroupId::FIRST, slot(2), &label);
    let ends = LaneEnds { source: TierId::Host, target: TierId::File };
    let lane = backend.lanes().into_iter().find(|lane| lane.ends() == ends).expect("there is one");
    let (group, fence) = (GroupId::FIRST, Fence::OVER);
    let order = Move {
        id: MoveId(0),
        group,
        source: slot(0),
        target: slot(2),
        source_fence: fence,
        target_fence: fence,
    };
    let ticket = lane.submit(&[order]).expect("room");
    wait(&ticket);
    assert_eq!(ticket.outcome(0), Some(Ok(())));
    drop((lane, backend));
    let path = directory.path().join("kv-pager.0.payloads");
    let payloads = File::options().read(true).write(true).open(path).expect("it is there");
    let offset = payloads.metadata().expect("it is open").len() / 4 * 2;
    let mut byte = [0];
    payloads.read_exact_at(&mut byte, offset).expect("it is that long");
    payloads.write_all_at(&[byte[0] ^ 1], offset).expect("it can be written");
    let backend = build(directory.path(), Some(Bytes::mib(100)));
    while backend.file.as_ref().expect("there is one").scrubbed().damaged == 0 {
        std::thread::yield_now();
    }
}
