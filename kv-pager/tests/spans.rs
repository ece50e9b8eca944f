//! What a pager tells of itself: spans. Alone in its process, for whether a span is made at all is kept for all threads.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Config, DeviceOwner};
use kv_pager::ids::{Fence, SlotId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{BlockAt, Pager, Request, Step};
use kv_pager::policy::Lru;
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What each call gives its span, by the list in `docs/telemetry.md`.
const SPANS: [(&str, &[&str]); 12] = [
    ("append", &["sequence", "tokens"]),
    ("close", &["sequence"]),
    ("commit", &["computed", "sequence"]),
    ("fork", &["sequence"]),
    ("lookup", &["tokens"]),
    ("next_step", &["sequence"]),
    ("offload", &["tokens"]),
    ("onboard", &["tokens"]),
    ("open", &["tokens"]),
    ("open_prompt", &["tokens"]),
    ("transfer", &["busy_ns", "bytes", "lane", "moves"]),
    ("truncate", &["sequence", "tokens"]),
];

fn machine_and_pager(owner: DeviceOwner) -> (Machine, Pager) {
    let model = shape("tiny").expect("known");
    let machine = Machine::new(&model, MachineSpec { device: 16, host: 32, file: 0, lane_limit: 4096 });
    let clock = Arc::new(ManualClock::new());
    let config = Config { device_owner: owner, ..Config::default() };
    let pager = Pager::new(model, config, machine.backend(), Box::new(Lru), clock).expect("fits");
    (machine, pager)
}

fn tokens(blocks: u32) -> Vec<TokenId> {
    (0..blocks * 16).map(TokenId).collect()
}

/// All calls of an engine whose device slots are the pager's.
fn use_managed_slots() {
    let (_machine, pager) = machine_and_pager(DeviceOwner::Managed);
    let tokens = tokens(2);
    drop(pager.open_prompt(&pager.prepare(&Request::new(&tokens))).expect("room"));
    let mut sequence = pager.open(&Request::new(&tokens)).expect("room");
    let Step::Compute(range) = sequence.next_step(1 << 20).expect("room") else {
        panic!("nothing is cached")
    };
    sequence.commit(range, Fence::OVER).expect("as told");
    sequence.append(&tokens[..1]).expect("room");
    sequence.truncate(2, Fence::OVER);
    drop(sequence.fork().expect("room"));
    sequence.close(Fence::OVER);
}

/// All calls of one that owns them, and the moves that they cause.
fn use_own_slots() {
    let (machine, pager) = machine_and_pager(DeviceOwner::Engine);
    let prompt = pager.prepare(&Request::new(&tokens(2)));
    let slot = BlockAt { block: 0, slot: SlotId::from_index(3) };
    drop(pager.offload(&prompt, &[slot], Fence::OVER).expect("the slot is the engine's"));
    machine.advance_all();
    assert_eq!(pager.lookup(&prompt).len(), 1);
    drop(pager.onboard(&prompt, &[slot], Fence::OVER).expect("its move has ended"));
    machine.advance_all();
    pager.poll();
}

/// Notes the names of all spans, and of their fields that were given something.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    names: Vec<&'static str>,
    fields: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

impl Noted {
    fn note(&self, name: &'static str, fields: impl FnOnce(&mut Fields)) {
        let mut given = Fields::default();
        fields(&mut given);
        self.0.lock().expect("nobody panicked").fields.entry(name).or_default().extend(given.0);
    }
}

#[derive(Default)]
struct Fields(Vec<&'static str>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, _value: &dyn std::fmt::Debug) {
        self.0.push(field.name());
    }
}

impl tracing::Subscriber for Noted {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let name = span.metadata().name();
        self.note(name, |fields| span.record(fields));
        let names = &mut self.0.lock().expect("nobody panicked").names;
        names.push(name);
        tracing::span::Id::from_u64(names.len() as u64)
    }

    fn record(&self, span: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        let place = usize::try_from(span.into_u64()).expect("few") - 1;
        let name = self.0.lock().expect("nobody panicked").names[place];
        self.note(name, |fields| values.record(fields));
    }

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}
    fn event(&self, _event: &tracing::Event<'_>) {}
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

#[test]
fn calls_and_transfers_are_spans() {
    let noted = Noted::default();
    tracing::subscriber::with_default(noted.clone(), || {
        use_managed_slots();
        use_own_slots();
    });
    let found = &noted.0.lock().expect("nobody panicked").fields;
    let expected = SPANS.map(|(name, fields)| (name, fields.iter().copied().collect::<BTreeSet<_>>()));
    assert_eq!(*found, BTreeMap::from(expected));
}
