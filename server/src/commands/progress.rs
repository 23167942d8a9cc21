//! A progress bar, in bytes with the rate or in steps, and time left: on standard error, if that is
//! a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::restore::{Progress, Stage};

/// A bar; dropping it removes it from the screen.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar whose length comes with the first [`Self::set`].
    pub(super) fn new(label: &'static str) -> Self {
        Self::of(label, "{msg} {bar:30} {percent:>3} %  {binary_bytes_per_sec}, {eta} left")
    }

    /// [`Self::new`], in steps of some work.
    pub(super) fn steps(label: &'static str) -> Self {
        Self::of(label, "{msg} {bar:30} {percent:>3} %  {eta} left")
    }

    fn of(label: &'static str, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The template is a constant; if it were wrong, indicatif's own style would do.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(label);
        Self(bar)
    }

    /// Shows what is being done now.
    pub(super) fn name(&self, label: &'static str) {
        if self.0.message() != label {
            self.0.set_message(label);
            self.0.reset();
        }
    }

    /// Shows how far a restore has come, stage by stage.
    pub(super) fn restore(&self, progress: Progress) {
        self.name(match progress.stage {
            Stage::Map => "reading headers",
            Stage::Image => "restoring",
            Stage::Compare => "comparing",
        });
        self.set(progress.done, progress.total);
    }

    /// Shows how far it has come.
    pub(super) fn set(&self, done: u64, total: u64) {
        if self.0.length() != Some(total) {
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
