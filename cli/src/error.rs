//! Errors of the commands, and their exit codes.

use std::io;
use std::path::PathBuf;

use snapless_control::exchange::ExchangeError;
use snapless_control::message::{Refusal, RefusalKind};
use snapless_driver_client::DriverError;
use snapless_driver_client::probe::ProbeError;
use snapless_driver_client::volume::NotAVolumeName;
use snapless_installer::error::SetupError;
use snapless_link::LinkError;
use snapless_link::question::RefusedKind;
use snapless_restore::RestoreError;
use snapless_service::config::ConfigError;
use snapless_trust::TrustError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The driver cannot be reached, or refused.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// What stands in the place of a volume is none.
    #[error(transparent)]
    VolumeName(#[from] NotAVolumeName),
    /// The volume has no session.
    #[error("volume {0} has no session: it is not protected")]
    NotProtected(String),
    /// The volume cannot be measured.
    #[error("the volume cannot be measured: {0}")]
    Probe(#[from] ProbeError),
    /// The driver does not filter the volume.
    #[error("the driver does not filter volume {0}: check `snapless volumes`")]
    NotFiltered(String),
    /// The service's reports cannot be read.
    #[error("cannot read the service's reports in {folder}: {source}")]
    Reports {
        /// Their folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The machine's identity.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The server cannot be reached, or refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// No server is named.
    #[error("name the server: snapless enroll SERVER --token TOKEN")]
    NoServer,
    /// The service's state folder cannot be made.
    #[error("cannot make the service's state folder {folder}: {source}")]
    StateDir {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The service is not running.
    #[error("the service is not running: start it with `sc start SnaplessService`")]
    NoService,
    /// The service's pipe refuses.
    #[error("access to the service is denied: run this program as an administrator")]
    ServiceDenied,
    /// The service does not answer, or not in words of this release.
    #[error("the service has not answered: {0}; its log says more")]
    Service(#[source] ExchangeError),
    /// The service refuses.
    #[error("{0}")]
    Refused(Refusal),
    /// `snapless doctor` has found something wrong.
    #[error("{0} thing(s) are wrong")]
    Unhealthy(usize),
    /// The support bundle cannot be written.
    #[error("cannot write {file}: {source}; name another file with --to")]
    Bundle {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The manual pages cannot be written.
    #[error("cannot write manual pages into {folder}: {source}")]
    Pages {
        /// Their folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A verification has found the copy to be another one than the volume.
    #[error("the copy is not what the volume is: `snapless-server list` has the first places")]
    Differs,
    /// A verification was compared in part only.
    #[error(
        "not all could be compared, as what the server has stored is damaged: run \
         `snapless-server verify`"
    )]
    NotCompared,
    /// A verification ended before the end of the volume.
    #[error("the verification was ended, or begun anew, before it had come to the volume's end")]
    VerificationEnded,
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A restore has failed.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The target of a restore is protected.
    #[error(
        "{0} is protected, and what is restored to it would be captured as any other write: run \
         `snapless unprotect {0}` first, and `snapless protect {0}` when it is restored, which \
         sends what differs"
    )]
    TargetProtected(String),
    /// Windows runs from the target of a restore.
    #[error(
        "Windows runs from {0}: restore it from a rescue system, or on the server \
         (docs/restore.md)"
    )]
    TargetSystem(String),
    /// A restore is done, and the volume's disk could not read all.
    #[error("the volume's disk could not read {0} bytes: there are zeros in their place")]
    Unreadable(u64),
    /// The rescue script cannot be written.
    #[error(transparent)]
    Rescue(#[from] SetupError),
    /// Standard output cannot be written. What the command does is done.
    #[error("cannot print the report: {0}")]
    Output(#[from] io::Error),
    /// Standard input cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(#[source] io::Error),
    /// The program runs where no driver is.
    #[error("this program runs on Windows only, where the Snapless driver is")]
    WindowsOnly,
}

impl From<serde_json::Error> for CliError {
    /// What is printed is always JSON: it is the output that failed.
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

impl CliError {
    /// The exit code, as `--help` lists it.
    pub fn code(&self) -> u8 {
        use DriverError::{
            Absent, AccessDenied, NoSuchSession, NoSuchVolume, NotFound, SessionEnded,
        };
        match self {
            Self::VolumeName(_) => 2,
            Self::Driver(Absent) => 3,
            Self::NotProtected(_)
            | Self::NotFiltered(_)
            | Self::Driver(NotFound(_) | NoSuchVolume(_) | NoSuchSession(_) | SessionEnded(_))
            | Self::Refused(Refusal { kind: RefusalKind::NoSuchVolume, .. }) => 4,
            Self::Driver(AccessDenied(_)) | Self::ServiceDenied => 5,
            Self::Probe(error) if error.is_access_denied() => 5,
            Self::Differs => 6,
            Self::NoService => 7,
            Self::Unhealthy(_) => 8,
            Self::Restore(RestoreError::Refused(refused)) => match refused.kind {
                RefusedKind::NoSuchVolume => 4,
                RefusedKind::NotRestorable => 9,
                _ => 1,
            },
            Self::Restore(error) if error.is_access_denied() => 5,
            Self::Refused(Refusal { kind: RefusalKind::NotRestorable, .. }) => 9,
            Self::Unreadable(_) => 10,
            Self::Refused(Refusal { kind: RefusalKind::NotConsistent, .. }) => 11,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_driver_client::VolumeName;
    use snapless_driver_client::error::Call;

    #[test]
    fn exit_codes_are_those_of_the_help() {
        assert_eq!(CliError::from(DriverError::Absent).code(), 3);
        assert_eq!(CliError::from(DriverError::NotFound(Call::Stop)).code(), 4);
        assert_eq!(CliError::NotProtected("D:".into()).code(), 4);
        assert_eq!(CliError::from(DriverError::AccessDenied(Call::Open)).code(), 5);
        assert_eq!(CliError::from("x".parse::<VolumeName>().unwrap_err()).code(), 2);
        assert_eq!(CliError::Differs.code(), 6);
        assert_eq!(CliError::from(DriverError::Busy(Call::Start)).code(), 1);
    }
}
