//! A worker of the tests over processes: it serves the scheduler at its standard input and output.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The scheduler is told what a panic says, and tells it.
    std::panic::set_hook(Box::new(|_| {}));
    match kv_pager_testkit::remote::serve(std::io::stdin().lock(), std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // The scheduler was told, or is gone.
        Err(_) => ExitCode::FAILURE,
    }
}
