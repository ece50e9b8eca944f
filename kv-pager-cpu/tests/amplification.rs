//! What reaches a drive for each byte of payload, as the system counts this process's writes. Alone in its process, so that
//! nobody else's are counted.

use kv_pager::ids::{Fence, GroupId, MoveId, PrefixHash, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, Format, KvGroup, ModelLayout};
use kv_pager::tier::{BlockLabel, LaneEnds, Move, Persistence};
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec};
use kv_pager_testkit::conformance::wait;

const SLOTS: u32 = 64;
/// Written between two flushes.
const BATCH: usize = 8;

/// Bytes that this process has made the system write, or will have made it write: whole pages of what went through the cache.
fn written() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").expect("Linux tells");
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("it is told");
    line.parse().expect("a number")
}

fn order(host: usize, file: usize) -> Move {
    let (source, target) = (SlotId::from_index(host), SlotId::from_index(file));
    let fence = Fence::OVER;
    Move { id: MoveId(0), group: GroupId::FIRST, source, target, source_fence: fence, target_fence: fence }
}

/// Every slot is written anew in a drawn order, and every few of them are flushed, so that no header shares a page's write with
/// more than a few others: what an engine does that never writes what it evicts in runs.
#[test]
fn slots_of_512_kib_cost_at_most_a_twentieth_more_than_their_bytes() {
    let entry = Entry::KeyValue { kv_heads: 8, head_dim: 64 };
    let group = KvGroup { attention: Attention::Full, layers: 16, entry, dtype: DType::BF16 };
    let model = ModelLayout::new(16, vec![group]).expect("valid");
    assert_eq!(model.slot_bytes(GroupId::FIRST, Format::Raw).as_u64(), 512 << 10);
    let directory = tempfile::tempdir().expect("a directory");
    let file = FileSpec::new(directory.path().join("tier"), vec![SLOTS]);
    let spec = CpuSpec {
        host_slots: Some(vec![u32::try_from(BATCH).expect("small")]),
        file: Some(file),
        ..CpuSpec::new(model, vec![1])
    };
    let backend = CpuBackend::new(&spec).expect("room for it");
    let ends = LaneEnds { source: TierId::Host, target: TierId::File };
    let lane = backend.lanes().into_iter().find(|lane| lane.ends() == ends).expect("there is one");
    let tier = backend.file().expect("there is one");
    let tokens = [TokenId(7); 16];
    let label = BlockLabel {
        hash: PrefixHash(1),
        parent: None,
        salt: Salt(0),
        depth: 0,
        tokens: &tokens,
        extra_keys: &[],
        uses: 1,
    };
    let round = || {
        // 37 and 64 share no factor: every slot once, and none beside the one before.
        let slots: Vec<usize> = (0..SLOTS as usize).map(|step| step * 37 % SLOTS as usize).collect();
        for slots in slots.chunks(BATCH) {
            let batch: Vec<Move> = slots.iter().enumerate().map(|(host, file)| order(host, *file)).collect();
            for slot in slots {
                tier.label(GroupId::FIRST, SlotId::from_index(*slot), &label);
            }
            let ticket = lane.submit(&batch).expect("room");
            wait(&ticket);
            assert!((0..batch.len()).all(|index| ticket.outcome(index) == Some(Ok(()))));
            tier.flush().expect("a sound drive");
        }
    };
    round();
    let before = written();
    round();
    let (written, payload) = (written() - before, u64::from(SLOTS) * (512 << 10));
    if written < payload {
        // In memory, say, where nothing is written to any drive.
        return;
    }
    assert!(written * 100 <= payload * 105, "{written} bytes were written for {payload}");
}
