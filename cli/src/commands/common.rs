//! What several commands ask the driver.

use std::fmt;
use std::io::Write;

use serde::Serialize;
use snapless_driver_client::{Driver, DriverError, DriverPort, Volume, VolumeName};
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::ioctl::{ABI_VERSION, DeviceName};

use crate::error::CliError;

/// Printed if [`restart_needed`].
pub(super) const RESTART_NEEDED: &str = "\nThe loaded driver is older than this program: restart \
                                         the machine to load the new one.\n";

/// Prints the one document that a script gets.
pub(super) fn print_json(answer: &impl Serialize, out: &mut dyn Write) -> Result<(), CliError> {
    serde_json::to_writer_pretty(&mut *out, answer)?;
    Ok(writeln!(out)?)
}

/// Says something on standard error that may be lost.
pub(super) fn tell(text: fmt::Arguments<'_>) {
    let mut errors = std::io::stderr();
    _ = errors.write_fmt(text).and_then(|()| errors.flush());
}

/// True if the driver is of an older release: it stays loaded until the machine restarts.
pub(super) fn restart_needed(port: &dyn DriverPort) -> bool {
    port.version() < ABI_VERSION
}

/// The GUID by which Windows knows the volume.
pub(super) fn guid_of(
    driver: &dyn Driver,
    volume: &Volume,
) -> Result<Option<VolumeGuid>, DriverError> {
    match DeviceName::new(volume.device.encode_utf16()) {
        Some(name) => driver.guid_of(&name),
        None => Ok(None),
    }
}

/// The session of the volume with this name.
pub(super) fn session_of(
    driver: &dyn Driver,
    port: &dyn DriverPort,
    name: &VolumeName,
) -> Result<SessionId, CliError> {
    let device = driver.device_of(name)?;
    let volume = port.find(&device)?.ok_or_else(|| CliError::NotFiltered(name.to_string()))?;
    volume.session.ok_or_else(|| CliError::NotProtected(name.to_string()))
}
