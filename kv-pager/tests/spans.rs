//! What a pager tells of itself: spans. Alone in its process, for whether a span is made at all is kept for all threads.

use kv_pager::clock::ManualClock;
use kv_pager::config::Config;
use kv_pager::ids::{Fence, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Pager, Request, Step};
use kv_pager::policy::Lru;
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::{Arc, Mutex};

/// Serves a request; all moves end when somebody waits for them.
fn serve(machine: &Machine, pager: &Pager, first: u32, blocks: u32) {
    let tokens: Vec<TokenId> = (0..blocks * 16).map(|at| TokenId(first + at)).collect();
    let mut sequence = loop {
        match pager.open(&Request::new(&tokens)) {
            Ok(sequence) => break sequence,
            Err(_busy) => machine.advance_all(),
        };
    };
    loop {
        match sequence.next_step(1 << 20).expect("room") {
            Step::Compute(range) => sequence.commit(range, Fence::OVER).expect("as told"),
            Step::Wait => _ = machine.advance_all(),
            Step::Ready => break,
        }
    }
    sequence.close(Fence::OVER);
    machine.advance_all();
    pager.poll();
}

/// Notes the names of all spans.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<&'static str>>>);

impl tracing::Subscriber for Names {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let mut names = self.0.lock().expect("nobody panicked");
        names.push(span.metadata().name());
        tracing::span::Id::from_u64(names.len() as u64)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}
    fn event(&self, _event: &tracing::Event<'_>) {}
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

#[test]
fn calls_and_transfers_are_spans() {
    let names = Names::default();
    tracing::subscriber::with_default(names.clone(), || {
        let model = shape("tiny").expect("known");
        let machine = Machine::new(&model, MachineSpec { device: 16, host: 32, file: 0, lane_limit: 4096 });
        let clock = Arc::new(ManualClock::new());
        let pager =
            Pager::new(model, Config::default(), machine.backend(), Box::new(Lru), clock).expect("fits");
        serve(&machine, &pager, 0, 8);
        serve(&machine, &pager, 1000, 12);
    });
    let names = names.0.lock().expect("nobody panicked");
    for name in ["open", "next_step", "commit", "close", "transfer"] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
}
