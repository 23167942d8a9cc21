//! `cargo xtask sim`: builds the simulator (`tests/sim`) and passes it all arguments, `--help` included.
//!
//! The rule: what the simulator prints and its exit status are the task's own, so that a replay command means the
//! same wherever it is typed.

use std::process::ExitCode;

use crate::build::programs;
use crate::error::Result;
use crate::layout::Layout;

const PACKAGE: &str = "snapless-sim";

/// Everything that comes after `sim`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Arguments of the simulator; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Runs the task; returns the simulator's exit status.
pub fn run(layout: &Layout, options: &Options) -> Result<ExitCode> {
    let status = programs::host_cargo("the simulator")
        .current_dir(layout.root())
        .args(["run", "--quiet", "--package", PACKAGE, "--"])
        // Where a `--` of the caller's own comes through, it has done its work.
        .args(options.arguments.iter().skip_while(|word| *word == "--"))
        .status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
