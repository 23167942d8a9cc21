//! The checks that other programs do: spelling by typos (`typos.toml`), licences, sources and
//! versions of all crates by cargo-deny (`deny.toml`), and the workflows of GitHub by their schema
//! and by zizmor.

use std::path::PathBuf;

use crate::console::{Outcome, Progress, Steps};
use crate::error::Result;
use crate::files::files_below;
use crate::layout::Layout;
use crate::setup::tools::{self, DENY, SCHEMAS, TYPOS, ZIZMOR};

/// How many steps [`add_to`] takes.
pub const STEPS: usize = 4;

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
    judge("licences, sources and versions of crates", crates)?;
    judge("workflows", steps.run("workflows", |_| workflows(layout)))
}

/// Checks that workflows are ones, and that they neither trust a tag nor have rights to spare.
fn workflows(layout: &Layout) -> Result<Outcome> {
    let folder = layout.root().join(".github/workflows");
    SCHEMAS
        .tool(layout, "the schema of workflows")
        .args(["--builtin-schema", "vendor.github-workflows"])
        .args(files_below(&folder)?)
        .run()?;
    ZIZMOR
        .tool(layout, "the check of workflows")
        .args(["--offline", "--quiet"])
        .arg(folder)
        .run()?;
    Ok(Outcome::Done)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_package_that_a_workflow_names_is_a_package_of_this_workspace() {
        let root = Layout::of_this_repository().root().to_path_buf();
        let lock = fs::read_to_string(root.join("Cargo.lock")).expect("it is there");
        let mut count = 0;
        for file in files_below(&root.join(".github/workflows")).expect("they are there") {
            let text = fs::read_to_string(&file).expect("text");
            let words: Vec<&str> = text.split_whitespace().collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "--package") {
                assert!(lock.contains(&format!("name = \"{}\"\n", pair[1])), "{}", pair[1]);
                count += 1;
            }
        }
        assert!(count > 10, "{count}");
    }
}
