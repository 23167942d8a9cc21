//! `cargo xtask`: the one entrance for people and for CI. `cargo xtask --help` lists the tasks.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::arguments::run()
}
