//! The command line of kv-pager: one command a module, one noun a file.
//!
//! Exit status 0 only when all went well, 2 for arguments that can't work, 1 for the rest; a message on the error stream
//! says what to do. Results go to the output stream, progress only to a terminal.
#![forbid(unsafe_code)]

mod args;
mod compare;
mod destination;
mod device_name;
mod failure;
mod inspect;
mod interrupt;
mod machine;
mod measure;
mod output;
mod replay;
mod report;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Measure(arguments) => measure::measure(arguments),
        Command::Replay(arguments) => replay::replay(arguments),
        Command::Compare(arguments) => compare::compare(arguments),
        Command::Inspect(arguments) => inspect::inspect(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            failure.exit_code()
        }
    }
}
