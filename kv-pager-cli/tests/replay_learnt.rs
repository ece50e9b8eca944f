//! `kv-pager replay --save-profile` as a person or a script runs it: what was learnt is there at the next start.

use kv_pager::cost::{Node, Profile};
use std::path::Path;
use std::process::{Command, Output};

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-pager"));
    command.args(arguments).current_dir(directory);
    command.output().expect("the binary was built for this test")
}

fn read(directory: &Path, name: &str) -> Profile {
    let text = std::fs::read_to_string(directory.join(name)).expect("it was written");
    Profile::from_json(&text).expect("plausible")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const REPLAY: [&str; 7] =
    ["replay", "--requests", "40", "--device-bytes", "16MiB", "--profile", "measured.json"];

#[test]
fn what_a_replay_learns_is_saved_as_this_machines_and_never_as_anothers() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let measured = run(directory, &["measure", "--out", "measured.json"]);
    assert!(measured.status.success(), "{}", told(&measured));
    let before = read(directory, "measured.json");

    let save =
        REPLAY.iter().copied().chain(["--save-profile", "learnt.json", "--shadows", "--json", "found.json"]);
    let replayed = run(directory, &save.collect::<Vec<_>>());
    assert!(replayed.status.success(), "{}", told(&replayed));
    assert!(!told(&replayed).contains("was measured for"), "its own machine: {}", told(&replayed));
    let learnt = read(directory, "learnt.json");
    assert_eq!((&learnt.machine, &learnt.model), (&before.machine, &before.model));
    assert_ne!(learnt.lanes, before.lanes, "lanes have moved blocks");
    assert_ne!(learnt.prefill, before.prefill, "the engine has reported steps");
    let found = std::fs::read_to_string(directory.join("found.json")).expect("it was written");
    let found: serde_json::Value = serde_json::from_str(&found).expect("it is JSON");
    assert_eq!(found["shadows"].as_array().map(Vec::len), Some(18), "{found}");

    // The file that was read may be the one that is written.
    let again = ["replay", "--requests", "5", "--profile", "learnt.json", "--save-profile", "learnt.json"];
    let replayed = run(directory, &again);
    assert!(replayed.status.success(), "{}", told(&replayed));
    read(directory, "learnt.json");

    // Another machine's is where learning starts, and says so.
    let other = Profile { machine: "an abacus".to_owned(), ..before };
    std::fs::write(directory.join("measured.json"), other.to_json()).expect("there is room");
    let replayed = run(directory, &REPLAY);
    assert!(replayed.status.success(), "{}", told(&replayed));
    assert!(told(&replayed).contains("an abacus"), "{}", told(&replayed));
    let save = REPLAY.iter().copied().chain(["--save-profile", "other.json"]);
    let refused = run(directory, &save.collect::<Vec<_>>());
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(
        told(&refused).contains("--save-profile") && told(&refused).contains("an abacus"),
        "{}",
        told(&refused)
    );
    assert!(!directory.join("other.json").exists(), "nothing is left behind");
}

#[test]
fn what_was_learnt_and_cannot_be_is_not_saved_and_all_else_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let measured = run(directory, &["measure", "--out", "measured.json"]);
    assert!(measured.status.success(), "{}", told(&measured));
    // Far too slow, and at its far end just plausible: what corrects the one makes the other impossible.
    let mut profile = read(directory, "measured.json");
    let nodes = &mut profile.prefill.nodes;
    nodes.truncate(7);
    for node in nodes.iter_mut() {
        node.base_ns *= 16.0;
    }
    nodes.push(Node { tokens: 1 << 31, base_ns: 2.4e11, context_ns: 1e9, window_ns: 0.0 });
    std::fs::write(directory.join("measured.json"), profile.to_json()).expect("there is room");

    let save = ["--save-profile", "learnt.json", "--json", "found.json", "--report", "page.html"];
    let replayed = run(directory, &REPLAY.iter().copied().chain(save).collect::<Vec<_>>());
    assert_eq!(replayed.status.code(), Some(1), "{}", told(&replayed));
    assert!(told(&replayed).contains("--save-profile"), "{}", told(&replayed));
    assert!(told(&replayed).contains("not plausible"), "{}", told(&replayed));
    assert!(!replayed.stdout.is_empty(), "the table is printed");
    for (name, is_there) in [("found.json", true), ("page.html", true), ("learnt.json", false)] {
        assert_eq!(directory.join(name).exists(), is_there, "{name}");
    }
}
