//! `cargo xtask page`: the console's page (`console/web/`), which no compiler of ours sees.
//!
//! The rule: the page is checked as it is served. Its types are those of the API's description
//! (`console/openapi.yaml`), its form is prettier's, and what it does is tried in Debian's Chromium
//! (`console/browser/`), over an estate that does not exist and over a real server that the bench
//! feeds. The packages for that are installed under `target/`, in the versions of the lock file.

use std::fs;
use std::path::PathBuf;

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Progress, Steps};
use crate::error::{IoContext, Result};
use crate::layout::Layout;
use crate::setup;
use crate::stamp::{Fingerprint, Stamp};

/// How many steps [`add_to`] takes.
pub const STEPS: usize = 3;
/// What npm needs to install the same packages each time.
const MANIFESTS: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
/// The programs that the page is tried over.
const PROGRAMS: [&str; 3] = ["snapless-console-synthetic", "snapless-server", "snapless-bench"];
/// The checks in a browser. Each file has a process of its own.
const CHECKS: [&str; 3] = ["page.test.mjs", "accessible.test.mjs", "server.test.mjs"];

/// Runs the task.
pub fn run(layout: &Layout) -> Result<()> {
    let steps = Steps::new(setup::STEPS - 1 + STEPS);
    setup::add_to(&steps, layout)?;
    add_to(&steps, layout, |_, ended| ended)
}

/// Runs all checks as steps of a longer task; `judge` gets the name and the result of each.
pub fn add_to(
    steps: &Steps,
    layout: &Layout,
    mut judge: impl FnMut(&str, Result<()>) -> Result<()>,
) -> Result<()> {
    steps.run("packages of the page's checks", |progress| packages(layout, progress))?;
    let types = "types and form of the console's page";
    judge(types, steps.run(types, |progress| types_and_form(layout, progress)))?;
    let browser = "the console's page in a browser";
    judge(browser, steps.run(browser, |progress| in_browser(layout, progress)))
}

fn packages(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let mut inputs = Fingerprint::of_recipe(include_str!("page.rs"));
    for name in MANIFESTS {
        inputs.file(&checks(layout).join(name))?;
    }
    let stamp = Stamp::new(layout, "page", &inputs);
    let folder = installed(layout);
    if stamp.is_current() && folder.join("node_modules").is_dir() {
        return Ok(Outcome::AlreadyThere);
    }
    stamp.clear()?;
    fs::create_dir_all(&folder).on("create", &folder)?;
    for name in MANIFESTS {
        let to = folder.join(name);
        fs::copy(checks(layout).join(name), &to).on("write", &to)?;
    }
    // No package's script is run, as `.npmrc` says.
    Tool::new("installing the packages of the page's checks", "npm")
        .current_dir(&folder)
        .arg("ci")
        .run_with_progress(progress)?;
    stamp.set()?;
    Ok(Outcome::Done)
}

fn types_and_form(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let tool = |what: &str, name: &str| {
        Tool::new(what, installed(layout).join("node_modules/.bin").join(name))
            .current_dir(layout.root())
    };
    tool("making types of console/openapi.yaml", "openapi-typescript")
        .args(["console/openapi.yaml", "--output"])
        .arg(installed(layout).join("openapi.d.ts"))
        .run()?;
    tool("the check of the page's types", "tsc").args(["--project", "console/browser"]).run()?;
    tool("the check of the page's form (`prettier --write` mends it)", "prettier")
        .args(["--check", "--config", "console/browser/package.json"])
        .args(["console/web", "console/browser"])
        .run_with_progress(progress)?;
    Ok(Outcome::Done)
}

fn in_browser(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let programs = PROGRAMS.iter().flat_map(|name| ["--bin", *name]);
    programs::host_cargo("building what the page is tried over")
        .current_dir(layout.root())
        .args(["build", "--workspace"])
        .args(programs)
        .run_with_progress(progress)?;
    let built = layout.target().join("debug");
    let (ended, said) = Tool::new("the page in a browser", "node")
        .current_dir(&checks(layout))
        .env("SNAPLESS_SYNTHETIC", built.join(PROGRAMS[0]))
        .env("SNAPLESS_SERVER", built.join(PROGRAMS[1]))
        .env("SNAPLESS_BENCH", built.join(PROGRAMS[2]))
        .args(["--test", "--test-concurrency=2", "--test-reporter=spec"])
        .args(CHECKS)
        .said(|line| progress.detail(line))?;
    ended?;
    // What was measured on the way. Nothing is asserted about it.
    for line in said.lines().filter(|line| line.contains(" frames: ")) {
        progress.note(&format!("  {}", line.trim()));
    }
    Ok(Outcome::Done)
}

/// The sources of the checks.
fn checks(layout: &Layout) -> PathBuf {
    layout.root().join("console/browser")
}

/// Where their packages are installed.
fn installed(layout: &Layout) -> PathBuf {
    layout.target().join("browser")
}
