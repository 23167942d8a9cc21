//! `cargo xtask setup`: everything that building and testing on Linux needs besides Rust and this
//! repository.
//!
//! The rule: each step knows by itself whether its work is done, redoes it when its inputs have
//! changed, and needs no network once it is done.

pub mod crates;
pub mod import_library;
pub mod packages;
pub mod tools;
pub mod vm_parts;
pub mod wdk_build;
pub mod wdk_root;
pub mod wine_prefix;

use crate::console::Steps;
use crate::error::Result;
use crate::layout::Layout;

/// How many steps [`add_to`] and [`wine_prefix`] take.
pub const STEPS: usize = 5;

/// Runs the task: all that building, running and testing need.
pub fn run(layout: &Layout) -> Result<()> {
    let steps = Steps::new(STEPS + 1);
    add_to(&steps, layout)?;
    wine_prefix(&steps, layout)?;
    tools::add_to(&steps, layout)
}

/// Makes what building needs, as the first steps of a longer task.
pub fn add_to(steps: &Steps, layout: &Layout) -> Result<()> {
    steps.run("Debian packages", packages::install)?;
    steps.run("WDK content root", |progress| wdk_root::make(layout, progress))?;
    steps.run("wdk-build for Linux", |progress| wdk_build::patch(layout, progress))?;
    steps.run("crates", |progress| crates::fetch(layout, progress))
}

/// Makes what programs for Windows run in. Nothing is built with it.
pub fn wine_prefix(steps: &Steps, layout: &Layout) -> Result<()> {
    steps.run("Wine prefix", |progress| wine_prefix::make(layout, progress))
}
