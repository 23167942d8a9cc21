//! The text of a repository's TOML files, which people may edit.

use serde::de::DeserializeOwned;
use snapless_trust::text;

/// Reads the bytes of a file.
///
/// # Errors
/// What is not understood, and where.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = text::decode(bytes).map_err(|why| why.to_string())?;
    toml::from_str(&text).map_err(|error| error.to_string().trim_end().to_owned())
}
