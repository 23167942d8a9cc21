//! `snapless-server init`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::repository::WritableRepository;

use super::console::GOOD;
use super::key::{keep_key_out, warn_of_loss};

pub(super) fn run(args: &cli::Init) -> Result<ExitCode> {
    keep_key_out(&args.encryption, &args.repository)?;
    drop(WritableRepository::init_with(&args.repository, args.compression, &args.encryption)?);
    let repository = args.repository.display();
    anstream::println!("{GOOD}made{GOOD:#} a repository in {repository}");
    warn_of_loss(&args.encryption);
    anstream::println!("next: snapless-server ca init --repository {repository}");
    Ok(ExitCode::SUCCESS)
}
