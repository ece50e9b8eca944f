//! What a pager tells of itself: metrics and events.
#![expect(clippy::float_cmp, reason = "counts are exact in a float")]

use kv_pager::clock::{ManualClock, Time};
use kv_pager::config::{Config, Limits};
use kv_pager::event::BlockEvent;
use kv_pager::ids::{Fence, PrefixHash, Salt, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Pager, Request, Sequence, Step};
use kv_pager::policy::Lru;
use kv_pager::telemetry::{Kind, METRICS, Telemetry};
use kv_pager::tier::Health;
use kv_pager::units::Nanos;
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::HashSet;
use std::sync::Arc;

const DOCUMENT: &str = include_str!("../../docs/telemetry.md");

/// A pager over 16 device slots, 32 host slots, and lanes that go on when they are told.
struct Rig {
    machine: Machine,
    clock: Arc<ManualClock>,
    pager: Pager,
}

impl Rig {
    fn new(events: u32) -> Self {
        let model = shape("tiny").expect("known");
        let machine = Machine::new(&model, MachineSpec { device: 16, host: 32, file: 0, lane_limit: 4096 });
        let clock = Arc::new(ManualClock::new());
        let config = Config { limits: Limits { events, ..Limits::default() }, ..Config::default() };
        let pager =
            Pager::new(model, config, machine.backend(), Box::new(Lru), Arc::<ManualClock>::clone(&clock));
        Self { machine, clock, pager: pager.expect("fits") }
    }

    /// Lets a millisecond pass, and then all moves end.
    fn advance(&self) {
        self.clock.advance(Nanos::from_millis(1));
        self.machine.advance_all();
        self.pager.poll();
    }

    fn open(&self, first: u32, blocks: u32) -> Sequence {
        let tokens: Vec<TokenId> = (0..blocks * 16).map(|at| TokenId(first + at)).collect();
        loop {
            match self.pager.open(&Request::new(&tokens)) {
                Ok(sequence) => return sequence,
                Err(_busy) => self.advance(),
            }
        }
    }

    /// Serves a request in a step of a millisecond.
    fn serve(&self, first: u32, blocks: u32) {
        let mut sequence = self.open(first, blocks);
        loop {
            match sequence.next_step(1 << 20).expect("room") {
                Step::Compute(range) => {
                    self.clock.advance(Nanos::from_millis(1));
                    sequence.commit(range, Fence::OVER).expect("as told");
                }
                Step::Wait => self.advance(),
                Step::Ready => break,
            }
        }
        sequence.close(Fence::OVER);
        self.advance();
    }

    fn recorder(&self) -> (PrometheusRecorder, PrometheusHandle, Telemetry) {
        let recorder = PrometheusBuilder::new().build_recorder();
        let text = recorder.handle();
        let telemetry = metrics::with_local_recorder(&recorder, || Telemetry::new(&self.pager));
        (recorder, text, telemetry)
    }
}

/// The value in the line that begins with `series`.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

#[test]
fn every_metric_is_documented_and_published() {
    let rig = Rig::new(64);
    let (_recorder, text, mut telemetry) = rig.recorder();
    rig.serve(0, 8);
    rig.serve(1000, 12);
    rig.serve(0, 8);
    telemetry.publish();
    let text = text.render();
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = metric.labels.join(", ");
        let row = format!(
            "| `{}` | {kind} | {} | {labels} | {} |",
            metric.name,
            metric.unit.as_str(),
            metric.meaning
        );
        assert!(DOCUMENT.contains(&row), "docs/telemetry.md lacks\n{row}");
        let series = text.lines().find(|line| line.starts_with(metric.name));
        let series = series.unwrap_or_else(|| panic!("{} was not published", metric.name));
        for label in metric.labels {
            assert!(series.contains(&format!("{label}=\"")), "{series} has no {label}");
        }
    }
    let told = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let known: HashSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    for name in told {
        assert!(known.contains(name), "{name} is published, and not in the list");
    }
}

/// 8 blocks, then 12 of another prompt: at least 4 of the first leave for the host. Then the first again: they come back.
#[test]
fn the_numbers_are_those_of_what_was_done() {
    let rig = Rig::new(1024);
    let (_recorder, text, mut telemetry) = rig.recorder();
    rig.serve(0, 8);
    rig.serve(1000, 12);
    let before = rig.pager.stats();
    rig.serve(0, 8);
    telemetry.publish();
    let stats = rig.pager.stats();
    let text = text.render();
    let found = |series: &str| value(&text, series);
    assert_eq!(found("kv_pager_requests_total"), 3.0);
    assert_eq!(found("kv_pager_query_tokens_total"), f64::from((8 + 12 + 8) * 16));
    let hits = |tier: &str| found(&format!("kv_pager_hit_tokens_total{{tier=\"{tier}\"}}"));
    // The last of the 8 blocks is computed again, for its last token's logits.
    assert_eq!(hits("device") + hits("host"), 7.0 * 16.0);
    assert!(hits("host") >= 4.0 * 16.0, "{text}");
    assert_eq!(found("kv_pager_hit_bytes_total{tier=\"host\"}"), hits("host") / 16.0 * 8192.0);
    assert_eq!(found("kv_pager_computed_tokens_total"), f64::from((8 + 12 + 1) * 16));
    let demoted = found("kv_pager_evictions_total{tier=\"device\",reason=\"demoted\"}");
    let clean = found("kv_pager_evictions_total{tier=\"device\",reason=\"clean\"}");
    assert!(demoted >= 4.0 && demoted + clean == gauge(stats.evictions[0]), "{text}");
    assert_eq!(found("kv_pager_evictions_total{tier=\"device\",reason=\"dropped\"}"), 0.0);
    let moved = |lane: &str| found(&format!("kv_pager_lane_moves_total{{lane=\"{lane}\"}}"));
    assert_eq!(moved("host->device") * 16.0, hits("host"));
    assert_eq!(found("kv_pager_lane_bytes_total{lane=\"device->host\"}"), moved("device->host") * 8192.0);
    // Each move was asked for, waited a millisecond, and ended.
    assert_eq!(found("kv_pager_lane_move_seconds_count{lane=\"host->device\"}"), moved("host->device"));
    let spent = found("kv_pager_lane_move_seconds_sum{lane=\"host->device\"}") / moved("host->device");
    assert!((0.0009..0.0011).contains(&spent), "{spent}");
    assert_eq!(found("kv_pager_first_token_seconds_count"), 3.0);
    let spent = found("kv_pager_first_token_seconds_sum");
    assert!((0.0036..0.0044).contains(&spent), "three steps and a load of a millisecond each: {spent}");
    let slots = |state| found(&format!("kv_pager_tier_slots{{tier=\"host\",state=\"{state}\"}}"));
    assert_eq!(slots("free") + slots("resident"), 32.0);
    assert_eq!(found("kv_pager_tier_used_bytes{tier=\"host\"}"), slots("resident") * 8192.0);
    assert_eq!(found("kv_pager_tier_capacity_bytes{tier=\"host\"}"), 32.0 * 8192.0);
    let took = rig.pager.now().since(Time::START).as_secs_f64();
    let rate = found("kv_pager_tokens_per_second{source=\"computed\"}");
    assert!((rate * took - f64::from((8 + 12 + 1) * 16)).abs() < 1e-6, "{rate}");
    assert!(before.requests < stats.requests);
}

fn gauge(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("small"))
}

#[test]
fn what_waits_for_a_lane_shows_as_its_depth() {
    let rig = Rig::new(1024);
    let (_recorder, text, mut telemetry) = rig.recorder();
    rig.serve(0, 8);
    rig.serve(1000, 12);
    let mut sequence = rig.open(0, 8);
    assert_eq!(sequence.next_step(1024).expect("room"), Step::Wait);
    telemetry.publish();
    let under_way = |text: &str| value(text, "kv_pager_lane_in_flight_bytes{lane=\"host->device\"}");
    assert!(under_way(&text.render()) >= 4.0 * 8192.0, "{}", text.render());
    assert_eq!(value(&text.render(), "kv_pager_open_sequences"), 1.0);
    drop(sequence);
    rig.advance();
    telemetry.publish();
    assert_eq!(under_way(&text.render()), 0.0);
    assert_eq!(value(&text.render(), "kv_pager_open_sequences"), 0.0);
    let told = value(&text.render(), "kv_pager_first_token_seconds_count");
    telemetry.publish();
    assert_eq!(value(&text.render(), "kv_pager_first_token_seconds_count"), told, "each span is told once");
    assert_eq!(told, 2.0, "the third request never had its prompt");
}

/// Follows the events as a router would.
#[derive(Default)]
struct Follower {
    copies: HashSet<(PrefixHash, TierId)>,
    next: u64,
    moved: usize,
    cleared: usize,
}

impl Follower {
    /// Returns whether something was lost.
    fn follow(&mut self, pager: &Pager) -> bool {
        let mut events = Vec::new();
        let first = pager.drain_events(&mut events);
        let is_lost = first > self.next;
        self.next = first + events.len() as u64;
        for event in events {
            match event {
                BlockEvent::Stored { hash, tier, .. } => {
                    self.copies.insert((hash, tier));
                }
                BlockEvent::Moved { hash, source, target } => {
                    assert!(self.copies.contains(&(hash, target)) || is_lost, "{event:?}");
                    self.copies.remove(&(hash, source));
                    self.moved += 1;
                }
                BlockEvent::Removed { hash, tier } => {
                    self.copies.remove(&(hash, tier));
                }
                BlockEvent::Cleared => {
                    self.copies.clear();
                    self.cleared += 1;
                }
                other => panic!("unknown {other:?}"),
            }
        }
        is_lost
    }

    fn in_tier(&self, tier: TierId) -> usize {
        self.copies.iter().filter(|(_, own)| *own == tier).count()
    }
}

#[test]
fn a_router_that_follows_the_events_knows_where_blocks_are() {
    let rig = Rig::new(1024);
    let mut router = Follower::default();
    for (first, blocks) in [(0, 8), (1000, 12), (0, 8), (5000, 16), (1000, 12), (9000, 15)] {
        rig.serve(first, blocks);
        assert!(!router.follow(&rig.pager));
        for tier in [TierId::Device, TierId::Host] {
            let stats = rig.pager.stats();
            let report = stats.tiers.iter().find(|report| report.tier == tier).expect("there");
            let named: u64 = report.slots[2..4].iter().sum();
            assert_eq!(router.in_tier(tier) as u64, named, "{tier}: resident or leaving");
        }
    }
    assert!(router.moved > 8, "{}", router.moved);
    rig.pager.invalidate_all().expect("nothing is durable here");
    assert!(!router.follow(&rig.pager));
    assert_eq!((router.copies.len(), router.cleared), (0, 1));
}

#[test]
fn what_is_stored_after_an_erasure_has_begun_is_not_told_of_as_cleared() {
    let rig = Rig::new(1024);
    rig.serve(0, 8);
    let mut events = Vec::new();
    rig.pager.drain_events(&mut events);
    events.clear();
    assert_eq!(rig.pager.invalidate_all().expect("nothing is durable here"), 8);
    rig.pager.drain_events(&mut events);
    // Others may store between any two slices: whatever follows counts.
    assert_eq!(events.remove(0), BlockEvent::Cleared);
    let removed = events.iter().filter(|event| matches!(event, BlockEvent::Removed { .. })).count();
    assert_eq!((removed, events.len()), (8, 8), "{events:?}");
}

#[test]
fn a_router_learns_once_that_what_a_tier_held_is_lost() {
    for (lost, place) in [(TierId::Host, 1), (TierId::Device, 0)] {
        let rig = Rig::new(1024);
        let mut router = Follower::default();
        rig.serve(0, 8);
        rig.serve(1000, 12);
        // Some are on their way down when it happens, and one sequence goes on with what it has.
        let mut sequence = rig.open(2000, 6);
        rig.pager.poll();
        assert!(!router.follow(&rig.pager));
        let left = if lost == TierId::Host { TierId::Device } else { TierId::Host };
        let (before, kept) = (router.in_tier(lost), router.in_tier(left));
        assert!(before > 0 && kept > 0, "{before} {kept}");
        rig.machine.tiers()[place].set_health(Health::Lost { why: "a test".into() });
        rig.pager.poll();
        assert!(!router.follow(&rig.pager));
        assert_eq!((router.in_tier(lost), router.in_tier(left)), (0, kept));
        if let Ok(Step::Compute(range)) = sequence.next_step(1024) {
            sequence.commit(range, Fence::OVER).expect("as told");
        }
        drop(sequence);
        for _ in 0..4 {
            rig.advance();
        }
        rig.pager.invalidate(Salt::default()).expect("nothing is durable here");
        let mut events = Vec::new();
        rig.pager.drain_events(&mut events);
        let tells_of = |event: &BlockEvent| match event {
            BlockEvent::Stored { tier, .. } | BlockEvent::Removed { tier, .. } => *tier == lost,
            BlockEvent::Moved { source, target, .. } => *source == lost || *target == lost,
            other => panic!("{other:?}"),
        };
        assert!(!events.iter().any(tells_of), "{lost}: {events:?}");
    }
}

#[test]
fn a_router_that_reads_too_late_sees_that_it_has_lost_something() {
    let rig = Rig::new(8);
    let mut router = Follower::default();
    rig.serve(0, 8);
    assert!(!router.follow(&rig.pager), "8 events, and room for 8");
    rig.serve(1000, 12);
    assert!(router.follow(&rig.pager));
}
