//! The committed header is what `cbindgen` makes of this crate.
//!
//! `KV_PAGER_WRITE_HEADER=1 cargo test -p kv-pager-capi --test header` writes it anew.

use std::path::Path;

#[test]
fn the_header_is_what_would_be_made_now() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let builder = cbindgen::Builder::new().with_config(config).with_src(root.join("src/lib.rs"));
    let mut made = Vec::new();
    builder.generate().expect("the crate parses").write(&mut made);
    let made = String::from_utf8(made).expect("a header is text");
    let path = root.join("include/kv_pager.h");
    if std::env::var_os("KV_PAGER_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).expect("include/ can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("the header is committed");
    let differs = committed.lines().zip(made.lines()).find(|(committed, made)| committed != made);
    assert!(
        committed == made,
        "kv_pager.h is out of date: {differs:?}; this test's doc says how to write it"
    );
}
