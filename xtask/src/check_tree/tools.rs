//! The checks that programs of crates.io do: spelling by typos (`typos.toml`), and licences,
//! sources and versions of all crates by cargo-deny (`deny.toml`).

use std::path::PathBuf;

use crate::console::{Outcome, Progress, Steps};
use crate::error::Result;
use crate::layout::Layout;
use crate::setup::tools::{self, DENY, TYPOS};

/// How many steps [`add_to`] takes.
pub const STEPS: usize = 3;

/// Runs them as steps of a longer task.
pub fn add_to(
    steps: &Steps,
    layout: &Layout,
    mut judge: impl FnMut(&str, Result<()>) -> Result<()>,
) -> Result<()> {
    tools::add_to(steps, layout)?;
    let spelling = steps.run("spelling", |_| {
        TYPOS.tool(layout, "the check of spelling").args(["--format", "brief"]).run()?;
        Ok(Outcome::Done)
    });
    judge("spelling", spelling)?;
    let crates = steps.run("licences, sources and versions of crates", |progress| {
        for workspace in [layout.root().to_path_buf(), layout.driver(), layout.rig_kernel()] {
            deny(layout, &workspace, progress)?;
        }
        Ok(Outcome::Done)
    });
    judge("licences, sources and versions of crates", crates)
}

/// Checks the crates of a workspace. Advisories need a database from the network, or a copy of it.
fn deny(layout: &Layout, workspace: &std::path::Path, progress: &Progress) -> Result<()> {
    progress.detail(&workspace.display().to_string());
    let mut checks = vec!["bans", "licenses", "sources"];
    if advisories().is_some_and(|folder| folder.is_dir()) {
        checks.push("advisories");
    } else {
        progress.note(
            "  advisories were not checked: there is no database; `cargo deny fetch` makes one",
        );
    }
    DENY.tool(layout, "the check of crates")
        .args(["--offline", "--config", "deny.toml", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .arg("check")
        .args(checks)
        .run()
}

/// Where cargo-deny keeps the database.
fn advisories() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    home.map(|home| home.join("advisory-dbs"))
}
