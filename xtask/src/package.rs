//! `cargo xtask package`: what an administrator installs, in `target/package/`.
//!
//! | file | what it is |
//! | --- | --- |
//! | `snapless-VERSION/` | driver, programs, licences: what the MSI has in it |
//! | `symbols/` | what names the functions in crash dumps of these; for the release's archive |
//! | `snapless-VERSION-x64.msi` | the installer (`package/msi/snapless.wxs`) |
//! | `winget/`, `chocolatey/` | the manifests of that MSI |
//! | `SHA256SUMS` | of all of these |
//!
//! The rule: every PE file and the MSI are signed and the signature is verified, by a test
//! certificate unless the driver comes signed (`--driver`). No file has a time stamp of an
//! authority: that needs a network (docs/signing.md).

mod digest;
mod manifests;
mod msi;
mod signing;
pub mod trial;

use std::fs;
use std::path::{Path, PathBuf};

use snapless_e2e::process;

use crate::build::{self, Driver, programs::WindowsPrograms};
use crate::command::Tool;
use crate::console::{Steps, say};
use crate::error::{Error, IoContext, Result};
use crate::files::{files_below, remove_folder};
use crate::layout::Layout;
use crate::setup::packages;

use msi::Msi;

/// This repository's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The texts that go with the programs.
const TEXTS: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Take the driver from this folder: snapless.sys, snapless.inf and snapless.cat, as Microsoft
    /// has signed them; they stay as they are
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
    /// The driver's image and INF, and its catalog if there is one.
    driver: Vec<PathBuf>,
    /// True if the driver must not be signed again.
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
}

/// How many steps the task takes besides those of its builds, and of its test.
const STEPS: usize = 3;

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    process::catch_interrupts()?;
    let built = 1 + build::PREREQUISITE_STEPS + build::SHIPPED_STEPS;
    let tested = if options.test { trial::STEPS } else { 0 };
    let steps = Steps::new(built + STEPS + tested);
    steps.run("Debian packages", packages::install)?;
    build::prerequisites(&steps, layout)?;
    let (driver, programs) = build::shipped(&steps, layout)?;
    let mut contents = Contents::built(&driver, &programs);
    if let Some(folder) = &options.driver {
        contents.driver = signed_driver(folder)?;
        contents.is_signed = true;
    }

    let target = layout.package();
    remove_folder(&target)?;
    let made = steps.make("MSI", |_| {
        keep_symbols(&driver, &programs, &target.join("symbols"))?;
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
    Ok(())
}

impl Contents {
    /// Collects the files in a folder below `target`, signs them, and makes a signed MSI of them.
    fn pack(&self, layout: &Layout, version: &str, target: &Path) -> Result<Msi> {
        let folder = target.join(format!("snapless-{version}"));
        self.collect(layout, &folder)?;
        signing::sign_folder(layout, &folder, self.is_signed)?;
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

/// Copies a PE file without the symbols that its compiler has put into it: nine tenths of it.
fn strip(from: &Path, to: &Path) -> Result<()> {
    let strip = Tool::new("leaving out symbols", "x86_64-w64-mingw32-strip");
    strip.arg("-o").arg(to).arg(from).run()
}

/// Keeps the driver's symbols, and the programs with theirs.
fn keep_symbols(driver: &Driver, programs: &WindowsPrograms, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).on("create", folder)?;
    copy_into(folder, &driver.symbols)?;
    for program in [&programs.service, &programs.command_line, &programs.installer] {
        copy_into(folder, program)?;
    }
    Ok(())
}

fn copy_into(folder: &Path, file: &Path) -> Result<()> {
    fs::copy(file, folder.join(file.file_name().unwrap_or_default())).on("copy", file).map(drop)
}

/// The driver's files in a folder that somebody names.
fn signed_driver(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = ["snapless.sys", "snapless.inf", msi::CATALOG].map(|name| folder.join(name));
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => Err(Error::MissingArtifact {
            path: missing.clone(),
            advice: "--driver wants the folder that Microsoft has signed: image, INF and catalog",
        }),
        None => Ok(files.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_without_its_catalog_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["snapless.sys", "snapless.inf"] {
            fs::write(dir.path().join(name), "x").expect("written");
        }
        let refused = signed_driver(dir.path()).expect_err("no catalog").to_string();
        assert!(refused.contains("snapless.cat") && refused.contains("--driver"), "{refused}");
        fs::write(dir.path().join("snapless.cat"), "x").expect("written");
        assert_eq!(signed_driver(dir.path()).expect("whole").len(), 3);
    }
}
