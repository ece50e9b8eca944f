//! How a benchmark ends: it prints what it found, and writes it where it is asked to.

use serde::Serialize;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// Prints what the benchmark `name` found, and writes it to `json` if that is given; on standard error, why it found nothing or
/// could not write it.
///
/// # Panics
/// If the findings are no plain data.
#[expect(clippy::print_stderr, reason = "it ends a program, for which this is where errors go")]
pub fn end<T: Serialize, E: Display>(
    name: &str,
    found: Result<T, E>,
    json: Option<&Path>,
    print: impl FnOnce(&T),
) -> ExitCode {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    print(&found);
    let Some(file) = json else { return ExitCode::SUCCESS };
    let text = serde_json::to_string_pretty(&found).expect("findings are plain data");
    match std::fs::write(file, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
