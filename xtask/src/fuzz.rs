//! `cargo xtask fuzz`: builds the fuzz targets (`tests/fuzz`) and passes all arguments on, `--help` included.
//!
//! The rule: built for speed, but with overflow checks and assertions, since those are what finds something (the
//! profile `fuzz` of the workspace). What is printed and the exit status are the task's own.

use std::process::ExitCode;

use crate::build::programs;
use crate::error::Result;
use crate::layout::Layout;

const PACKAGE: &str = "snapless-fuzz";

/// Everything that comes after `fuzz`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Arguments of the fuzzer; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Runs the task; returns the fuzzer's exit status.
pub fn run(layout: &Layout, options: &Options) -> Result<ExitCode> {
    let status = programs::host_cargo("the fuzz targets")
        .current_dir(layout.root())
        .args(["run", "--quiet", "--profile", "fuzz", "--package", PACKAGE, "--"])
        // Where a `--` of the caller's own comes through, it has done its work.
        .args(options.arguments.iter().skip_while(|word| *word == "--"))
        .status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
