//! `cargo xtask sim`, `bench` and `vm`: build a program, and pass it all further arguments,
//! `--help` included. What it prints and its exit status are the task's own.

use crate::build::programs;
use crate::command::Tool;
use crate::console::{Outcome, Steps};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::setup::packages;

/// Everything that comes after the task's name.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Arguments of the program; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

impl Options {
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &String> {
        // cargo-make passes the `--` on that ended its own arguments.
        self.arguments.iter().skip_while(|argument| *argument == "--")
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.arguments().any(|argument| argument.split('=').next() == Some(option))
    }
}

/// Plays the simulator (`tests/sim`).
pub fn sim(layout: &Layout, options: &Options) -> Result<()> {
    let run = ["run", "--quiet", "--package", "snapless-sim", "--"];
    run_through(programs::host_cargo("the simulator").current_dir(layout.root()).args(run), options)
}

/// Compares the bench host with QEMU's backup job, in a build without the engine's assertions.
pub fn bench(layout: &Layout, options: &Options) -> Result<()> {
    const HOST: &str = "snapless-bench";
    const REPORT: &str = "snapless-bench-report";
    const SERVER: &str = "snapless-server";
    let steps = Steps::new(2);
    steps.run("Debian packages", packages::install)?;
    steps.run("bench host, its report, server", |progress| {
        programs::host_cargo("building the bench host")
            .current_dir(layout.root())
            .args(["build", "--release", "--workspace", "--bin", HOST, "--bin", REPORT])
            .args(["--bin", SERVER, "--target-dir"])
            .arg(layout.target())
            .run_with_progress(progress)?;
        Ok(Outcome::Done)
    })?;
    let program = |name: &str| layout.target().join("release").join(name);
    let mut tool = Tool::new("the benchmark", program(REPORT))
        .arg("--host")
        .arg(program(HOST))
        .arg("--server")
        .arg(program(SERVER));
    if !options.has("--folder") {
        tool = tool.arg("--folder").arg(layout.bench());
    }
    if !options.has("--output") {
        // A quick run does not replace the figures of a whole one.
        let folder =
            if options.has("--quick") { layout.bench() } else { layout.root().join("docs") };
        tool = tool.arg("--output").arg(folder.join("benchmarks.md"));
    }
    run_through(tool, options)
}

pub(crate) fn run_through(tool: Tool, options: &Options) -> Result<()> {
    let status = tool.args(options.arguments()).status()?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Err(Error::Exit { code: code.unwrap_or(1) })
}
