//! Programs of crates.io that only the tests use.
//!
//! Each is installed into `target/tools`, in the version that is named here, with a build that is
//! quick instead of optimized: they run for seconds.

use std::fs;
use std::path::PathBuf;

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps};
use crate::error::Result;
use crate::files::remove_folder;
use crate::layout::Layout;

/// A program of crates.io.
#[derive(Debug)]
pub struct CrateTool {
    package: &'static str,
    program: &'static str,
    version: &'static str,
    /// Further arguments of `cargo install`.
    arguments: &'static [&'static str],
}

/// Runs tests, each in a process of its own.
pub const NEXTEST: CrateTool = CrateTool {
    package: "cargo-nextest",
    program: "cargo-nextest",
    version: "0.9.151",
    arguments: &["--no-default-features", "--features", "default-no-update"],
};
/// Finds misspelt words.
pub const TYPOS: CrateTool =
    CrateTool { package: "typos-cli", program: "typos", version: "1.52.0", arguments: &[] };
/// Checks the licences, sources and versions of all crates.
pub const DENY: CrateTool =
    CrateTool { package: "cargo-deny", program: "cargo-deny", version: "0.20.2", arguments: &[] };
/// Changes a program in small ways and runs its tests.
pub const MUTANTS: CrateTool = CrateTool {
    package: "cargo-mutants",
    program: "cargo-mutants",
    version: "27.1.0",
    arguments: &[],
};

const ALL: [&CrateTool; 4] = [&NEXTEST, &TYPOS, &DENY, &MUTANTS];

/// Installs what is missing, as one step of a longer task.
pub fn add_to(steps: &mut Steps, layout: &Layout) -> Result<()> {
    steps.run("tools of crates.io", |progress| install(layout, progress))
}

fn install(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let record = layout.tools().join(".crates.toml");
    let installed = fs::read_to_string(record).unwrap_or_default();
    let is_there = |tool: &CrateTool| {
        installed.contains(&format!("\"{} {} ", tool.package, tool.version))
            && tool.path(layout).is_file()
    };
    if ALL.iter().all(|tool| is_there(tool)) {
        return Ok(Outcome::AlreadyThere);
    }
    let output = layout.tools().join("build");
    for tool in ALL.iter().filter(|tool| !is_there(tool)) {
        progress.detail(tool.package);
        programs::host_cargo(&format!("installing {}", tool.package))
            .current_dir(layout.root())
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_TARGET_DIR", &output)
            .args(["install", tool.package, "--version", tool.version, "--locked", "--force"])
            .args(tool.arguments)
            .arg("--root")
            .arg(layout.tools())
            .run_with_progress(progress)?;
    }
    remove_folder(&output)?;
    Ok(Outcome::Done)
}

impl CrateTool {
    /// Runs it in the repository.
    #[must_use]
    pub fn tool(&self, layout: &Layout, what: &str) -> Tool {
        Tool::new(what, self.path(layout)).current_dir(layout.root())
    }

    fn path(&self, layout: &Layout) -> PathBuf {
        layout.tools().join("bin").join(self.program)
    }
}
