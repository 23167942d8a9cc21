//! `cargo xtask build`: everything that runs somewhere, each part for its own target.
//!
//! A path that a build returns exists. No other task spells the path of a product.

mod inf;
pub mod pe;
mod product;
pub mod programs;

use std::path::PathBuf;

use crate::console::{Steps, say};
use crate::error::Result;
use crate::layout::Layout;
use crate::setup::{crates, wdk_build, wdk_root};

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

/// The products of [`all`].
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The driver.
    pub driver: Driver,
    /// The Wine rig's kernel binaries.
    pub rig: RigKernel,
    /// The programs that run on Windows.
    pub windows: WindowsPrograms,
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

/// How many steps [`all`] takes.
pub const STEPS: usize = 4;

/// Runs the task: builds one part or all of them, and prints where the products are.
pub fn run(layout: &Layout, part: Part) -> Result<()> {
    let is_wanted = |one: Part| part == one || part == Part::All;
    let parts = if part == Part::All { STEPS } else { 1 };
    let needs_wdk = part != Part::Linux;
    let mut steps = Steps::new(parts + if needs_wdk { PREREQUISITE_STEPS } else { 0 });
    if needs_wdk {
        prerequisites(&mut steps, layout)?;
    }
    let mut products = Vec::new();
    if is_wanted(Part::Driver) {
        let driver = driver(&mut steps, layout)?;
        products.extend([driver.image, driver.symbols, driver.inf]);
    }
    if is_wanted(Part::Kernel) {
        let rig = rig(&mut steps, layout)?;
        products.extend([rig.framework, rig.volume, rig.selftest]);
    }
    if is_wanted(Part::Windows) {
        let built = windows(&mut steps, layout)?;
        products.extend([built.service, built.command_line, built.installer, built.writer]);
    }
    if is_wanted(Part::Linux) {
        products.push(server(&mut steps, layout)?);
    }
    for path in products {
        say(&format!("  {}", path.display()));
    }
    Ok(())
}

/// Builds everything, as steps of a longer task that has run the setup.
pub fn all(steps: &mut Steps, layout: &Layout) -> Result<Artifacts> {
    Ok(Artifacts {
        driver: driver(steps, layout)?,
        rig: rig(steps, layout)?,
        windows: windows(steps, layout)?,
        server: server(steps, layout)?,
    })
}

/// Builds `snapless.sys` as a task of its own, with the setup that this needs.
pub fn driver_with_prerequisites(layout: &Layout) -> Result<Driver> {
    let mut steps = Steps::new(PREREQUISITE_STEPS + 1);
    prerequisites(&mut steps, layout)?;
    driver(&mut steps, layout)
}

fn driver(steps: &mut Steps, layout: &Layout) -> Result<Driver> {
    steps.make("snapless.sys", |progress| {
        let folder = pe::Workspace::driver(layout).build(layout, progress)?;
        Ok(Driver {
            image: as_sys(&folder.join("snapless.dll"))?,
            symbols: existing(folder.join("snapless.pdb"))?,
            inf: inf::stamp(layout, &folder)?,
        })
    })
}

fn rig(steps: &mut Steps, layout: &Layout) -> Result<RigKernel> {
    steps.make("kernel binaries of the Wine rig", |progress| {
        let folder = pe::Workspace::rig_kernel(layout).build(layout, progress)?;
        Ok(RigKernel {
            framework: as_sys(&folder.join("wdfldr.dll"))?,
            volume: as_sys(&folder.join("snapless_test_volume.dll"))?,
            selftest: as_sys(&folder.join("snapless_rig_selftest.dll"))?,
        })
    })
}

fn windows(steps: &mut Steps, layout: &Layout) -> Result<WindowsPrograms> {
    steps.make("programs for Windows", |progress| programs::windows(layout, progress))
}

fn server(steps: &mut Steps, layout: &Layout) -> Result<PathBuf> {
    steps.make("snapless-server for Linux", |progress| programs::server(layout, progress))
}

/// How many steps [`prerequisites`] takes.
pub(crate) const PREREQUISITE_STEPS: usize = 3;

/// The setup that a build of PE files needs; packages and the Wine prefix are not part of it.
pub(crate) fn prerequisites(steps: &mut Steps, layout: &Layout) -> Result<()> {
    steps.run("WDK content root", |progress| wdk_root::make(layout, progress))?;
    steps.run("wdk-build for Linux", |progress| wdk_build::patch(layout, progress))?;
    steps.run("crates", |progress| crates::fetch(layout, progress))
}
