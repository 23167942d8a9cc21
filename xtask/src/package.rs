//! `cargo xtask package`: what an administrator installs, in `target/package/`.
//!
//! | file | what it is |
//! | --- | --- |
//! | `snapless-VERSION/` | driver, programs, PowerShell module, licences: what the MSI has in it |
//! | `symbols/` | what names the functions in crash dumps of these; for the release's archive |
//! | `snapless-VERSION-x64.msi` | the installer (`package/msi/snapless.wxs`) |
//! | `winget/`, `chocolatey/` | the manifests of that MSI |
//! | `SHA256SUMS` | of all of these |
//!
//! The rule: every PE file, the driver's catalog and the MSI are signed and the signature is
//! verified, by a test certificate unless the driver comes signed (`--driver`), with a catalog that
//! is of these files. No file has a time stamp of an authority: that needs a network
//! (docs/signing.md).

mod catalog;
mod digest;
mod manifests;
mod msi;
mod signing;
pub mod trial;

use std::fs;
use std::path::{Path, PathBuf};

use snapless_e2e::process;

use crate::build::{self, Driver, ForWindows, programs::WindowsPrograms};
use crate::command::Tool;
use crate::console::{Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::files::{files_below, remove_folder};
use crate::layout::Layout;
use crate::setup::packages;
use crate::version_resource;

use msi::Msi;

/// This repository's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The texts that go with the programs.
const TEXTS: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// The PowerShell module, in the repository and in a package.
const MODULE: &str = "powershell/Snapless";

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Take the driver from this folder: snapless.sys, snapless.inf and their snapless.cat, signed
    /// by Microsoft or for tests; they stay as they are
    #[arg(long, value_name = "FOLDER")]
    driver: Option<PathBuf>,
    /// The folder on the web from which the MSI will be downloaded, for the manifests
    #[arg(long, value_name = "URL", default_value = "https://snapless.example/download")]
    url: String,
    /// Install, upgrade, repair and remove the MSI on Wine as well
    #[arg(long)]
    test: bool,
}

/// The files that a package is made of, as they were built.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The driver's image and INF, and its catalog if it comes with one.
    driver: Vec<PathBuf>,
    /// True if the driver comes with its catalog, and must not be signed again.
    is_signed: bool,
    /// The programs, and the MSI's action.
    programs: WindowsPrograms,
}

impl Contents {
    /// What this repository has built.
    pub fn built(driver: &Driver, programs: &WindowsPrograms) -> Self {
        let driver = vec![driver.image.clone(), driver.inf.clone()];
        Self { driver, is_signed: false, programs: programs.clone() }
    }

    /// Collects the files in a folder below `target`, signs them, and makes a signed MSI of them.
    fn pack(&self, layout: &Layout, version: &str, target: &Path) -> Result<Msi> {
        let folder = target.join(format!("snapless-{version}"));
        self.collect(layout, &folder)?;
        signing::sign_folder(layout, &folder, self.is_signed)?;
        if !self.is_signed {
            let catalog = catalog::make(&folder)?;
            signing::sign(layout, &catalog)?;
            signing::verify_by_catalog(layout, &catalog, &folder.join(catalog::IMAGE))?;
        }
        catalog::check(&folder)?;
        let made = Msi::build(layout, &folder, version, target)?;
        signing::sign(layout, &made.file)?;
        Ok(made)
    }

    fn collect(&self, layout: &Layout, folder: &Path) -> Result<()> {
        remove_folder(folder)?;
        fs::create_dir_all(folder).on("create", folder)?;
        for text in TEXTS {
            copy_into(folder, &layout.root().join(text))?;
        }
        let module = layout.root().join(MODULE);
        for file in files_below(&module)? {
            let to = folder.join(MODULE).join(file.strip_prefix(&module).unwrap_or(&file));
            let into = to.parent().unwrap_or(folder);
            fs::create_dir_all(into).on("create", into)?;
            copy_into(into, &file)?;
        }
        for file in &self.driver {
            copy_into(folder, file)?;
        }
        let programs = &self.programs;
        for program in [&programs.service, &programs.command_line, &programs.installer] {
            strip(program, &folder.join(program.file_name().unwrap_or_default()))?;
        }
        strip(&programs.msi_action, &folder.join(msi::ACTION))
    }
}

/// Makes the MSI of what was built, for a run that installs from it.
pub fn for_run(layout: &Layout, windows: &ForWindows, folder: &Path) -> Result<PathBuf> {
    remove_folder(folder)?;
    let contents = Contents::built(&windows.driver, &windows.programs);
    Ok(contents.pack(layout, VERSION, folder)?.file)
}

/// How many steps the task takes besides those of its builds, and of its test.
const STEPS: usize = 3;

/// Makes the package for machines that are tested, with a driver that comes signed if there is one;
/// returns the programs that it was made of.
pub fn for_machines(layout: &Layout, driver: Option<PathBuf>) -> Result<WindowsPrograms> {
    make(layout, &Options { driver, url: "https://snapless.example".to_owned(), test: false })
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    make(layout, options).map(drop)
}

fn make(layout: &Layout, options: &Options) -> Result<WindowsPrograms> {
    process::catch_interrupts()?;
    let signed = options.driver.as_deref().map(signed_driver).transpose()?;
    let built = 1 + build::PREREQUISITE_STEPS + build::SHIPPED_STEPS;
    let tested = if options.test { trial::STEPS } else { 0 };
    let steps = Steps::new(built + STEPS + tested);
    steps.run("Debian packages", packages::install)?;
    build::prerequisites(&steps, layout)?;
    let (driver, programs) = build::shipped(&steps, layout)?;
    let built = Contents::built(&driver, &programs);
    let contents = match signed {
        Some(driver) => Contents { driver, is_signed: true, ..built },
        None => built,
    };

    let target = layout.package();
    remove_folder(&target)?;
    let made = steps.make("MSI", |_| {
        keep_symbols(&contents, &driver.symbols, &target.join("symbols"))?;
        contents.pack(layout, VERSION, &target)
    })?;
    steps.run("manifests", |_| manifests::write(layout, &made, &options.url, &target))?;
    steps.run("checksums", |_| digest::write_sums(&target))?;
    if options.test {
        trial::with_setup(&steps, layout, &contents)?;
    }
    for file in files_below(&target)? {
        say(&format!("  {}", file.display()));
    }
    Ok(programs)
}

/// Copies a PE file without the symbols that its compiler has put into it: nine tenths of it.
fn strip(from: &Path, to: &Path) -> Result<()> {
    let strip = Tool::new("leaving out symbols", "x86_64-w64-mingw32-strip");
    strip.arg("-o").arg(to).arg(from).run()
}

/// Keeps the programs with their symbols, and the driver's, unless it was built elsewhere.
fn keep_symbols(contents: &Contents, driver: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).on("create", folder)?;
    if !contents.is_signed {
        copy_into(folder, driver)?;
    }
    let programs = &contents.programs;
    for program in [&programs.service, &programs.command_line, &programs.installer] {
        copy_into(folder, program)?;
    }
    Ok(())
}

fn copy_into(folder: &Path, file: &Path) -> Result<()> {
    fs::copy(file, folder.join(file.file_name().unwrap_or_default())).on("copy", file).map(drop)
}

/// The files of a driver that comes signed: all of them, of this version.
fn signed_driver(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = [catalog::IMAGE, catalog::INF, catalog::NAME].map(|name| folder.join(name));
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        let problem = "it is not there; --driver wants the folder of a signed driver, with image, \
                       INF and catalog";
        return Err(Error::Malformed { file: missing.clone(), problem: problem.to_owned() });
    }
    version_resource::require(&files[0])?;
    Ok(files.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_without_its_catalog_and_one_of_another_version_are_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["snapless.sys", "snapless.inf"] {
            fs::write(dir.path().join(name), "no image").expect("written");
        }
        let refused = || signed_driver(dir.path()).expect_err("not a signed driver").to_string();
        assert!(refused().contains("snapless.cat: it is not there; --driver"), "{}", refused());
        fs::write(dir.path().join("snapless.cat"), "").expect("written");
        assert!(refused().contains("snapless.sys: "), "{}", refused());
    }
}
