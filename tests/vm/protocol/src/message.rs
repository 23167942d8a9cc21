//! The messages of both sides.
//!
//! ```text
//! guest:   Hello            Started(1) Log(1)… File(1)… Ended(1)           Beat, once a second
//! harness:        Run(1, …)                                      Run(2, …)
//! ```

use serde::{Deserialize, Serialize};

/// The version of this protocol. Both sides are built together; another version is a medium of an
/// older run.
pub const VERSION: u32 = 1;
/// Seconds from one sign of life to the next.
pub const BEAT_SECONDS: u64 = 1;
/// Bytes of a file that go into one message.
pub const FILE_PART: usize = 12 << 10;
/// The longest file that goes over the line. Longer ones go by the result disk.
pub const FILE_MAX: u64 = 4 << 20;

/// Which step of a run, from 0 on.
pub type StepNumber = u32;

/// What the guest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGuest {
    /// The program has started and waits for a step.
    Hello {
        /// [`VERSION`]
        version: u32,
        /// Another number at each start of the program.
        instance: u64,
        /// The guest's operating system, for the report.
        system: String,
    },
    /// The guest lives.
    Beat,
    /// A step begins.
    Started {
        /// Which one.
        step: StepNumber,
    },
    /// A line that a program of the step has printed.
    Log {
        /// Which step.
        step: StepNumber,
        /// The line.
        line: String,
    },
    /// A part of a file that the step has made.
    File {
        /// Which step.
        step: StepNumber,
        /// A file name without a folder.
        name: String,
        /// Where in the file the part belongs: parts come in order.
        offset: u64,
        /// The bytes, in base64.
        data: String,
    },
    /// The step is over.
    Ended {
        /// Which one.
        step: StepNumber,
        /// How.
        outcome: Outcome,
    },
    /// The guest restarts or hibernates now, as the step asks.
    Leaving {
        /// Which step.
        step: StepNumber,
    },
}

/// How a step ended in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed {
        /// What was found in the place of what.
        why: String,
    },
}

/// What the harness says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest {
    /// Do this.
    Run {
        /// The step's number.
        step: StepNumber,
        /// What to do.
        deed: Deed,
    },
}

/// What a guest can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Run a program to its end.
    Run(Command),
    /// Start a program that goes on while later steps run.
    Start {
        /// What [`Deed::Stop`] calls it.
        name: String,
        /// What to run.
        command: Command,
    },
    /// Close a program's standard input, and wait for its end.
    Stop {
        /// Which one.
        name: String,
    },
    /// Copy files to the harness and to the result disk.
    Collect {
        /// Files, or folders with all that is directly in them. What is not there is left out.
        paths: Vec<String>,
    },
    /// Restart the machine in order.
    Restart,
    /// Hibernate: the machine goes off, and goes on where it was once it is started again.
    Hibernate,
}

/// A program with what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The exit codes that are right.
    pub codes: Vec<i32>,
    /// Texts that its output must have, each of them.
    pub says: Vec<String>,
    /// Texts that its output must not have.
    pub never_says: Vec<String>,
    /// The name of a file in the results that gets its output.
    pub save_as: Option<String>,
}

impl Command {
    /// A program that has to end with code 0.
    pub fn new(program: &str, arguments: &[&str]) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            codes: vec![0],
            says: Vec::new(),
            never_says: Vec::new(),
            save_as: None,
        }
    }
}

/// True for a name that stays in the folder it is put into, on Windows too.
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    (1..=100).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_its_folder_is_not_plain() {
        for name in ["", "..", ".x", "a/b", "a\\b", "C:x", "a b", "é", &"x".repeat(101)] {
            assert!(!is_plain_name(name), "{name}");
        }
        assert!(is_plain_name("MEMORY.DMP") && is_plain_name("system-1.evtx"));
    }
}
