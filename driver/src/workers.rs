//! A session's threads: those of sweep and hold, dispatch, and drain.
//!
//! Each asks the engine what to do, does it, and waits for the engine's wake-up when there is
//! nothing. They end when the session is stopped.
//!
//! Sweep and hold have several threads each: each reads one thing at a time, and a disk wants more.
//! A wake-up wakes one of them, which wakes the next if it has found something to do, or the end.

use snapless_engine::{Host, Step, Tick, Worker};
use snapless_types::Geometry;
use snapless_wire::ioctl::StartSettings;
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};

use crate::io_path;
use crate::kernel::log;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::reader::Reader;
use crate::kernel::shared::Shared;
use crate::kernel::thread::{Run, Thread};
use crate::session::Session;
use crate::session::changes::Traced;
use crate::session::claim::Claim;
use crate::trace;
use crate::volume::{Running, SESSION_THREADS, SessionThreads, Volume};
use crate::volume_query;

/// How long writes that were in flight when the session was started may take before the session is
/// given up, in ticks: 10 s. Until then writes that arrive are held.
const START_LIMIT: u64 = 10_000 * Tick::PER_MS;
/// Threads that read for the sweep, and as many that read for held writes: so many reads keep a
/// disk of a server busy. The engine decides how many of them the sweep uses.
const READERS: usize = (SESSION_THREADS - 2) / 2;

/// Starts a session on a volume, to be drained by the holder of `claim`. The dispatch thread turns
/// interception on as its first act. PASSIVE_LEVEL.
#[inline(never)]
pub fn start_session(
    volume: &Shared<Volume>,
    settings: &StartSettings,
    claim: Claim,
) -> Result<Geometry, NTSTATUS> {
    volume.start(|| {
        let (length, sector_size) = volume_query::size(volume.lower())?;
        let geometry = Geometry::new(length, sector_size, settings.block_size)
            .map_err(|_| STATUS_INVALID_PARAMETER)?;
        let trims = volume_query::supports_trim(volume.lower())?;
        let session = Session::new(volume.lower(), geometry, settings, claim, trims)?;
        let session = Shared::new(session).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let threads = start_threads(&session, volume)?;
        Ok((Running { session, threads }, geometry))
    })
}

/// Starts all threads, or none.
fn start_threads(
    session: &Shared<Session>,
    volume: &Shared<Volume>,
) -> Result<SessionThreads, NTSTATUS> {
    let mut threads = SessionThreads::none();
    match try_start_threads(&mut threads, session, volume) {
        Ok(()) => Ok(threads),
        Err(status) => {
            session.stop();
            threads.join();
            Err(status)
        }
    }
}

fn try_start_threads(
    threads: &mut SessionThreads,
    session: &Shared<Session>,
    volume: &Shared<Volume>,
) -> Result<(), NTSTATUS> {
    let out_of_memory = STATUS_INSUFFICIENT_RESOURCES;
    let reading = |worker| {
        let reader = PassiveLock::new(session.reader()?)?;
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
    let [for_drain, for_dispatch, for_readers @ ..] = &mut threads.0;
    for (place, reader) in for_readers.iter_mut().zip(readers.into_iter().flatten()) {
        *place = Some(Thread::start(reader)?);
    }
    *for_drain = Some(Thread::start(drain)?);
    *for_dispatch = Some(Thread::start(dispatch)?);
    Ok(())
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
                    Worker::Hold => session.engine().hold(),
                    _ => session.engine().sweep(),
                };
                match step {
                    Step::Wait(until) => {
                        wait(session, context.worker, until);
                        continue;
                    }
                    Step::Again => continue,
                    Step::Do(_) | Step::Ended => {}
                }
                // There may be something for the next thread as well, or the end.
                session.engine().host().wake(context.worker);
                let Step::Do(read) = step else { return };
                session.read(reader, read);
            }
        });
    }
}

/// The thread that answers drain requests.
struct Draining {
    session: Shared<Session>,
}

impl Run for Draining {
    fn run(context: &Shared<Self>) {
        let session = &context.session;
        let geometry = session.geometry();
        let block_size = u64::from(geometry.block_size());
        trace::session_started(session.id(), geometry.length(), block_size, session.queue_bytes());
        let mut traced = Traced::default();
        while !session.is_stopped() {
            session.answer_drains();
            session.trace_changes(&mut traced);
            let again = session.query_length();
            wait(session, Worker::Drain, again);
        }
        session.end_drains();
        trace::session_ended(session.id(), session.has_failed());
    }
}

/// The dispatch thread, which also turns interception on and off.
struct Dispatching {
    session: Shared<Session>,
    volume: Shared<Volume>,
}

impl Run for Dispatching {
    fn run(context: &Shared<Self>) {
        let Self { session, volume } = &**context;
        let give_up_at = session.now().after(START_LIMIT);
        // Interception on; then wait for every write that was already in flight (rule T0,
        // rules.md#t0).
        volume.rundown.replace(Some(session.clone()), || {
            if volume.is_removed() {
                session.stop();
            }
            while_starting(session, give_up_at);
        });
        if volume.is_removed() {
            session.stop();
        }
        session.engine().begin();
        let mut standstill = None;
        loop {
            match session.engine().dispatch() {
                Step::Do(submission) => io_path::carry_out(session, submission),
                Step::Wait(mut until) => {
                    io_path::make_held_cancellable(session);
                    if volume.is_shutting_down() {
                        let limit = session.end_standstill(&mut standstill);
                        until = [until, limit].into_iter().flatten().min();
                    }
                    wait(session, Worker::Dispatch, until);
                }
                Step::Again => {}
                Step::Ended => break,
            }
        }
        // Interception off; then wait for every request that holds protection on this session.
        volume.rundown.replace(None, || {});
    }
}

/// Looks after the writes held since interception is on, while older ones are still in flight.
fn while_starting(session: &Session, give_up_at: Tick) {
    if session.now() >= give_up_at && !session.is_stopped() {
        log::line(c"a write that was in flight at the start does not complete: session given up");
        session.fail();
    }
    io_path::make_held_cancellable(session);
    // Releases held writes once the session is stopped; gives nothing before.
    while let Step::Do(submission) = session.engine().dispatch() {
        io_path::carry_out(session, submission);
    }
}

fn wait(session: &Session, worker: Worker, until: Option<Tick>) {
    let event = session.event(worker);
    match until {
        None => event.wait(),
        Some(until) => {
            // Woken or due: either way the engine is asked again.
            let _ = event.wait_for(until.since(session.now()));
        }
    }
}
