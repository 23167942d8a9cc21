//! Follows `snapless status --watch --json`: one program for the whole run, which prints a document at
//! each look.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::E2eError;
use crate::prefix::Prefix;
use crate::process::{self, Program};
use crate::status::Status;

/// Seconds between two looks.
const INTERVAL: &str = "0.25";
/// A look takes longer on a busy machine, but not this long.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// The program, and what it prints.
#[derive(Debug)]
pub struct StatusWatch {
    program: Program,
    lines: Receiver<String>,
}

impl StatusWatch {
    /// Starts `snapless.exe`, a Windows path.
    pub fn start(prefix: &Prefix, exe: &str) -> Result<Self, E2eError> {
        let mut command = prefix.wine(exe);
        command.args(["status", "--watch", "--json", "--interval", INTERVAL]);
        let mut program = Program::start_talking("status", &mut command, prefix.logs())?;
        let stdout = program.take_stdout().expect("a talking program's output is a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { program, lines })
    }

    /// The session as it is now or a moment later; `None` while there is none.
    pub fn look(&mut self) -> Result<Option<Status>, E2eError> {
        // What waits in the channel is old, and the look after that may have begun before this call.
        while self.lines.try_recv().is_ok() {}
        self.line()?;
        Status::parse(&self.line()?)
    }

    fn line(&mut self) -> Result<String, E2eError> {
        let begun = Instant::now();
        loop {
            process::check_interrupt()?;
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(E2eError::Exit {
                        program: "snapless status --watch".into(),
                        status: String::from("it ended"),
                        tail: process::tail(self.program.log()),
                    });
                }
                Err(RecvTimeoutError::Timeout) if begun.elapsed() > SILENCE_LIMIT => {
                    return Err(E2eError::Timeout {
                        what: "snapless status --watch to look again".into(),
                        limit: SILENCE_LIMIT,
                        tail: process::tail(self.program.log()),
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
