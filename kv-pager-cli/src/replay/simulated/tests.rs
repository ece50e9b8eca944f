use super::{Arrivals, Scenario, VirtualFindings, Watch};
use crate::interrupt::Interrupt;
use indicatif::ProgressBar;
use kv_pager::config::Promotion;
use kv_pager::cost::machine::VirtualTierSize;
use kv_pager::cost::{LaneCost, LaneProfile, Node, PrefillCost, PrefillProfile, Profile};
use kv_pager::ids::TierId;
use kv_pager::layout::{Format, shape};
use kv_pager::policy::Lru;
use kv_pager::tier::LaneEnds;
use kv_pager::units::Bytes;
use kv_pager_testkit::trace::{TokenSource, Trace, TraceLimits};
use kv_pager_testkit::workload::Workload;

/// A block of the model `tiny`.
const BLOCK: Bytes = Bytes::new(8192);

/// A machine whose lanes take a microsecond a block, and whose device takes one a token, in steps of at most 1,024.
fn profile() -> Profile {
    let ends = [(TierId::Device, TierId::Host), (TierId::Host, TierId::Device)];
    let cost = LaneCost::uniform(0.0, 0.0, 8.192e9, Bytes::mib(1));
    let lane = |(source, target)| LaneProfile::new(LaneEnds { source, target }, &cost);
    let node = |tokens: u32| Node { tokens, base_ns: f64::from(tokens) * 1e3, ..Node::default() };
    Profile {
        version: Profile::VERSION,
        machine: "a machine of round numbers".to_owned(),
        model: "tiny".to_owned(),
        lanes: ends.map(lane).to_vec(),
        prefill: PrefillProfile::new(1024, &PrefillCost::new(None, &[node(1), node(1024)])),
        codecs: Vec::new(),
    }
}

fn run(stream: &Trace, device_blocks: u64, host_blocks: u64, arrivals: Arrivals) -> VirtualFindings {
    let size = |tier, blocks| VirtualTierSize {
        tier,
        bytes: BLOCK.checked_mul(blocks).expect("a few MiB"),
        format: Format::Raw,
    };
    let scenario = Scenario {
        stream,
        tokens: TokenSource::new(1),
        model: &shape("tiny").expect("known"),
        profile: &profile(),
        tiers: &[size(TierId::Device, device_blocks), size(TierId::Host, host_blocks)],
        arrivals,
        promotion: Promotion::default(),
    };
    let (interrupt, progress) = (Interrupt::default(), ProgressBar::hidden());
    let watch = Watch { interrupt: &interrupt, progress: &progress };
    scenario.run(Box::new(Lru), &watch, None).expect("every request fits")
}

fn trace(lines: &str) -> Trace {
    Trace::from_reader(lines.as_bytes(), TraceLimits::default()).expect("a valid trace")
}

/// Of 128 device slots and 512 host slots:
///
/// - at 0 ms, 1,024 tokens are computed in 1,024 µs, into 64 blocks;
/// - at 10 ms, the 64 blocks are hits, and 76 tokens more are computed; 4 blocks more are kept;
/// - at 20 ms, 96 blocks are asked for, and 60 are free: the 36 coldest leave in 36 µs. Then 1,536 tokens are computed. As no slot is
///   free now, 7 more leave (5 % of 128);
/// - at 30 ms, of the 68 blocks of the second request 25 are on the device and 43 in the host. With its own last block the request
///   asks for 44 slots, and 7 are free: 37 leave in 37 µs. Then 43 µs for the loads, and 12 for the 12 tokens after them. 7 more
///   leave, as before;
/// - at 40 ms, two requests of 512 tokens come at once. 8 slots are free: 24 leave in 24 µs, and the first is computed in 512 µs. The
///   other has its slots by then, and is computed in the next 512 µs.
#[test]
fn a_short_trace_takes_what_can_be_computed_by_hand() {
    let stream = trace(
        r#"{"timestamp": 0, "input_length": 1024, "output_length": 5, "hash_ids": [1, 2]}
           {"timestamp": 10, "input_length": 1100, "output_length": 5, "hash_ids": [1, 2, 3]}
           {"timestamp": 20, "input_length": 1536, "output_length": 5, "hash_ids": [4, 5, 6]}
           {"timestamp": 30, "input_length": 1100, "output_length": 5, "hash_ids": [1, 2, 3]}
           {"timestamp": 40, "input_length": 512, "output_length": 5, "hash_ids": [7]}
           {"timestamp": 40, "input_length": 512, "output_length": 5, "hash_ids": [8]}"#,
    );
    let found = run(&stream, 128, 512, Arrivals::Scaled(1.0));
    let outcome = &found.outcome;
    assert_eq!(outcome.requests, 6);
    assert_eq!(outcome.hit_tokens, [1024 + 400, 688, 0]);
    assert_eq!(outcome.computed_tokens, 1024 + 76 + 1536 + 12 + 512 + 512);
    assert_eq!((outcome.recomputed_tokens, outcome.onboarded_blocks), (0, 43));
    let took = |spans: &hdrhistogram::Histogram<u64>, expected: &[u64]| {
        assert_eq!(spans.len(), expected.len() as u64);
        for us in expected {
            assert!(spans.count_at(us * 1000) > 0, "{us} µs: {spans:?}");
        }
    };
    took(&outcome.first_token, &[1024, 76, 36 + 1536, 37 + 43 + 12, 24 + 512, 24 + 512 + 512]);
    took(&found.without_cache, &[1024, 1100, 1536, 1100, 512, 1024]);
    assert_eq!(found.span.as_u64(), 40_000_000 + (24 + 512 + 512) * 1000);
}

#[test]
fn arrivals_are_stretched_and_a_closed_loop_follows_who_leaves() {
    let lines = r#"{"timestamp": 0, "input_length": 512, "output_length": 5, "hash_ids": [1]}
                   {"timestamp": 1, "input_length": 512, "output_length": 5, "hash_ids": [2]}
                   {"timestamp": 2, "input_length": 512, "output_length": 5, "hash_ids": [3]}"#;
    let stretched = run(&trace(lines), 128, 512, Arrivals::Scaled(3.0));
    assert_eq!(stretched.span.as_u64(), 6_512_000);
    let alone = run(&trace(lines), 128, 512, Arrivals::Closed(1));
    assert_eq!((alone.span.as_u64(), alone.outcome.first_token.count_at(512_000)), (3 * 512_000, 3));
    let two = run(&trace(lines), 128, 512, Arrivals::Closed(2));
    assert_eq!(two.span, alone.span, "there is one server");
    assert_eq!(
        two.outcome.first_token.count_at(1_024_000),
        2,
        "each of the last two waited for the one before"
    );
}

#[test]
fn twice_the_same_is_found() {
    let stream = Workload::new(3, 200).generate();
    let found = || {
        let found = run(&stream, 2_000, 6_000, Arrivals::Scaled(0.2));
        (found.outcome.hit_tokens, found.outcome.first_token, found.stats, found.span)
    };
    let (first, second) = (found(), found());
    assert_eq!(first, second);
    assert!(first.0[1] > 0, "something came back from the host: {:?}", first.0);
}
