//! A session's threads: those of sweep and hold, dispatch, and drain, and that of its log.
//!
//! Each asks the engine what to do, does it, and waits for the engine's wake-up when there is
//! nothing. They end when the session is stopped.
//!
//! The sweep thread and the hold thread send their reads and wait for none of them: the completion
//! of a read calls the engine, which wakes who waits for its blocks.

use snapless_engine::{Step, Tick, Worker};
use snapless_types::{GapReason, Geometry};
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};

use crate::framework::filter_device;
use crate::io_path::{self, IoPath};
use crate::kernel::log;
use crate::kernel::shared::Shared;
use crate::kernel::thread::{Priority, Run, Thread};
use crate::logging::Logging;
use crate::resolving;
use crate::session::changes::Traced;
use crate::session::claim::Claim;
use crate::session::reads::{SessionReaders, SessionReads};
use crate::session::startup::Startup;
use crate::session::{Device, Session};
use crate::trace;
use crate::volume::{Running, SessionThreads, Volume};
use crate::volume_query::{self, Asked};

/// How long writes that were in flight when the session was started may take before the session is
/// given up, in ticks: 10 s. Until then writes that arrive are held.
const START_LIMIT: u64 = 10_000 * Tick::PER_MS;

/// Starts a session on a volume, to be drained by who has the claim. The dispatch thread turns
/// interception on as its first act. PASSIVE_LEVEL.
#[inline(never)]
pub fn start_session(
    volume: &Shared<Volume>,
    startup: Shared<Startup>,
    claim: Claim,
) -> Result<Geometry, NTSTATUS> {
    let deadline = volume_query::deadline(volume_query::START_LIMIT);
    volume.start(|| {
        let asked = Asked::new(volume.queries(), deadline);
        let (length, sector_size) = volume_query::size(asked)?;
        let geometry = Geometry::new(length, sector_size, startup.settings.block_size)
            .map_err(|_| STATUS_INVALID_PARAMETER)?;
        let trims = volume_query::supports_trim(asked)?;
        resolving::resolve(volume, deadline);
        let (queries, state) = (volume.queries().clone(), volume.state().clone());
        let cancel_routine = filter_device::cancel_routine::<IoPath>();
        let device = Device { lower: volume.lower(), queries, state, trims, cancel_routine };
        let session = Session::new(device, geometry, startup, claim)?;
        let session = Shared::new(session).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let running = Running::new(session).and_then(Shared::new);
        let running = running.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        claim_state(volume, &running.session);
        start_threads(&running, volume).inspect_err(|_| volume.state().give_back())?;
        Ok((running, geometry))
    })
}

/// Claims what the volume has kept while the machine was off for a session that continues after a
/// restart; it is no use to any other. The dispatch thread takes it.
#[inline(never)]
fn claim_state(volume: &Volume, session: &Session) {
    let settings = &session.startup().settings;
    if settings.continues == Some(GapReason::Restarted) {
        let taken = volume.state().claim(settings.session, session.geometry());
        if session.set_taken(taken) {
            return;
        }
    }
    volume.state().forget();
}

/// Starts all threads, or none.
fn start_threads(running: &Running, volume: &Shared<Volume>) -> Result<(), NTSTATUS> {
    running.threads.with(|threads| {
        let started = try_start_threads(threads, &running.session, volume);
        if started.is_err() {
            running.session.stop();
            threads.have_ended(None);
        }
        started
    })
}

fn try_start_threads(
    threads: &mut SessionThreads,
    session: &Shared<Session>,
    volume: &Shared<Volume>,
) -> Result<(), NTSTATUS> {
    let out_of_memory = STATUS_INSUFFICIENT_RESOURCES;
    let reading = |worker| {
        let readers = SessionReads::readers(session, worker)?;
        Shared::new(Reading { session: session.clone(), worker, readers })
    };
    // Everything is allocated before anything runs.
    let sweep = reading(Worker::Sweep).ok_or(out_of_memory)?;
    let hold = reading(Worker::Hold).ok_or(out_of_memory)?;
    let drain = Shared::new(Draining { session: session.clone() }).ok_or(out_of_memory)?;
    let dispatch = Dispatching { session: session.clone(), volume: volume.clone() };
    let dispatch = Shared::new(dispatch).ok_or(out_of_memory)?;
    let logging = Logging { session: session.clone(), volume: volume.clone() };
    let logging = Shared::new(logging).ok_or(out_of_memory)?;
    let [for_drain, for_dispatch, for_sweep, for_hold, for_log] = &mut threads.0;
    *for_log = Some(Thread::start(logging, Priority::WritesWait)?);
    *for_sweep = Some(Thread::start(sweep, Priority::Background)?);
    *for_hold = Some(Thread::start(hold, Priority::WritesWait)?);
    *for_drain = Some(Thread::start(drain, Priority::Raised)?);
    *for_dispatch = Some(Thread::start(dispatch, Priority::WritesWait)?);
    Ok(())
}

/// The thread that reads for the sweep, or the one that reads for held writes.
struct Reading {
    session: Shared<Session>,
    worker: Worker,
    readers: SessionReaders,
}

impl Run for Reading {
    fn run(context: &Shared<Self>) {
        let Self { session, worker, readers } = &**context;
        // Until no read is under way: the readers are given up after it.
        loop {
            match session.send_reads(readers) {
                Step::Do(()) | Step::Again => {}
                Step::Wait(until) => wait(session, *worker, until),
                Step::Ended => return,
            }
        }
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
        session.take_known();
        session.take_noted();
        session.engine().begin();
        let mut standstill = None;
        loop {
            match dispatch(session) {
                Step::Wait(mut until) => {
                    if volume.is_shutting_down() {
                        let limit = session.end_standstill(&mut standstill);
                        until = [until, limit].into_iter().flatten().min();
                    }
                    wait(session, Worker::Dispatch, until);
                }
                Step::Do(()) | Step::Again => {}
                Step::Ended => break,
            }
        }
        // Interception off; then wait for every request that holds protection on this session.
        volume.rundown.replace(None, || {});
    }
}

/// Lets the next held write go. Out of line: it is on the stack only while it goes.
#[inline(never)]
fn dispatch(session: &Session) -> Step<()> {
    match session.engine().dispatch() {
        Step::Do(submission) => {
            io_path::carry_out(session, submission);
            Step::Do(())
        }
        Step::Again => Step::Again,
        Step::Wait(until) => Step::Wait(until),
        Step::Ended => Step::Ended,
    }
}

/// Looks after the writes held since interception is on, while older ones are still in flight.
fn while_starting(session: &Session, give_up_at: Tick) {
    if session.now() >= give_up_at && !session.is_stopped() {
        log::line(c"a write that was in flight at the start does not complete: session given up");
        session.fail();
    }
    // Releases held writes once the session is stopped; gives nothing before.
    while let Step::Do(()) = dispatch(session) {}
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
