//! Every wait for a fence, one a test: what waits for it goes wrong, as a wrong byte or a slot that is taken, when it does not.
//!
//! Compute is queued on two streams, and happens when a test says so: fences end late, in either order, or never. The lane that a
//! move waits in is told to go on meanwhile.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Limits, Watermarks};
use kv_pager::ids::{Fence, GroupId, SlotId, TierId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::Lru;
use kv_pager::pool::{SlotCounts, SlotState};
use kv_pager::tier::{Lane, LaneEnds};
use kv_pager::units::Nanos;
use kv_pager::{Config, Error, Pager};
use kv_pager_testkit::tagged::{Fate, Machine, MachineSpec, Stream, Tag};
use std::ops::Range;
use std::sync::Arc;

const SIZE: usize = 4;
const DEADLINE: Nanos = Nanos::new(1_000);
/// A window is as long as two blocks.
const WINDOW: u32 = 8;

struct Rig {
    machine: Machine,
    clock: Arc<ManualClock>,
    pager: Pager,
    streams: [Stream; 2],
    groups: usize,
}

const FULL: Attention = Attention::Full;
const SLIDING: Attention = Attention::SlidingWindow { window_tokens: WINDOW, sink_tokens: 0 };

/// A rig with so many device slots, in each group of layers.
fn rig(device: u32, groups: &[Attention]) -> Rig {
    let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
    let group =
        |attention: &Attention| KvGroup { attention: *attention, layers: 1, entry, dtype: DType::F32 };
    let groups: Vec<KvGroup> = groups.iter().map(group).collect();
    let model = ModelLayout::new(u32::try_from(SIZE).expect("small"), groups.clone()).expect("valid");
    let machine = Machine::new(&model, MachineSpec { device, host: 16, file: 0, lane_limit: 64 });
    let clock = Arc::new(ManualClock::new());
    let limits = Limits { sequence_tokens: 256, move_deadline: DEADLINE, ..Limits::default() };
    let config = Config { limits, watermarks: Watermarks { low: 0.0, high: 0.0 }, ..Config::default() };
    let pager =
        Pager::new(model, config, machine.backend(), Box::new(Lru), Arc::clone(&clock) as _).expect("fits");
    let streams = [machine.stream(), machine.stream()];
    Rig { machine, clock, pager, streams, groups: groups.len() }
}

fn tokens(letter: u32, count: usize) -> Vec<TokenId> {
    (0..count).map(|at| TokenId(letter * 1000 + u32::try_from(at).expect("few"))).collect()
}

fn tag(group: usize, token: TokenId) -> Tag {
    Tag(u64::from(token.0) << 8 | group as u64)
}

impl Rig {
    fn open(&self, tokens: &[TokenId]) -> Sequence {
        self.pager.open(&Request::new(tokens)).expect("there is room")
    }

    /// Queues the writing of the tokens of a range, behind what the sequence waits for, and commits it. Returns the fence.
    fn compute(&mut self, stream: usize, sequence: &mut Sequence) -> (Range<usize>, Fence) {
        let range = match sequence.next_step(1000) {
            Ok(Step::Compute(range)) => range,
            other => panic!("there is something to compute: {other:?}"),
        };
        let fence = self.streams[stream].fence();
        self.wait(stream, sequence);
        for group in 0..self.groups {
            for at in range.clone() {
                let slot = sequence.table(GroupId::from_index(group))[at / SIZE];
                if slot.is_some() {
                    let tags = vec![tag(group, sequence.tokens()[at])];
                    self.streams[stream].write(GroupId::from_index(group), slot, at % SIZE, tags);
                }
            }
        }
        sequence.commit(range.clone(), fence).expect("as it was told");
        (range, fence)
    }

    fn wait(&mut self, stream: usize, sequence: &Sequence) {
        for fence in sequence.waits() {
            self.streams[stream].wait_for(*fence);
        }
    }

    /// Queues the reading of tokens of a sequence, behind what it waits for. Returns the fence.
    fn read(&mut self, stream: usize, sequence: &Sequence, range: Range<usize>) -> Fence {
        let fence = self.streams[stream].fence();
        self.wait(stream, sequence);
        for at in range {
            let slot = sequence.table(GroupId::FIRST)[at / SIZE];
            let expected = vec![tag(0, sequence.tokens()[at])];
            let what = format!("token {at} of {:?}", sequence.id());
            self.streams[stream].read(GroupId::FIRST, slot, at % SIZE, expected, what);
        }
        fence
    }

    /// All that a lane may do, it does. Returns how many moves it was.
    fn advance(&self, source: TierId, target: TierId) -> usize {
        let ends = LaneEnds { source, target };
        let lane = self.machine.lanes().iter().find(|lane| lane.ends() == ends).expect("there is one");
        lane.advance(usize::MAX, |_| Fate::Done)
    }

    /// There is no room for a request, whatever lanes do: compute uses the slots that it could have (I2).
    fn assert_refused(&self, tokens: &[TokenId]) {
        for _ in 0..3 {
            let refused = self.pager.open(&Request::new(tokens)).expect_err("I2: compute uses all slots");
            assert!(matches!(refused, Error::TierBusy { .. }), "{refused}");
            self.machine.advance_all();
        }
    }

    /// Opens a request as soon as lanes have made room.
    fn open_in_the_end(&self, tokens: &[TokenId]) -> Sequence {
        let opened = (0..10).find_map(|_| {
            self.machine.advance_all();
            self.pager.open(&Request::new(tokens)).ok()
        });
        opened.expect("the fence is over")
    }

    /// Lets everything end, with nothing held: no slot is in use any more.
    fn finish(mut self) {
        for _ in 0..10 {
            self.streams.iter_mut().for_each(|stream| stream.advance(u64::MAX));
            self.machine.advance_all();
            self.pager.poll();
        }
        self.pager.check();
        assert!(!self.pager.is_busy(), "I7");
        self.pager.invalidate_all().expect("no tier of this machine outlives it");
        for group in 0..self.groups {
            let device = self.device(GroupId::from_index(group));
            assert_eq!(device.of(SlotState::Free), device.total(), "I7: {device:?}");
        }
    }

    fn device(&self, group: GroupId) -> SlotCounts {
        self.pager.occupancy(TierId::Device, group).expect("there is a device")
    }
}

/// The bytes of a block in the host, which has copies of this prompt alone.
fn in_host(rig: &Rig, block: usize) -> Vec<Tag> {
    rig.machine.tiers()[TierId::Host.index()].read(GroupId::FIRST, SlotId::from_index(block))
}

#[test]
fn a_copy_to_the_host_waits_for_what_writes_its_source() {
    let mut rig = rig(8, &[FULL]);
    let prompt = tokens(1, SIZE + 1);
    let _hold =
        rig.pager.hold(&rig.pager.prepare(&Request::new(&prompt)), TierId::Host).expect("there is room");
    let mut sequence = rig.open(&prompt);
    let (_, fence) = rig.compute(0, &mut sequence);
    sequence.close(fence);
    rig.pager.poll();
    assert_eq!(rig.advance(TierId::Device, TierId::Host), 0, "L4: the block is not written yet");
    rig.streams[0].advance(1);
    assert_eq!(rig.advance(TierId::Device, TierId::Host), 1);
    rig.pager.poll();
    let expected: Vec<Tag> = prompt[..SIZE].iter().map(|token| tag(0, *token)).collect();
    assert_eq!(in_host(&rig, 0), expected, "I4");
}

#[test]
fn a_copy_before_a_write_waits_for_what_writes_its_source() {
    let mut rig = rig(8, &[FULL]);
    let mut parent = rig.open(&tokens(1, SIZE + 2));
    let (_, fence) = rig.compute(0, &mut parent);
    let mut child = parent.fork().expect("all of it is committed");
    child.append(&tokens(2, 1)).expect("there is room");
    assert_eq!(child.next_step(1).expect("there is room"), Step::Wait);
    assert_eq!(rig.advance(TierId::Device, TierId::Device), 0, "L4: the block is not written yet");
    rig.streams[0].advance(1);
    assert_eq!(rig.advance(TierId::Device, TierId::Device), 1);
    rig.compute(1, &mut child);
    let read = rig.read(1, &child, 0..child.len());
    rig.streams[1].advance(u64::MAX);
    parent.close(fence);
    child.close(read);
    rig.finish();
}

#[test]
fn a_sequence_waits_for_the_compute_of_others_that_wrote_what_it_found() {
    for groups in [&[FULL][..], &[FULL, SLIDING]] {
        wait_for_others(rig(8, groups));
    }
}

fn wait_for_others(mut rig: Rig) {
    let prompt = tokens(1, 2 * SIZE + 1);
    let mut first = rig.open(&prompt);
    let (_, written) = rig.compute(0, &mut first);
    let mut second = rig.open(&prompt);
    assert_eq!(second.waits(), [written]);
    let (range, computed) = rig.compute(1, &mut second);
    assert_eq!(range.start, 2 * SIZE);
    let read = rig.read(1, &second, 0..2 * SIZE);
    // The second stream is free to go on before the first.
    rig.streams[1].advance(u64::MAX);
    rig.streams[0].advance(u64::MAX);
    first.close(written);
    second.close(computed.max(read));
    rig.finish();
}

#[test]
fn a_fork_waits_for_what_its_parent_has_launched() {
    let mut rig = rig(8, &[FULL]);
    let mut parent = rig.open(&tokens(1, SIZE + 2));
    let (_, written) = rig.compute(0, &mut parent);
    let child = parent.fork().expect("all of it is committed");
    assert_eq!(child.waits(), [written]);
    let read = rig.read(1, &child, 0..child.len());
    rig.streams[1].advance(u64::MAX);
    rig.streams[0].advance(u64::MAX);
    parent.close(written);
    child.close(read);
    rig.finish();
}

/// A sequence of two blocks is given up by `end` while compute reads it: nobody gets its slots before that is over.
fn given_up_late(has_window: bool, end: impl FnOnce(Sequence, Fence) -> Option<Sequence>) {
    // A model with a window takes no request as long as the device.
    let mut rig = if has_window { rig(3, &[FULL, SLIDING]) } else { rig(2, &[FULL]) };
    let others = tokens(2, if has_window { 2 * SIZE } else { SIZE });
    let mut sequence = rig.open(&tokens(1, 2 * SIZE));
    rig.compute(0, &mut sequence);
    rig.streams[0].advance(u64::MAX);
    let seen = if has_window { 0 } else { SIZE };
    let read = rig.read(0, &sequence, 0..seen);
    let left = end(sequence, read);
    rig.assert_refused(&others);
    // The other stream's fences are nobody's business.
    rig.streams[1].fence();
    rig.streams[1].advance(u64::MAX);
    rig.assert_refused(&others);
    rig.streams[0].advance(u64::MAX);
    drop(rig.open_in_the_end(&others));
    drop(left);
    rig.finish();
}

#[test]
fn slots_of_a_closed_sequence_are_not_reused_before_its_fence() {
    for has_window in [false, true] {
        given_up_late(has_window, |sequence, fence| {
            sequence.close(fence);
            None
        });
    }
}

#[test]
fn slots_that_a_truncated_sequence_gives_up_are_not_reused_before_the_fence() {
    given_up_late(false, |mut sequence, fence| {
        sequence.truncate(SIZE, fence);
        Some(sequence)
    });
}

#[test]
fn slots_of_a_dropped_sequence_are_not_reused_before_the_last_fence_that_was_given() {
    let mut rig = rig(2, &[FULL]);
    let mut sequence = rig.open(&tokens(1, 2 * SIZE));
    rig.compute(0, &mut sequence);
    drop(sequence);
    rig.assert_refused(&tokens(2, SIZE));
    rig.streams[0].advance(u64::MAX);
    rig.pager.poll();
    rig.finish();
}

#[test]
fn parts_behind_a_window_are_not_reused_before_the_fence_of_the_commit_that_left_them() {
    let mut rig = rig(3, &[FULL, SLIDING]);
    let mut sequence = rig.open(&tokens(1, SIZE));
    rig.compute(0, &mut sequence);
    sequence.append(&tokens(2, SIZE)).expect("there is room");
    rig.compute(0, &mut sequence);
    rig.streams[0].advance(u64::MAX);
    // The window needs its first two blocks to compute the third; then the first is behind it.
    sequence.append(&tokens(3, SIZE)).expect("there is room");
    let (_, fence) = rig.compute(0, &mut sequence);
    let window = GroupId::from_index(1);
    assert_eq!(sequence.table(window)[0], SlotId::NONE, "it is behind the window");
    rig.pager.poll();
    assert_eq!(rig.device(window).of(SlotState::Free), 0, "I2: compute reads it");
    rig.streams[0].advance(u64::MAX);
    rig.pager.poll();
    assert_eq!(rig.device(window).of(SlotState::Free), 1, "it is of no use to anybody");
    sequence.close(fence);
    rig.finish();
}

#[test]
fn parts_that_a_request_resumed_from_are_not_reused_before_the_fence_of_the_commit_that_left_them() {
    let mut rig = rig(3, &[SLIDING]);
    let prompt = tokens(1, 3 * SIZE);
    let mut first = rig.open(&prompt[..2 * SIZE]);
    let (_, fence) = rig.compute(0, &mut first);
    first.close(fence);
    rig.streams[0].advance(u64::MAX);
    let mut second = rig.open(&prompt);
    assert_eq!(second.matched_tokens(), 2 * SIZE);
    rig.compute(0, &mut second);
    assert_eq!(second.table(GroupId::FIRST)[0], SlotId::NONE, "it is behind the window");
    let mut other = rig.open(&tokens(2, SIZE));
    for _ in 0..3 {
        let refused = other.next_step(SIZE).expect_err("I2: compute reads what is behind the window");
        assert!(matches!(refused, Error::TierBusy { .. }), "{refused}");
        rig.machine.advance_all();
    }
    rig.streams[0].advance(u64::MAX);
    let is_served = (0..10).any(|_| {
        rig.machine.advance_all();
        other.next_step(SIZE).is_ok()
    });
    assert!(is_served, "the fence is over");
    drop((second, other));
    rig.finish();
}

#[test]
fn a_block_that_was_copied_before_a_write_is_not_reused_before_the_fence_of_what_still_reads_it() {
    let mut rig = rig(3, &[FULL]);
    let mut sequence = rig.open(&tokens(1, SIZE));
    rig.compute(0, &mut sequence);
    rig.streams[0].advance(u64::MAX);
    sequence.append(&tokens(2, 2)).expect("there is room");
    let (_, fence) = rig.compute(0, &mut sequence);
    // What is rejected was computed over the first block, which the sequence writes into next.
    sequence.truncate(2, fence);
    sequence.append(&tokens(3, 1)).expect("there is room");
    assert_eq!(sequence.next_step(8).expect("there is room"), Step::Wait);
    assert_eq!(rig.advance(TierId::Device, TierId::Device), 1, "it was written long ago");
    rig.assert_refused(&tokens(4, SIZE));
    rig.streams[0].advance(u64::MAX);
    drop(rig.open_in_the_end(&tokens(4, SIZE)));
    drop(sequence);
    rig.finish();
}

#[test]
fn fences_end_in_any_order() {
    let mut rig = rig(4, &[FULL]);
    let mut sequences = [1, 2].map(|letter| rig.open(&tokens(letter, 2 * SIZE)));
    let fences: Vec<Fence> =
        sequences.iter_mut().enumerate().map(|(stream, sequence)| rig.compute(stream, sequence).1).collect();
    for (sequence, fence) in sequences.into_iter().zip(fences) {
        sequence.close(fence);
    }
    let others = tokens(3, 2 * SIZE);
    rig.assert_refused(&others);
    // The later fence first.
    rig.streams[1].advance(u64::MAX);
    let opened = rig.open_in_the_end(&others);
    rig.assert_refused(&tokens(4, SIZE));
    opened.close(Fence::OVER);
    rig.finish();
}

#[test]
fn a_fence_that_never_ends_keeps_its_slots_and_nobody_waiting() {
    let mut rig = rig(6, &[FULL]);
    let mut hung = rig.open(&tokens(1, SIZE + 2));
    let (_, never) = rig.compute(0, &mut hung);
    let mut child = hung.fork().expect("all of it is committed");
    hung.close(never);
    // A copy of what is never written is given up by its deadline, and the block computed from its start.
    child.append(&tokens(2, 1)).expect("there is room");
    assert_eq!(child.next_step(1000).expect("there is room"), Step::Wait);
    let step = (0..4).find_map(|_| {
        rig.machine.advance_all();
        rig.clock.advance(DEADLINE);
        child.next_step(1000).ok().filter(|step| *step != Step::Wait)
    });
    assert_eq!(step, Some(Step::Compute(SIZE..SIZE + 3)), "the copy was given up");
    child.close(Fence::OVER);
    // Others are served by the slots that are left, as often as they come.
    for letter in 3..9 {
        let prompt = tokens(letter, 4 * SIZE);
        let sequence = (0..40).find_map(|_| {
            rig.machine.advance_all();
            rig.clock.advance(DEADLINE);
            rig.pager.open(&Request::new(&prompt)).ok()
        });
        let mut sequence = sequence.expect("two slots wait for the fence, four do not");
        rig.compute(1, &mut sequence);
        let read = rig.read(1, &sequence, 0..4 * SIZE);
        rig.streams[1].advance(u64::MAX);
        sequence.close(read);
        rig.pager.check();
    }
    let whole = rig.pager.open(&Request::new(&tokens(10, 6 * SIZE))).expect_err("two slots are kept");
    assert!(matches!(whole, Error::TierBusy { .. }), "{whole}");
    // The test's end is not never.
    rig.finish();
}
