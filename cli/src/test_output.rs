//! A standard output that cannot be written.

use std::io::{self, ErrorKind, Write};

/// A full disk.
pub(crate) struct Full;

impl Write for Full {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
