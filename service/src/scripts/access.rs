//! Who may change a script.

use std::io;
use std::path::{Path, PathBuf};

/// What others than administrators may change.
#[derive(Debug)]
pub(super) struct Doubt {
    /// The file, or a folder in which it could be replaced.
    pub(super) file: PathBuf,
    /// Who may.
    pub(super) who: String,
}

/// Whether others than administrators may change a file, or replace it in its folders.
///
/// # Errors
/// The system's, or that the path leads over a link, which could lead elsewhere when it is run.
#[cfg(windows)]
pub(super) fn changed_by_others(file: &Path) -> io::Result<Option<Doubt>> {
    use snapless_driver_client::{access_list, wine};

    use super::access_list::{Kind, changed_by};

    let itself = file.canonicalize()?;
    if wine::is_wine() {
        // It makes permissions of a list, and another list of these.
        return Ok(None);
    }
    let plain = |path: &Path| {
        let text = path.to_string_lossy().replace('/', "\\");
        text.strip_prefix(r"\\?\").unwrap_or(&text).to_lowercase()
    };
    if plain(file) != plain(&itself) {
        let why =
            format!("its path leads over a link or has a short name: name {}", plain(&itself));
        return Err(io::Error::other(why));
    }
    for (depth, path) in itself.ancestors().enumerate() {
        let kind = match depth {
            0 => Kind::File,
            1 => Kind::Folder,
            _ => Kind::Above,
        };
        if let Some(who) = changed_by(&access_list::text(path)?, kind) {
            return Ok(Some(Doubt { file: path.to_owned(), who }));
        }
    }
    Ok(None)
}

/// Whether others than its owner may write to a file.
#[cfg(not(windows))]
pub(super) fn changed_by_others(file: &Path) -> io::Result<Option<Doubt>> {
    use std::os::unix::fs::MetadataExt;

    /// Of the group and of all others.
    const WRITE: u32 = 0o022;
    let file = file.canonicalize()?;
    let is_open = file.metadata()?.mode() & WRITE != 0;
    Ok(is_open.then(|| Doubt { file, who: "another account than its owner".to_owned() }))
}
