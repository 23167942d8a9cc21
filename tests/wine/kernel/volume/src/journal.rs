//! The image and the journal: the volume's content, and every write that made it.
//!
//! The rule: one write at a time goes to the image and then to the journal, under one lock, so the
//! journal's order is the order in which the image changed. A read of a place that is being written
//! sees old sectors, new sectors, or some of each, as on a disk, but never half a sector.

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use nt::{
    file::{Disposition, File},
    monitor::Monitor,
    status::{Failure, Result},
};
use protocol::{
    journal::{Entry, Header, MAGIC, checksum},
    zerocopy::IntoBytes,
};
use wdk_sys::STATUS_INVALID_PARAMETER;

use crate::config::{Config, SECTOR};

/// Data up to this size goes to the journal in one transfer with its entry.
const JOIN_LIMIT: usize = 64 << 10;

/// The files behind the volume.
pub(crate) struct Store {
    /// One transfer at a time, so that a sector is read whole: a cached file does not promise that
    /// for two overlapping transfers.
    image: Monitor<File>,
    length: AtomicU64,
    journal: Monitor<Journal>,
    /// The driver's own bytes: writes there are not in the journal.
    state_area: Range<u64>,
}

struct Journal {
    file: File,
    end: u64,
    next_index: u64,
    joined: Vec<u8>,
}

impl Store {
    /// Opens the image and starts a journal.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let image = File::open(&config.image_path, Disposition::Open)?;
        let length = image.length()?;
        if length == 0 || !length.is_multiple_of(u64::from(SECTOR)) {
            nt::println!("snapless-test-volume: the image has {length} bytes: not whole sectors");
            return Err(Failure(STATUS_INVALID_PARAMETER));
        }
        let file = File::open(&config.journal_path, Disposition::Overwrite)?;
        let header = Header { magic: MAGIC, volume_length: length, seed: config.seed.into() };
        file.write_slice_at(0, header.as_bytes())?;
        let end = size_of::<Header>() as u64;
        Ok(Self {
            image: Monitor::new(image),
            length: AtomicU64::new(length),
            journal: Monitor::new(Journal { file, end, next_index: 0, joined: Vec::new() }),
            state_area: config.state_area.clone(),
        })
    }

    /// The volume's length.
    pub(crate) fn length(&self) -> u64 {
        // Relaxed: a request that relies on a new length comes after the command that set it.
        self.length.load(Ordering::Relaxed)
    }

    /// Makes the volume longer, by zeros, or shorter. The file does not become shorter.
    pub(crate) fn resize(&self, length: u64) -> Result {
        const PAGE: u64 = 4096;
        if length == 0 || !length.is_multiple_of(PAGE) {
            return Err(Failure(STATUS_INVALID_PARAMETER));
        }
        if length > self.length() {
            self.image.lock().write_slice_at(length - PAGE, &[0; PAGE as usize])?;
        }
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    /// Fills a buffer from the image.
    ///
    /// # Safety
    /// `into` is valid for writes of `length` bytes.
    pub(crate) unsafe fn read(&self, offset: u64, into: *mut u8, length: u32) -> Result {
        // SAFETY: the caller vouches for the buffer.
        unsafe { self.image.lock().read_at(offset, into, length) }
    }

    /// Writes to the image, in two steps if `torn_at` is not 0, and to the journal.
    pub(crate) fn apply(&self, offset: u64, data: &[u8], torn_at: usize) -> Result {
        let mut journal = self.journal.lock();
        let (first, rest) = data.split_at(torn_at.min(data.len()));
        if !first.is_empty() {
            self.image.lock().write_slice_at(offset, first)?;
            nt::thread::yield_now();
        }
        if !rest.is_empty() {
            self.image.lock().write_slice_at(offset + first.len() as u64, rest)?;
        }
        let end = offset + data.len() as u64;
        if self.state_area.contains(&offset) && end <= self.state_area.end {
            return Ok(());
        }
        journal.append(offset, data)
    }

    /// How many writes the image took.
    pub(crate) fn applied(&self) -> u64 {
        self.journal.lock().next_index
    }

    /// Makes both files durable.
    pub(crate) fn flush(&self) -> Result {
        self.image.lock().flush()?;
        self.journal.lock().file.flush()
    }
}

impl Journal {
    fn append(&mut self, offset: u64, data: &[u8]) -> Result {
        let (index, length) = (self.next_index, data.len() as u32);
        let entry = Entry { index, offset, length, checksum: checksum(data) };
        let header = entry.as_bytes();
        if data.len() <= JOIN_LIMIT {
            self.joined.clear();
            self.joined.extend_from_slice(header);
            self.joined.extend_from_slice(data);
            self.file.write_slice_at(self.end, &self.joined)?;
        } else {
            self.file.write_slice_at(self.end + header.len() as u64, data)?;
            self.file.write_slice_at(self.end, header)?;
        }
        self.end += (header.len() + data.len()) as u64;
        self.next_index += 1;
        Ok(())
    }
}
