//! The file of completed writes, one line a write, in the order in which the writer saw the
//! completions.
//!
//! The rule: a line is written only for a write that the volume reported as done, and its two times
//! enclose the write's life: `submitted` is taken before the request, `completed` after its answer.
//! Times are Windows' `FILETIME`: 100 ns units since 1601.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::error::WriterError;
use crate::extent::Extent;
use crate::payload::WriteId;

/// One completed write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Logged {
    /// Which write.
    pub id: WriteId,
    /// Where.
    pub extent: Extent,
    /// Its content was zeros, not the payload of its id.
    pub zeros: bool,
    /// Before the request was made.
    pub submitted: Instant100,
    /// After the answer had come.
    pub completed: Instant100,
}

/// An instant in units of 100 ns since 1601-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant100(pub u64);

/// 1970-01-01 on this clock.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

impl Instant100 {
    /// The present.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(UNIX_EPOCH + u64::try_from(since.as_nanos() / 100).unwrap_or(u64::MAX - UNIX_EPOCH))
    }

    /// Nanoseconds since 1970-01-01; 0 before it.
    pub fn unix_nanos(self) -> u64 {
        self.0.saturating_sub(UNIX_EPOCH).saturating_mul(100)
    }
}

/// The log being written, by all threads.
#[derive(Debug)]
pub struct WriteLog {
    path: PathBuf,
    /// The file; taken for one line at a time.
    file: Mutex<BufWriter<File>>,
}

impl WriteLog {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Self, WriterError> {
        let file = File::create(path).map_err(|error| WriterError::Log(path.into(), error))?;
        Ok(Self { path: path.into(), file: Mutex::new(BufWriter::new(file)) })
    }

    /// Adds one completed write.
    pub fn append(&self, write: &Logged) -> Result<(), WriterError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(
            file,
            "{}\t{}\t{}\t{}\t{}\t{}",
            write.id.0,
            write.extent.offset(),
            write.extent.len(),
            u8::from(write.zeros),
            write.submitted.0,
            write.completed.0
        )
        .map_err(|error| WriterError::Log(self.path.clone(), error))
    }

    /// Writes what is buffered.
    pub fn flush(&self) -> Result<(), WriterError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.flush().map_err(|error| WriterError::Log(self.path.clone(), error))
    }
}

/// Reads a whole log.
pub fn read(path: &Path) -> Result<Vec<Logged>, WriterError> {
    parse_lines(path, parse, "a completed write")
}

/// Reads a file whose every line is `what`.
pub(crate) fn parse_lines<T>(
    path: &Path,
    parse: impl Fn(&str) -> Option<T>,
    what: &'static str,
) -> Result<Vec<T>, WriterError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| WriterError::Log(path.into(), error))?;
    let lines = (1..).zip(text.lines()).map(|(number, line)| {
        parse(line).ok_or_else(|| WriterError::Line(path.into(), number, line.into(), what))
    });
    lines.collect()
}

fn parse(line: &str) -> Option<Logged> {
    let mut fields = line.split('\t').map(str::parse::<u64>);
    let mut next = || fields.next()?.ok();
    let write = Logged {
        id: WriteId(next()?),
        extent: Extent::new(next()?, next()?)?,
        zeros: match next()? {
            0 => false,
            1 => true,
            _ => return None,
        },
        submitted: Instant100(next()?),
        completed: Instant100(next()?),
    };
    fields.next().is_none().then_some(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logged_events_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = WriteLog::create(&path).unwrap();
        let writes: Vec<_> = (1..4)
            .map(|counter| Logged {
                id: WriteId::new(2, counter),
                extent: Extent::new(512 * counter, 1024).unwrap(),
                zeros: counter == 2,
                submitted: Instant100::now(),
                completed: Instant100::now(),
            })
            .collect();
        for write in &writes {
            log.append(write).unwrap();
        }
        log.flush().unwrap();
        assert_eq!(read(&path).unwrap(), writes);
    }

    #[test]
    fn a_torn_line_is_an_error_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "1\t512\t512\t0\t5\t6\n1\t512\t51").unwrap();
        assert!(matches!(read(&path), Err(WriterError::Line(_, 2, ..))));
    }
}
