//! `snapless-server init`.

use std::process::ExitCode;

use crate::cli;
use crate::error::Result;
use crate::repository::WritableRepository;

use super::console::GOOD;

pub(super) fn run(args: &cli::Init) -> Result<ExitCode> {
    drop(WritableRepository::init(&args.repository)?);
    let repository = args.repository.display();
    anstream::println!("{GOOD}made{GOOD:#} a repository in {repository}");
    anstream::println!("next: snapless-server ca init --repository {repository}");
    Ok(ExitCode::SUCCESS)
}
