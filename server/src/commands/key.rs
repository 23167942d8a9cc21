//! The keys of encrypted repositories, on the command line.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::location::Location;
use crate::seal::KeySource;

use super::console::POOR;
use super::output::outln;

/// Refuses a key whose file is in the repository: who has the one would have the other.
pub(super) fn keep_key_out(key: &KeySource, repository: &Location) -> Result<()> {
    let Some(repository) = repository.directory() else { return Ok(()) };
    let (KeySource::KeyFile(path) | KeySource::PassphraseFile(path)) = key else { return Ok(()) };
    let (path, repository) = (real(path)?, real(repository)?);
    if path.starts_with(repository) { Err(Error::KeyInRepository(path)) } else { Ok(()) }
}

/// Says what the loss of a key means.
pub(super) fn warn_of_loss(key: &KeySource) {
    let what = match key {
        KeySource::None => return,
        KeySource::KeyFile(path) => format!("the key file {}", path.display()),
        KeySource::PassphraseFile(_) => "the passphrase".to_owned(),
    };
    outln!(
        "{POOR}note{POOR:#}: without {what} all content of the repository is lost: keep a copy \
         elsewhere"
    );
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(Error::file("find", path))?;
    let found = path.ancestors().find_map(|folder| {
        let rest = path.strip_prefix(folder).ok()?;
        Some(folder.canonicalize().ok()?.join(rest))
    });
    Ok(found.unwrap_or(path))
}
