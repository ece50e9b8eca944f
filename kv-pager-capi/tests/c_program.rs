//! A program in C, built with `cc` against the committed header and linked with this library either way, lives a whole life.

use kv_pager::cost::Profile;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo has put this crate's libraries for the tests.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("a test runs from a file");
    test.parent().expect("a file is in a directory").to_path_buf()
}

fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; a C compiler is needed"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Builds `life.c` with these arguments for the linker, and runs it.
fn live(linked: &[OsString]) {
    let (root, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().expect("a directory"));
    let program = folder.path().join("life");
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1", "-I"]);
    compiler.arg(root.join("include")).arg(root.join("tests/life.c")).arg("-o").arg(&program).args(linked);
    run(&mut compiler);
    let (tiers, profile) = (folder.path().join("tiers"), folder.path().join("profile.json"));
    std::fs::write(&profile, Profile::h200_llama3_8b().to_json()).expect("the directory can be written");
    assert_eq!(run(Command::new(&program).arg(&tiers).arg(&profile)), "a whole life\n");
}

#[test]
fn a_c_program_lives_with_the_shared_library() {
    let mut rpath = OsString::from("-Wl,-rpath,");
    rpath.push(libraries());
    let library = libraries().join(format!(
        "{}kv_pager_capi{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ));
    live(&[library.into(), rpath]);
}

#[test]
fn a_c_program_lives_with_the_static_library() {
    let library = libraries().join("libkv_pager_capi.a");
    // What the standard library of Rust needs of the system.
    let system = ["-lpthread", "-ldl", "-lm", "-lrt", "-lutil", "-lgcc_s"].map(OsString::from);
    live(&[&[library.into()], &system[..]].concat());
}
