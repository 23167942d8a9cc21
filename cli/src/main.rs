//! `snapless.exe`: the command line on a protected machine.

use std::ffi::OsString;
use std::process::ExitCode;

use snapless_cli::arguments::Command;
#[cfg(not(windows))]
use snapless_cli::commands::{completions, man};
use snapless_cli::error::CliError;
use snapless_cli::program;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    program::run(&words, run, &mut std::io::stderr()).into()
}

#[cfg(windows)]
fn run(command: &Command) -> Result<(), CliError> {
    let driver = snapless_driver_client::control::WindowsDriver;
    snapless_cli::commands::run(command, &driver, &mut std::io::stdout())
}

#[cfg(not(windows))]
fn run(command: &Command) -> Result<(), CliError> {
    match command {
        // A package is made where the program does not run.
        Command::Completions { shell } => completions::run(*shell, &mut std::io::stdout()),
        Command::Man { folder } => man::run(folder, &mut std::io::stdout()),
        _ => Err(CliError::WindowsOnly),
    }
}
