//! What a configuration is refused for.

use std::io;
use std::path::{Path, PathBuf};

use snapless_trust::text::NotText;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration {file}: {source}; create it, or name another with --config"
    )]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is no text, or of an encoding that is not read.
    #[error("the configuration {file} cannot be read: {why}")]
    Encoding {
        /// The file.
        file: PathBuf,
        /// Which encoding.
        why: NotText,
    },
    /// Not TOML, a key is missing, or a key is unknown.
    #[error("the configuration {file} is not valid: {source}")]
    Toml {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value is out of its range.
    #[error("the configuration {file} is not valid: {key} = {found}; allowed: {allowed}")]
    Value {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// The allowed values.
        allowed: String,
    },
}

impl ConfigError {
    /// True if there is no file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Checks the values of one file.
pub(super) struct Checker<'a> {
    file: &'a Path,
}

impl<'a> Checker<'a> {
    /// Errors name `file`.
    pub(super) fn of(file: &'a Path) -> Self {
        Self { file }
    }

    /// A value that is out of its range.
    pub(super) fn not_allowed(
        &self,
        key: &str,
        found: impl ToString,
        allowed: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value {
            file: self.file.to_owned(),
            key: key.to_owned(),
            found: found.to_string(),
            allowed: allowed.into(),
        }
    }
}
