//! Errors of the server in the words of the API.

use snapless_console::fault::{Code, Fault};
use snapless_console::model::{MachineId, VolumeId};
use snapless_trust::TrustError;
use snapless_wire::id::VolumeGuid;

use crate::error::Error;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotRestorable { .. } | Error::NoSessions(_) => Code::NotRestorable,
            Error::NoVolume { .. } | Error::NoSession { .. } | Error::NoBookmark { .. } => {
                Code::NotFound
            }
            Error::BookmarkExists { .. } | Error::Stopped => Code::Conflict,
            _ => {
                log::error!("console: {error}");
                Code::Internal
            }
        };
        // Errors of the server are written for its administrator and name no secret.
        Self::new(code, error.to_string())
    }
}

/// The same of the authority.
pub(super) fn of_trust(error: TrustError) -> Fault {
    let code = match error {
        TrustError::NoMachine(_) => Code::NotFound,
        TrustError::Refused(_) => Code::Conflict,
        _ => {
            log::error!("console: {error}");
            Code::Internal
        }
    };
    Fault::new(code, error.to_string())
}

/// A volume's id in the API.
pub(super) fn volume_id(volume: VolumeGuid) -> Result<VolumeId, Fault> {
    VolumeId::parse(volume.to_string().to_lowercase()).map_err(Fault::internal)
}

/// The volume of an id.
pub(super) fn guid(volume: &VolumeId) -> Result<VolumeGuid, Fault> {
    VolumeGuid::parse(volume.as_str()).ok_or_else(|| Fault::not_found("there is no such volume"))
}

/// A machine's id in the API.
pub(super) fn machine_id(machine: snapless_trust::identity::MachineId) -> Result<MachineId, Fault> {
    MachineId::parse(machine.to_string()).map_err(Fault::internal)
}
