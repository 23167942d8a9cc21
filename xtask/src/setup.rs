//! `cargo xtask setup`: everything that building and testing on Linux needs besides Rust and this
//! repository.
//!
//! The rule: each step knows by itself whether its work is done, redoes it when its inputs have
//! changed, and needs no network once it is done.

pub mod crates;
pub mod import_library;
pub mod packages;
pub mod tools;
pub mod wdk_build;
pub mod wdk_root;
pub mod wine_prefix;

use crate::console::Steps;
use crate::error::Result;
use crate::layout::Layout;

/// How many steps [`add_to`] takes.
pub const STEPS: usize = 5;

/// Runs the task: all that building, running and testing need.
pub fn run(layout: &Layout) -> Result<()> {
    let mut steps = Steps::new(STEPS + 1);
    add_to(&mut steps, layout)?;
    tools::add_to(&mut steps, layout)
}

/// Makes what building and running need, as the first steps of a longer task.
pub fn add_to(steps: &mut Steps, layout: &Layout) -> Result<()> {
    steps.run("Debian packages", packages::install)?;
    steps.run("WDK content root", |progress| wdk_root::make(layout, progress))?;
    steps.run("wdk-build for Linux", |progress| wdk_build::patch(layout, progress))?;
    steps.run("crates", |progress| crates::fetch(layout, progress))?;
    steps.run("Wine prefix", |progress| wine_prefix::make(layout, progress))
}
