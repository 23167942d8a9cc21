//! Building the root workspace's programs: those that run on Windows, and the server for Linux.
//!
//! The rule: a package that the workspace does not have yet is left out; one that it has must build.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::build::{existing, pe};
use crate::command::Tool;
use crate::console::Progress;
use crate::error::{Error, Result};
use crate::layout::{Layout, WINDOWS_TARGET};

const SERVICE: &str = "snapless-service";
const COMMAND_LINE: &str = "snapless-cli";
const INSTALLER: &str = "snapless-installer";
const WRITER: &str = "snapless-writer";
const AGENT: &str = "snapless-rig-agent";
const SERVER: &str = "snapless-server";

/// The programs that run on Windows, each where its package is there.
#[derive(Debug, Clone, Default)]
pub struct WindowsPrograms {
    /// `snapless-service.exe`
    pub service: Option<PathBuf>,
    /// `snapless.exe`
    pub command_line: Option<PathBuf>,
    /// `snapless-setup.exe`
    pub installer: Option<PathBuf>,
    /// The rig's writer.
    pub writer: Option<PathBuf>,
    /// The rig's agent inside Wine.
    pub agent: Option<PathBuf>,
}

/// Builds the programs for Windows.
pub fn windows_programs(layout: &Layout, progress: &Progress) -> Result<WindowsPrograms> {
    let workspace = RootWorkspace::read(layout)?;
    let packages = workspace.windows_packages();
    if packages.is_empty() {
        return Ok(WindowsPrograms::default());
    }
    let output = layout.pe().join("windows");
    let mut build = pe::offline(windows_cargo(layout, &output, "build")).arg("--release");
    for package in &packages {
        build = build.args(["--package", *package]);
    }
    build.run_with_progress(progress)?;

    let folder = output.join(WINDOWS_TARGET).join("release");
    let program = |package: &str| {
        let name = workspace.program_of(package);
        name.map(|name| existing(folder.join(format!("{name}.exe")))).transpose()
    };
    Ok(WindowsPrograms {
        service: program(SERVICE)?,
        command_line: program(COMMAND_LINE)?,
        installer: program(INSTALLER)?,
        writer: program(WRITER)?,
        agent: program(AGENT)?,
    })
}

/// Fetches the crates of the root workspace, and those of the standard library for Windows.
pub fn fetch(layout: &Layout, progress: &Progress) -> Result<()> {
    // For every target: with one target named, cargo leaves out crates that a build for it asks for.
    let whole = || host_cargo("fetching the crates of the root workspace").arg("fetch");
    pe::fetch(|| Ok(whole().current_dir(layout.root())), progress)?;
    let output = layout.pe().join("windows");
    pe::fetch(|| Ok(windows_cargo(layout, &output, "fetch")), progress)
}

/// Builds the server for this machine, with the toolchain that runs this program.
pub fn server(layout: &Layout, progress: &Progress) -> Result<Option<PathBuf>> {
    let Some(program) = RootWorkspace::read(layout)?.program_of(SERVER) else {
        return Ok(None);
    };
    host_cargo("building the server")
        .current_dir(layout.root())
        .args(["build", "--release", "--package", SERVER, "--target-dir"])
        .arg(layout.target())
        .run_with_progress(progress)?;
    existing(layout.target().join("release").join(program)).map(Some)
}

/// Runs clippy over the programs for Windows, as they are compiled for Windows; a warning is an error.
pub fn lint(layout: &Layout, progress: &Progress) -> Result<()> {
    let workspace = RootWorkspace::read(layout)?;
    let output = layout.pe().join("windows");
    let mut lint = pe::offline(windows_cargo(layout, &output, "clippy")).arg("--release");
    for package in workspace.windows_packages() {
        lint = lint.args(["--package", package]);
    }
    lint.args(["--", "-D", "warnings"]).run_with_progress(progress)
}

fn windows_cargo(layout: &Layout, output: &Path, verb: &str) -> Tool {
    let what = format!("cargo {verb} of the programs for Windows");
    let cargo = if verb == "clippy" { pe::clippy(what) } else { pe::cargo(what) };
    cargo
        .current_dir(layout.root())
        .args([verb, "--target", WINDOWS_TARGET, "-Zbuild-std=std,panic_unwind", "--config"])
        .arg(format!("build.target-dir='{}'", output.display()))
}

/// The cargo that runs this program, or the one on the path.
pub fn host_cargo(what: &str) -> Tool {
    Tool::new(what, std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What the root workspace has.
struct RootWorkspace {
    metadata: Value,
}

impl RootWorkspace {
    fn read(layout: &Layout) -> Result<Self> {
        let manifest = layout.root().join("Cargo.toml");
        let json = host_cargo("reading the workspace's metadata")
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(&manifest)
            .output()?;
        let metadata = serde_json::from_str(&json).map_err(|error| Error::Malformed {
            file: manifest,
            problem: format!("cargo metadata: {error}"),
        })?;
        Ok(Self { metadata })
    }

    /// The packages of programs for Windows that are there.
    fn windows_packages(&self) -> Vec<&'static str> {
        let mut packages = vec![SERVICE, COMMAND_LINE, INSTALLER, WRITER, AGENT];
        packages.retain(|package| self.program_of(package).is_some());
        packages
    }

    /// The name of a package's program, where the workspace has the package.
    fn program_of(&self, package: &str) -> Option<String> {
        let packages = self.metadata["packages"].as_array()?;
        let found = packages.iter().find(|candidate| candidate["name"] == package)?;
        let targets = found["targets"].as_array()?;
        let program = targets.iter().find(|target| target["kind"][0] == "bin")?;
        program["name"].as_str().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_names_its_program_and_an_absent_one_has_none() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "snapless-cli", "targets": [
                { "name": "build-script-build", "kind": ["custom-build"] },
                { "name": "snapless", "kind": ["bin"] },
            ]},
        ]});
        let workspace = RootWorkspace { metadata };
        assert_eq!(workspace.program_of(COMMAND_LINE).as_deref(), Some("snapless"));
        assert_eq!(workspace.program_of(SERVICE), None);
    }
}
