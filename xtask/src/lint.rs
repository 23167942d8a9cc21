//! `cargo xtask lint`: formatting, the driver's INF, and clippy for everything, each crate as it is
//! compiled for its own target.
//!
//! The rule: a warning is an error here, in the crates that only build for Windows as well.

use std::path::PathBuf;

use crate::build::{self, arm64, pe, programs};
use crate::check_inf;
use crate::console::{Outcome, Progress, Steps};
use crate::error::Result;
use crate::layout::Layout;

/// What to lint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Formatting of everything
    Format,
    /// The driver's INF
    Inf,
    /// The root workspace, for Linux
    Linux,
    /// The programs that run on Windows, for Windows
    Windows,
    /// The driver
    Driver,
    /// The Wine rig's own kernel binaries
    Kernel,
    /// The crates that the driver is made of, besides its own, for arm64
    Arm64,
    /// The programs that run on Windows, for arm64: no other task compiles them
    Arm64Programs,
    /// All of these but the two for arm64
    All,
}

/// The parts of [`Part::All`], each a step.
pub const PARTS: [Part; 6] =
    [Part::Format, Part::Inf, Part::Linux, Part::Windows, Part::Driver, Part::Kernel];

/// How many steps [`add_to`] takes.
pub const STEPS: usize = PARTS.len();

/// Runs the task: one lint or all of them.
pub fn run(layout: &Layout, part: Part) -> Result<()> {
    let total = if part == Part::All { STEPS } else { 1 };
    let steps = Steps::new(build::PREREQUISITE_STEPS + total);
    build::prerequisites(&steps, layout)?;
    if part == Part::All { add_to(&steps, layout) } else { part.add_to(&steps, layout) }
}

/// Runs all lints as steps of a longer task that has run the setup.
pub fn add_to(steps: &Steps, layout: &Layout) -> Result<()> {
    PARTS.iter().try_for_each(|part| part.add_to(steps, layout))
}

impl Part {
    /// Runs one lint as a step of a longer task that has run the setup.
    pub fn add_to(self, steps: &Steps, layout: &Layout) -> Result<()> {
        steps.run(self.name(), |progress| match self {
            Self::Format => formatting(layout, progress),
            Self::Inf => check_inf::check(layout),
            Self::Linux => linux(layout, progress),
            Self::Windows => programs::lint(layout, progress).map(|()| Outcome::Done),
            Self::Driver => kernel(&pe::Workspace::driver(layout), layout, progress),
            Self::Kernel => kernel(&pe::Workspace::rig_kernel(layout), layout, progress),
            Self::Arm64 => arm64::lint_driver_parts(layout, progress).map(|()| Outcome::Done),
            Self::Arm64Programs => arm64::lint_programs(layout, progress).map(|()| Outcome::Done),
            Self::All => Ok(Outcome::NotNeeded("it is the sum of the others".to_owned())),
        })
    }

    /// What its step is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "formatting",
            Self::Inf => "INF",
            Self::Linux => "clippy: programs and libraries",
            Self::Windows => "clippy: programs for Windows",
            Self::Driver => "clippy: driver",
            Self::Kernel => "clippy: kernel binaries of the Wine rig",
            Self::Arm64 => "clippy: the driver's crates for arm64",
            Self::Arm64Programs => "clippy: programs for arm64",
            Self::All => "all lints",
        }
    }
}

fn formatting(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let mut folders: Vec<PathBuf> = vec![layout.root().to_path_buf()];
    folders.extend(pe::Workspace::all(layout).iter().map(|found| found.folder().to_path_buf()));
    folders.push(layout.wdk_sources().join("bcryptprimitives"));
    for folder in folders {
        progress.detail(&folder.display().to_string());
        programs::host_cargo(&format!("cargo fmt in {}", folder.display()))
            .current_dir(&folder)
            .args(["fmt", "--all", "--check", "--", "--color", "never"])
            .run()?;
    }
    Ok(Outcome::Done)
}

fn linux(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    programs::host_cargo("cargo clippy of the workspace")
        .current_dir(layout.root())
        .args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        .run_with_progress(progress)?;
    Ok(Outcome::Done)
}

fn kernel(workspace: &pe::Workspace, layout: &Layout, progress: &Progress) -> Result<Outcome> {
    workspace.lint(layout, progress).map(|()| Outcome::Done)
}
