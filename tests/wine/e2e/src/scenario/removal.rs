//! Plug and play removes the volume, or only queries: with no session, in a first sync, with a
//! write held and one in flight, and without a service. Packets never wait behind data, every write
//! gets an answer, and protection goes on or ends with an event; afterwards the volume is protected
//! anew, and the images are right. Then the system shuts down while writes wait for a server that
//! does not answer: the driver has to issue them.

use std::time::{Duration, Instant};

use protocol::ioctl;

use crate::agent::Outcome;
use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::process::{Signal, wait_until};
use crate::rig::Rig;
use crate::scenario::power::{self, promptly};
use crate::scenario::run::{Run, wait_for_in_flight};
use crate::scenario::{Setting, settings};
use crate::service::ServiceSettings;
use crate::status::Status;
use crate::summary::Summary;

const SERVICE: ServiceSettings = ServiceSettings::holding(64);
/// Slow enough that the first sync is under way when the volume pauses.
const VOLUME_JITTER_US: u32 = 200_000;
const STATE_LIMIT: Duration = Duration::from_mins(1);
/// The driver issues writes that have waited for 5 s.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(25);
/// `DEVICE_USAGE_NOTIFICATION_TYPE`
const DUMP: u32 = 3;
/// `IRP_MN_…`
const START: u32 = 0;
const QUERY_REMOVE: u32 = 1;
const CANCEL_REMOVE: u32 = 3;
const STOP: u32 = 4;
const QUERY_STOP: u32 = 5;
const CANCEL_STOP: u32 = 6;
/// Blocks that the sweep reads early, and one that it reads last.
const EARLY: u64 = 2 << 20;
const EARLY_TOO: u64 = 3 << 20;
const LATE_FROM_END: u64 = 2 << 20;
/// The sweep is past the early ones when it has read so much.
const PAST_EARLY: u64 = 8 << 20;
const WRITE_LEN: u64 = 8192;
/// Writes that more than fill the queue and the service's buffers, how many of them have a place of
/// their own, and their length.
const FILLING: u64 = 48;
const FILLING_PLACES: u64 = 30;
const FILLING_LEN: u64 = 4 << 20;
/// Writes that have waited for so long wait for the server.
const STANDSTILL: Duration = Duration::from_secs(2);

/// Events of the service (`docs/events.md`).
const SESSION_STARTED: u16 = 200;
const SESSION_ENDED: u16 = 204;
const DRIVER_ABSENT: u16 = 300;

/// The state of protection when the packets come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// No session; two writes are with the disk.
    Idle,
    /// A first sync; two writes go on.
    Sweeping,
    /// A first sync; one write is with the disk, and one is held, as the disk does not read.
    Holding,
    /// A session that its service has left; two writes are with the disk.
    Left,
}

impl State {
    const ALL: [Self; 4] = [Self::Idle, Self::Sweeping, Self::Holding, Self::Left];

    fn name(self) -> &'static str {
        match self {
            Self::Idle => "with no session",
            Self::Sweeping => "in a first sync",
            Self::Holding => "with a write held",
            Self::Left => "without a service",
        }
    }

    /// The disk takes requests, and does not work on them.
    fn is_stuck(self) -> bool {
        self != Self::Sweeping
    }

    /// A service drains the session.
    fn is_served(self) -> bool {
        matches!(self, Self::Sweeping | Self::Holding)
    }

    /// The session's phase.
    fn phase(self) -> Option<&'static str> {
        match self {
            Self::Idle => None,
            Self::Sweeping | Self::Holding => Some("first_sync"),
            Self::Left => Some("detached"),
        }
    }
}

pub(super) fn run(setting: &Setting, console: &mut dyn Console) -> Result<Summary, E2eError> {
    let mut run = Run::prepare(setting, &SERVICE, VOLUME_JITTER_US, console)?;
    let late = (setting.size_mib << 20) - LATE_FROM_END;
    for state in State::ALL {
        let (name, rig) = (state.name(), &mut run.rig);
        step(run.console, &format!("a volume stays, then is gone, {name}"), |_| {
            enter(rig, state, late)?;
            stays(rig, state)?;
            promptly("a shutdown notice", || rig.agent().shutdown())?;
            is_in(rig, state)?;
            surprise(rig, state)
        })?;
        let rig = &mut run.rig;
        step(run.console, &format!("a volume is removed in order {name}"), |_| {
            enter(rig, state, late)?;
            in_order(rig, state)
        })?;
    }

    let begun = run.begin(false)?;
    let rig = &mut run.rig;
    step(run.console, "a volume with a write held stays, and protection goes on", |_| {
        hold(rig, late)?;
        stays(rig, State::Holding)?;
        is_in(rig, State::Holding)?;
        rig.agent().resume()?;
        all_done(rig, 2)
    })?;
    run.watch("first sync", |status| status.phase == "live")?;
    let first_sync = begun.seen.elapsed();
    // The server has to have the base image before a gap begins.
    run.settle()?;
    run.disturbed = true;
    let rig = &mut run.rig;
    step(run.console, "shut down while writes wait for a server that does not answer", |_| {
        shut_down_with_a_full_queue(rig)
    })?;
    run.watch("recover", |status| status.phase == "live" && status.blocks_dirty == 0)?;
    let last = run.settle()?;
    run.shut_down()?;
    run.rig.service_logged(&[SESSION_STARTED, SESSION_ENDED])?;

    run.restore_both()?;
    let at_t0 = begun.beginning.entries_before;
    let (writes, _) = run.compare_unloaded(Some(at_t0..=at_t0), None)?;
    run.folder.discard_images()?;
    Ok(Summary { writes, prefix: Some(writes), ..run.summary(first_sync, last) })
}

/// Brings the volume into a state, with two writes begun.
fn enter(rig: &mut Rig, state: State, late: u64) -> Result<(), E2eError> {
    if state != State::Idle {
        rig.start_service()?;
        session(rig, "the session to begin", |status| status.phase == "first_sync")?;
    }
    match state {
        State::Holding => hold(rig, late)?,
        State::Idle | State::Sweeping | State::Left => {
            let mut second = late;
            if state == State::Left {
                past_early(rig)?;
                rig.kill_service()?;
                session(rig, "the session to be left", |status| status.phase == "detached")?;
                // It still holds writes to blocks that were not read.
                second = EARLY_TOO;
            }
            if state.is_stuck() {
                rig.agent().pause()?;
            }
            begin_write(rig, EARLY, WRITE_LEN)?;
            begin_write(rig, second, WRITE_LEN)?;
            if state.is_stuck() {
                wait_for_in_flight(rig, 2)?;
            }
        }
    }
    is_in(rig, state)
}

/// While the disk is stuck, writes to a block that was read already, and to one that cannot be
/// read.
fn hold(rig: &mut Rig, late: u64) -> Result<(), E2eError> {
    past_early(rig)?;
    rig.agent().pause()?;
    begin_write(rig, EARLY, WRITE_LEN)?;
    wait_for_in_flight(rig, 1)?;
    begin_write(rig, late, WRITE_LEN)?;
    session(rig, "the write to be held", |status| status.writes_holding == 1)?;
    Ok(())
}

/// The first sync has read the early blocks.
fn past_early(rig: &mut Rig) -> Result<(), E2eError> {
    session(rig, "the first sync to come along", |status| {
        status.blocks_synced * status.block_size >= PAST_EARLY
    })?;
    Ok(())
}

/// Queries, cancelled queries and a notification that a driver below refuses. No packet waits for
/// the disk.
fn stays(rig: &mut Rig, state: State) -> Result<(), E2eError> {
    const PACKETS: [(&str, u32); 7] = [
        ("query-remove", QUERY_REMOVE),
        ("cancel-remove", CANCEL_REMOVE),
        ("query-stop", QUERY_STOP),
        ("cancel-stop", CANCEL_STOP),
        ("query-stop", QUERY_STOP),
        ("stop", STOP),
        ("start", START),
    ];
    for (name, minor) in PACKETS {
        promptly(name, || rig.agent().command(ioctl::PNP, &minor))?;
    }
    promptly("the way to power off", || rig.agent().power(power::OFF))?;
    promptly("the way back to power", || rig.agent().power(power::WORKING))?;
    rig.agent().command(ioctl::REFUSE_USAGE, &1_u32)?;
    promptly("a refused usage notification", || {
        let refused = rig.agent().usage(DUMP, true).is_err();
        ensure!(refused, Rule, "CLEAR: a refused usage notification succeeded");
        Ok(())
    })?;
    special_files(rig, state, &[])?;
    promptly("a usage notification", || rig.agent().usage(DUMP, true))?;
    special_files(rig, state, &["dump"])?;
    promptly("a usage notification", || rig.agent().usage(DUMP, false))?;
    special_files(rig, state, &[])
}

fn special_files(rig: &mut Rig, state: State, expected: &[&str]) -> Result<(), E2eError> {
    // The list of volumes queries the volume; the status of a session does not.
    if state == State::Idle {
        return settings::says(rig, "possible", expected);
    }
    let status = rig.status()?;
    let told = status.as_ref().map(|status| &status.special_files[..]).unwrap_or_default();
    ensure!(told == expected, Rule, "special files are {told:?}, not {expected:?}");
    Ok(())
}

/// The state is as it was entered.
fn is_in(rig: &mut Rig, state: State) -> Result<(), E2eError> {
    rig.must_run()?;
    let status = rig.status()?;
    let phase = status.as_ref().map(|status| status.phase.as_str());
    let holding = status.as_ref().map_or(0, |status| status.writes_holding);
    let in_flight = rig.agent().counters()?.in_flight;
    let expected = match state {
        State::Idle | State::Left => Some((0, 2)),
        State::Holding => Some((1, 1)),
        State::Sweeping => None,
    };
    ensure!(
        phase == state.phase() && expected.is_none_or(|both| both == (holding, in_flight)),
        NotExercised,
        "a volume {}: the phase is {phase:?}, {holding} writes are held and {in_flight} with the disk",
        state.name()
    );
    Ok(())
}

/// The volume is gone: every write ends and the service gets an event, before the stack is removed,
/// which waits for handles to be closed.
fn surprise(rig: &mut Rig, state: State) -> Result<(), E2eError> {
    let ended_before = rig.times_logged(SESSION_ENDED)?;
    promptly("a surprise removal", || rig.agent().command(ioctl::SURPRISE_REMOVE, &()))?;
    for _ in 0..2 {
        let ended = rig.agent().request("end-write")?;
        // It may have been over before.
        let over = ended == Outcome::Done && !state.is_stuck();
        let failed = over || matches!(ended, Outcome::Failed(_));
        ensure!(failed, Rule, "CLEAR: a write to a volume that is gone ended as {ended:?}");
    }
    let applied = rig.agent().counters()?.applied;
    if state.is_served() {
        wait_until("the service to say that the volume was removed", STATE_LIMIT, || {
            Ok((rig.times_logged(SESSION_ENDED)? > ended_before).then_some(()))
        })?;
    }
    rig.agent().resume()?;
    rig.detach_volume()?;
    comes_back(rig, state, applied)
}

/// An orderly removal issues held writes and waits for the disk.
fn in_order(rig: &mut Rig, state: State) -> Result<(), E2eError> {
    let ended_before = ends_logged(rig)?;
    let stuck = state.is_stuck();
    rig.detach_volume_while(|agent| {
        if stuck {
            // The held write was issued to the paused disk.
            wait_until("all writes to reach the disk", STATE_LIMIT, || {
                Ok((agent.counters()?.in_flight == 2).then_some(()))
            })?;
            agent.resume()?;
        }
        Ok(())
    })?;
    all_done(rig, 2)?;
    if state.is_served() {
        wait_until("the service to say that it protects nothing", STATE_LIMIT, || {
            Ok((ends_logged(rig)? > ended_before).then_some(()))
        })?;
    }
    let applied = rig.agent().counters()?.applied;
    comes_back(rig, state, applied)
}

/// The control device goes with the last volume: a service that drains gets the session's end,
/// another one finds no driver.
fn ends_logged(rig: &Rig) -> Result<usize, E2eError> {
    Ok(rig.times_logged(SESSION_ENDED)? + rig.times_logged(DRIVER_ABSENT)?)
}

/// The volume is there again, untouched since.
fn comes_back(rig: &mut Rig, state: State, applied: u64) -> Result<(), E2eError> {
    if state.is_served() {
        rig.stop_service()?;
    }
    if state != State::Idle {
        // The next state is one of a new session.
        rig.forget_session()?;
    }
    let counters = rig.agent().counters()?;
    ensure!(
        (counters.applied, counters.in_flight) == (applied, 0),
        Rule,
        "TRUTH: after {applied} writes all were over, and then the volume had {counters:?}"
    );
    rig.attach_volume()?;
    let session = rig.status()?;
    ensure!(session.is_none(), Rule, "a new volume has a session: {session:?}");
    rig.must_run()
}

/// More writes than the queue has room for: some wait for a service that itself waits. A system
/// that shuts down waits for them, so the driver has to issue them.
fn shut_down_with_a_full_queue(rig: &mut Rig) -> Result<(), E2eError> {
    rig.server().program.signal(Signal::STOP)?;
    for write in 0..FILLING {
        begin_write(rig, write % FILLING_PLACES * FILLING_LEN, FILLING_LEN)?;
    }
    // At first they wait for the service, which still sends: until nothing moves any more.
    let (mut seq, mut since) = (0, Instant::now());
    session(rig, "writes to wait for the server", |status| {
        if status.last_seq != seq || status.writes_holding == 0 || status.phase != "live" {
            (seq, since) = (status.last_seq, Instant::now());
        }
        since.elapsed() >= STANDSTILL
    })?;
    promptly("a shutdown notice", || rig.agent().shutdown())?;
    let told = Instant::now();
    all_done(rig, FILLING)?;
    // A service gives up a silent server as well, but much later.
    let took = told.elapsed();
    ensure!(took <= SHUTDOWN_LIMIT, Rule, "HANG: a shutdown waited {took:.0?} for writes");
    let status = session(rig, "the gap", |status| status.phase == "detached")?;
    let held = status.writes_uncaptured > 0;
    ensure!(held, NotExercised, "a held write: the queue had room for all");
    rig.server().program.signal(Signal::CONT)?;
    rig.stop_service()?;
    rig.start_service()
}

fn begin_write(rig: &mut Rig, place: u64, len: u64) -> Result<(), E2eError> {
    rig.agent().ask(&format!("begin-write {place} {len} 119")).map(|_| ())
}

/// The writes that were begun succeed.
fn all_done(rig: &mut Rig, count: u64) -> Result<(), E2eError> {
    for _ in 0..count {
        rig.agent().request("end-write")?.must_be_done("a write")?;
    }
    Ok(())
}

fn session(
    rig: &mut Rig,
    what: &str,
    mut is_so: impl FnMut(&Status) -> bool,
) -> Result<Status, E2eError> {
    wait_until(what, STATE_LIMIT, || {
        rig.must_run()?;
        Ok(rig.status()?.filter(|status| is_so(status)))
    })
}
