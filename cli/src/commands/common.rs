//! What several commands ask the driver.

use std::fmt;
use std::io::{IsTerminal, Write};

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

/// A line on standard error that is written over. It is shown to people at a terminal only.
pub(super) struct Line {
    /// Characters of it that are there; `None` if none is shown.
    shown: Option<usize>,
}

impl Line {
    pub(super) fn new(json: bool) -> Self {
        let is_shown = !json && std::io::stderr().is_terminal();
        Self { shown: is_shown.then_some(0) }
    }

    pub(super) fn is_shown(&self) -> bool {
        self.shown.is_some()
    }

    pub(super) fn show(&mut self, text: &str) {
        let Some(before) = self.shown else { return };
        tell(format_args!("\r{text:<before$}"));
        self.shown = Some(text.chars().count());
    }

    pub(super) fn end(&self) {
        if let Some(before) = self.shown {
            tell(format_args!("\r{:before$}\r", ""));
        }
    }
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
