//! An object that is read: some of it ahead, if it is read in order.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::path::Path as ObjectPath;

use crate::storage::StorageFile;

/// Bytes that are read at once of an object that is read in order.
const AHEAD_BYTES: u64 = 4 << 20;
/// Bytes that are read at once elsewhere in an object.
const ELSEWHERE_BYTES: u64 = 64 << 10;

/// Where objects are.
pub(super) trait Ranges: fmt::Debug + Send + Sync {
    /// Reads bytes of an object, as many as there are; also returns its length.
    fn read(&self, at: &ObjectPath, offset: u64, len: u64) -> io::Result<(Bytes, u64)>;
}

/// An object that is read.
#[derive(Debug)]
pub(super) struct ObjectFile {
    storage: Arc<dyn Ranges>,
    place: ObjectPath,
    len: u64,
    /// Protects what was read last.
    piece: Mutex<Piece>,
}

/// Bytes of an object.
#[derive(Debug)]
struct Piece {
    start: u64,
    bytes: Bytes,
}

impl ObjectFile {
    /// An object of this length, of which the first bytes were read.
    pub(super) fn new(storage: Arc<dyn Ranges>, place: ObjectPath, first: Bytes, len: u64) -> Self {
        let piece = Mutex::new(Piece { start: 0, bytes: first });
        Self { storage, place, len, piece }
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn from(&self, offset: u64) -> Option<&[u8]> {
        let skipped = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(skipped..).filter(|rest| !rest.is_empty())
    }
}

impl StorageFile for ObjectFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if offset >= self.len || buffer.is_empty() {
            return Ok(0);
        }
        let mut piece = self.piece.lock().unwrap_or_else(PoisonError::into_inner);
        if piece.from(offset).is_none() {
            let goes_on = (piece.end()..piece.end() + AHEAD_BYTES).contains(&offset);
            let len = if goes_on { AHEAD_BYTES } else { ELSEWHERE_BYTES };
            let len = len.max(buffer.len() as u64).min(self.len - offset);
            let (bytes, _) = self.storage.read(&self.place, offset, len)?;
            *piece = Piece { start: offset, bytes };
        }
        let Some(found) = piece.from(offset) else { return Ok(0) };
        let count = found.len().min(buffer.len());
        buffer[..count].copy_from_slice(&found[..count]);
        Ok(count)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn has_its_name(&self) -> io::Result<bool> {
        Ok(true)
    }
}
