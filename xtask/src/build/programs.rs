//! Building the root workspace's programs: those that run on Windows, and the server for Linux.

use std::path::PathBuf;

use crate::build::pe;
use crate::build::product::existing;
use crate::command::Tool;
use crate::console::Progress;
use crate::error::Result;
use crate::layout::{Layout, WINDOWS_TARGET};
use crate::{counter_names, message_table, version_resource};

/// The packages of the programs that run on Windows.
pub(super) const WINDOWS_PACKAGES: [&str; 7] = [
    "snapless-service",
    "snapless-cli",
    "snapless-installer",
    "snapless-msi-action",
    "snapless-writer",
    "snapless-rig-agent",
    "snapless-vm-agent",
];

/// The target of the guest that stands in for Windows in tests of the harness. With a target of its
/// own, build scripts are not linked statically.
const GUEST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The programs that run on Windows.
#[derive(Debug, Clone)]
pub struct WindowsPrograms {
    /// `snapless-service.exe`
    pub service: PathBuf,
    /// `snapless.exe`
    pub command_line: PathBuf,
    /// `snapless-setup.exe`
    pub installer: PathBuf,
    /// The MSI's custom action, a DLL.
    pub msi_action: PathBuf,
    /// The rig's writer.
    pub writer: PathBuf,
    /// The rig's agent inside Wine.
    pub agent: PathBuf,
    /// The program in the guest of virtual machines.
    pub guest: PathBuf,
}

/// Builds the programs for Windows.
pub fn windows(layout: &Layout, progress: &Progress) -> Result<WindowsPrograms> {
    windows_packages(layout, "build").run_with_progress(progress)?;
    let folder = windows_output(layout).join(WINDOWS_TARGET).join("release");
    let built = |name: &str| existing(folder.join(name));
    let shipped = |name: &str| {
        let path = built(name)?;
        version_resource::require(&path).map(|()| path)
    };
    let service = shipped("snapless-service.exe")?;
    message_table::require(&service, &layout.root().join("docs/events.md"))?;
    counter_names::require(&service, &layout.root().join("service/snapless-counters.man"))?;
    Ok(WindowsPrograms {
        service,
        command_line: shipped("snapless.exe")?,
        installer: shipped("snapless-setup.exe")?,
        msi_action: shipped("snapless_msi_action.dll")?,
        writer: built("snapless-writer.exe")?,
        agent: built("snapless-rig-agent.exe")?,
        guest: built("snapless-e2e.exe")?,
    })
}

/// Runs clippy over the programs for Windows, and the server, which no test runs there, as they are
/// compiled for Windows; a warning is an error.
pub fn lint(layout: &Layout, progress: &Progress) -> Result<()> {
    windows_packages(layout, "clippy")
        .args(["--package", "snapless-server", "--package", "snapless-server-program"])
        .args(["--", "-D", "warnings"])
        .run_with_progress(progress)
}

/// Builds the server for this machine, with the toolchain that runs this program and in the profile
/// of the tests: its rules are asserted, and the tests' build has its crates.
pub fn server(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    host_cargo("building the server")
        .current_dir(layout.root())
        .args(["build", "--workspace", "--bin", "snapless-server", "--target-dir"])
        .arg(layout.target())
        .run_with_progress(progress)?;
    existing(layout.target().join("debug/snapless-server"))
}

/// Builds the program in the guest of virtual machines for Linux, linked statically: the guest has
/// no libraries.
pub fn guest_for_linux(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let folder = layout.vm().join("agent");
    host_cargo("building the program in the guest")
        .current_dir(layout.root())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .args(["build", "--package", "snapless-vm-agent", "--target", GUEST_TARGET])
        .arg("--target-dir")
        .arg(&folder)
        .run_with_progress(progress)?;
    existing(folder.join(GUEST_TARGET).join("debug/snapless-e2e"))
}

/// Fetches the crates of the root workspace, and those of the standard library for Windows.
pub fn fetch(layout: &Layout, progress: &Progress) -> Result<()> {
    // For every target: with one target named, cargo leaves out crates that a build for it asks
    // for.
    let whole = || host_cargo("fetching the crates of the root workspace").arg("fetch");
    pe::fetch(|| Ok(whole().current_dir(layout.root())), progress)?;
    pe::fetch(|| Ok(windows_cargo(layout, "fetch")), progress)
}

/// The cargo that runs this program, or the one on the path.
pub fn host_cargo(what: &str) -> Tool {
    Tool::new(what, std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn windows_packages(layout: &Layout, verb: &str) -> Tool {
    let packages = WINDOWS_PACKAGES.iter().flat_map(|package| ["--package", *package]);
    pe::offline(windows_cargo(layout, verb)).arg("--release").args(packages)
}

fn windows_cargo(layout: &Layout, verb: &str) -> Tool {
    cargo_for(layout, verb, "the programs for Windows", WINDOWS_TARGET, "std,panic_unwind")
}

/// Debian's cargo in the root workspace, for a target of whose standard library it builds these
/// crates. All targets share a folder, and so what runs on this machine.
pub(super) fn cargo_for(layout: &Layout, verb: &str, what: &str, target: &str, std: &str) -> Tool {
    let what = format!("cargo {verb} of {what}");
    let cargo = if verb == "clippy" { pe::clippy(what) } else { pe::cargo(what) };
    cargo
        .current_dir(layout.root())
        .args([verb, "--target", target, &format!("-Zbuild-std={std}"), "--config"])
        .arg(format!("build.target-dir='{}'", windows_output(layout).display()))
}

fn windows_output(layout: &Layout) -> PathBuf {
    layout.pe().join("windows")
}
