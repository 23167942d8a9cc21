//! `snapless-service.exe`: started by the service manager, or at a console with `--console`.
//!
//! Exit codes: 0 stopped on request, 1 failed, 2 wrong arguments.

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

mod arguments;
#[cfg(windows)]
mod console;
#[cfg(windows)]
mod host;
#[cfg(windows)]
mod managed;

#[cfg(windows)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome =
        if arguments.console { console::run(&arguments) } else { managed::run(arguments) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where errors cannot be written, the exit code is what is left.
            _ = writeln!(stderr(), "snapless-service: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    let _valid = Arguments::parse();
    let why = "this program runs on Windows only, where the Snapless driver is";
    _ = writeln!(stderr(), "snapless-service: {why}");
    ExitCode::FAILURE
}
