//! `cargo xtask build`: everything that runs somewhere, each part for its own target.
//!
//! The rule: what is returned exists. Paths of products come from here, so that no other task guesses one.

mod inf;
pub mod pe;
pub mod programs;

use std::fs;
use std::path::{Path, PathBuf};

use crate::console::{Outcome, Progress, Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;
use crate::setup::{crates, wdk_build, wdk_root};

use programs::{WindowsPrograms, server, windows_programs};

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
    /// `snapless-server` for Linux, where its package is there.
    pub server: Option<PathBuf>,
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
    let mut products = Products::default();
    match part {
        Part::Driver => products.of_driver(&driver_with_prerequisites(layout)?),
        Part::Linux => {
            products.add(step(&mut Steps::new(1), SERVER, |progress| server(layout, progress))?);
        }
        Part::Kernel => {
            let mut steps = Steps::new(PREREQUISITE_STEPS + 1);
            prerequisites(&mut steps, layout)?;
            products.of_rig(&step(&mut steps, RIG, |progress| rig(layout, progress))?);
        }
        Part::Windows => {
            let mut steps = Steps::new(PREREQUISITE_STEPS + 1);
            prerequisites(&mut steps, layout)?;
            let built = step(&mut steps, WINDOWS, |progress| windows_programs(layout, progress))?;
            products.of_windows(built);
        }
        Part::All => {
            let mut steps = Steps::new(PREREQUISITE_STEPS + STEPS);
            prerequisites(&mut steps, layout)?;
            let artifacts = all(&mut steps, layout)?;
            products.of_driver(&artifacts.driver);
            products.of_rig(&artifacts.rig);
            products.of_windows(artifacts.windows);
            products.add(artifacts.server);
        }
    }
    products.print();
    Ok(())
}

/// Builds everything, as steps of a longer task that has run the setup.
pub fn all(steps: &mut Steps, layout: &Layout) -> Result<Artifacts> {
    Ok(Artifacts {
        driver: step(steps, DRIVER, |progress| driver(layout, progress))?,
        rig: step(steps, RIG, |progress| rig(layout, progress))?,
        windows: step(steps, WINDOWS, |progress| windows_programs(layout, progress))?,
        server: step(steps, SERVER, |progress| server(layout, progress))?,
    })
}

/// Builds `snapless.sys`.
pub fn driver(layout: &Layout, progress: &Progress) -> Result<Driver> {
    let folder = pe::Workspace::driver(layout).build(layout, progress)?;
    Ok(Driver {
        image: as_sys(&folder.join("snapless.dll"))?,
        symbols: existing(folder.join("snapless.pdb"))?,
        inf: inf::stamp(layout, &folder)?,
    })
}

/// Builds `snapless.sys` as a task of its own, with the setup that this needs.
pub fn driver_with_prerequisites(layout: &Layout) -> Result<Driver> {
    let mut steps = Steps::new(PREREQUISITE_STEPS + 1);
    prerequisites(&mut steps, layout)?;
    step(&mut steps, DRIVER, |progress| driver(layout, progress))
}

/// Builds the Wine rig's kernel binaries.
pub fn rig(layout: &Layout, progress: &Progress) -> Result<RigKernel> {
    let folder = pe::Workspace::rig_kernel(layout).build(layout, progress)?;
    Ok(RigKernel {
        framework: as_sys(&folder.join("wdfldr.dll"))?,
        volume: as_sys(&folder.join("snapless_test_volume.dll"))?,
        selftest: as_sys(&folder.join("snapless_rig_selftest.dll"))?,
    })
}

/// Makes the next build generate the bindings anew.
pub fn forget_bindings(layout: &Layout) -> Result<()> {
    pe::Workspace::all(layout).iter().try_for_each(pe::Workspace::forget_bindings)
}

const DRIVER: &str = "snapless.sys";
const RIG: &str = "kernel binaries of the Wine rig";
const WINDOWS: &str = "programs for Windows";
const SERVER: &str = "snapless-server for Linux";

/// How many steps [`prerequisites`] takes.
pub(crate) const PREREQUISITE_STEPS: usize = 3;

/// The setup that a build of PE files needs; packages and the Wine prefix are not part of it.
pub(crate) fn prerequisites(steps: &mut Steps, layout: &Layout) -> Result<()> {
    steps.run("WDK content root", |progress| wdk_root::make(layout, progress))?;
    steps.run("wdk-build for Linux", |progress| wdk_build::patch(layout, progress))?;
    steps.run("crates", |progress| crates::fetch(layout, progress))
}

fn step<T>(steps: &mut Steps, name: &str, build: impl FnOnce(&Progress) -> Result<T>) -> Result<T> {
    let mut product = None;
    steps.run(name, |progress| {
        product = Some(build(progress)?);
        Ok(Outcome::Done)
    })?;
    product.ok_or_else(|| Error::MissingArtifact {
        path: PathBuf::from(name),
        advice: "the step ended without a product; this is a fault in xtask",
    })
}

/// What a person is told at the end.
#[derive(Default)]
struct Products {
    paths: Vec<PathBuf>,
}

impl Products {
    fn of_driver(&mut self, driver: &Driver) {
        self.paths.extend([driver.image.clone(), driver.symbols.clone(), driver.inf.clone()]);
    }

    fn of_rig(&mut self, rig: &RigKernel) {
        let RigKernel { framework, volume, selftest } = rig.clone();
        self.paths.extend([framework, volume, selftest]);
    }

    fn of_windows(&mut self, programs: WindowsPrograms) {
        let all = [programs.service, programs.command_line, programs.installer, programs.writer];
        self.paths.extend(all.into_iter().flatten());
    }

    fn add(&mut self, path: Option<PathBuf>) {
        self.paths.extend(path);
    }

    fn print(&self) {
        for path in &self.paths {
            say(&format!("  {}", path.display()));
        }
    }
}

/// A driver is a DLL with another name.
fn as_sys(dll: &Path) -> Result<PathBuf> {
    existing(dll.to_path_buf())?;
    let name = dll.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
    let sys = dll.with_file_name(name).with_extension("sys");
    fs::copy(dll, &sys).on("write", &sys)?;
    Ok(sys)
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::MissingArtifact {
        path,
        advice: "the build succeeded but wrote something else; compare the crate's name and type",
    })
}
