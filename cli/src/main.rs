//! `snapless.exe`: the command line on a protected machine.

use std::process::ExitCode;

use clap::Parser;
use snapless_cli::arguments::Arguments;

#[cfg(windows)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let driver = snapless_driver_client::control::WindowsDriver;
    match snapless_cli::commands::run(&arguments.command, &driver, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snapless: {error}");
            error.exit_code()
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    let _valid = Arguments::parse();
    eprintln!("snapless: this program runs on Windows only, where the Snapless driver is");
    ExitCode::FAILURE
}
