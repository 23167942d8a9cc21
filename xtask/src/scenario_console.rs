//! How a scenario of the end-to-end run looks: one line a step. On a terminal the line of the
//! running step moves; in a file it is repeated every few seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use snapless_e2e::console::Console;

use crate::console::{Progress, say};

/// How often progress is written to a file.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// Shows a scenario on standard error.
pub struct ScenarioConsole {
    /// What each line begins with.
    label: String,
    /// True if the line of the running step moves.
    moves: bool,
    step: Option<Step>,
}

struct Step {
    name: String,
    begun: Instant,
    last_line: Instant,
    progress: Progress,
}

impl ScenarioConsole {
    /// A console for standard error as it is: a terminal or a file.
    #[must_use]
    pub fn new() -> Self {
        Self { label: String::new(), moves: std::io::stderr().is_terminal(), step: None }
    }

    /// A console for one of several scenarios under way: its lines name it, and none moves.
    #[must_use]
    pub fn labelled(name: &str) -> Self {
        Self { label: format!("{name}: "), moves: false, step: None }
    }

    fn finish(&mut self, ending: &str) {
        if let Some(Step { name, begun, progress, .. }) = self.step.take() {
            drop(progress);
            let label = &self.label;
            say(&format!("  {label}{name} ... {ending} ({:.1} s)", begun.elapsed().as_secs_f64()));
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
        let progress = Progress::start(step, self.moves);
        let now = Instant::now();
        self.step = Some(Step { name: step.to_owned(), begun: now, last_line: now, progress });
    }

    fn detail(&mut self, text: &str) {
        let Some(step) = &mut self.step else { return };
        step.progress.detail(text);
        if !self.moves && step.last_line.elapsed() >= PLAIN_INTERVAL {
            step.last_line = Instant::now();
            say(&format!("  {}{} ... {text}", self.label, step.name));
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
            Some(step) => step.progress.note(&format!("{}{text}", self.label)),
            None => say(&format!("{}{text}", self.label)),
        }
    }
}
