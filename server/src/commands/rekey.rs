//! `snapless-server rekey`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::repository::WritableRepository;

use super::console::GOOD;
use super::key::{keep_key_out, warn_of_loss};

pub(super) fn run(args: &cli::Rekey) -> Result<ExitCode> {
    keep_key_out(&args.to, &args.repository)?;
    WritableRepository::open_with(&args.repository, &args.key.source())?.rekey(&args.to)?;
    let repository = args.repository.display();
    anstream::println!("{GOOD}done{GOOD:#}: the new key is in force in {repository}");
    warn_of_loss(&args.to);
    Ok(ExitCode::SUCCESS)
}
