//! The rig's agent inside Wine: one Windows program that lives as long as the run (Wine unloads its
//! drivers with the last program) and passes commands to the test volume's driver.
//!
//! Upholds: one question, one answer, in order; a silent agent is an error after a limit.

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::E2eError;
use crate::prefix::Prefix;
use crate::process::{self, Program};

const NAME: &str = "wine";
/// Wine's start includes its services.
const START_LIMIT: Duration = Duration::from_secs(90);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const MALFORMED_LIMIT: Duration = Duration::from_secs(300);

/// The agent, ready for questions.
#[derive(Debug)]
pub struct Agent {
    program: Program,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
}

/// What the test volume's driver has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Writes applied to the image, which is the journal's length.
    pub applied: u64,
    /// Writes that the volume has accepted and not answered yet.
    pub in_flight: u64,
    /// Reads answered.
    pub reads: u64,
}

/// What the product's driver has of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Allocations of the scarce kinds that it has asked for.
    pub asked: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// Everything that it has not given back.
    pub outstanding: u64,
}

/// How a write from the top of the stack ended, and how it arrived at the bottom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// Its `NTSTATUS`.
    pub status: u64,
    /// Bytes that it reported.
    pub length: u64,
    /// `SL_…`
    pub location_flags: u64,
    /// `IRP_…`
    pub irp_flags: u64,
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
}

impl Agent {
    /// Starts the agent, and with it Wine. `exe` is a Windows path.
    pub fn start(prefix: &Prefix, exe: &str) -> Result<Self, E2eError> {
        let mut program = Program::start_noisy(NAME, &mut prefix.wine(exe), prefix.logs())?;
        let stdout = program.take_stdout().expect("a noisy program's output is a pipe");
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let questions = program.take_stdin();
        let mut agent = Self { program, questions, answers };
        agent.ask_within("hello", START_LIMIT)?;
        Ok(agent)
    }

    /// What the volume has counted.
    pub fn counters(&mut self) -> Result<Counters, E2eError> {
        let answer = self.ask("query")?;
        parse_counters(&answer).ok_or_else(|| E2eError::Said {
            program: "the rig's agent".into(),
            said: answer,
            why: "expected `applied=… in_flight=… reads=…`".into(),
        })
    }

    /// Builds the volume's stack as plug and play does: the registered upper filters, then the start.
    pub fn attach(&mut self) -> Result<(), E2eError> {
        self.ask("attach").map(|_| ())
    }

    /// Takes the volume's stack down as plug and play does.
    pub fn remove(&mut self) -> Result<(), E2eError> {
        self.ask("remove").map(|_| ())
    }

    /// Lets the volume take requests, but not work on them.
    pub fn pause(&mut self) -> Result<(), E2eError> {
        self.ask("pause").map(|_| ())
    }

    /// Lets the volume work again.
    pub fn resume(&mut self) -> Result<(), E2eError> {
        self.ask("resume").map(|_| ())
    }

    /// Tells the rig something that has no answer; see the agent's table of commands.
    pub fn tell(&mut self, command: &str) -> Result<(), E2eError> {
        self.ask(command).map(|_| ())
    }

    /// Gives a command that has an answer of its own; returns it.
    pub fn told(&mut self, command: &str) -> Result<String, E2eError> {
        self.ask(command)
    }

    /// What memory the product's driver has asked for since the last `scarce`, and what it has.
    pub fn memory(&mut self) -> Result<Memory, E2eError> {
        let answer = self.ask("memory")?;
        let [asked, refused, outstanding] = fields(&answer, ["asked", "refused", "outstanding"])?;
        Ok(Memory { asked, refused, outstanding })
    }

    /// Writes from the top of the volume's stack, in the kernel: `parts` lists of memory, with these `SL_…` and `IRP_…`
    /// flags. Says how the write ended and arrived.
    pub fn top_write(
        &mut self,
        place: (u64, u32, u8),
        parts: u32,
        flags: (u32, u32),
    ) -> Result<Arrived, E2eError> {
        let ((offset, len, fill), (location, packet)) = (place, flags);
        let answer =
            self.ask(&format!("top-write {offset} {len} {fill} {parts} {location:x} {packet:x}"))?;
        let names = ["status", "length", "location_flags", "irp_flags"];
        let [status, length, location_flags, irp_flags] = fields(&answer, names)?;
        Ok(Arrived { status, length, location_flags, irp_flags })
    }

    /// Asks the volume for something, as an application; returns how it ended.
    pub fn request(&mut self, command: &str) -> Result<Outcome, E2eError> {
        let answer = self.ask(command)?;
        Outcome::parse(&answer).ok_or_else(|| E2eError::Said {
            program: format!("the rig's agent, asked to {command},"),
            said: answer,
            why: "expected an outcome".into(),
        })
    }

    /// Sets the power state of the volume's stack: 1 is working, 4 is off.
    pub fn power(&mut self, state: u32) -> Result<(), E2eError> {
        self.ask(&format!("power {state}")).map(|_| ())
    }

    /// A paging (1), hibernation (2) or dump (3) file comes to the volume, or goes.
    pub fn usage(&mut self, kind: u32, in_path: bool) -> Result<(), E2eError> {
        let way = if in_path { "on" } else { "off" };
        self.ask(&format!("usage {kind} {way}")).map(|_| ())
    }

    /// The drivers that asked for it are told that the system shuts down.
    pub fn shutdown(&mut self) -> Result<(), E2eError> {
        self.ask("shutdown").map(|_| ())
    }

    /// Throws malformed requests at the product's driver while nobody has a session; returns what the agent counted.
    pub fn malformed_alone(&mut self) -> Result<String, E2eError> {
        self.ask_within("malformed alone", MALFORMED_LIMIT)
    }

    /// The same beside the service's session, then `count` random ones.
    pub fn malformed_beside(&mut self, seed: u64, count: u64) -> Result<String, E2eError> {
        self.ask_within(&format!("malformed beside {seed} {count}"), MALFORMED_LIMIT)
    }

    /// Makes the journal's file complete.
    pub fn flush_journal(&mut self) -> Result<(), E2eError> {
        self.ask("flush-journal").map(|_| ())
    }

    /// Ends the agent; Wine unloads what is still loaded.
    pub fn finish(&mut self) -> Result<(), E2eError> {
        self.questions = None;
        self.program.finish(ANSWER_LIMIT)
    }

    fn ask(&mut self, question: &str) -> Result<String, E2eError> {
        self.ask_within(question, ANSWER_LIMIT)
    }

    fn ask_within(&mut self, question: &str, limit: Duration) -> Result<String, E2eError> {
        let log = self.program.log().to_path_buf();
        if let Some(questions) = &mut self.questions {
            let asked = writeln!(questions, "{question}").and_then(|()| questions.flush());
            asked.map_err(E2eError::file("talk to the program that logs to", &log))?;
        }
        let begun = Instant::now();
        loop {
            process::check_interrupt()?;
            match self.answers.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => return understand(question, &answer, &log),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(E2eError::Exit {
                        program: format!("the rig's agent, asked to {question},"),
                        status: String::from("it ended"),
                        tail: process::tail(&log),
                    });
                }
                Err(RecvTimeoutError::Timeout) if begun.elapsed() > limit => {
                    let what = format!("the rig's agent to answer {question:?}");
                    return Err(E2eError::Timeout { what, limit, tail: process::tail(&log) });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn understand(question: &str, answer: &str, log: &std::path::Path) -> Result<String, E2eError> {
    let answer = answer.trim_end();
    match answer.split_once(' ').unwrap_or((answer, "")) {
        ("ok", rest) => Ok(rest.into()),
        ("error", why) => Err(E2eError::Exit {
            program: format!("the rig's agent, asked to {question},"),
            status: why.into(),
            tail: process::tail(log),
        }),
        _ => Err(E2eError::Said {
            program: "the rig's agent".into(),
            said: answer.into(),
            why: "expected `ok …` or `error …`".into(),
        }),
    }
}

/// The numbers of an answer of `name=number` words, decimal or with `0x`.
fn fields<const N: usize>(answer: &str, names: [&str; N]) -> Result<[u64; N], E2eError> {
    let mut numbers = [0; N];
    for (number, name) in numbers.iter_mut().zip(names) {
        let word =
            answer.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let parsed = word.and_then(|word| match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        });
        *number = parsed.ok_or_else(|| E2eError::Said {
            program: "the rig's agent".into(),
            said: answer.into(),
            why: format!("expected a number for {name}"),
        })?;
    }
    Ok(numbers)
}

fn parse_counters(answer: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    let mut seen = 0;
    for field in answer.split_whitespace() {
        let (name, value) = field.split_once('=')?;
        let value = value.parse().ok()?;
        let place = match name {
            "applied" => &mut counters.applied,
            "in_flight" => &mut counters.in_flight,
            "reads" => &mut counters.reads,
            _ => continue,
        };
        *place = value;
        seen += 1;
    }
    (seen == 3).then_some(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_whole_or_not_at_all() {
        let counters = parse_counters("applied=5 submitted=9 in_flight=4 reads=2");
        assert_eq!(counters, Some(Counters { applied: 5, in_flight: 4, reads: 2 }));
        assert_eq!(parse_counters("applied=5 in_flight=4"), None);
        assert_eq!(parse_counters("applied=x in_flight=4 reads=1"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_names() {
        let answer = "status=0x0 irp_flags=0x2a flags=5";
        assert_eq!(fields(answer, ["flags", "irp_flags"]).unwrap(), [5, 0x2a]);
        assert!(fields(answer, ["length"]).is_err());
    }

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
        assert_eq!(understand("query", "ok a b\r", log).unwrap(), "a b");
        assert_eq!(understand("attach", "ok", log).unwrap(), "");
        let error = understand("attach", "error 0xc000000e", log).unwrap_err().to_string();
        assert!(error.contains("attach") && error.contains("0xc000000e"), "{error}");
        assert!(understand("query", "what?", log).is_err());
    }
}
