//! One module for each verb; all of them work against any [`Driver`], and write to any output.

mod status;
mod stop;
mod volumes;

use std::io::Write;

use snapless_driver_client::{Driver, DriverPort, paths};
use snapless_wire::ioctl::ABI_VERSION;

use crate::arguments::Command;
use crate::error::CliError;

/// What `snapless version` prints before the number of the interface.
pub const VERSION_LINE: &str = concat!("snapless ", env!("CARGO_PKG_VERSION"));

/// What people are told of a driver of an older release.
const RESTART_NEEDED: &str = "\nThe driver is of an older release than this program: restart the machine to load the new one.\n";

/// True if the driver is of an older release: it stays loaded until the machine restarts.
fn restart_needed(port: &dyn DriverPort) -> bool {
    port.version() < ABI_VERSION
}

/// Tells people so.
fn say_restart_needed(port: &dyn DriverPort, out: &mut dyn Write) -> std::io::Result<()> {
    if restart_needed(port) { out.write_all(RESTART_NEEDED.as_bytes()) } else { Ok(()) }
}

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
