//! `snapless-server forget`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;

use super::console::GOOD;
use super::output::outln;

pub(super) fn run(args: &cli::Forget) -> Result<ExitCode> {
    args.repository.open()?.forget(args.volume, args.session)?;
    outln!("{GOOD}forgotten{GOOD:#}: session {}", args.session);
    Ok(ExitCode::SUCCESS)
}
