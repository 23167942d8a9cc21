//! What a command prints. It may be lost (a full disk, a closed pipe), and the command's work is
//! whole all the same.

use std::io::{self, Write};

/// Standard output. Its first failure is kept, and nothing more is printed.
pub struct Report<W> {
    out: W,
    failure: Option<io::Error>,
}

impl<W: Write> Report<W> {
    /// A report to `out`.
    pub fn new(out: W) -> Self {
        Self { out, failure: None }
    }

    /// Why not all of it was printed.
    pub fn failure(self) -> Option<io::Error> {
        self.failure
    }
}

impl<W: Write> Write for Report<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_none() {
            self.failure = self.out.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failure.is_none() {
            self.failure = self.out.flush().err();
        }
        Ok(())
    }
}
