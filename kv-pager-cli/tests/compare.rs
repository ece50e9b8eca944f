//! `kv-pager compare` as a person or a script runs it.

use std::path::Path;
use std::process::{Command, Output};

fn compare(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-pager"));
    command.arg("compare").args(arguments).current_dir(directory);
    command.output().expect("the binary was built for this test")
}

#[test]
fn the_results_are_printed_and_written_as_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = compare(
        directory.path(),
        &[
            "--requests",
            "300",
            "--policies",
            "lru,cost-aware,lru,belady",
            "--capacity-blocks",
            "100,50",
            "--json",
            "found.json",
            "--report",
            "found.html",
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).expect("the table is text");
    assert!(table.contains("cost-aware"), "{table}");
    let json = std::fs::read_to_string(directory.path().join("found.json")).expect("it was written");
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let arms = json["arms"].as_array().expect("arms is a list");
    assert_eq!(arms.len(), 6, "each policy once");
    assert_eq!(table.matches("lru").count(), 1, "{table}");
    assert_eq!(arms[0]["capacity_blocks"], 50, "ascending");
    let page = std::fs::read_to_string(directory.path().join("found.html")).expect("it was written");
    assert!(page.starts_with("<!doctype html>") && page.contains("</svg>"));
}

#[test]
fn what_cannot_work_ends_with_2_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    for wrong in [
        &["--policies", "lru,none"][..],
        &["--capacity-blocks", "0"],
        &["--trace", "missing.jsonl", "--json", "found.json"],
        &["--trace", "."],
    ] {
        let output = compare(directory.path(), wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(wrong[0] != "--trace" || told.contains("give a readable .jsonl"), "{wrong:?}: {told}");
        assert!(!told.contains("KV_PAGER_TRACE"), "{wrong:?}: only tests look there: {told}");
        assert!(!told.is_empty(), "{wrong:?}: a message says what to do");
    }
    let left = std::fs::read_dir(directory.path()).expect("it is there").count();
    assert_eq!(left, 0);
}

#[test]
fn a_damaged_trace_ends_with_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let line = "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 1, \"hash_ids\": [0]}\n";
    std::fs::write(directory.path().join("damaged.jsonl"), line).expect("there is room");
    let output = compare(directory.path(), &["--trace", "damaged.jsonl"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}
