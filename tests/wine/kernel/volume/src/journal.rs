//! The image and the journal: what the volume holds, and how it came to hold it.
//!
//! The rule: one write at a time goes to the image and then to the journal, under one lock, so the journal's order is
//! the order in which the image changed. A read of a place that is being written sees old sectors, new sectors, or
//! some of each, as on a disk; but never half a sector, as from the cache of the file system that the image lies in.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use nt::{
    file::{Disposition, File},
    monitor::Monitor,
    spinlock::SpinLock,
    status::{Failure, Result},
    unicode::Wide,
};
use protocol::{
    crc32c,
    journal::{ENTRY_LENGTH, Entry, HEADER_LENGTH, Header},
};
use wdk_sys::STATUS_INVALID_PARAMETER;

/// Data up to this size goes to the journal in one transfer with its entry.
const JOIN_LIMIT: usize = 64 << 10;

/// The files behind the volume.
pub(crate) struct Store {
    /// One transfer at a time, so that a sector is read whole: a cached file promises that for no two transfers that
    /// meet.
    image: Monitor<File>,
    length: AtomicU64,
    journal: Monitor<Journal>,
    completed_below: SpinLock<u64>,
}

struct Journal {
    file: File,
    end: u64,
    next_index: u64,
    joined: Vec<u8>,
}

/// A write that the image took.
#[derive(Clone, Copy)]
pub(crate) struct Applied {
    index: u64,
}

/// What is to be written, and what becomes of it.
#[derive(Clone, Copy)]
pub(crate) struct Write {
    pub(crate) submission: u64,
    pub(crate) offset: u64,
    /// What the request asked for.
    pub(crate) requested: u32,
    /// How much of it reaches the image.
    pub(crate) length: u32,
    /// How the request will be completed.
    pub(crate) status: i32,
    /// Where the image is written in two steps: bytes of the first one. 0 for one step.
    pub(crate) torn_at: u32,
}

impl Store {
    /// Opens the image and starts a journal.
    pub(crate) fn open(image: &Wide, journal: &Wide, sector_size: u32, seed: u32) -> Result<Self> {
        let image = File::open(image, Disposition::Open)?;
        let length = image.length()?;
        if length == 0 || !length.is_multiple_of(u64::from(sector_size)) {
            nt::println!(
                "snapless-test-volume: the image has {length} bytes, not a number of whole sectors"
            );
            return Err(Failure(STATUS_INVALID_PARAMETER));
        }
        let file = File::open(journal, Disposition::Overwrite)?;
        file.write_slice_at(0, &Header { volume_length: length, sector_size, seed }.encode())?;
        let journal =
            Journal { file, end: HEADER_LENGTH as u64, next_index: 0, joined: Vec::new() };
        Ok(Self {
            image: Monitor::new(image),
            length: AtomicU64::new(length),
            journal: Monitor::new(journal),
            completed_below: SpinLock::new(0),
        })
    }

    /// The volume's length.
    pub(crate) fn length(&self) -> u64 {
        // Relaxed: a request that relies on a new length comes after the command that brought it.
        self.length.load(Ordering::Relaxed)
    }

    /// Makes the volume longer or shorter; what is new is zeros. The file does not become shorter.
    pub(crate) fn resize(&self, length: u64) -> Result {
        const SECTOR: u64 = 4096;
        if length == 0 || !length.is_multiple_of(SECTOR) {
            return Err(Failure(STATUS_INVALID_PARAMETER));
        }
        if length > self.length() {
            self.image.lock().write_slice_at(length - SECTOR, &[0; SECTOR as usize])?;
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

    /// Writes to the image and to the journal.
    ///
    /// # Safety
    /// `from` is valid for reads of `write.length` bytes.
    pub(crate) unsafe fn apply(&self, write: &Write, from: *const u8) -> Result<Applied> {
        let mut journal = self.journal.lock();
        let first = write.torn_at.min(write.length);
        if first > 0 {
            // SAFETY: the caller vouches for the buffer; this is its first part.
            unsafe { self.image.lock().write_at(write.offset, from, first) }?;
            nt::thread::yield_now();
        }
        let rest = write.length - first;
        if rest > 0 {
            // SAFETY: as above; this is the other part.
            unsafe {
                self.image.lock().write_at(
                    write.offset + u64::from(first),
                    from.wrapping_add(first as usize),
                    rest,
                )
            }?;
        }
        // SAFETY: the caller vouches for the buffer. The data's owner may change it meanwhile; the checksum is of
        // what the journal gets, see below.
        let data = unsafe { core::slice::from_raw_parts(from, write.length as usize) };
        journal.append(write, data)
    }

    /// Notes that a write is about to be completed.
    pub(crate) fn completed(&self, applied: Applied) {
        let mut below = self.completed_below.lock();
        *below = (*below).max(applied.index + 1);
    }

    /// How many writes the image took, and below which index all completed ones are.
    pub(crate) fn progress(&self) -> (u64, u64) {
        // In this order, so that the second number is never above the first.
        let completed_below = *self.completed_below.lock();
        (self.journal.lock().next_index, completed_below)
    }

    /// Makes both files durable.
    pub(crate) fn flush(&self) -> Result {
        self.image.lock().flush()?;
        self.journal.lock().file.flush()
    }
}

impl Journal {
    fn append(&mut self, write: &Write, data: &[u8]) -> Result<Applied> {
        let index = self.next_index;
        let entry = Entry {
            index,
            submission: write.submission,
            offset: write.offset,
            length: write.length,
            requested: write.requested,
            status: write.status,
            checksum: crc32c::checksum(data),
        };
        if data.len() <= JOIN_LIMIT {
            self.joined.clear();
            self.joined.extend_from_slice(&entry.encode());
            self.joined.extend_from_slice(data);
            self.file.write_slice_at(self.end, &self.joined)?;
        } else {
            self.file.write_slice_at(self.end + ENTRY_LENGTH as u64, data)?;
            self.file.write_slice_at(self.end, &entry.encode())?;
        }
        self.end += (ENTRY_LENGTH + data.len()) as u64;
        self.next_index += 1;
        Ok(Applied { index })
    }
}
