//! What a failed run reports: the broken rule, the step, and the command that replays it.

use std::fmt;

use clap::ValueEnum;

use crate::options::Options;

/// A rule of the method, by its name in `docs/rules.md`; and two that follow from rule LOSS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Rule {
    /// The base image is exact, each block once, ahead of every write to it.
    T0,
    /// Overlapping writes are replicated in the order in which the disk applied them.
    Order,
    /// A write is in the stream, or its blocks are dirty.
    Loss,
    /// No write waits longer than its bound; everything completes.
    Hang,
    /// Memory is fixed, and lent to one holder at a time.
    Bound,
    /// A write that failed leaves its blocks dirty.
    Truth,
    /// The application sees what it would see without us.
    Clear,
    /// Protection goes on from what is durable.
    Resume,
    /// Every restorable point is an instant of the disk.
    Point,
    /// A gap begins only where it was needed, for the reason that the engine gives.
    Gap,
}

impl Rule {
    /// The rule that a message names, and the rest of the message: an assertion of the engine, or
    /// an error of the server. The whole message if it names none.
    pub(crate) fn of_message(message: String) -> (Option<Self>, String) {
        let mut rest = message.as_str();
        while let Some((name, after)) = rest.split_once(": ") {
            let is_named = |rule: &&Self| rule.to_string() == name;
            if let Some(&rule) = Self::value_variants().iter().find(is_named) {
                return (Some(rule), after.to_owned());
            }
            rest = after;
        }
        (None, message)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}

/// A broken rule, as a check reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

impl Broken {
    pub(crate) fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }
}

/// Fails with a broken rule unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $rule:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::failure::Broken::new($rule, format!($($what)+)));
        }
    };
}
pub(crate) use ensure;

/// A run that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was run.
    pub options: Options,
    /// The step at which it was noticed.
    pub step: u64,
    /// The rule; `None` if the engine or the simulator panicked for another reason.
    pub rule: Option<Rule>,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.map_or_else(|| "a panic".to_string(), |rule| format!("rule {rule}"));
        writeln!(f, "seed {}, step {}: {rule}: {}", self.options.seed, self.step, self.what)?;
        write!(f, "replay: cargo xtask sim {}", self.options)
    }
}

impl std::error::Error for Failure {}
