//! `snapless-server forget`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;

use super::console::GOOD;

pub(super) fn run(args: &cli::Forget) -> Result<ExitCode> {
    args.repository.open()?.forget(args.volume, args.session)?;
    anstream::println!("{GOOD}forgotten{GOOD:#}: session {}", args.session);
    Ok(ExitCode::SUCCESS)
}
