//! `measure` as a person calls it: what it writes can be read, and what can't work is refused.

use kv_pager::cost::{CostModel, Profile};
use std::process::{Command, Output};

fn measure(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_kv-pager");
    Command::new(program).arg("measure").args(arguments).output().expect("the program was built")
}

#[test]
fn the_profile_is_plausible_and_nothing_else_is_left_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let (drive, out) = (directory.path().join("drive"), directory.path().join("profile.json"));
    std::fs::create_dir(&drive).expect("a directory");
    let [drive_text, out_text] = [&drive, &out].map(|path| path.to_str().expect("a plain name"));
    let run = measure(&["--file-dir", drive_text, "--out", out_text]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let profile = Profile::from_json(&std::fs::read_to_string(&out).expect("written")).expect("plausible");
    assert_eq!((profile.model.as_str(), profile.lanes.len()), ("tiny", 4));
    CostModel::new(&profile).expect("plausible");
    assert_eq!(std::fs::read_dir(&drive).expect("it is there").count(), 0);
}

#[test]
fn another_device_is_an_argument_that_cannot_work() {
    let run = measure(&["--device", "abacus"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run.stderr).contains("--device"), "{run:?}");
}
