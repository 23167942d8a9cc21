//! What a person sees while a task runs: named, numbered steps with the time that each took.
//!
//! ```text
//! [2/7] WDK content root ... ok (3.2 s)
//! [3/7] wdk-build ... already there
//! ```
//! Each step is one line on any output; on a terminal the line of a running step also moves. Steps
//! may run side by side: a number is given out when a step begins, its line comes when it ends.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

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
    begun: AtomicUsize,
    /// The moving lines; hidden if this is no terminal.
    lines: MultiProgress,
}

impl Steps {
    /// A task of `total` steps.
    #[must_use]
    pub fn new(total: usize) -> Self {
        let lines = MultiProgress::with_draw_target(target(std::io::stderr().is_terminal()));
        Self { total, begun: AtomicUsize::new(0), lines }
    }

    /// Runs the next step and prints how it ended.
    pub fn run(&self, name: &str, step: impl FnOnce(&Progress) -> Result<Outcome>) -> Result<()> {
        self.timed(name, step, Outcome::clone).map(|_| ())
    }

    /// Runs the next step, prints how it ended, and returns what it made.
    pub fn make<T>(&self, name: &str, step: impl FnOnce(&Progress) -> Result<T>) -> Result<T> {
        self.timed(name, step, |_| Outcome::Done)
    }

    fn timed<T>(
        &self,
        name: &str,
        step: impl FnOnce(&Progress) -> Result<T>,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> Result<T> {
        // Relaxed: the number orders nothing.
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let prefix = format!("[{number}/{}] {name}", self.total);
        let progress = Progress::begin(&prefix, self.lines.add(ProgressBar::no_length()));
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
        self.lines.suspend(|| say(&format!("{prefix} ... {ending}")));
        result
    }
}

/// Runs two parts of a task at the same time, and waits for both.
pub fn side_by_side<A: Send, B>(
    one: impl FnOnce() -> Result<A> + Send,
    other: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        let one = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((one?, other?))
    })
}

/// The running step's line.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins the line of a step that runs alone.
    pub(crate) fn start(prefix: &str, on_terminal: bool) -> Self {
        Self::begin(prefix, ProgressBar::with_draw_target(None, target(on_terminal)))
    }

    fn begin(prefix: &str, bar: ProgressBar) -> Self {
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

fn target(on_terminal: bool) -> ProgressDrawTarget {
    if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

/// Prints a line where progress goes; a closed standard error is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn of_two_parts_side_by_side_either_may_fail_and_both_end() {
        let both = side_by_side(|| Ok(1), || Ok("two")).expect("both succeed");
        assert_eq!(both, (1, "two"));
        let fails = || Err::<u8, _>(Error::Tests { failed: 1 });
        let mut has_ended = false;
        let ended = side_by_side(fails, || {
            has_ended = true;
            Ok(())
        });
        assert!(ended.is_err() && has_ended);
        assert!(side_by_side(|| Ok(()), fails).is_err());
    }
}
