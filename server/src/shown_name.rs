//! Names of files in reports.

use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeMap, Serializer};
use snapless_trust::hex;

/// A file's name in a report: a JSON report has it as `file`, with U+FFFD for what is no Unicode,
/// and then also as `file_bytes`, the exact name in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownName(pub PathBuf);

impl From<PathBuf> for ShownName {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl std::ops::Deref for ShownName {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Serialize for ShownName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("file", &self.to_string_lossy())?;
        if self.to_str().is_none() {
            map.serialize_entry("file_bytes", &hex::encode(self.as_os_str().as_encoded_bytes()))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_where_it_is_text() {
        let shown = ShownName("/a/ä \"b\\".into());
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(json, serde_json::json!({ "file": "/a/ä \"b\\" }));
    }

    #[cfg(unix)]
    #[test]
    fn any_other_name_is_there_in_full() {
        use std::os::unix::ffi::OsStringExt;
        let path = std::ffi::OsString::from_vec(b"jim\xffg".to_vec());
        let json = serde_json::to_value(ShownName(path.into())).unwrap();
        assert_eq!(json, serde_json::json!({ "file": "jim\u{fffd}g", "file_bytes": "6a696dff67" }));
    }
}
