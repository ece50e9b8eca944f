//! `kv-pager replay --metrics` as a person or a script runs it.

use kv_pager::telemetry::METRICS;
use std::path::Path;
use std::process::{Command, Output};

fn replay(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-pager"));
    command.arg("replay").args(arguments).current_dir(directory);
    command.output().expect("the binary was built for this test")
}

/// The value of the series that has this name and these labels.
fn value(text: &str, series: &str) -> f64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = lines.next().unwrap_or_else(|| panic!("{series} is not in\n{text}"));
    value.parse().expect("a number")
}

/// Every metric is there, and the counts are those of the results.
fn check(directory: &Path, requests: u64) {
    let text = std::fs::read_to_string(directory.join("metrics.txt")).expect("it was written");
    for metric in METRICS {
        assert!(text.contains(&format!("# TYPE {} ", metric.name)), "{} is not in\n{text}", metric.name);
    }
    let json = std::fs::read_to_string(directory.join("found.json")).expect("it was written");
    let found: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let count = |value: &serde_json::Value| value.as_f64().expect("a count");
    let is_equal = |one: f64, other: f64| assert!((one - other).abs() < 0.5, "{one} and {other}\n{text}");
    is_equal(value(&text, "kv_pager_requests_total"), count(&found["requests"]));
    is_equal(count(&found["requests"]), count(&serde_json::Value::from(requests)));
    for tier in ["device", "host", "file"] {
        let hits = value(&text, &format!("kv_pager_hit_tokens_total{{tier=\"{tier}\"}}"));
        is_equal(hits, count(&found["hit_tokens"][tier]));
    }
    assert!(value(&text, "kv_pager_first_token_seconds_count") > 0.0, "{text}");
    let left = std::fs::read_dir(directory).expect("it is there").count();
    assert_eq!(left, 2, "no file but the results and the metrics");
}

#[test]
fn a_virtual_replay_writes_every_metric() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = [
        "--virtual",
        "--requests",
        "100",
        "--device-bytes",
        "4GiB",
        "--host-bytes",
        "8GiB",
        "--file-bytes",
        "64GiB",
        "--metrics",
        "metrics.txt",
        "--json",
        "found.json",
    ];
    let output = replay(directory.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check(directory.path(), 100);
}

#[test]
fn a_real_replay_writes_every_metric() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = [
        "--requests",
        "60",
        "--device-bytes",
        "8MiB",
        "--host-bytes",
        "16MiB",
        "--file-bytes",
        "64MiB",
        "--metrics",
        "metrics.txt",
        "--json",
        "found.json",
    ];
    let output = replay(directory.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check(directory.path(), 60);
}

#[test]
fn the_results_are_there_though_neither_metrics_nor_tables_could_be_written() {
    let sizes = ["--device-bytes", "8MiB", "--host-bytes", "16MiB", "--file-bytes", "64MiB"];
    let real = ["--requests", "20"].into_iter().chain(sizes);
    for arguments in [vec!["--requests", "20", "--virtual"], real.collect()] {
        for fails in ["metrics", "tables"] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut command = Command::new(env!("CARGO_BIN_EXE_kv-pager"));
            command.arg("replay").args(&arguments).args(["--json", "found.json"]).current_dir(&directory);
            // A device that is always full.
            if fails == "metrics" {
                command.args(["--metrics", "/dev/full"]);
            } else {
                let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
                command.stdout(full);
            }
            let output = command.output().expect("the binary was built for this test");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{fails}: {told}");
            let found = std::fs::read_to_string(directory.path().join("found.json")).expect("it was written");
            assert!(found.contains("\"requests\": 20"), "{fails}: {found}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let output =
        replay(directory.path(), &["--virtual", "--requests", "10", "--metrics", "missing/metrics.txt"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("missing/metrics.txt"), "{told}");
}
