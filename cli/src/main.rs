//! `snapless.exe`: what an administrator types beside the driver.

use std::process::ExitCode;

use clap::Parser;
use snapless_cli::arguments::Arguments;

#[cfg(windows)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let driver = snapless_driver_client::control::WindowsDriver;
    match snapless_cli::commands::run(&arguments.command, &driver, &mut anstream::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snapless: {error}");
            error.exit_code()
        }
    }
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    let _understood = Arguments::parse();
    eprintln!("snapless: this program runs on Windows, beside the Snapless driver");
    ExitCode::FAILURE
}
