//! `cargo xtask loom` and `cargo xtask sabotage`: tests of the engine in builds of its own.
//!
//! The rule: assertions of the engine's rules are on, in a build that is fast enough to try every
//! interleaving and every seed.

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Steps};
use crate::error::Result;
use crate::layout::Layout;

/// Tests that need a build of their own.
#[derive(Debug)]
pub struct EngineTests {
    /// What to call them.
    pub name: &'static str,
    build: Build,
    /// The packages that the build is of, and which of their targets.
    tests: &'static [&'static str],
    /// What the names of all of them contain.
    filter: &'static str,
}

/// What makes the build another one.
#[derive(Debug)]
enum Build {
    /// A `--cfg` for every crate. Its target folder is its own, because cargo would build
    /// everything else again.
    Flag(&'static str),
    /// A feature; crates without it are those of the other tests.
    Feature(&'static str),
}

/// Small cases in every interleaving (`engine/src/models/`).
pub const LOOM: EngineTests = EngineTests {
    name: "loom models of the engine",
    build: Build::Flag("loom"),
    tests: &["--package", "snapless-engine", "--lib"],
    filter: "models::",
};

/// Breaches of the rules in the engine, which the simulator has to find
/// (`tests/sim/tests/breaches.rs`).
pub const SABOTAGE: EngineTests = EngineTests {
    name: "sabotages of the engine",
    build: Build::Feature("snapless-sim/sabotage"),
    tests: &["--workspace", "--test", "breaches"],
    filter: "",
};

/// What the tasks let the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Run only the tests whose name contains this
    name: Option<String>,
}

impl EngineTests {
    /// Runs the task.
    pub fn run(&self, layout: &Layout, options: &Options) -> Result<()> {
        let mut printed = String::new();
        Steps::new(1).run(self.name, |_| {
            let tool = self.tool(layout, options.name.as_deref());
            printed = tool.args(["--", "--nocapture"]).output()?;
            Ok(Outcome::Done)
        })?;
        print!("{printed}");
        Ok(())
    }

    /// The `cargo test` that runs all of them, or those whose name contains `name`.
    #[must_use]
    pub fn tool(&self, layout: &Layout, name: Option<&str>) -> Tool {
        let cargo = programs::host_cargo(self.name).current_dir(layout.root());
        let cargo = match self.build {
            Build::Flag(flag) => cargo
                .env("RUSTFLAGS", format!("--cfg {flag}"))
                .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
                .args(["test", "--release", "--target-dir"])
                .arg(layout.flagged(flag)),
            Build::Feature(feature) => cargo.args(["test", "--features", feature]),
        };
        cargo.args(self.tests).arg(name.unwrap_or(self.filter))
    }
}
