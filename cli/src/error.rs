//! What can go wrong at the command line, and the exit code that says so to scripts.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use snapless_driver_client::DriverError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The driver, or the way to it.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The volume is there, but nothing protects it.
    #[error("volume {0} has no session: it is not protected")]
    NotProtected(String),
    /// The volume is not one of the driver's.
    #[error("the driver does not sit on volume {0}: look at `snapless volumes`")]
    NotFiltered(String),
    /// The service's reports.
    #[error("the service's reports in {folder} cannot be read: {source}")]
    Reports {
        /// Where they are.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Standard output.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
    /// JSON.
    #[error("the answer cannot be put into JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// The exit code, as documented in the help.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        use DriverError::{
            Absent, AccessDenied, NoSuchSession, NoSuchVolume, NotFound, SessionEnded,
        };
        match self {
            Self::Driver(Absent) => 3,
            Self::NotProtected(_)
            | Self::NotFiltered(_)
            | Self::Driver(NotFound(_) | NoSuchVolume(_) | NoSuchSession(_) | SessionEnded(_)) => 4,
            Self::Driver(AccessDenied(_)) => 5,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_driver_client::error::Call;

    #[test]
    fn each_code_means_what_the_help_says() {
        assert_eq!(CliError::from(DriverError::Absent).code(), 3);
        assert_eq!(CliError::from(DriverError::NotFound(Call::Stop)).code(), 4);
        assert_eq!(CliError::NotProtected("D:".into()).code(), 4);
        assert_eq!(CliError::from(DriverError::AccessDenied(Call::Open)).code(), 5);
        assert_eq!(CliError::from(DriverError::Busy(Call::Start)).code(), 1);
    }
}
