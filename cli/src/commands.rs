//! The commands, one module each.

mod common;
mod enroll;
mod status;
mod stop;
mod verify;
mod volumes;

use std::io::Write;

use snapless_driver_client::{Driver, paths};
use snapless_wire::ioctl::ABI_VERSION;

use crate::arguments::Command;
use crate::error::CliError;

/// Carries out `command`.
pub fn run(command: &Command, driver: &dyn Driver, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        Command::Volumes { json } => volumes::run(*json, driver, out),
        Command::Status(arguments) => status::run(arguments, driver, &paths::state_dir(), out),
        Command::Stop(arguments) => stop::run(arguments, driver, out),
        Command::Verify(arguments) => verify::run(arguments, driver, &paths::state_dir(), out),
        Command::Enroll(arguments) => enroll::run(arguments, &paths::state_dir(), out),
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            writeln!(out, "snapless {version} (driver interface {ABI_VERSION})")?;
            Ok(())
        }
    }
}
