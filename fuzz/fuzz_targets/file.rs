//! A directory whose superblock and headers hold any bytes is reported or refused, never a panic.
#![no_main]

use kv_pager_cpu::file::Depth;
use kv_pager_cpu::inspect;
use libfuzzer_sys::fuzz_target;
use std::fs;

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a place for files");
    let (superblock, headers) = bytes.split_at(bytes.len().min(4096));
    let parts = [("kv-pager.superblock", superblock), ("kv-pager.0.headers", headers), ("kv-pager.0.payloads", headers)];
    for (name, content) in parts {
        fs::write(directory.path().join(name), content).expect("room for a few bytes");
    }
    if let Ok(found) = inspect(&[directory.path().to_owned()], Depth::Verify) {
        assert!(found.used_slots <= found.slots, "more slots are used than there are");
    }
});
