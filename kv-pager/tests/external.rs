//! Device slots that are the engine's: what it offloads comes back as it was, and it is told when it names a slot too early.

use kv_pager::clock::{ManualClock, Time};
use kv_pager::config::{Allowance, DeviceOwner, Limits, Watermarks};
use kv_pager::ids::{Fence, GroupId, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{BlockAt, Deliveries, Delivery, Prompt, Request};
use kv_pager::policy::{Decision, LoadPlan, Lru, Matched, Need, Policy, Reason, Steward, Urgency, View};
use kv_pager::sync::Mutex;
use kv_pager::units::Nanos;
use kv_pager::{Config, Error, ErrorKind, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec, Tag};
use std::sync::Arc;

const SIZE: usize = 4;
const DEADLINE: Nanos = Nanos::new(1000);

/// What lies below the engine's slots, and who decides there.
#[derive(Clone, Copy, Debug)]
struct Below {
    host: u32,
    file: u32,
    watermarks: Watermarks,
    has_steward: bool,
    moves_queued: u32,
}

impl Below {
    const WIDE: Self = Self {
        host: 12,
        file: 20,
        watermarks: Watermarks { low: 0.1, high: 0.2 },
        has_steward: true,
        moves_queued: 64,
    };

    /// So many slots, which are all in use before anything goes.
    const fn tight(host: u32, file: u32) -> Self {
        let watermarks = Watermarks { low: 0.0, high: 0.0 };
        Self { host, file, watermarks, has_steward: false, moves_queued: 64 }
    }
}

fn build() -> (Machine, Arc<ManualClock>, Pager) {
    build_over(Below::WIDE, 10)
}

fn build_over(below: Below, device: u32) -> (Machine, Arc<ManualClock>, Pager) {
    let policy: Box<dyn Policy> =
        if below.has_steward { Box::new(Steward::default()) } else { Box::new(Lru) };
    build_with(below, device, policy)
}

fn build_with(below: Below, device: u32, policy: Box<dyn Policy>) -> (Machine, Arc<ManualClock>, Pager) {
    let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
    let group = KvGroup { attention: Attention::Full, layers: 1, entry, dtype: DType::F32 };
    let model = ModelLayout::new(4, vec![group]).expect("valid");
    let Below { host, file, watermarks, moves_queued, .. } = below;
    let machine = Machine::new(&model, MachineSpec { device, host, file, lane_limit: 64 });
    let clock = Arc::new(ManualClock::new());
    let config = Config {
        device_owner: DeviceOwner::Engine,
        limits: Limits { move_deadline: DEADLINE, sequence_tokens: 1024, moves_queued, ..Limits::default() },
        watermarks,
        ..Config::default()
    };
    let pager = Pager::new(model, config, machine.backend(), policy, Arc::clone(&clock) as _).expect("fits");
    (machine, clock, pager)
}

fn prompt(pager: &Pager, letters: &[u32]) -> Prompt {
    let mut tokens: Vec<TokenId> = letters.iter().flat_map(|letter| [TokenId(*letter); SIZE]).collect();
    tokens.push(TokenId(9));
    pager.prepare(&Request::new(&tokens))
}

fn tags(prompt: &Prompt, block: usize) -> Vec<Tag> {
    let name = prompt.names()[block].0 >> 64;
    let name = u64::try_from(name).expect("the upper half");
    (0..SIZE as u64).map(|at| Tag(name.rotate_left(7) ^ at)).collect()
}

fn at(block: usize, slot: usize) -> BlockAt {
    BlockAt { block, slot: SlotId::from_index(slot) }
}

fn compute(machine: &Machine, prompt: &Prompt, named: &[BlockAt]) {
    for BlockAt { block, slot } in named {
        machine.device().write(GroupId::FIRST, *slot, 0, &tags(prompt, *block));
    }
}

fn settle(machine: &Machine, deliveries: &mut Deliveries) -> Vec<Delivery> {
    for _ in 0..100 {
        if deliveries.is_over() {
            break;
        }
        machine.advance_all();
    }
    deliveries.poll().to_vec()
}

/// Makes room by moving the coldest on, and notes what it is told of the device's queue.
#[derive(Debug, Default)]
struct Nosy {
    heard: Arc<Mutex<Vec<Nanos>>>,
}

impl Policy for Nosy {
    fn name(&self) -> &'static str {
        "nosy"
    }

    fn plan(&mut self, _view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        LoadPlan::of(0..matched.len(), Reason::Asked)
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        self.heard.lock().push(view.prospects().compute_queue);
        for block in view.coldest(need.tier, need.group).take(need.slots as usize) {
            decisions.push(Decision::Demote { block, tier: need.tier, reason: Reason::Coldest });
        }
    }
}

#[test]
fn what_the_engine_says_of_its_queue_counts_until_it_is_over() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let policy = Box::new(Nosy { heard: Arc::clone(&heard) });
    let (machine, clock, pager) = build_with(Below::tight(1, 20), 10, policy);
    // Each needs the host's only slot.
    let heard_for = |letter: u32, compute_queue: Option<u64>| {
        let mut prompt = prompt(&pager, &[letter]);
        let compute_queue = compute_queue.map(Nanos::new);
        prompt.set_urgency(Urgency { compute_queue, ..Urgency::default() });
        heard.lock().clear();
        // The first makes room, the second finds it.
        for _ in 0..2 {
            let mut out = pager.offload(&prompt, &[at(0, 0)], Fence::OVER).expect("the slot is free");
            settle(&machine, &mut out);
            machine.advance_all();
        }
        pager.check();
        heard.lock().first().copied()
    };
    assert_eq!(heard_for(1, None), None, "there was room");
    assert_eq!(heard_for(2, None), Some(Nanos::ZERO), "nothing was said");
    assert_eq!(heard_for(3, Some(600)), Some(Nanos::new(600)));
    clock.advance_to(Time::from_ns(400));
    assert_eq!(heard_for(4, None), Some(Nanos::new(200)), "400 ns of it have passed");
    assert_eq!(heard_for(5, Some(50)), Some(Nanos::new(50)), "what was said last counts");
    clock.advance_to(Time::from_ns(500));
    assert_eq!(heard_for(6, None), Some(Nanos::ZERO), "it is over");
}

#[test]
fn what_is_offloaded_comes_back_into_other_slots() {
    let (machine, _clock, pager) = build();
    let prompt = prompt(&pager, &[1, 2, 3]);
    let given = [at(0, 4), at(1, 5), at(2, 6)];
    compute(&machine, &prompt, &given);
    let mut out = pager.offload(&prompt, &given, Fence::OVER).expect("slots are free");
    assert_eq!(out.poll(), [Delivery::UnderWay; 3]);
    assert_eq!(pager.lookup(&prompt), [], "I3: nothing is a hit before its transfer has ended");
    assert_eq!(settle(&machine, &mut out), [Delivery::Done; 3]);
    assert_eq!(pager.lookup(&prompt), [TierId::Host; 3]);
    pager.check();
    let wanted = [at(0, 0), at(1, 9), at(2, 1)];
    let mut back = pager.onboard(&prompt, &wanted, Fence::OVER).expect("slots are free");
    assert_eq!(settle(&machine, &mut back), [Delivery::Done; 3]);
    for BlockAt { block, slot } in wanted {
        assert_eq!(machine.device().read(GroupId::FIRST, slot), tags(&prompt, block));
    }
    pager.check();
}

#[test]
fn a_slot_named_too_early_is_refused() {
    let (machine, _clock, pager) = build();
    let prompt = prompt(&pager, &[1, 2]);
    let given = [at(0, 4), at(1, 5)];
    let mut out = pager.offload(&prompt, &given, Fence::OVER).expect("slots are free");
    for wrong in [vec![at(0, 4)], vec![at(0, 1), at(1, 1)], vec![at(0, 10)]] {
        let error = pager.onboard(&prompt, &wrong, Fence::OVER).expect_err("that slot can't be named");
        assert!(matches!(error, Error::SlotInUse { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Bug);
    }
    settle(&machine, &mut out);
    pager.onboard(&prompt, &[at(0, 4)], Fence::OVER).expect("its move has ended");
}

/// A prompt of two blocks, computed into two slots and offloaded.
fn with_two_offloaded(machine: &Machine, pager: &Pager) -> (Prompt, [BlockAt; 2]) {
    let prompt = prompt(pager, &[1, 2]);
    let given = [at(0, 4), at(1, 5)];
    compute(machine, &prompt, &given);
    let mut out = pager.offload(&prompt, &given, Fence::OVER).expect("slots are free");
    settle(machine, &mut out);
    (prompt, given)
}

#[test]
fn a_slot_that_compute_still_reads_is_written_after_it() {
    let (machine, _clock, pager) = build();
    let mut stream = machine.stream();
    let (prompt, given) = with_two_offloaded(&machine, &pager);
    // The engine gives the slot of the first block on to the second while a kernel reads the first.
    let fence = stream.fence();
    stream.read(GroupId::FIRST, given[0].slot, 0, tags(&prompt, 0), "what is in use".to_owned());
    let wanted = [at(1, 4)];
    let mut back = pager.onboard(&prompt, &wanted, fence).expect("its move has ended");
    assert_eq!(machine.advance_all(), 0, "L4: it is read");
    assert_eq!(back.poll(), [Delivery::UnderWay]);
    stream.advance(1);
    assert_eq!(settle(&machine, &mut back), [Delivery::Done]);
    assert_eq!(machine.device().read(GroupId::FIRST, wanted[0].slot), tags(&prompt, 1));
}

#[test]
fn a_slot_whose_fence_never_ends_is_given_back_untouched() {
    let (machine, clock, pager) = build();
    let mut stream = machine.stream();
    let (prompt, given) = with_two_offloaded(&machine, &pager);
    let never = stream.fence();
    let mut back = pager.onboard(&prompt, &[at(1, 4)], never).expect("its move has ended");
    let again = at(0, 6);
    compute(&machine, &prompt, &[again]);
    let other = self::prompt(&pager, &[3]);
    let mut out = pager.offload(&other, &[again], never).expect("the slot is free");
    machine.advance_all();
    clock.advance(DEADLINE);
    assert_eq!((back.poll(), out.poll()), (&[Delivery::Failed][..], &[Delivery::Failed][..]));
    assert!(!pager.is_busy());
    machine.advance_all();
    assert_eq!(machine.device().read(GroupId::FIRST, given[0].slot), tags(&prompt, 0));
    // Both lanes serve others still.
    let mut back = pager.onboard(&prompt, &[at(1, 4)], Fence::OVER).expect("it is the engine's again");
    assert_eq!(settle(&machine, &mut back), [Delivery::Done]);
    pager.check();
}

#[test]
fn what_a_held_salt_has_stays_in_the_host() {
    let (machine, _clock, pager) = build();
    let hold = pager.hold_salt(Salt(0), TierId::Host, Allowance::Slots(2)).expect("the host is there");
    let device = pager.hold_salt(Salt(0), TierId::Device, Allowance::Slots(2));
    assert!(matches!(device, Err(Error::Configuration { .. })), "{device:?}");
    let front = prompt(&pager, &[1, 2, 3]);
    for letter in 0..20 {
        let others = prompt(&pager, &[10 + letter, 10 + letter, 10 + letter]);
        for prompt in [&front, &others] {
            let given = [at(0, 4), at(1, 5), at(2, 6)];
            let mut out = pager.offload(prompt, &given, Fence::OVER).expect("slots are free");
            settle(&machine, &mut out);
            pager.check();
        }
        assert_eq!(hold.kept().in_host, 2, "the front of what came first");
        assert_eq!(pager.lookup(&front)[..2], [TierId::Host; 2]);
    }
}

#[test]
fn blocks_are_offloaded_from_the_root() {
    let (machine, _clock, pager) = build();
    let prompt = prompt(&pager, &[1, 2]);
    let mut out = pager.offload(&prompt, &[at(1, 5)], Fence::OVER).expect("the slot is free");
    assert_eq!(settle(&machine, &mut out), [Delivery::Failed]);
    pager.check();
}

#[test]
fn a_block_makes_no_room_for_the_one_after_it() {
    for has_steward in [false, true] {
        let (machine, _clock, pager) = build_over(Below { has_steward, ..Below::tight(1, 0) }, 10);
        let prompt = prompt(&pager, &[1, 2]);
        let mut ends = Vec::new();
        for given in [at(0, 4), at(1, 5)] {
            compute(&machine, &prompt, &[given]);
            let mut out = pager.offload(&prompt, &[given], Fence::OVER).expect("the slot is free");
            ends.extend(settle(&machine, &mut out));
            pager.check();
        }
        assert_eq!(ends, [Delivery::Done, Delivery::Failed]);
        assert_eq!(pager.lookup(&prompt), [TierId::Host]);
        let mut back = pager.onboard(&prompt, &[at(0, 7)], Fence::OVER).expect("the slot is free");
        assert_eq!(settle(&machine, &mut back), [Delivery::Done]);
        assert_eq!(machine.device().read(GroupId::FIRST, SlotId::from_index(7)), tags(&prompt, 0));
    }
}

/// A prompt of four blocks that are in the file alone, the host being full of another one's.
fn prompt_in_file(machine: &Machine, pager: &Pager) -> Prompt {
    let given = [at(0, 0), at(1, 1), at(2, 2), at(3, 3)];
    let prompts = [1, 2].map(|letter| prompt(pager, &[letter, 2, 3, 4]));
    for prompt in &prompts {
        // Room comes as copies of what the host has reach the file.
        while pager.lookup(prompt).len() < 4 {
            compute(machine, prompt, &given);
            let mut out = pager.offload(prompt, &given, Fence::OVER).expect("the slots are free");
            settle(machine, &mut out);
            while machine.advance_all() > 0 {
                pager.poll();
            }
        }
    }
    let [in_file, _in_host] = prompts;
    assert_eq!(pager.lookup(&in_file), [TierId::File; 4]);
    in_file
}

#[test]
fn a_suffix_comes_from_the_file_without_its_front() {
    let (machine, _clock, pager) = build_over(Below::tight(4, 20), 10);
    let prompt = prompt_in_file(&machine, &pager);
    let wanted = [at(2, 8), at(3, 9)];
    let mut back = pager.onboard(&prompt, &wanted, Fence::OVER).expect("the slots are free");
    assert_eq!(settle(&machine, &mut back), [Delivery::Done; 2]);
    for BlockAt { block, slot } in wanted {
        assert_eq!(machine.device().read(GroupId::FIRST, slot), tags(&prompt, block));
    }
    pager.check();
    assert_eq!(pager.lookup(&prompt), [TierId::File; 4], "I6: it did not stay in the host without its front");
}

#[test]
fn a_suffix_that_can_not_go_on_from_the_host_does_not_stay_there() {
    let (machine, _clock, pager) = build_over(Below { moves_queued: 1, ..Below::tight(4, 20) }, 10);
    let prompt = prompt_in_file(&machine, &pager);
    // Both have landed before either can go on, and there is room for one in the queue.
    let mut back = pager.onboard(&prompt, &[at(3, 9), at(2, 8)], Fence::OVER).expect("the slots are free");
    while pager.is_busy() {
        (0..4).for_each(|_| pager.poll());
        pager.check();
        machine.advance_all();
    }
    assert_eq!(back.poll(), [Delivery::Done, Delivery::Failed]);
    assert_eq!(pager.lookup(&prompt), [TierId::File; 4], "I6");
}

#[test]
fn sequences_are_not_opened_over_an_engines_slots() {
    let (_machine, _clock, pager) = build();
    let error = pager.open(&Request::new(&[TokenId(1)])).expect_err("the slots are not the pager's");
    assert_eq!(error.kind(), ErrorKind::Configuration);
}
