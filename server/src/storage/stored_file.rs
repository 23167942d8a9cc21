//! An open file as the rest of the server uses it.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Held, StorageFile};
use crate::error::{Error, Result};

/// An open file whose errors name it, and a position in it.
///
/// As a stream it reads and writes at the position; [`StoredFile::write_at`] leaves that alone.
#[derive(Debug)]
pub struct StoredFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    position: u64,
    /// Without it nothing is read.
    guard: Option<Arc<dyn Held>>,
}

#[expect(clippy::len_without_is_empty, reason = "a file is no collection")]
impl StoredFile {
    /// The file of this full name, at its begin. Once `guard` is not held any more, nothing is
    /// read.
    pub(super) fn new(
        file: Box<dyn StorageFile>,
        path: PathBuf,
        guard: Option<Arc<dyn Held>>,
    ) -> Self {
        Self { file, path, position: 0, guard }
    }

    /// The full name, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all bytes.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(offset, bytes).map_err(Error::file("write", &self.path))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.check())?;
        self.file.read_at(offset, buffer)
    }

    /// Fills the buffer from a place. Leaves the position alone.
    pub fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(offset, buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    offset += count as u64;
                    buffer = &mut buffer[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// [`StorageFile::will_read`].
    pub fn will_read(&self, offset: u64, len: u64) {
        self.file.will_read(offset, len);
    }

    /// Bytes of the file.
    pub fn len(&self) -> Result<u64> {
        self.file.len().map_err(Error::file("look at", &self.path))
    }

    /// Cuts the file to a length.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(Error::file("shorten", &self.path))
    }

    /// Makes the file's content and length durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync().map_err(Error::file("sync", &self.path))
    }

    /// Checks that the file can be found by its name.
    ///
    /// # Errors
    /// [`Error::Moved`] if it cannot, or if another file has that name.
    pub fn check_name(&self) -> Result<()> {
        let has_its_name = self.file.has_its_name().map_err(Error::file("look at", &self.path))?;
        if has_its_name { Ok(()) } else { Err(Error::Moved(self.path.clone())) }
    }
}

impl Read for StoredFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for StoredFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for StoredFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
            SeekFrom::End(distance) => self.file.len()?.checked_add_signed(distance),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
