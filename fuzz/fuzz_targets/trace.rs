//! Any bytes are a trace or an error, never a panic.
#![no_main]

use kv_pager_testkit::trace::{Trace, TraceLimits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(trace) = Trace::from_reader(bytes, TraceLimits::default()) {
        assert!(trace.prompt_tokens() >= trace.requests().len() as u64 / 2, "a request has tokens");
    }
});
