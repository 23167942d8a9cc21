//! The volume as one thread of load uses it: a handle of its own, one request at a time.
//!
//! The rule: requests bypass the cache, so each reaches the volume's driver as it was made.

use std::fs::File;
use std::io;
#[cfg(unix)]
use std::os::unix::fs::FileExt;
#[cfg(windows)]
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::extent::Extent;
use crate::plan::REQUEST_MAX;

/// Alignment of the buffer: no device needs more than a page.
const ALIGN: usize = 4096;

/// An open volume (on other systems than Windows: a file), and a buffer for one request.
#[derive(Debug)]
pub struct Device {
    file: File,
    buffer: Vec<u8>,
}

impl Device {
    /// Opens the volume.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true);
        #[cfg(windows)]
        {
            const FILE_FLAG_NO_BUFFERING: u32 = 0x2000_0000;
            options.custom_flags(FILE_FLAG_NO_BUFFERING);
        }
        let longest = usize::try_from(REQUEST_MAX).expect("a request fits in memory");
        Ok(Self { file: options.open(path)?, buffer: vec![0; longest + ALIGN] })
    }

    /// The buffer's bytes for a request of this length.
    pub fn buffer(&mut self, size: usize) -> &mut [u8] {
        let range = self.range(size);
        &mut self.buffer[range]
    }

    /// Writes the buffer to `extent`; returns how many bytes the volume took.
    pub fn write(&mut self, extent: Extent) -> io::Result<usize> {
        let bytes = &self.buffer[self.range(extent.size())];
        #[cfg(unix)]
        return self.file.write_at(bytes, extent.offset());
        #[cfg(windows)]
        return self.file.seek_write(bytes, extent.offset());
    }

    /// Reads `extent` into the buffer; returns how many bytes the volume gave.
    pub fn read(&mut self, extent: Extent) -> io::Result<usize> {
        let range = self.range(extent.size());
        let bytes = &mut self.buffer[range];
        #[cfg(unix)]
        return self.file.read_at(bytes, extent.offset());
        #[cfg(windows)]
        return self.file.seek_read(bytes, extent.offset());
    }

    /// Flushes the volume.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn range(&self, size: usize) -> std::ops::Range<usize> {
        let start = self.buffer.as_ptr().align_offset(ALIGN);
        start..start + size
    }
}
