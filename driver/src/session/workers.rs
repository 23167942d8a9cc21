//! The session's threads: those of sweep and hold, dispatch, and the one that answers drains.
//!
//! Each asks the engine what to do, does it, and waits for the engine's wake-up when there is nothing. They end
//! when the session is stopped.
//!
//! Sweep and hold have several threads each, since each reads one thing at a time and a disk wants more. A wake-up is
//! for one of them: it wakes the next if it has found something to do, or the end.

use core::ptr::null;
use core::sync::atomic::Ordering;

use snapless_engine::{Host, Read, Step, Tick, Worker};
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES};

use super::Session;
use super::changes::Told;
use crate::kernel::log;
use crate::kernel::lower::Reader;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::shared::Shared;
use crate::kernel::thread::{Run, Thread};
use crate::questions;
use crate::trace;
use crate::volume::Volume;

/// How long writes that were under way when the session was asked for may take before the session gives
/// up, in ticks: 10 s. Until then writes that arrive are held.
const START_LIMIT: u64 = 10_000 * Tick::PER_MS;
/// When to ask a volume for its length again for which there was no memory: after 1 s.
const ASK_AGAIN: u64 = 1_000 * Tick::PER_MS;
/// How long writes may be held without any of them going on while the system shuts down, in ticks: 5 s. No service may
/// be left that would make room in the queue, and what shuts the system down waits for the file systems.
const SHUTDOWN_LIMIT: u64 = 5_000 * Tick::PER_MS;
/// Longest read of sweep and hold, in bytes: a block of the largest size.
const READ_MAX: usize = 4 << 20;

/// Threads that read for the sweep, and as many that read for held writes: so many reads keep a disk of a server busy.
/// The engine decides how many of them the sweep uses.
const READERS: usize = 4;
/// All threads of a session.
const THREADS: usize = 2 * READERS + 2;

/// The threads of a session.
pub struct SessionThreads {
    threads: [Option<Thread>; THREADS],
}

impl SessionThreads {
    /// Starts all threads. The dispatch thread turns interception on as its first act. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES`, or what starting a thread gave; then none is left.
    pub fn start(session: &Shared<Session>, volume: &Shared<Volume>) -> Result<Self, NTSTATUS> {
        let mut threads = Self { threads: [const { None }; THREADS] };
        match threads.try_start(session, volume) {
            Ok(()) => Ok(threads),
            Err(status) => {
                session.stop();
                threads.join();
                Err(status)
            }
        }
    }

    /// Waits until every thread has ended. The session has to be stopped. PASSIVE_LEVEL.
    pub fn join(self) {
        for thread in self.threads.into_iter().flatten() {
            thread.join();
        }
    }

    fn try_start(
        &mut self,
        session: &Shared<Session>,
        volume: &Shared<Volume>,
    ) -> Result<(), NTSTATUS> {
        let out_of_memory = STATUS_INSUFFICIENT_RESOURCES;
        let reading = |worker| {
            let reader = Reader::new(session.lower, &session.queue_mdl, READ_MAX)?;
            let reader = PassiveLock::new(reader)?;
            Shared::new(Reading { session: session.clone(), worker, reader })
        };
        // Everything is allocated before anything runs.
        let mut readers = [const { None }; 2 * READERS];
        for (index, place) in readers.iter_mut().enumerate() {
            let worker = if index < READERS { Worker::Sweep } else { Worker::Hold };
            *place = Some(reading(worker).ok_or(out_of_memory)?);
        }
        let drain = Shared::new(Draining { session: session.clone() }).ok_or(out_of_memory)?;
        let dispatch = Dispatching { session: session.clone(), volume: volume.clone() };
        let dispatch = Shared::new(dispatch).ok_or(out_of_memory)?;
        let [for_drain, for_dispatch, for_readers @ ..] = &mut self.threads;
        for (place, reader) in for_readers.iter_mut().zip(readers.into_iter().flatten()) {
            *place = Some(Thread::start(reader)?);
        }
        *for_drain = Some(Thread::start(drain)?);
        *for_dispatch = Some(Thread::start(dispatch)?);
        Ok(())
    }
}

/// A thread that reads for the sweep or for held writes.
struct Reading {
    session: Shared<Session>,
    worker: Worker,
    reader: PassiveLock<Reader>,
}

impl Run for Reading {
    fn run(context: &Shared<Self>) {
        let session = &context.session;
        context.reader.with(|reader| {
            loop {
                let step = match context.worker {
                    Worker::Hold => session.engine.hold(),
                    _ => session.engine.sweep(),
                };
                if let Step::Wait(until) = step {
                    session.wait(context.worker, until);
                    continue;
                }
                // There may be something for the next thread as well, or the end.
                session.engine.host().wake(context.worker);
                let Step::Do(read) = step else { return };
                session.read(reader, read);
            }
        });
    }
}

/// The thread that answers drains.
struct Draining {
    session: Shared<Session>,
}

impl Run for Draining {
    fn run(context: &Shared<Self>) {
        let session = &context.session;
        let (geometry, queue_bytes) = (session.geometry(), session.queue.len() as u64);
        let block_size = u64::from(geometry.block_size());
        trace::session_started(session.id, geometry.length(), block_size, queue_bytes);
        let mut told = Told::default();
        while !session.is_stopped() {
            session.answer_drains();
            session.tell_changes(&mut told);
            let again = session.look_at_length();
            session.wait(Worker::Drain, again);
        }
        session.end_drains();
        // Relaxed: set before the session was stopped.
        trace::session_ended(session.id, session.failed.load(Ordering::Relaxed));
    }
}

/// The dispatch thread, which also brings the session to its volume and takes it away.
struct Dispatching {
    session: Shared<Session>,
    volume: Shared<Volume>,
}

impl Run for Dispatching {
    fn run(context: &Shared<Self>) {
        let Self { session, volume } = &**context;
        let give_up_at = session.engine.host().now().after(START_LIMIT);
        // Interception on; then wait for every write that was already below us (rule T0).
        volume.gate.change(session.as_ptr(), || {
            if volume.is_removed() {
                session.stop();
            }
            session.while_starting(give_up_at);
        });
        if volume.is_removed() {
            session.stop();
        }
        session.engine.begin();
        let mut standstill = None;
        loop {
            match session.engine.dispatch() {
                Step::Do(submission) => session.carry_out(submission),
                Step::Wait(mut until) => {
                    session.let_cancel();
                    if volume.is_shutting_down() {
                        let limit = session.end_standstill(&mut standstill);
                        until = [until, limit].into_iter().flatten().min();
                    }
                    session.wait(Worker::Dispatch, until);
                }
                Step::Ended => break,
            }
        }
        // Interception off; then wait for every write that still knows this session.
        volume.gate.change(null(), || {});
    }
}

/// Held writes of which none goes on.
struct Standstill {
    /// How many held writes had gone on before.
    gone_on: u64,
    since: Tick,
}

impl Session {
    /// Lets writes go that are held at a standstill past the limit (rule HANG); returns when to look again.
    #[inline(never)] // What the engine answers is not to add to its caller's stack.
    fn end_standstill(&self, standstill: &mut Option<Standstill>) -> Option<Tick> {
        let (status, now) = (self.engine.status(), self.engine.host().now());
        if status.writes_holding == 0 {
            *standstill = None;
            return None;
        }
        let gone_on = status.writes_held;
        let since = match standstill {
            Some(known) if known.gone_on == gone_on => known.since,
            _ => standstill.insert(Standstill { gone_on, since: now }).since,
        };
        let limit = since.after(SHUTDOWN_LIMIT);
        if now >= limit {
            log::line(c"held writes do not go on while the system shuts down: a gap begins");
            *standstill = None;
            self.let_go();
            return Some(now);
        }
        Some(limit)
    }

    /// Reads, and what the engine asks for next: a block that cannot be read, sector by sector.
    // Out of line, so that it is not on the stack together with what finds the next read.
    #[inline(never)]
    fn read(&self, reader: &mut Reader, read: Read) {
        let mut next = Some(read);
        while let Some(read) = next {
            let succeeded = self.read_once(reader, &read);
            next = self.read_over(read, succeeded);
        }
    }

    #[inline(never)] // As above.
    fn read_over(&self, read: Read, succeeded: bool) -> Option<Read> {
        self.engine.read_done(read, succeeded)
    }

    /// Reads; what cannot be read is zeros, not what the memory held before.
    #[inline(never)] // As above.
    fn read_once(&self, reader: &mut Reader, read: &Read) -> bool {
        let (extent, memory) = (read.extent(), read.memory());
        let result = reader.read(&self.queue_mdl, extent.offset(), memory.offset, extent.len());
        if let Err(status) = result {
            self.counts.read_failed(extent.offset(), status);
            trace::read_failed(self.id, extent, self.engine.geometry().sector_size(), status);
            log::number(c"read failed, volume offset", extent.offset());
            log::number(c"  with status", u64::from(status.cast_unsigned()));
            self.clear_memory(memory.offset, memory.len);
        }
        result.is_ok()
    }

    /// Asks for the volume's length, if that was asked for. Tells when to do so again if there was no memory to ask:
    /// a volume that has grown is not captured as a whole any more. PASSIVE_LEVEL.
    fn look_at_length(&self) -> Option<Tick> {
        // Relaxed: the event that woke this thread orders it.
        if !self.length_asked.swap(false, Ordering::Relaxed) {
            return None;
        }
        match questions::length(self.lower) {
            Ok(length) => self.has_length(length),
            Err(STATUS_INSUFFICIENT_RESOURCES) => {
                // Relaxed: as above.
                self.length_asked.store(true, Ordering::Relaxed);
                return Some(self.engine.host().now().after(ASK_AGAIN));
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

    fn clear_memory(&self, offset: u64, len: u64) {
        let (Some(target), Ok(len)) = (self.queue.range(offset, len), usize::try_from(len)) else {
            // The engine hands out spans inside the queue.
            debug_assert!(false, "BOUND: a read has a place for what it reads");
            return;
        };
        // SAFETY: the range has `len` bytes and is this read's alone until the engine takes it back.
        unsafe { target.write_bytes(0, len) };
    }

    fn wait(&self, worker: Worker, until: Option<Tick>) {
        let event = self.engine.host().event(worker);
        match until {
            None => event.wait(),
            Some(until) => {
                // Woken or due: either way the engine is asked again.
                let _ = event.wait_for(until.since(self.engine.host().now()));
            }
        }
    }

    /// Looks after the writes held since interception is on, while older ones still have to complete.
    fn while_starting(&self, give_up_at: Tick) {
        if self.engine.host().now() >= give_up_at && !self.is_stopped() {
            log::line(
                c"a write that was under way at the start does not complete: session given up",
            );
            self.failed.store(true, Ordering::Relaxed);
            self.engine.stop();
        }
        self.let_cancel();
        // Releases held writes once the session is stopped; gives nothing before.
        while let Step::Do(submission) = self.engine.dispatch() {
            self.carry_out(submission);
        }
    }
}
