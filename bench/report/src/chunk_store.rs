//! Backups in chunks of a fixed length, as Proxmox Backup Server makes them of a virtual disk, to
//! count what they write and store.
//!
//! A disk is cut into chunks of 4 MiB. A backup reads each chunk that was written to since the one
//! before, which the dirty bitmap says. The chunk's name is the SHA-256 of its content. One that is
//! not in the store yet is compressed with zstd, level 1, and kept so if it becomes shorter, behind
//! a header of 12 bytes. The index of each backup has the names of all chunks of the disk. See
//! `docs/technical-overview.rst`, `docs/file-formats.rst`, `pbs-datastore/src/data_blob.rs` and
//! `fixed_index.rs` of the Proxmox Backup repository. Nothing is pruned.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

/// Bytes of a chunk.
pub const CHUNK: u64 = 4 << 20;
/// Magic and CRC-32 of a chunk's file.
const BLOB_HEADER: u64 = 12;
/// The header of an index.
const INDEX_HEADER: u64 = 4096;
/// A chunk's name in it.
const DIGEST: u64 = 32;
const ZSTD_LEVEL: i32 = 1;
/// Files take whole blocks of the file system.
const BLOCK: u64 = 4096;

/// The backups of a disk.
pub struct Backups {
    length: u64,
    /// Names of the chunks in the store.
    chunks: HashSet<[u8; 32]>,
    /// Chunks that were written to since the last backup.
    dirty: BTreeSet<u64>,
    counted: Counted,
}

/// What they cost so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// Backups.
    pub backups: u64,
    /// Bytes of the files of chunks and indices.
    pub stored: u64,
    /// The same in whole blocks of the file system, as they are written.
    pub written: u64,
}

impl Counted {
    /// What came since.
    pub fn since(self, before: Self) -> Self {
        Self {
            backups: self.backups - before.backups,
            stored: self.stored - before.stored,
            written: self.written - before.written,
        }
    }

    fn add_file(&mut self, len: u64) {
        self.stored += len;
        self.written += len.next_multiple_of(BLOCK);
    }
}

impl Backups {
    /// No backup yet of a disk of this length.
    pub fn new(length: u64) -> Self {
        let dirty = (0..length.div_ceil(CHUNK)).collect();
        Self { length, chunks: HashSet::new(), dirty, counted: Counted::default() }
    }

    /// The disk was written to; no write is empty.
    pub fn touch(&mut self, offset: u64, len: u64) {
        self.dirty.extend(offset / CHUNK..=(offset + len - 1) / CHUNK);
    }

    /// Makes a backup.
    pub fn back_up(&mut self, disk: &File) -> io::Result<()> {
        for chunk in std::mem::take(&mut self.dirty) {
            let len = CHUNK.min(self.length - chunk * CHUNK);
            let mut content = vec![0; usize::try_from(len).unwrap_or(0)];
            disk.read_exact_at(&mut content, chunk * CHUNK)?;
            if self.chunks.insert(Sha256::digest(&content).into()) {
                let compressed = zstd::bulk::compress(&content, ZSTD_LEVEL)?.len() as u64;
                self.counted.add_file(BLOB_HEADER + compressed.min(len));
            }
        }
        self.counted.add_file(INDEX_HEADER + self.length.div_ceil(CHUNK) * DIGEST);
        self.counted.backups += 1;
        Ok(())
    }

    /// What the backups cost so far.
    pub fn counted(&self) -> Counted {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;

    #[test]
    fn a_backup_stores_each_touched_chunk_once_and_a_known_one_not_at_all() {
        let disk = tempfile::tempfile().unwrap();
        let mut content = vec![0; 3 << 20];
        Content::Random.fill(&mut fastrand::Rng::with_seed(1), &mut content);
        disk.write_all_at(&content, 0).unwrap();
        // Two chunks, of which the second is short and a hole.
        let length = CHUNK + 8192;
        disk.set_len(length).unwrap();
        let mut backups = Backups::new(length);
        backups.back_up(&disk).unwrap();
        let first = backups.counted();
        let index = INDEX_HEADER + 2 * DIGEST;
        // The random bytes, what names the rest of zeros, and the index.
        assert!((3 << 20..(3 << 20) + 8192).contains(&(first.stored - index)), "{first:?}");
        assert!(first.written.is_multiple_of(BLOCK) && first.written > first.stored);

        backups.back_up(&disk).unwrap();
        assert_eq!(backups.counted().since(first).stored, index, "nothing was touched");

        // A write over the border of chunks that changes one of them.
        let before = backups.counted();
        disk.write_all_at(&[9; 4096], CHUNK - 4096).unwrap();
        backups.touch(CHUNK - 4096, 8192);
        backups.back_up(&disk).unwrap();
        let since = backups.counted().since(before);
        assert_eq!(since.backups, 1);
        assert!((3 << 20..(3 << 20) + 8192).contains(&(since.stored - index)), "{since:?}");
    }
}
