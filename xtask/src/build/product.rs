//! What a build has made.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};

/// A driver is a DLL with another name.
pub fn as_sys(dll: &Path) -> Result<PathBuf> {
    existing(dll.to_path_buf())?;
    let name = dll.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
    let sys = dll.with_file_name(name).with_extension("sys");
    fs::copy(dll, &sys).on("write", &sys)?;
    Ok(sys)
}

/// The path, if a file is there.
pub fn existing(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::MissingArtifact {
        path,
        advice: "the build succeeded but wrote something else; compare the crate's name and type",
    })
}
