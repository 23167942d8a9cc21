//! A server that is careless with its objects: each sabotage of a bucket is a storage that does, or
//! believes, what the server's own must not.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use snapless_server::format::claim::CLAIMED_HEADER_LEN;
use snapless_server::format::segment::SegmentNumber;
use snapless_server::storage::{Objects, Put, Storage, Store};

use super::StoreSabotage;
use super::breached::{self, Breach};

/// The storage of such a server.
pub(super) fn store(inner: Arc<dyn Storage>, sabotage: StoreSabotage) -> Store {
    breached::store(inner, Careless(sabotage))
}

#[derive(Debug)]
struct Careless(StoreSabotage);

/// True for a segment of a stream.
fn is_segment(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| SegmentNumber::from_file_name(name).is_some())
}

impl Breach for Careless {
    fn put(&self, below: &dyn Objects, path: &Path, content: Vec<u8>, put: Put) -> io::Result<()> {
        let is_takeover = is_segment(path) && content.len() == CLAIMED_HEADER_LEN;
        match self.0 {
            StoreSabotage::NoFence if is_takeover => return Ok(()),
            StoreSabotage::Overwrite if is_segment(path) => {
                return below.put(path, content, Put::Replace);
            }
            _ => {}
        }
        match (below.put(path, content, put), self.0) {
            (Err(error), StoreSabotage::AnyWinner)
                if error.kind() == ErrorKind::AlreadyExists && is_segment(path) =>
            {
                Ok(())
            }
            (Err(error), StoreSabotage::TrustedLoss)
                if error.kind() != ErrorKind::AlreadyExists && is_segment(path) =>
            {
                Ok(())
            }
            (put, _) => put,
        }
    }
}
