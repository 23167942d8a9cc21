//! What a run has found.

use serde::{Deserialize, Serialize};

/// The verdict on a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every step was done and said so.
    Passed,
    /// A step found something else than it expects.
    Failed {
        /// What.
        why: String,
    },
    /// A step took too long, while the guest gave signs of life.
    TimedOut,
    /// The guest crashed, was reset or went off without being asked.
    Crashed {
        /// What is known of it.
        what: String,
    },
    /// The guest gave no sign of life.
    Hung,
    /// The program in the guest has never said hello.
    NeverBooted,
    /// What came over the line is not the protocol.
    ProtocolBroken {
        /// What came.
        what: String,
    },
}

impl Verdict {
    /// One word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::TimedOut => "timed out",
            Self::Crashed { .. } => "crashed",
            Self::Hung => "hung",
            Self::NeverBooted => "never booted",
            Self::ProtocolBroken { .. } => "protocol broken",
        }
    }

    /// What is known besides.
    pub fn detail(&self) -> &str {
        match self {
            Self::Failed { why: detail }
            | Self::Crashed { what: detail }
            | Self::ProtocolBroken { what: detail } => detail,
            Self::Passed | Self::TimedOut | Self::Hung | Self::NeverBooted => "",
        }
    }

    /// The exit code that tells it; 2 is left to wrong arguments.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed { .. } => 1,
            Self::TimedOut => 3,
            Self::Crashed { .. } => 4,
            Self::Hung => 5,
            Self::NeverBooted => 6,
            Self::ProtocolBroken { .. } => 7,
        }
    }
}

/// How far a step came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnd {
    /// Its name.
    pub name: String,
    /// Its own verdict; none if its turn did not come.
    pub verdict: Option<Verdict>,
    /// Seconds that it took.
    pub seconds: u64,
}
