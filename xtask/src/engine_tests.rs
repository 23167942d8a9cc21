//! `cargo xtask loom` and `cargo xtask sabotage`: tests of the engine in builds of its own.
//!
//! The rule: assertions of the engine's rules are on, in a build that is fast enough to try every
//! interleaving and every seed. Each build has a target folder of its own, because its flags would
//! make cargo build everything else again.

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Steps};
use crate::error::Result;
use crate::layout::Layout;

/// Tests that need the engine built with a flag.
#[derive(Debug)]
pub struct FlaggedTests {
    /// What to call them.
    pub name: &'static str,
    /// The `--cfg` of the build, and its folder's name.
    flag: &'static str,
    /// The package whose tests they are, and which of its targets.
    tests: &'static [&'static str],
    /// What the names of all of them contain.
    filter: &'static str,
}

/// Small cases in every interleaving (`engine/src/models/`).
pub const LOOM: FlaggedTests = FlaggedTests {
    name: "loom models of the engine",
    flag: "loom",
    tests: &["--package", "snapless-engine", "--lib"],
    filter: "models::",
};

/// Breaches of the rules in the engine, which the simulator has to find
/// (`tests/sim/tests/breaches.rs`).
pub const SABOTAGE: FlaggedTests = FlaggedTests {
    name: "sabotages of the engine",
    flag: "sabotage",
    tests: &["--package", "snapless-sim", "--test", "breaches"],
    filter: "",
};

/// What the tasks let the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Run only the tests whose name contains this
    name: Option<String>,
}

impl FlaggedTests {
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
        programs::host_cargo(self.name)
            .current_dir(layout.root())
            .env("RUSTFLAGS", format!("--cfg {}", self.flag))
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .args(["test", "--release", "--target-dir"])
            .arg(layout.flagged(self.flag))
            .args(self.tests)
            .arg(name.unwrap_or(self.filter))
    }
}
