//! `kv-pager replay --virtual` as a person or a script runs it.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn replay(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-pager"));
    command.args(["replay", "--virtual"]).args(arguments).current_dir(directory);
    command.output().expect("the binary was built for this test")
}

fn results(directory: &Path) -> Value {
    let json = std::fs::read_to_string(directory.join("found.json")).expect("it was written");
    serde_json::from_str(&json).expect("it is JSON")
}

/// Three tiers of an H200, of which the device is small, so that all are used.
const SMALL: [&str; 10] = [
    "--requests",
    "200",
    "--device-bytes",
    "4GiB",
    "--host-bytes",
    "8GiB",
    "--file-bytes",
    "64GiB",
    "--json",
    "found.json",
];

#[test]
fn two_runs_differ_in_wall_time_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut found = [(); 2].map(|()| {
        let output = replay(directory.path(), &SMALL);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        results(directory.path())
    });
    for found in &mut found {
        let wall = found.as_object_mut().expect("an object").remove("wall_ns");
        assert!(wall.and_then(|wall| wall.as_u64()).is_some_and(|wall| wall > 0));
    }
    assert_eq!(found[0], found[1]);
    let found = &found[0];
    let tokens = |name: &str| found["hit_tokens"][name].as_u64().expect("a count");
    let hits: u64 = ["device", "host", "file"].map(tokens).iter().sum();
    assert!(tokens("host") > 0, "{found}");
    assert_eq!(found["prompt_tokens"].as_u64(), found["computed_tokens"].as_u64().map(|sum| sum + hits));
    for bytes_alone_can_tell in
        ["verified_blocks", "mismatched_blocks", "damaged_blocks", "decode_tokens_per_s"]
    {
        assert!(found[bytes_alone_can_tell].is_null(), "{bytes_alone_can_tell}: {found}");
    }
    assert!(found["ttft_ns"]["p99"].as_u64() > Some(0));
    assert_eq!(
        std::fs::read_dir(directory.path()).expect("it is there").count(),
        1,
        "no file but the results"
    );
}

#[test]
fn shadows_tell_what_other_arms_and_twice_the_memory_would_have_hit() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments =
        SMALL.iter().copied().chain(["--shadows", "--block-tokens", "128", "--report", "found.html"]);
    let output = replay(directory.path(), &arguments.collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = results(directory.path());
    let shadows = found["shadows"].as_array().expect("a list");
    assert_eq!(shadows.len(), 3 * 6, "in three tiers, five arms and twice the memory");
    let text = |shadow: &Value, name: &str| shadow[name].as_str().expect("a name").to_owned();
    let host: Vec<&Value> = shadows.iter().filter(|shadow| text(shadow, "tier") == "host").collect();
    let rate = |shadow: &Value| shadow["prefix_hit_rate"].as_f64().expect("a rate");
    assert!(host.iter().all(|shadow| rate(shadow) > 0.0), "{found}");
    let [as_it_is, twice] = [host[4], host[5]];
    assert_eq!([as_it_is, twice].map(|shadow| text(shadow, "policy")), ["cost-aware", "cost-aware"]);
    assert_eq!(
        twice["capacity_blocks"].as_u64(),
        as_it_is["capacity_blocks"].as_u64().map(|blocks| 2 * blocks)
    );
    assert!(rate(twice) >= rate(as_it_is), "{found}");
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(table.contains("shadow of") && table.contains("s3fifo"), "{table}");
    let page = std::fs::read_to_string(directory.path().join("found.html")).expect("it was written");
    assert!(page.contains("What shadows would have hit"));
}

#[test]
fn what_cannot_work_ends_with_2_and_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let line = |timestamp: u64| {
        format!(
            "{{\"timestamp\": {timestamp}, \"input_length\": 600, \"output_length\": 1, \"hash_ids\": [0, 1]}}\n"
        )
    };
    let late = line(0) + &line(18_446_744_073_709);
    std::fs::write(directory.path().join("late.jsonl"), late).expect("there is room");
    for (arguments, why) in [
        (&["--profile", "missing.json"][..], "--profile"),
        (&["--shape", "tiny"], "measured for llama3-8b"),
        (&["--device-bytes", "1MiB"], "--device-bytes"),
        (&["--device-bytes", "64MiB"], "the device tier has 64 MiB"),
        (&["--host-bytes", "0", "--file-bytes", "1GiB"], "needs a host tier"),
        (
            &["--device-bytes", "4000TiB", "--json", "found.json"],
            "--device-bytes: the metadata of its 2097152000 slots",
        ),
        (
            &["--trace", "late.jsonl", "--time-scale", "3"],
            "--time-scale: request 2 has timestamp 18446744073709",
        ),
        (&["--trace", "late.jsonl", "--time-scale", "0.9"], "--time-scale: request 2"),
    ] {
        let output = replay(directory.path(), arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
    // In a closed loop it does not matter when they would arrive.
    let closed = replay(directory.path(), &["--trace", "late.jsonl"]);
    assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
    let left = std::fs::read_dir(directory.path()).expect("it is there").count();
    assert_eq!(left, 1, "the trace alone");
}

#[test]
fn all_arms_are_compared_and_the_default_comes_last() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments =
        SMALL.iter().copied().chain(["--all-arms", "--block-tokens", "128", "--report", "found.html"]);
    let output = replay(directory.path(), &arguments.collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = results(directory.path());
    let arms = found["arms"].as_array().expect("a list");
    assert_eq!(arms.len(), 15, "five ways of keeping, three of loading");
    let last = &arms[14];
    assert_eq!((last["policy"].as_str(), last["load"].as_str()), (Some("cost-aware"), Some("adaptive")));
    assert_eq!(last["ttft_ns"], found["ttft_ns"]);
    assert!(found["prediction_error"]["p50"].as_f64().is_some_and(|error| error < 1.0), "{found}");
    let page = std::fs::read_to_string(directory.path().join("found.html")).expect("it was written");
    for heading in
        ["Hits by tier over time", "Predicted and observed", "Load or recompute", "Written to the file tier"]
    {
        assert!(page.contains(heading), "{heading}");
    }
}
