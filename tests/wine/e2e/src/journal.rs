//! The test volume's journal: every write in the order in which it was applied to the image. It is
//! the run's truth and does not depend on Snapless.
//!
//! Only the entries' places are kept in memory; their data is read from the file when it is needed.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use protocol::journal::{Entry, Header, MAGIC, checksum};
use protocol::zerocopy::{FromZeros, IntoBytes};
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
    pub fn open(path: &Path) -> Result<Self, E2eError> {
        let wrong = |why: String| E2eError::Damaged(path.into(), why);
        let file = File::open(path).map_err(E2eError::file("open", path))?;
        let len = file.metadata().map_err(E2eError::file("examine", path))?.len();
        let mut source = BufReader::with_capacity(BUFFER, &file);
        let mut read = |bytes: &mut [u8]| {
            source.read_exact(bytes).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => wrong("it ends within an entry: flush it first".into()),
                _ => E2eError::file("read", path)(error),
            })
        };
        let mut header = Header::new_zeroed();
        read(header.as_mut_bytes())?;
        if header.magic != MAGIC {
            return Err(wrong("this is no journal of the test volume".into()));
        }
        let mut at = size_of::<Header>() as u64;
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        while at < len {
            let mut entry = Entry::new_zeroed();
            read(entry.as_mut_bytes())?;
            let due = entries.len() as u64;
            if entry.index != due {
                return Err(wrong(format!(
                    "entry {due} is missing: {} is in its place",
                    entry.index
                )));
            }
            let extent = Extent::new(entry.offset, entry.length.into())
                .ok_or_else(|| wrong(format!("entry {due} is not of whole sectors: {entry:?}")))?;
            at += size_of::<Entry>() as u64;
            data.resize(extent.size(), 0);
            read(&mut data)?;
            if checksum(&data) != entry.checksum {
                return Err(wrong(format!("the data of entry {due} does not match its checksum")));
            }
            entries.push(Applied { extent, data_at: at });
            at += extent.len();
        }
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

    /// Bytes of all writes.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.extent.len()).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[Entry]) -> Vec<u8> {
        let header = Header { magic: MAGIC, volume_length: 1 << 20, seed: 1 };
        let mut bytes = header.as_bytes().to_vec();
        for entry in entries {
            bytes.extend(entry.as_bytes());
            bytes.extend(vec![7; entry.length as usize]);
        }
        bytes
    }

    fn entry(index: u64, length: u32) -> Entry {
        let checksum = checksum(&vec![7; length as usize]);
        Entry { index, offset: 4096, length, checksum }
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
            let empty = size_of::<Header>();
            let whole = len == empty || len == empty + size_of::<Entry>() + 512;
            assert_eq!(open(&good[..len]).is_ok(), whole, "cut at {len}");
        }
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(open(&flipped).unwrap_err().contains("checksum"));
        assert!(open(&file(&[entry(1, 512)])).unwrap_err().contains("missing"));
        let mut magic = good;
        magic[0] ^= 1;
        assert!(open(&magic).unwrap_err().contains("no journal"));
        let odd = open(&file(&[Entry { offset: 3, ..entry(0, 512) }]));
        assert!(odd.unwrap_err().contains("whole sectors"));
    }
}
