//! What tests of kv-pager and of its backends stand on: machines under a test's control, and models to compare with.

pub mod tagged;
