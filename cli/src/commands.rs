//! One module for each verb; all of them work against any [`Driver`], and write to any output.

mod status;
mod stop;
mod volumes;

use std::io::Write;

use snapless_client::{Driver, paths};
use snapless_wire::ioctl::ABI_VERSION;

use crate::arguments::Command;
use crate::error::CliError;

/// What `snapless version` prints before the number of the interface.
pub const VERSION_LINE: &str = concat!("snapless ", env!("CARGO_PKG_VERSION"));

/// Carries out `command`.
pub fn run(command: &Command, driver: &dyn Driver, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        Command::Volumes { json } => volumes::run(*json, driver, out),
        Command::Status(arguments) => status::run(arguments, driver, &paths::state_dir(), out),
        Command::Stop(arguments) => stop::run(arguments, driver, out),
        Command::Version => {
            writeln!(out, "{VERSION_LINE} (driver interface {ABI_VERSION})")?;
            Ok(())
        }
    }
}
