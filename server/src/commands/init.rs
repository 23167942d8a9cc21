//! `snapless-server init`.

use std::process::ExitCode;

use crate::cli::Init;
use crate::error::Result;

use super::console::GOOD;
use super::key::{keep_key_out, warn_of_loss};
use super::output::outln;

pub(super) fn run(args: &Init) -> Result<ExitCode> {
    let Init { repository, compression, encryption } = args;
    keep_key_out(encryption, repository)?;
    drop(repository.init(*compression, encryption)?);
    let trust = if repository.directory().is_some() { "" } else { " --trust DIR" };
    outln!("{GOOD}made{GOOD:#} a repository in {repository}");
    warn_of_loss(encryption);
    outln!("next: snapless-server ca init --repository {repository}{trust}");
    Ok(ExitCode::SUCCESS)
}
