//! `cargo xtask build`: everything that runs somewhere, each part for its own target.
//!
//! A path that a build returns exists. No other task spells the path of a product.

pub mod arm64;
pub(crate) mod inf;
pub mod pe;
mod product;
pub mod programs;

use std::path::PathBuf;

use crate::console::{Steps, say, side_by_side};
use crate::error::Result;
use crate::layout::Layout;
use crate::setup::{self, crates, wdk_build, wdk_root};

use product::{as_sys, existing};
use programs::WindowsPrograms;

/// What to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// snapless.sys
    Driver,
    /// The Wine rig's own kernel binaries
    Kernel,
    /// The programs that run on Windows: service, command line, installer, writer
    Windows,
    /// The server, for Linux
    Linux,
    /// All of these
    All,
}

/// The products for Windows.
#[derive(Debug, Clone)]
pub struct ForWindows {
    /// The driver.
    pub driver: Driver,
    /// The Wine rig's kernel binaries.
    pub rig: RigKernel,
    /// The programs.
    pub programs: WindowsPrograms,
}

/// All products.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// What runs on Windows.
    pub windows: ForWindows,
    /// `snapless-server` for Linux.
    pub server: PathBuf,
}

/// The driver's files.
#[derive(Debug, Clone)]
pub struct Driver {
    /// `snapless.sys`
    pub image: PathBuf,
    /// `snapless.pdb`
    pub symbols: PathBuf,
    /// `snapless.inf`
    pub inf: PathBuf,
}

/// The Wine rig's kernel binaries.
#[derive(Debug, Clone)]
pub struct RigKernel {
    /// `wdfldr.sys`: KMDF for Wine.
    pub framework: PathBuf,
    /// `snapless-test-volume.sys`: the volume that is protected in tests.
    pub volume: PathBuf,
    /// `snapless-rig-selftest.sys`: breaks one rule at a time.
    pub selftest: PathBuf,
}

/// How many steps [`for_windows`] and [`server`] take.
pub const STEPS: usize = 4;

/// Runs the task: builds one part or all of them, and prints where the products are.
pub fn run(layout: &Layout, part: Part) -> Result<()> {
    let is_wanted = |one: Part| part == one || part == Part::All;
    let parts = if part == Part::All { STEPS } else { 1 };
    let needs_wdk = part != Part::Linux;
    let steps = Steps::new(parts + if needs_wdk { PREREQUISITE_STEPS } else { 0 });
    if needs_wdk {
        prerequisites(&steps, layout)?;
    }
    let mut products = Vec::new();
    if is_wanted(Part::Driver) {
        let driver = driver(&steps, layout)?;
        products.extend([driver.image, driver.symbols, driver.inf]);
    }
    if is_wanted(Part::Kernel) {
        let rig = rig(&steps, layout)?;
        products.extend([rig.framework, rig.volume, rig.selftest]);
    }
    if is_wanted(Part::Windows) {
        let built = windows(&steps, layout)?;
        products.extend([built.service, built.command_line, built.installer, built.writer]);
    }
    if is_wanted(Part::Linux) {
        products.push(server(&steps, layout)?);
    }
    for path in products {
        say(&format!("  {}", path.display()));
    }
    Ok(())
}

/// Makes the Wine prefix and builds everything, as steps of a longer task that has run the setup.
pub fn all(steps: &Steps, layout: &Layout) -> Result<Artifacts> {
    let windows = || {
        setup::wine_prefix(steps, layout)?;
        for_windows(steps, layout)
    };
    let (windows, server) = side_by_side(windows, || server(steps, layout))?;
    Ok(Artifacts { windows, server })
}

/// Builds what runs on Windows, as steps of a longer task that has run the setup.
pub fn for_windows(steps: &Steps, layout: &Layout) -> Result<ForWindows> {
    Ok(ForWindows {
        driver: driver(steps, layout)?,
        rig: rig(steps, layout)?,
        programs: windows(steps, layout)?,
    })
}

/// How many steps [`shipped`] takes.
pub const SHIPPED_STEPS: usize = 2;

/// Builds what is shipped for Windows, as steps of a longer task that has run the setup.
pub fn shipped(steps: &Steps, layout: &Layout) -> Result<(Driver, WindowsPrograms)> {
    Ok((driver(steps, layout)?, windows(steps, layout)?))
}

/// Builds the server for Linux, as a step of a longer task that has run the setup.
pub fn server(steps: &Steps, layout: &Layout) -> Result<PathBuf> {
    steps.make("snapless-server for Linux", |progress| programs::server(layout, progress))
}

/// Builds `snapless.sys` as a task of its own, with the setup that this needs.
pub fn driver_with_prerequisites(layout: &Layout) -> Result<Driver> {
    let steps = Steps::new(PREREQUISITE_STEPS + 1);
    prerequisites(&steps, layout)?;
    driver(&steps, layout)
}

fn driver(steps: &Steps, layout: &Layout) -> Result<Driver> {
    steps.make("snapless.sys", |progress| {
        let folder = pe::Workspace::driver(layout).build(layout, progress)?;
        Ok(Driver {
            image: as_sys(&folder.join("snapless.dll"))?,
            symbols: existing(folder.join("snapless.pdb"))?,
            inf: inf::stamp(layout, &folder)?,
        })
    })
}

/// Builds the rig's kernel binaries, as a step of a longer task that has run the setup.
pub fn rig(steps: &Steps, layout: &Layout) -> Result<RigKernel> {
    steps.make("kernel binaries of the Wine rig", |progress| {
        let folder = pe::Workspace::rig_kernel(layout).build(layout, progress)?;
        Ok(RigKernel {
            framework: as_sys(&folder.join("wdfldr.dll"))?,
            volume: as_sys(&folder.join("snapless_test_volume.dll"))?,
            selftest: as_sys(&folder.join("snapless_rig_selftest.dll"))?,
        })
    })
}

fn windows(steps: &Steps, layout: &Layout) -> Result<WindowsPrograms> {
    steps.make("programs for Windows", |progress| programs::windows(layout, progress))
}

/// How many steps [`prerequisites`] takes.
pub(crate) const PREREQUISITE_STEPS: usize = 3;

/// The setup that a build of PE files needs; packages and the Wine prefix are not part of it.
pub(crate) fn prerequisites(steps: &Steps, layout: &Layout) -> Result<()> {
    steps.run("WDK content root", |progress| wdk_root::make(layout, progress))?;
    steps.run("wdk-build for Linux", |progress| wdk_build::patch(layout, progress))?;
    steps.run("crates", |progress| crates::fetch(layout, progress))
}
