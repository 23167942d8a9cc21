//! Follows `snapless status --watch --json`: one program for the whole run, which prints a document
//! at each look.

use std::time::Duration;

use crate::error::E2eError;
use crate::prefix::Prefix;
use crate::process::Program;
use crate::status::Status;

/// Seconds between two looks.
const INTERVAL: &str = "0.25";
/// A look takes longer on a busy machine, but not this long.
const SILENCE_LIMIT: Duration = Duration::from_mins(1);

/// The program.
#[derive(Debug)]
pub struct StatusWatch(Program);

impl StatusWatch {
    /// Starts `snapless.exe`, a Windows path.
    pub fn start(prefix: &Prefix, exe: &str) -> Result<Self, E2eError> {
        let mut command = prefix.wine(exe);
        command.args(["status", "--watch", "--json", "--interval", INTERVAL]);
        Program::start_talking("status", &mut command, prefix.logs()).map(Self)
    }

    /// The session as it is now or a moment later; `None` while there is none.
    pub fn look(&mut self) -> Result<Option<Status>, E2eError> {
        // Waiting lines are old, and the look after them may have begun before this call.
        self.0.discard_lines();
        self.0.line("asked for the status", SILENCE_LIMIT)?;
        Status::parse(&self.0.line("asked for the status", SILENCE_LIMIT)?)
    }

    /// Ends the program between two looks: killed in the middle of one, its request would still be
    /// under way in the driver. A program that has failed has no request there.
    pub fn end(mut self) {
        self.0.discard_lines();
        let _ = self.0.line("asked for the status", SILENCE_LIMIT);
    }
}
