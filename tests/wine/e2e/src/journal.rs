//! The test volume's journal: every write in the order in which it was applied to the image. It is the
//! run's truth, and owes nothing to Snapless.
//!
//! Only the entries' places are kept in memory; their data is read from the file when it is needed.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use protocol::crc32c;
use protocol::journal::{ENTRY_LENGTH, Entry, Error as FormatError, HEADER_LENGTH, Header};
use snapless_writer::extent::Extent;

use crate::error::E2eError;

/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

/// One applied write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Where on the volume.
    pub extent: Extent,
    /// Where its data begins in the journal's file.
    pub data_at: u64,
}

/// The applied writes, first to last.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    entries: Vec<Applied>,
}

impl Journal {
    /// Reads the journal that the test volume's driver wrote to `path`, and checks all of it.
    ///
    /// # Errors
    /// The file is damaged, or tells of a write that failed: no scenario asks for that.
    pub fn open(path: &Path) -> Result<Self, E2eError> {
        let wrong = |why: String| E2eError::Journal { path: path.into(), why };
        let file = File::open(path).map_err(E2eError::file("open", path))?;
        let mut reader = Reader { source: BufReader::with_capacity(BUFFER, &file), path, at: 0 };
        let mut header = [0; HEADER_LENGTH];
        reader.fill(&mut header)?;
        Header::decode(&header).map_err(|error| wrong(error.to_string()))?;
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        while let Some(head) = reader.entry_header()? {
            let entry = Entry::decode(&head).map_err(|error| wrong(error.to_string()))?;
            let due = entries.len() as u64;
            if entry.index != due {
                let error = FormatError::Index { expected: due, found: entry.index };
                return Err(wrong(error.to_string()));
            }
            if entry.status != 0 || entry.length != entry.requested {
                let status = entry.status.cast_unsigned();
                return Err(wrong(format!("entry {due} is of a write that failed ({status:#x})")));
            }
            let extent = Extent::new(entry.offset, u64::from(entry.length));
            let extent = extent
                .ok_or_else(|| wrong(format!("entry {due} is not of whole sectors: {entry:?}")))?;
            let data_at = reader.at;
            data.resize(extent.size(), 0);
            reader.fill(&mut data)?;
            if crc32c::checksum(&data) != entry.checksum {
                return Err(wrong(FormatError::Checksum(due).to_string()));
            }
            entries.push(Applied { extent, data_at });
        }
        drop(reader);
        Ok(Self { path: path.into(), file, entries })
    }

    /// Entries whose data lies in `path`.
    pub fn from_entries(path: &Path, entries: Vec<Applied>) -> Result<Self, E2eError> {
        let file = File::open(path).map_err(E2eError::file("open", path))?;
        Ok(Self { path: path.into(), file, entries })
    }

    /// The applied writes, first to last.
    pub fn entries(&self) -> &[Applied] {
        &self.entries
    }

    /// Reads the data of `entry` into `data`.
    pub fn read(&self, entry: &Applied, data: &mut Vec<u8>) -> Result<(), E2eError> {
        data.resize(entry.extent.size(), 0);
        self.read_at(data, entry.data_at)
    }

    /// Reads the bytes of sector number `sector` as `entry` wrote it.
    pub fn read_sector(&self, entry: &Applied, sector: u64) -> Result<[u8; 512], E2eError> {
        let mut data = [0; 512];
        let inside = sector - entry.extent.sectors().start;
        self.read_at(&mut data, entry.data_at + inside * 512)?;
        Ok(data)
    }

    fn read_at(&self, data: &mut [u8], at: u64) -> Result<(), E2eError> {
        self.file.read_exact_at(data, at).map_err(E2eError::file("read", &self.path))
    }
}

/// Reads the file front to back.
struct Reader<'a> {
    source: BufReader<&'a File>,
    path: &'a Path,
    at: u64,
}

impl Reader<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), E2eError> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                let why = FormatError::Truncated.to_string();
                E2eError::Journal { path: self.path.into(), why }
            }
            _ => E2eError::file("read", self.path)(error),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// The next entry's header; `None` at the end of the file.
    fn entry_header(&mut self) -> Result<Option<[u8; ENTRY_LENGTH]>, E2eError> {
        use std::io::BufRead;

        let rest = self.source.fill_buf().map_err(E2eError::file("read", self.path))?;
        if rest.is_empty() {
            return Ok(None);
        }
        let mut head = [0; ENTRY_LENGTH];
        self.fill(&mut head)?;
        Ok(Some(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[Entry]) -> Vec<u8> {
        let header = Header { volume_length: 1 << 20, sector_size: 512, seed: 1 };
        let mut bytes = header.encode().to_vec();
        for entry in entries {
            bytes.extend(entry.encode());
            bytes.extend(vec![7; entry.length as usize]);
        }
        bytes
    }

    fn entry(index: u64, length: u32) -> Entry {
        let checksum = crc32c::checksum(&vec![7; length as usize]);
        Entry { index, submission: 9, offset: 4096, length, requested: length, status: 0, checksum }
    }

    fn open(bytes: &[u8]) -> Result<Journal, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        std::fs::write(&path, bytes).unwrap();
        Journal::open(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn entries_keep_their_order_and_data() {
        let journal = open(&file(&[entry(0, 512), entry(1, 1024)])).unwrap();
        assert_eq!(journal.entries().len(), 2);
        let mut data = Vec::new();
        journal.read(&journal.entries()[1], &mut data).unwrap();
        assert_eq!(data, [7; 1024]);
    }

    #[test]
    fn every_damage_is_found() {
        let good = file(&[entry(0, 512), entry(1, 1024)]);
        for len in 1..good.len() {
            let whole = len == HEADER_LENGTH || len == HEADER_LENGTH + ENTRY_LENGTH + 512;
            assert_eq!(open(&good[..len]).is_ok(), whole, "cut at {len}");
        }
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(open(&flipped).unwrap_err().contains("checksum"));
        assert!(open(&file(&[entry(1, 512)])).unwrap_err().contains("missing"));
        let failed = Entry { status: -5, ..entry(0, 512) };
        assert!(open(&file(&[failed])).unwrap_err().contains("failed"));
        let odd = open(&file(&[Entry { offset: 3, ..entry(0, 512) }]));
        assert!(odd.unwrap_err().contains("whole sectors"));
    }
}
