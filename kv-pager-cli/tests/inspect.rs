//! `inspect` as a person calls it, on a tier that `replay` left behind.

use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kv-pager")).args(arguments).output().expect("the program was built")
}

fn inspect(tier: &Path, options: &[&str]) -> (Option<i32>, Value) {
    let json = tier.with_extension("json");
    let [tier, json_text] = [tier, &json].map(|path| path.to_str().expect("a plain name"));
    let output = run(&[&["inspect", tier, "--json", json_text], options].concat());
    let results = std::fs::read_to_string(&json).expect("written");
    (output.status.code(), serde_json::from_str(&results).expect("JSON"))
}

/// Flips a bit of every slot of the tier's first file of payloads.
fn damage(tier: &Path) {
    let file =
        File::options().read(true).write(true).open(tier.join("kv-pager.0.payloads")).expect("it is there");
    let slots = file.metadata().expect("it is there").len() / 8192;
    for slot in 0..slots {
        let mut byte = [0];
        file.read_exact_at(&mut byte, slot * 8192 + 33).expect("it is that long");
        file.write_all_at(&[byte[0] ^ 16], slot * 8192 + 33).expect("it can be written");
    }
}

#[test]
fn a_tier_is_counted_found_damaged_and_repaired() {
    let directory = tempfile::tempdir().expect("a directory");
    let tier = directory.path().join("tier");
    let tier_text = tier.to_str().expect("a plain name");
    let sizes =
        ["--device-bytes", "4MiB", "--host-bytes", "4MiB", "--file-bytes", "64MiB", "--concurrency", "1"];
    let replay = run(&[&["replay", "--requests", "80", "--file-dir", tier_text], &sizes[..]].concat());
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    let (status, sound) = inspect(&tier, &["--verify"]);
    assert_eq!(status, Some(0));
    let used = sound["used_slots"].as_u64().expect("a number");
    assert!(used > 0, "{sound}");
    assert_eq!(sound["damaged_slots"], 0);
    for field in ["files", "slots", "blocks", "orphaned_blocks", "chains", "tenants", "payload_bytes"] {
        assert!(sound[field].is_u64(), "{field}: {sound}");
    }
    damage(&tier);
    assert_eq!(inspect(&tier, &[]).0, Some(0), "nobody looked");
    let (status, damaged) = inspect(&tier, &["--verify"]);
    assert_eq!((status, damaged["damaged_slots"].as_u64()), (Some(1), Some(used)));
    let listed = String::from_utf8_lossy(&run(&["inspect", tier_text, "--verify"]).stdout).into_owned();
    assert!(listed.contains("its payload is damaged"), "{listed}");
    assert_eq!(inspect(&tier, &["--repair"]).0, Some(0));
    let (status, repaired) = inspect(&tier, &["--verify"]);
    assert_eq!((status, repaired["retired_slots"].as_u64()), (Some(0), Some(used)));
}

#[test]
fn an_empty_and_a_half_created_tier_are_no_failure_and_a_missing_one_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = directory.path().to_str().expect("a plain name");
    let empty = run(&["inspect", text, "--verify"]);
    assert_eq!(empty.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&empty.stdout).contains("empty"));
    std::fs::write(directory.path().join("kv-pager.0.payloads"), [1; 100]).expect("it can be written");
    for depth in ["--verify", "--repair"] {
        let half = run(&["inspect", text, depth]);
        assert_eq!(half.status.code(), Some(0), "{depth}");
        assert!(String::from_utf8_lossy(&half.stdout).contains("half"), "{half:?}");
    }
    let missing = run(&["inspect", &format!("{text}/no/such/place")]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(!missing.stderr.is_empty());
}
