//! A storage that hides where finished segments ended: their indices.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use snapless_server::format::segment::SegmentNumber;
use snapless_server::storage::{OpenMode, Storage, StorageFile, Store};

use super::breached::{self, Breach};

/// The storage of a server that reads no index.
pub(super) fn store(inner: Arc<dyn Storage>) -> Store {
    breached::store(inner, Untold)
}

#[derive(Debug)]
struct Untold;

impl Breach for Untold {
    fn open(
        &self,
        below: &dyn Storage,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<Box<dyn StorageFile>> {
        let name = path.file_name().and_then(|name| name.to_str());
        let is_index = name.is_some_and(|name| SegmentNumber::from_index_name(name).is_some());
        if is_index && mode == OpenMode::Read {
            return Err(ErrorKind::NotFound.into());
        }
        below.open(path, mode)
    }
}
