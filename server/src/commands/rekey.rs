//! `snapless-server rekey`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;

use super::console::GOOD;
use super::key::{keep_key_out, warn_of_loss};
use super::output::outln;

pub(super) fn run(args: &cli::Rekey) -> Result<ExitCode> {
    let repository = &args.repository;
    keep_key_out(&args.to, repository)?;
    repository.open_for_writing(&args.key.source())?.rekey(&args.to)?;
    outln!("{GOOD}done{GOOD:#}: the new key is in force in {repository}");
    warn_of_loss(&args.to);
    Ok(ExitCode::SUCCESS)
}
