//! A pager over an engine's tensors on a card, through the C ABI; and what is said where there is no card.
#![expect(unsafe_code, reason = "the functions of the C ABI take pointers")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::GroupId;
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager_capi::{
    KVP_ABI_VERSION, KVP_FENCE_OVER, KvpAttention, KvpCards, KvpDType, KvpEntry, KvpGroup, KvpOptions,
    KvpPager, KvpPlane, KvpPrompt, KvpRequest, KvpSequence, KvpStatus, KvpStep, KvpStepKind, kvp_cards_fence,
    kvp_cards_wait, kvp_device_memory, kvp_last_error_message, kvp_options_init, kvp_pager_close,
    kvp_pager_open_on_cards, kvp_pager_progress, kvp_pager_wait, kvp_prompt_free, kvp_prompt_prepare,
    kvp_sequence_close, kvp_sequence_commit, kvp_sequence_next_step, kvp_sequence_open, kvp_sequence_report,
    kvp_sequence_table, kvp_sequence_wait, kvp_sequence_waits,
};
use kv_pager_cuda::{DeviceMemory, GroupTensors, Inner, Stream, open_device, probe};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

static GROUP: KvpGroup = KvpGroup {
    attention: KvpAttention::Full as u32,
    span_tokens: 0,
    sink_tokens: 0,
    layers: 2,
    entry: KvpEntry::KeyValue as u32,
    kv_heads: 2,
    head_dim: 64,
    dtype: KvpDType::Bf16 as u32,
};
static DEVICE_SLOTS: u32 = 8;
static HOST_SLOTS: u32 = 32;
/// Four blocks of 16.
const PROMPT_TOKENS: usize = 64;
const SECOND_NS: u64 = 1_000_000_000;

fn model() -> ModelLayout {
    let entry = Entry::KeyValue { kv_heads: GROUP.kv_heads, head_dim: GROUP.head_dim };
    let group = KvGroup { attention: Attention::Full, layers: GROUP.layers, entry, dtype: DType::BF16 };
    ModelLayout::new(16, vec![group]).expect("valid")
}

fn message() -> String {
    let mut text = [0_u8; 512];
    // SAFETY: room for as many bytes as is said.
    let len = unsafe { kvp_last_error_message(text.as_mut_ptr().cast(), text.len()) };
    String::from_utf8_lossy(&text[..len.min(text.len() - 1)]).into_owned()
}

fn ok(status: KvpStatus) {
    assert_eq!(status, KvpStatus::Ok, "{}", message());
}

/// What a call writes.
fn told<T>(call: impl FnOnce(&mut MaybeUninit<T>) -> KvpStatus) -> T {
    let mut value = MaybeUninit::uninit();
    ok(call(&mut value));
    // SAFETY: a call that went well has written.
    unsafe { value.assume_init() }
}

/// What a call lends until its sequence's next change.
fn borrowed<T: Copy>(
    call: impl FnOnce(&mut MaybeUninit<*const T>, &mut MaybeUninit<usize>) -> KvpStatus,
) -> Vec<T> {
    let mut start = MaybeUninit::uninit();
    let len = told(|len| call(&mut start, len));
    // SAFETY: a call that went well has written both.
    let start = unsafe { start.assume_init() };
    // SAFETY: so much is lent, and copied before anything else is called.
    unsafe { std::slice::from_raw_parts(start, len) }.to_vec()
}

fn options(host_slots: Option<&u32>) -> KvpOptions {
    let struct_bytes = u32::try_from(size_of::<KvpOptions>()).expect("small");
    let options = told(|options| kvp_options_init(Some(options), KVP_ABI_VERSION, struct_bytes));
    KvpOptions {
        groups: &raw const GROUP,
        groups_len: 1,
        device_slots: &raw const DEVICE_SLOTS,
        host_slots: host_slots.map_or(ptr::null(), ptr::from_ref),
        sequences_max: 4,
        sequence_tokens_max: 128,
        ..options
    }
}

/// Opens over these planes on card 0.
fn open(planes: &[KvpPlane], host_slots: Option<&u32>) -> Result<*mut KvpPager, (KvpStatus, String)> {
    let device = 0_u32;
    let cards = KvpCards {
        devices: &raw const device,
        devices_len: 1,
        planes: planes.as_ptr(),
        planes_len: planes.len(),
    };
    let (options, mut pager) = (options(host_slots), MaybeUninit::uninit());
    // SAFETY: lengths are those of what is pointed to; the tensors are memory of the card's, or refused before they are used.
    match unsafe { kvp_pager_open_on_cards(&raw const options, Some(&cards), Some(&mut pager)) } {
        // SAFETY: a call that went well has written.
        KvpStatus::Ok => Ok(unsafe { pager.assume_init() }),
        status => Err((status, message())),
    }
}

/// The planes of one tensor `[slots, layers, 2, tokens, heads, dim]` at `base`.
fn planes(base: u64) -> Vec<KvpPlane> {
    let tensors = GroupTensors::block_major((&model(), GroupId::FIRST), DEVICE_SLOTS, base, Inner::Nhd);
    let plane = |plane: &kv_pager_cuda::Plane| KvpPlane {
        base: plane.base,
        slot_stride: plane.strides.slot,
        token_stride: plane.strides.token,
        head_stride: plane.strides.head,
    };
    tensors.planes.iter().map(plane).collect()
}

#[test]
fn what_does_not_fit_is_said() {
    let (status, why) = open(&planes(1 << 20)[1..], Some(&HOST_SLOTS)).expect_err("a plane is missing");
    assert_eq!(status, KvpStatus::Argument);
    assert!(why.contains("3 planes") && why.contains("have 4"), "{why}");
    let (status, why) = open(&planes(1 << 20), None).expect_err("no host memory");
    assert_eq!(status, KvpStatus::Argument);
    assert!(why.contains("host_slots"), "{why}");
    if let Err(absent) = probe() {
        let (status, why) = open(&planes(1 << 20), Some(&HOST_SLOTS)).expect_err("no card");
        assert_eq!(status, KvpStatus::Configuration, "{absent}: {why}");
    }
}

/// An engine on card 0: a tensor, a stream, and a pager over the tensor.
struct Engine {
    pager: *mut KvpPager,
    memory: DeviceMemory,
    stream: Stream,
    part_bytes: usize,
}

impl Engine {
    fn pager(&self) -> &KvpPager {
        // SAFETY: it was just made, and is closed last.
        unsafe { &*self.pager }
    }

    fn handles(&self) -> [*mut c_void; 1] {
        [self.stream.raw().handle()]
    }

    fn fence(&self) -> u64 {
        let handles = self.handles();
        // SAFETY: one live stream.
        told(|fence| unsafe { kvp_cards_fence(Some(self.pager()), handles.as_ptr(), 1, Some(fence)) })
    }

    /// What the part of block `at` of prompt `letter` holds.
    fn bytes(&self, letter: u32, at: usize) -> Vec<u8> {
        let seed = letter as usize * 131 + at * 17;
        (0..self.part_bytes).map(|index| (index * 7 + index / 251 + seed).to_le_bytes()[0]).collect()
    }

    fn table(sequence: &KvpSequence) -> Vec<u32> {
        borrowed(|slots, len| kvp_sequence_table(Some(sequence), 0, Some(slots), Some(len)))
    }

    /// Serves a prompt to its end, checks all of its bytes, and returns the tokens that came from each tier.
    fn serve(&self, letter: u32) -> [u64; 3] {
        let tokens: Vec<u32> = (0..).map(|at| letter * 1000 + at).take(PROMPT_TOKENS).collect();
        let request = KvpRequest {
            tokens: tokens.as_ptr(),
            tokens_len: tokens.len(),
            extra_keys: ptr::null(),
            extra_keys_len: 0,
            salt: 0,
            time_to_live_ns: 0,
            deadline_ns: 0,
            compute_queue_ns: 0,
            waiting: 0,
            priority: 1,
        };
        // SAFETY: as many tokens as is said.
        let prompt: *mut KvpPrompt =
            told(|prompt| unsafe { kvp_prompt_prepare(Some(self.pager()), Some(&request), Some(prompt)) });
        // SAFETY: just made.
        let prompt = unsafe { Box::from_raw(prompt) };
        let sequence =
            self.retried(|sequence| kvp_sequence_open(Some(self.pager()), Some(&prompt), Some(sequence)));
        kvp_prompt_free(Some(prompt));
        // SAFETY: just made; closed below.
        let open: &KvpSequence = unsafe { &*sequence };
        loop {
            let step: KvpStep = self.retried(|step| kvp_sequence_next_step(Some(open), 32, Some(step)));
            match step.kind {
                KvpStepKind::Ready => break,
                KvpStepKind::Wait => ok(kvp_sequence_wait(Some(open), SECOND_NS, None)),
                KvpStepKind::Compute => {
                    for at in step.first / 16..step.end.div_ceil(16) {
                        let slot = Self::table(open)[at] as usize;
                        let bytes = self.bytes(letter, at);
                        self.memory.write(slot * self.part_bytes, &bytes).expect("a card that works");
                    }
                    ok(kvp_sequence_commit(Some(open), step.first, step.end, self.fence()));
                }
            }
        }
        self.verify(open, letter);
        let report = told(|report| kvp_sequence_report(Some(open), Some(report)));
        // SAFETY: it was made by this library, and is not used after.
        ok(kvp_sequence_close(Some(unsafe { Box::from_raw(sequence) }), self.fence()));
        report.hit_tokens
    }

    fn verify(&self, open: &KvpSequence, letter: u32) {
        let fences = borrowed(|fences, len| kvp_sequence_waits(Some(open), Some(fences), Some(len)));
        for fence in fences {
            // SAFETY: a live stream.
            ok(unsafe { kvp_cards_wait(Some(self.pager()), 0, self.handles()[0], fence) });
        }
        for (at, slot) in Self::table(open).into_iter().enumerate() {
            let mut found = vec![0; self.part_bytes];
            self.memory.read(slot as usize * self.part_bytes, &mut found).expect("a card that works");
            assert!(found == self.bytes(letter, at), "block {at} of prompt {letter}");
        }
    }

    /// What a call writes in the end, that may have to be made again.
    fn retried<T>(&self, mut call: impl FnMut(&mut MaybeUninit<T>) -> KvpStatus) -> T {
        let mut value = MaybeUninit::uninit();
        for _ in 0..1000 {
            let seen = told(|seen| kvp_pager_progress(Some(self.pager()), Some(seen)));
            match call(&mut value) {
                KvpStatus::Retry => ok(kvp_pager_wait(Some(self.pager()), seen, SECOND_NS, None)),
                status => {
                    ok(status);
                    // SAFETY: a call that went well has written.
                    return unsafe { value.assume_init() };
                }
            }
        }
        panic!("it was never served");
    }
}

#[test]
fn an_engines_tensors_are_served_and_come_back_from_pinned_memory() {
    if let Err(absent) = probe() {
        eprintln!("an_engines_tensors_are_served_and_come_back_from_pinned_memory: skipped: {absent}");
        return;
    }
    let device = open_device(0).expect("a card that was found");
    let part_bytes = model().part_bytes(GroupId::FIRST).as_usize();
    let memory = DeviceMemory::allocate(&device, part_bytes * DEVICE_SLOTS as usize).expect("memory");
    let pager = open(&planes(memory.address()), Some(&HOST_SLOTS)).expect("a card, and what fits it");
    let engine = Engine { pager, memory, stream: Stream::new(&device).expect("a stream"), part_bytes };
    let refused = kvp_device_memory(Some(engine.pager()), 0, Some(&mut MaybeUninit::uninit()));
    assert_eq!(refused, KvpStatus::Argument, "the engine has the addresses");
    // SAFETY: a live stream; the rank is refused.
    let refused = unsafe { kvp_cards_wait(Some(engine.pager()), 1, engine.handles()[0], KVP_FENCE_OVER) };
    assert_eq!(refused, KvpStatus::Argument);
    for letter in 1..=4 {
        assert_eq!(engine.serve(letter), [0; 3], "nobody has asked for it before");
    }
    let clock = MonotonicClock::new();
    let start = clock.now();
    let [_, from_host, _] = engine.serve(1);
    assert!(from_host > 0, "the tensor has room for two prompts, and this one was the first of four");
    assert!(clock.now().since(start).as_u64() < 60 * SECOND_NS);
    assert!(engine.serve(1)[0] > 0, "it is on the card now");
    // SAFETY: it was made by this library, and its sequences are closed.
    ok(kvp_pager_close(Some(unsafe { Box::from_raw(engine.pager) })));
}
