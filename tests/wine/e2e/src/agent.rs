//! The rig's agent inside Wine: one Windows program that lives as long as the run (Wine unloads its
//! drivers with the last program) and sends commands to the test volume's driver.
//!
//! The rule: each command has one answer, in order; an agent that does not answer in time is an
//! error.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ChildStdin;
use std::time::Duration;

use protocol::ioctl::{self, AllocationFailure, Counters, Memory, Usage};
use protocol::zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::error::E2eError;
use crate::prefix::Prefix;
use crate::process::{self, Program};

const NAME: &str = "wine";
/// Wine's start includes its services.
const START_LIMIT: Duration = Duration::from_secs(90);
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// For verbs that send hundreds of requests.
const SERIES_LIMIT: Duration = Duration::from_mins(5);

/// The agent, ready for commands.
#[derive(Debug)]
pub struct Agent {
    program: Program,
    input: Option<ChildStdin>,
}

/// How a request to the volume ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It succeeded.
    Done,
    /// It failed with this Windows error.
    Failed(u32),
    /// It was cancelled while it was under way.
    Cancelled,
    /// It was over before it could be cancelled.
    Finished,
    /// The volume has that many bytes.
    Length(u64),
}

impl Outcome {
    fn parse(answer: &str) -> Option<Self> {
        Some(match answer.split_once('=').unwrap_or((answer, "")) {
            ("done", "") => Self::Done,
            ("cancelled", "") => Self::Cancelled,
            ("finished", "") => Self::Finished,
            ("failed", code) => Self::Failed(code.parse().ok()?),
            ("length", bytes) => Self::Length(bytes.parse().ok()?),
            _ => return None,
        })
    }

    /// An error of rule CLEAR (rules.md#clear) if the request did not succeed.
    pub fn must_be_done(self, what: &str) -> Result<(), E2eError> {
        match self {
            Self::Done => Ok(()),
            other => Err(E2eError::Rule(format!("CLEAR: {what} ended as {other:?}"))),
        }
    }
}

impl Agent {
    /// Starts the agent, and with it Wine. `exe` is a Windows path.
    pub fn start(prefix: &Prefix, exe: &str) -> Result<Self, E2eError> {
        let mut program = Program::start_noisy(NAME, &mut prefix.wine(exe), prefix.logs())?;
        let input = program.take_stdin();
        let mut agent = Self { program, input };
        agent.ask("hello")?;
        Ok(agent)
    }

    /// Sends a command that takes a structure of `protocol::ioctl`, or `()`, to the rig.
    pub fn command<I>(&mut self, code: u32, input: &I) -> Result<(), E2eError>
    where
        I: IntoBytes + Immutable,
    {
        self.query(code, input)
    }

    /// The same, for a command that gives a structure.
    pub fn query<I, A>(&mut self, code: u32, input: &I) -> Result<A, E2eError>
    where
        I: IntoBytes + Immutable,
        A: FromBytes,
    {
        let mut digits = String::new();
        for byte in input.as_bytes() {
            // Writing to a string does not fail.
            let _ = write!(digits, "{byte:02x}");
        }
        if digits.is_empty() {
            digits.push('-');
        }
        let command = format!("rig {code:x} {digits} {:x}", size_of::<A>());
        let answer = self.ask(&command)?;
        let bytes: Option<Vec<u8>> = (0..answer.len() / 2)
            .map(|at| u8::from_str_radix(answer.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        let structure = bytes.and_then(|bytes| A::read_from_bytes(&bytes).ok());
        structure.ok_or_else(|| misunderstood(&command, &answer, "the bytes of a structure"))
    }

    /// The volume's counters.
    pub fn counters(&mut self) -> Result<Counters, E2eError> {
        self.query(ioctl::QUERY, &())
    }

    /// Lets the volume take requests, but not work on them.
    pub fn pause(&mut self) -> Result<(), E2eError> {
        self.command(ioctl::PAUSE, &())
    }

    /// Lets the volume work again.
    pub fn resume(&mut self) -> Result<(), E2eError> {
        self.command(ioctl::RESUME, &())
    }

    /// Makes allocations of these kinds fail in the product's driver; 0 ends that.
    pub fn fail_allocations(&mut self, kinds: u32) -> Result<(), E2eError> {
        self.command(ioctl::FAIL_ALLOCATIONS, &AllocationFailure { kinds, nth: 0 })
    }

    /// The driver's allocations since then.
    pub fn memory(&mut self) -> Result<Memory, E2eError> {
        self.query(ioctl::MEMORY, &())
    }

    /// Sends a request to the volume as an application; returns how it ended.
    pub fn request(&mut self, command: &str) -> Result<Outcome, E2eError> {
        let answer = self.ask(command)?;
        Outcome::parse(&answer).ok_or_else(|| misunderstood(command, &answer, "an outcome"))
    }

    /// Sets the power state of the volume's stack: 1 is working, 4 is off.
    pub fn power(&mut self, state: u32) -> Result<(), E2eError> {
        self.command(ioctl::SET_POWER, &state)
    }

    /// A paging (1), hibernation (2) or dump (3) file comes to the volume, or leaves it.
    pub fn usage(&mut self, kind: u32, in_path: bool) -> Result<(), E2eError> {
        self.command(ioctl::USAGE, &Usage { kind, in_path: in_path.into() })
    }

    /// Notifies the drivers that registered for the system's shutdown.
    pub fn shutdown(&mut self) -> Result<(), E2eError> {
        self.command(ioctl::SHUTDOWN, &())
    }

    /// Tells the drivers that the system is about to sleep.
    pub fn fall_asleep(&mut self) -> Result<(), E2eError> {
        self.command(ioctl::SLEEP, &0_u32)
    }

    /// Tells the drivers that the system is awake again.
    pub fn wake_up(&mut self) -> Result<(), E2eError> {
        self.command(ioctl::SLEEP, &1_u32)
    }

    /// Ends the agent; Wine unloads what is still loaded.
    pub fn finish(&mut self) -> Result<(), E2eError> {
        self.input = None;
        self.program.finish(ANSWER_LIMIT)
    }

    /// Gives a command of the agent's table; returns the answer.
    pub fn ask(&mut self, command: &str) -> Result<String, E2eError> {
        let limit = match command.split(' ').next() {
            Some("hello") => START_LIMIT,
            Some("malformed" | "refused") => SERIES_LIMIT,
            _ => ANSWER_LIMIT,
        };
        if let Some(input) = &mut self.input {
            let sent = writeln!(input, "{command}").and_then(|()| input.flush());
            sent.map_err(E2eError::file("talk to the program that logs to", self.program.log()))?;
        }
        let answer = self.program.line(&format!("asked to {command}"), limit)?;
        understand(command, &answer, self.program.log())
    }
}

fn understand(command: &str, answer: &str, log: &std::path::Path) -> Result<String, E2eError> {
    match answer.split_once(' ').unwrap_or((answer, "")) {
        ("ok", rest) => Ok(rest.into()),
        ("error", why) => Err(E2eError::Exit {
            program: format!("the rig's agent, asked to {command},"),
            status: why.into(),
            tail: process::tail(log),
        }),
        _ => Err(misunderstood(command, answer, "`ok …` or `error …`")),
    }
}

fn misunderstood(command: &str, answer: &str, expected: &str) -> E2eError {
    let program = format!("the rig's agent, asked to {command},");
    E2eError::said(&program, answer, format!("expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read() {
        assert_eq!(Outcome::parse("done"), Some(Outcome::Done));
        assert_eq!(Outcome::parse("failed=50"), Some(Outcome::Failed(50)));
        assert_eq!(Outcome::parse("length=4096"), Some(Outcome::Length(4096)));
        assert_eq!(Outcome::parse("failed="), None);
        assert_eq!(Outcome::parse("well"), None);
    }

    #[test]
    fn answers_are_ok_or_an_error_with_its_reason() {
        let log = std::path::Path::new("/nonexistent");
        assert_eq!(understand("query", "ok a b", log).unwrap(), "a b");
        assert_eq!(understand("attach", "ok", log).unwrap(), "");
        let error = understand("attach", "error 0xc000000e", log).unwrap_err().to_string();
        assert!(error.contains("attach") && error.contains("0xc000000e"), "{error}");
        assert!(understand("query", "what?", log).is_err());
    }
}
