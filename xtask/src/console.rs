//! What a person sees while a task runs: named, numbered steps with the time that each took.
//!
//! ```text
//! [2/7] WDK content root ... ok (3.2 s)
//! [3/7] wdk-build ... already there
//! ```
//! Each step is one line on any output; on a terminal the line of the running step also moves.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Result;

const TICK: Duration = Duration::from_millis(120);

/// How a step ended when it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did its work.
    Done,
    /// Its work was done before and nothing that it depends on has changed.
    AlreadyThere,
    /// It has nothing to do here, for the reason given.
    NotNeeded(String),
}

/// The steps of one task.
pub struct Steps {
    total: usize,
    current: usize,
    on_terminal: bool,
}

impl Steps {
    /// A task of `total` steps.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self { total, current: 0, on_terminal: std::io::stderr().is_terminal() }
    }

    /// Runs the next step and prints how it ended.
    pub fn run(
        &mut self,
        name: &str,
        step: impl FnOnce(&Progress) -> Result<Outcome>,
    ) -> Result<()> {
        self.timed(name, step, Outcome::clone).map(|_| ())
    }

    /// Runs the next step, prints how it ended, and returns what it made.
    pub fn make<T>(&mut self, name: &str, step: impl FnOnce(&Progress) -> Result<T>) -> Result<T> {
        self.timed(name, step, |_| Outcome::Done)
    }

    fn timed<T>(
        &mut self,
        name: &str,
        step: impl FnOnce(&Progress) -> Result<T>,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> Result<T> {
        self.current += 1;
        let prefix = format!("[{}/{}] {name}", self.current, self.total);
        let progress = Progress::start(&prefix, self.on_terminal);
        let started = Instant::now();
        let result = step(&progress);
        drop(progress);

        let seconds = started.elapsed().as_secs_f64();
        let ending = match result.as_ref().map(outcome) {
            Ok(Outcome::Done) => format!("ok ({seconds:.1} s)"),
            Ok(Outcome::AlreadyThere) => "already there".to_owned(),
            Ok(Outcome::NotNeeded(reason)) => format!("not needed ({reason})"),
            Err(_) => format!("FAILED ({seconds:.1} s)"),
        };
        say(&format!("{prefix} ... {ending}"));
        result
    }
}

/// The running step's line.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins the line of a step.
    pub(crate) fn start(prefix: &str, on_terminal: bool) -> Self {
        let target =
            if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix} ... {elapsed} {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(prefix.to_owned());
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Shows what the step is doing at the moment.
    pub fn detail(&self, text: &str) {
        self.bar.set_message(text.trim().to_owned());
    }

    /// Prints a line above the moving one.
    pub fn note(&self, text: &str) {
        self.suspended(|| say(text));
    }

    /// Lets `print` print above the moving line.
    pub fn suspended(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Prints a line where progress goes; a closed standard error is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
