//! How a scenario of the end-to-end run looks: one line a step, and on the running step's line what it is doing.
//!
//! The rule: a terminal sees the line move; a file sees what the line said every few seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use snapless_e2e::console::Console;

use crate::console::say;

const TICK: Duration = Duration::from_millis(120);
/// How often a file is told of progress.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// Shows a scenario on standard error.
pub struct ScenarioConsole {
    on_terminal: bool,
    step: Option<Step>,
}

struct Step {
    name: String,
    begun: Instant,
    told: Instant,
    bar: ProgressBar,
}

impl ScenarioConsole {
    /// Looks at whether standard error is a terminal.
    #[must_use]
    pub fn new() -> Self {
        Self { on_terminal: std::io::stderr().is_terminal(), step: None }
    }

    fn finish(&mut self, ending: &str) {
        if let Some(step) = self.step.take() {
            step.bar.finish_and_clear();
            let seconds = step.begun.elapsed().as_secs_f64();
            say(&format!("  {} ... {ending} ({seconds:.1} s)", step.name));
        }
    }
}

impl Default for ScenarioConsole {
    fn default() -> Self {
        Self::new()
    }
}

impl Console for ScenarioConsole {
    fn begin(&mut self, step: &str) {
        let bar = if self.on_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} ... {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(step.to_owned());
        if self.on_terminal {
            bar.enable_steady_tick(TICK);
        }
        let now = Instant::now();
        self.step = Some(Step { name: step.to_owned(), begun: now, told: now, bar });
    }

    fn detail(&mut self, text: &str) {
        let Some(step) = &mut self.step else { return };
        step.bar.set_message(text.to_owned());
        if !self.on_terminal && step.told.elapsed() >= PLAIN_INTERVAL {
            step.told = Instant::now();
            say(&format!("  {} ... {text}", step.name));
        }
    }

    fn end(&mut self) {
        self.finish("ok");
    }

    fn fail(&mut self) {
        self.finish("FAILED");
    }

    fn line(&mut self, text: &str) {
        match &self.step {
            Some(step) => step.bar.suspend(|| say(text)),
            None => say(text),
        }
    }
}
