//! A session's reads from the disk: blocks for the engine, and the volume's length.

use core::sync::atomic::Ordering;

use snapless_driver_logic::reads::is_bad_sector;
use snapless_engine::{Config, Read, ReadOutcome, Step, Tick, Worker};
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_IO_TIMEOUT};

use super::Session;
use crate::kernel::log;
use crate::kernel::reader::{ReadOwner, ReadPriority, Readers, ReadersConfig};
use crate::kernel::shared::Shared;
use crate::trace;
use crate::volume_query::{self, Asked};

/// How long to wait before the length is queried again that could not be found out, in ticks: 1 s.
const QUERY_AGAIN: u64 = 1_000 * Tick::PER_MS;
/// How long drain requests may wait for the length, in ticks: 2 s.
const QUERY_LIMIT: u64 = 2_000 * Tick::PER_MS;

/// The reads of the sweep, or those for held writes.
pub type SessionReaders = Readers<SessionReads>;

/// Whose reads they are.
pub struct SessionReads {
    session: Shared<Session>,
    worker: Worker,
}

impl ReadOwner for SessionReads {
    fn read_done(&self, read: Read, result: Result<(), NTSTATUS>) -> Option<Read> {
        self.session.read_done(read, result)
    }

    fn wake(&self) {
        self.session.event(self.worker).set();
    }
}

impl SessionReads {
    /// Readers for one of the threads, with all that they need; `None` if there is no memory.
    /// PASSIVE_LEVEL.
    pub fn readers(session: &Shared<Session>, worker: Worker) -> Option<SessionReaders> {
        let (engine, device) = (session.engine(), session.lower);
        let (config, geometry) = (engine.config(), engine.geometry());
        let (count, priority) = match worker {
            // Reads for held writes are all sent at once: the writes wait for the disk only.
            Worker::Hold => (config.hold_reads(geometry), ReadPriority::Normal),
            _ => (Config::SWEEP_READS, ReadPriority::Low),
        };
        let count = usize::try_from(count).ok()?;
        let longest = usize::try_from(config.longest_read(geometry)).ok()?;
        let owner = Self { session: session.clone(), worker };
        session.queue.readers(owner, &ReadersConfig { device, count, longest, priority })
    }
}

impl Session {
    /// Sends all reads that the engine wants now, and waits for none of them. Returns when to call
    /// this again, unless the worker is woken before; `Ended` once no read is under way and none
    /// will be. PASSIVE_LEVEL, on the thread that owns the readers.
    pub fn send_reads(&self, readers: &SessionReaders) -> Step<()> {
        loop {
            self.queue.send_again(readers);
            let Some(slot) = readers.idle_slot() else { return Step::Wait(None) };
            match self.next_read(readers.owner().worker) {
                Step::Do(read) => self.queue.send(readers, slot, read),
                Step::Again => readers.put_back(slot),
                Step::Wait(until) => {
                    readers.put_back(slot);
                    return Step::Wait(until);
                }
                Step::Ended => {
                    readers.put_back(slot);
                    return if readers.is_idle() { Step::Ended } else { Step::Wait(None) };
                }
            }
        }
    }

    // Out of line: not on the stack together with what sends the read.
    #[inline(never)]
    fn next_read(&self, worker: Worker) -> Step<Read> {
        match worker {
            Worker::Hold => self.engine.hold(),
            _ => self.engine.sweep(),
        }
    }

    #[inline(never)] // Not on the stack of the completion routine of a write.
    fn read_done(&self, read: Read, result: Result<(), NTSTATUS>) -> Option<Read> {
        let outcome = match result {
            Ok(()) => ReadOutcome::Done,
            Err(status) => self.note_failed_read(&read, status),
        };
        self.engine.read_done(read, outcome)
    }

    #[inline(never)] // As above.
    fn note_failed_read(&self, read: &Read, status: NTSTATUS) -> ReadOutcome {
        let (extent, sector_size) = (read.extent(), self.engine.geometry().sector_size());
        self.counts.read_failed(extent.offset(), status);
        trace::read_failed(self.id(), extent, sector_size, status);
        if !is_bad_sector(status) {
            return ReadOutcome::NotNow;
        }
        if extent.len() == u64::from(sector_size) {
            self.queue.clear(read);
        }
        ReadOutcome::BadSector
    }

    /// Queries the volume's length if [`Session::query_length_later`] asked for it. Returns when to
    /// call this again if it could not be found out: a volume that has grown is not captured as a
    /// whole any more. PASSIVE_LEVEL.
    pub fn query_length(&self) -> Option<Tick> {
        // Relaxed: the event that woke this thread orders it.
        if !self.length_query.swap(false, Ordering::Relaxed) {
            return None;
        }
        let deadline = volume_query::deadline(QUERY_LIMIT);
        match volume_query::length(Asked::new(&self.queries, deadline)) {
            Ok(length) => self.note_length(length),
            Err(STATUS_INSUFFICIENT_RESOURCES | STATUS_IO_TIMEOUT) => {
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
