//! `cargo xtask bench`: compares the bench host with QEMU's backup job, and writes `docs/benchmarks.md`.
//!
//! The rule: what is measured is built with optimization and without the engine's assertions, and everything that it
//! needs besides the setup's packages is built here.

use std::path::PathBuf;

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Steps};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::setup::packages;

const PACKAGES: [&str; 3] = ["snapless-bench", "snapless-bench-report", "snapless-server"];

/// What the task lets the user choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// About two minutes, for a look whether everything works; writes to `target/` unless told otherwise
    #[arg(long)]
    quick: bool,
    /// Runs of each measurement [default: 4, quick: 1]
    #[arg(long)]
    rounds: Option<u8>,
    /// MiB of the file [default: 4096, quick: 1024]
    #[arg(long)]
    size: Option<u32>,
    /// Run only the cases whose name contains this, for example `slow`, and write no page
    #[arg(long)]
    only: Option<String>,
    /// Reads of the sweep under way at once, at most [default: the engine's own choice]
    #[arg(long)]
    depth: Option<usize>,
    /// Where the files are made, on the disk that is to be measured [default: target/bench]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The page to write [default: docs/benchmarks.md, quick: target/bench/benchmarks.md]
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Runs the task.
pub fn run(layout: &Layout, options: &Options) -> Result<()> {
    let mut steps = Steps::new(2);
    steps.run("Debian packages", packages::install)?;
    steps.run("bench host, its report, server", |progress| {
        let mut build = programs::host_cargo("building the bench host")
            .current_dir(layout.root())
            .args(["build", "--release", "--target-dir"])
            .arg(layout.target());
        for package in PACKAGES {
            build = build.args(["--package", package]);
        }
        build.run_with_progress(progress)?;
        Ok(Outcome::Done)
    })?;
    let status = tool(layout, options).status()?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        what: "the benchmark".to_owned(),
        command: PACKAGES[1].to_owned(),
        status: status.to_string(),
        output: "its error is above".to_owned(),
    })
}

fn tool(layout: &Layout, options: &Options) -> Tool {
    let program = |name: &str| layout.target().join("release").join(name);
    let folder = options.folder.clone().unwrap_or_else(|| layout.bench());
    let page = if options.quick {
        layout.bench().join("benchmarks.md")
    } else {
        layout.root().join("docs/benchmarks.md")
    };
    let mut tool = Tool::new("the benchmark", program(PACKAGES[1]))
        .arg("--host")
        .arg(program(PACKAGES[0]))
        .arg("--server")
        .arg(program(PACKAGES[2]))
        .arg("--folder")
        .arg(folder)
        .arg("--output")
        .arg(options.output.clone().unwrap_or(page));
    if options.quick {
        tool = tool.arg("--quick");
    }
    if let Some(rounds) = options.rounds {
        tool = tool.arg(format!("--rounds={rounds}"));
    }
    if let Some(size) = options.size {
        tool = tool.arg(format!("--size={size}"));
    }
    if let Some(only) = &options.only {
        tool = tool.arg("--only").arg(only);
    }
    if let Some(depth) = options.depth {
        tool = tool.arg(format!("--depth={depth}"));
    }
    tool
}
