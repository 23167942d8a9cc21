//! A checksum per sector of the volume as the stream describes it: an image without a disk.
//!
//! Rule: a sector that no record covers has no checksum and differs from any content.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use snapless_engine::Record;
use snapless_types::{Extent, RecordKind};

use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::memory::Buffer;
use crate::protocol::Comparison;

/// Set where there is a checksum.
const KNOWN: u64 = 1 << 32;
/// Bytes per comparison.
const STEP: usize = 4 << 20;

/// Checksums of sectors.
#[derive(Debug)]
pub struct Digest {
    sector: usize,
    /// CRC-32C of each sector, and [`KNOWN`]. Relaxed: one thread writes, and a comparison waits
    /// for it.
    sums: Vec<AtomicU64>,
    zeros: u64,
}

impl Digest {
    /// A digest for a volume of `length` bytes with sectors of `sector` bytes.
    pub fn new(length: u64, sector: u32) -> Result<Self> {
        let count = usize::try_from(length / u64::from(sector)).map_err(|_| Error::Session)?;
        let mut sums = Vec::new();
        sums.try_reserve_exact(count).map_err(|_| Error::Memory(count * 8))?;
        sums.resize_with(count, || AtomicU64::new(0));
        let sector = sector as usize;
        let zeros = KNOWN | u64::from(crc32c::crc32c(&vec![0; sector]));
        Ok(Self { sector, sums, zeros })
    }

    /// Applies a record.
    pub fn take(&self, record: &Record, payload: &[u8]) {
        let Some(extent) = record.extent else { return };
        match record.kind {
            RecordKind::Unreadable => self.fill(extent, 0),
            RecordKind::Unallocated
            | RecordKind::Excluded
            | RecordKind::Trim
            | RecordKind::Zero => {
                self.fill(extent, self.zeros);
            }
            _ => {
                for (sum, sector) in self.of(extent).iter().zip(payload.chunks_exact(self.sector)) {
                    sum.store(KNOWN | u64::from(crc32c::crc32c(sector)), Ordering::Relaxed);
                }
            }
        }
    }

    /// Compares the digest with the disk.
    pub fn compare(&self, disk: &Disk) -> Result<Comparison> {
        let file = disk.reopen()?;
        let mut buffer = Buffer::new(STEP)?;
        let mut found = Comparison::default();
        for (index, sums) in self.sums.chunks(STEP / self.sector).enumerate() {
            let bytes = &mut buffer[..sums.len() * self.sector];
            read(&file, bytes, (index * STEP) as u64).on("read", disk.path())?;
            for (sum, sector) in sums.iter().zip(bytes.chunks_exact(self.sector)) {
                let equal =
                    sum.load(Ordering::Relaxed) == KNOWN | u64::from(crc32c::crc32c(sector));
                if !equal {
                    found.first_different.get_or_insert(found.sectors);
                    found.different += 1;
                }
                found.sectors += 1;
            }
        }
        Ok(found)
    }

    fn fill(&self, extent: Extent, value: u64) {
        for sum in self.of(extent) {
            sum.store(value, Ordering::Relaxed);
        }
    }

    fn of(&self, extent: Extent) -> &[AtomicU64] {
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX) / self.sector;
        self.sums.get(index(extent.offset())..index(extent.end())).unwrap_or_default()
    }
}

fn read(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    file.read_exact_at(bytes, offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_engine::Tick;
    use snapless_types::{EpochId, Seq};
    use std::io::Write;

    fn record(kind: RecordKind, offset: u64, len: u64) -> Record {
        let extent = Extent::new(offset, len);
        let (seq, epoch, monotonic) = (Seq::new(1), EpochId::new(1), Tick(1));
        Record { kind, seq, time: 1, monotonic, epoch, extent, gap_reason: None }
    }

    #[test]
    fn a_digest_matches_only_if_records_cover_every_sector_with_its_content() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 4096]).unwrap();
        file.write_all(&[0; 4096]).unwrap();
        file.write_all(&[3; 4096]).unwrap();
        let disk = Disk::open("v", file.path(), 4096).unwrap();
        let digest = Digest::new(3 * 4096, 4096).unwrap();
        let compare = || digest.compare(&disk).unwrap();
        assert_eq!((compare().sectors, compare().different), (3, 3));
        digest.take(&record(RecordKind::Block, 0, 4096), &[1; 4096]);
        digest.take(&record(RecordKind::Trim, 4096, 4096), &[]);
        digest.take(&record(RecordKind::Write, 8192, 4096), &[2; 4096]);
        assert_eq!((compare().different, compare().first_different), (1, Some(2)));
        digest.take(&record(RecordKind::Write, 8192, 4096), &[3; 4096]);
        assert_eq!((compare().different, compare().first_different), (0, None));
        digest.take(&record(RecordKind::Unreadable, 0, 4096), &[]);
        assert_eq!(compare().first_different, Some(0));
    }
}
