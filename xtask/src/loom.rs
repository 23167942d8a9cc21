//! `cargo xtask loom`: runs the engine's loom models (`engine/src/models/`).
//!
//! The rule: assertions of the engine's rules are on, in a build that is fast enough to try every interleaving. The
//! build has a target folder of its own, because its flags would make cargo build everything else again.

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Steps};
use crate::error::Result;
use crate::layout::Layout;

/// What to call it.
pub const NAME: &str = "loom models of the engine";

/// The module of the models.
const MODELS: &str = "models::";

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Run only the models whose name contains this, for example `gate`
    name: Option<String>,
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    let mut printed = String::new();
    Steps::new(1).run(NAME, |_| {
        printed = tool(layout, options.name.as_deref()).output()?;
        Ok(Outcome::Done)
    })?;
    print!("{printed}");
    Ok(())
}

/// The `cargo test` that runs every model, or those whose name contains `name`.
pub fn tool(layout: &Layout, name: Option<&str>) -> Tool {
    programs::host_cargo("the loom models")
        .current_dir(layout.root())
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .args(["test", "--release", "--package", "snapless-engine", "--lib", "--target-dir"])
        .arg(layout.loom())
        .arg(name.unwrap_or(MODELS))
}
