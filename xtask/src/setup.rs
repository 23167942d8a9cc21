//! `cargo xtask setup`: everything that building and testing on Linux needs besides Rust and this repository.
//!
//! The rule: each step knows by itself whether its work is done, redoes it when its inputs have changed, and needs no
//! network once it is done.

pub mod crates;
pub mod import_library;
pub mod packages;
pub mod wdk_build;
pub mod wdk_root;
pub mod wine_prefix;

use crate::console::Steps;
use crate::error::Result;
use crate::layout::Layout;

/// How many steps [`add_to`] takes.
pub const STEPS: usize = 5;

/// Runs all of the setup as a task of its own.
pub fn run(layout: &Layout) -> Result<()> {
    add_to(&mut Steps::new(STEPS), layout)
}

/// Runs all of the setup as the first steps of a longer task.
pub fn add_to(steps: &mut Steps, layout: &Layout) -> Result<()> {
    steps.run("Debian packages", packages::install)?;
    steps.run("WDK content root", |progress| wdk_root::make(layout, progress))?;
    steps.run("wdk-build for Linux", |progress| wdk_build::patch(layout, progress))?;
    steps.run("crates", |progress| crates::fetch(layout, progress))?;
    steps.run("Wine prefix", |progress| wine_prefix::make(layout, progress))
}
