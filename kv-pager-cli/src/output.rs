//! What a person reads: results on the output stream, messages on the error stream.
//! Known by: every command.

use crate::failure::Failure;
use std::error::Error;
use std::io::Write;

/// Prints one line of results.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Says on the error stream why a command ended badly, with every cause.
pub(crate) fn error(failure: &Failure) {
    let mut message = format!("kv-pager: {failure}");
    let mut cause = failure.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // A transparent error and its cause say the same.
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    note(&message);
}

/// Says something on the error stream.
pub(crate) fn note(text: &str) {
    // Where even the error stream is closed, the exit status is all that can be told.
    writeln!(std::io::stderr().lock(), "{text}").ok();
}
