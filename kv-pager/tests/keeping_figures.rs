//! What the keeping policies must hit: on a recorded conversation trace, where there is one, and on made-up streams.

use kv_pager::policy::keeping::shadow::{Belady, Footprint, Named, Shadow};
use kv_pager::policy::keeping::{Arm, Bounds, Departure, EntryId, Keeping, Touch, Visit};
use kv_pager_testkit::scenario::Scenario;
use kv_pager_testkit::trace::{TOKENS_PER_ID, Trace, locate};
use kv_pager_testkit::workload::Workload;
use std::collections::HashMap;

/// The conversation trace has this many requests and blocks; figures hold for it alone.
const CONVERSATION: (usize, u64) = (12_031, 288_500);

/// How far below `lru` the default may fall, in hits per reference.
const BELOW_LRU_MAX: f64 = 0.005;

/// References of the shortest stream of which that is said.
const SHORT: u64 = 20_000;

fn footprints(stream: &Trace) -> impl Iterator<Item = Vec<Named>> + '_ {
    stream
        .requests()
        .iter()
        .map(|request| (0..).zip(&request.ids).map(|(depth, &name)| Named { name, depth }).collect())
}

fn length(blocks: &[Named]) -> u32 {
    u32::try_from(blocks.len()).expect("a request is short")
}

/// The prefix hit rate of an arm.
fn hit_rate(stream: &Trace, arm: Arm, capacity: u32) -> f64 {
    let request_blocks = footprints(stream).map(|blocks| length(&blocks)).max().unwrap_or(1);
    let mut shadow = Shadow::new(arm, &Bounds { capacity, request_blocks, tokens_per_block: TOKENS_PER_ID });
    for blocks in footprints(stream) {
        shadow.request(&Footprint { length: length(&blocks), blocks: &blocks });
    }
    shadow.check();
    shadow.tally().prefix_hit_rate()
}

fn belady(stream: &Trace) -> Belady {
    let mut belady = Belady::new();
    for blocks in footprints(stream) {
        belady.push(&Footprint { length: length(&blocks), blocks: &blocks });
    }
    belady
}

/// The conversation trace, or nothing and a word about it.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn conversation() -> Option<Trace> {
    let trace = locate().map(|path| Trace::read(&path).expect("the trace can be read"));
    let trace = trace.filter(|trace| (trace.requests().len(), trace.references()) == CONVERSATION);
    if trace.is_none() {
        eprintln!(
            "no conversation trace here: its figures are not checked; the built-in workload is, beside this"
        );
    }
    trace
}

#[test]
fn the_default_reaches_its_figures_on_the_conversation_trace() {
    let Some(trace) = conversation() else { return };
    for (capacity, least) in
        [(913, 0.074), (1_827, 0.097), (3_655, 0.137), (9_139, 0.219), (18_279, 0.290), (36_558, 0.344)]
    {
        let rate = hit_rate(&trace, Arm::default(), capacity);
        assert!(rate >= least, "{rate:.4} at {capacity} blocks, not {least}");
    }
}

#[test]
fn lru_slru_and_the_bound_are_those_of_the_independent_simulator() {
    let Some(trace) = conversation() else { return };
    let belady = belady(&trace);
    for (capacity, lru, slru, bound) in [
        (913, 0.044, 0.048, 0.183),
        (1_827, 0.052, 0.058, 0.246),
        (3_655, 0.079, 0.087, 0.314),
        (9_139, 0.196, 0.178, 0.366),
        (18_279, 0.279, 0.275, 0.366),
        (36_558, 0.345, 0.328, 0.366),
        (91_395, 0.363, 0.363, 0.366),
    ] {
        let near = |rate: f64, expected: f64| (rate - expected).abs() < 0.001;
        let rates = [Arm::Lru, Arm::Slru].map(|arm| hit_rate(&trace, arm, capacity));
        assert!(near(rates[0], lru), "lru {:.4} at {capacity}, not {lru}", rates[0]);
        assert!(near(rates[1], slru), "slru {:.4} at {capacity}, not {slru}", rates[1]);
        let rate = belady.serve(capacity).prefix_hit_rate();
        assert!(near(rate, bound), "belady {rate:.4} at {capacity}, not {bound}");
    }
}

/// The prefix hit rate of an arm that may evict any entry, parents before their children too.
fn hit_rate_without_leaf_rule(stream: &Trace, arm: Arm, capacity: u32) -> f64 {
    let request_blocks = footprints(stream).map(|blocks| length(&blocks)).max().unwrap_or(1);
    let bounds = Bounds { capacity, request_blocks, tokens_per_block: TOKENS_PER_ID };
    let mut keeping: Box<dyn Keeping> = arm.build(&bounds);
    let mut entries: HashMap<u64, EntryId> = HashMap::new();
    let mut names = vec![0; bounds.entries() as usize];
    let mut free: Vec<EntryId> = (0..bounds.entries()).map(EntryId::new).collect();
    let (mut hits, mut references) = (0_u32, 0_u32);
    for blocks in footprints(stream) {
        references += length(&blocks);
        hits +=
            length(&blocks[..blocks.iter().take_while(|block| entries.contains_key(&block.name)).count()]);
        let touch = |&Named { name, depth }: &Named| {
            let entry =
                *entries.entry(name).or_insert_with(|| free.pop().expect("there is room for a request"));
            names[entry.index()] = name;
            Touch { entry, name, depth }
        };
        let touches: Vec<Touch> = blocks.iter().map(touch).collect();
        keeping.visit(&Visit { length: length(&blocks), touches: &touches, absent: &[] });
        for touch in &touches {
            keeping.offer(&[touch.entry]);
        }
        while keeping.len() > capacity as usize {
            let victim = keeping.victim().expect("everything is offered");
            keeping.depart(victim, Departure::Evicted);
            entries.remove(&names[victim.index()]);
            free.push(victim);
        }
    }
    f64::from(hits) / f64::from(references)
}

#[test]
fn without_the_leaf_rule_s3fifo_is_that_of_the_independent_simulator() {
    let Some(trace) = conversation() else { return };
    for (capacity, expected) in
        [(913, 0.055), (1_827, 0.075), (3_655, 0.107), (9_139, 0.187), (18_279, 0.245), (36_558, 0.328)]
    {
        let rate = hit_rate_without_leaf_rule(&trace, Arm::S3Fifo, capacity);
        assert!((rate - expected).abs() < 0.001, "{rate:.4} at {capacity}, not {expected}");
    }
}

/// Asserts that the default is never below `lru` by more than it may, and nobody above the bound, at capacities in thousandths of the
/// unique blocks.
fn check_against_lru(name: &str, stream: &Trace, thousandths: &[u32]) {
    let belady = belady(stream);
    let unique = u32::try_from(belady.unique_blocks()).expect("streams are short");
    for thousandths in thousandths {
        let capacity = (unique * thousandths).div_ceil(1000);
        let lru = hit_rate(stream, Arm::Lru, capacity);
        let rate = hit_rate(stream, Arm::default(), capacity);
        let bound = belady.serve(capacity).prefix_hit_rate();
        assert!(
            rate >= lru - BELOW_LRU_MAX,
            "{name}: {rate:.4} at {capacity} of {unique} blocks, where lru has {lru:.4}"
        );
        assert!(rate <= bound + 1e-9, "{name}: {rate:.4} at {capacity}, above the bound of {bound:.4}");
    }
}

#[test]
fn the_default_is_not_below_lru_where_the_model_is_wrong() {
    for scenario in Scenario::ALL {
        let stream = scenario.generate(1);
        check_against_lru(&format!("{scenario:?}"), &stream, &[10, 30, 100, 300]);
    }
}

/// A single long prompt is worth as much as the default may lose on so short a stream.
#[test]
fn nor_on_the_shortest_streams_that_count() {
    for scenario in Scenario::ALL {
        for seed in 1..=3 {
            let mut stream = scenario.generate(seed);
            stream.truncate_references(SHORT);
            let name = format!("{scenario:?} of seed {seed}, cut");
            check_against_lru(&name, &stream, &[10, 20, 50, 100, 200, 500]);
        }
    }
}

#[test]
fn nor_on_the_built_in_workload() {
    let stream = Workload::new(1, 6_000).generate();
    check_against_lru("workload", &stream, &[10, 30, 100, 300]);
}

#[test]
fn twice_the_memory_never_hits_less_by_lru() {
    let stream = Workload::new(2, 2_000).generate();
    let rates: Vec<f64> = [50, 100, 200, 400].map(|capacity| hit_rate(&stream, Arm::Lru, capacity)).to_vec();
    assert!(rates.is_sorted(), "{rates:?}");
}
