//! A session's reads from the disk: blocks for the engine, and the volume's length.

use core::sync::atomic::Ordering;

use snapless_engine::{Read, Tick};
use wdk_sys::STATUS_INSUFFICIENT_RESOURCES;

use super::Session;
use crate::kernel::log;
use crate::kernel::reader::Reader;
use crate::trace;
use crate::volume_query;

/// Longest read of sweep and hold, in bytes: a block of the largest size.
const READ_MAX: usize = 4 << 20;
/// How long to wait before the length is queried again for which there was no memory, in ticks: 1
/// s.
const QUERY_AGAIN: u64 = 1_000 * Tick::PER_MS;

impl Session {
    /// A reader for one thread; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn reader(&self) -> Option<Reader> {
        self.queue.reader(self.lower, READ_MAX)
    }

    /// Reads, and then what the engine asks for next: a block that cannot be read, sector by
    /// sector. PASSIVE_LEVEL.
    // Out of line, so that it is not on the stack together with what finds the next read.
    #[inline(never)]
    pub fn read(&self, reader: &mut Reader, read: Read) {
        let mut next = Some(read);
        while let Some(read) = next {
            let succeeded = self.read_once(reader, &read);
            next = self.read_done(read, succeeded);
        }
    }

    #[inline(never)] // As above.
    fn read_done(&self, read: Read, succeeded: bool) -> Option<Read> {
        self.engine.read_done(read, succeeded)
    }

    #[inline(never)] // As above.
    fn read_once(&self, reader: &mut Reader, read: &Read) -> bool {
        let result = self.queue.read(reader, read);
        if let Err(status) = result {
            let extent = read.extent();
            self.counts.read_failed(extent.offset(), status);
            trace::read_failed(self.id, extent, self.engine.geometry().sector_size(), status);
            log::number(c"read failed, volume offset", extent.offset());
            log::number(c"  with status", u64::from(status.cast_unsigned()));
        }
        result.is_ok()
    }

    /// Queries the volume's length if [`Session::query_length_later`] asked for it. Returns when to
    /// call this again if there was no memory: a volume that has grown is not captured as a whole
    /// any more. PASSIVE_LEVEL.
    pub fn query_length(&self) -> Option<Tick> {
        // Relaxed: the event that woke this thread orders it.
        if !self.length_query.swap(false, Ordering::Relaxed) {
            return None;
        }
        match volume_query::length(self.lower) {
            Ok(length) => self.note_length(length),
            Err(STATUS_INSUFFICIENT_RESOURCES) => {
                // Relaxed: as above.
                self.length_query.store(true, Ordering::Relaxed);
                return Some(self.now().after(QUERY_AGAIN));
            }
            Err(status) => {
                log::number(
                    c"the volume does not tell its length, status",
                    u64::from(status.cast_unsigned()),
                );
            }
        }
        None
    }
}
