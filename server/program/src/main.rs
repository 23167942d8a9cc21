//! `snapless-server`: see `snapless-server --help`.

use std::process::ExitCode;

use clap::Parser;
use snapless_server::cli::Cli;
use snapless_server::commands;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => commands::run(cli),
        Err(said) => commands::explain(&said),
    }
}
