//! How a command ended, and the exit code that says so: those of msiexec.

use std::process::ExitCode;

/// Exit code: failed (`ERROR_INSTALL_FAILURE`).
const FAILED: u16 = 1603;
/// Exit code: done, and a restart completes it (`ERROR_SUCCESS_REBOOT_REQUIRED`).
const RESTART: u16 = 3010;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done.
    Done,
    /// Done; a restart of the machine completes it.
    Restart,
    /// Failed.
    Failed,
}

impl Outcome {
    /// Its exit code.
    pub fn code(self) -> u16 {
        match self {
            Self::Done => 0,
            Self::Restart => RESTART,
            Self::Failed => FAILED,
        }
    }

    /// Ends the process with its exit code.
    pub fn exit(self) -> ExitCode {
        match u8::try_from(self.code()) {
            Ok(code) => ExitCode::from(code),
            // `ExitCode` has eight bits, Windows' codes have 32.
            Err(_) => std::process::exit(self.code().into()),
        }
    }
}
