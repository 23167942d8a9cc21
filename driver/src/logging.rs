//! The thread of a session that keeps its volume's write-intent log (rule RESUME,
//! rules.md#resume). PASSIVE_LEVEL throughout.
//!
//! What is to be done, and which writes wait for it, `snapless_driver_logic::intent_log` decides;
//! [`Keeper`] writes the slots. The thread begins the log once the service has named an area, and
//! makes it void when the session ends.
//!
//! Rule: what waits goes when the disk has a slot, or has failed it (rule HANG, rules.md#hang). A
//! slot that fails is followed by a void one, first in its place and then over the slot that
//! counts. If the disk fails both, the log ends all the same: the service is told not to trust it.

use snapless_driver_logic::intent_log::{IntentLog, StampRead, Timing, Todo};
use snapless_driver_logic::tracker::{self, Log};
use snapless_engine::Tick;
use snapless_types::{Extent, Regions};
use snapless_wire::state_area::SavedState;
use wdk_sys::{NTSTATUS, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES};

use crate::keeper::{Keeper, KeptArea, Place};
use crate::kernel::log;
use crate::kernel::shared::Shared;
use crate::kernel::thread::Run;
use crate::kernel::time;
use crate::saving;
use crate::session::Session;
use crate::sleep;
use crate::volume::Volume;
use crate::volume_query;

/// How long a slot may take, in ticks: 50 s, as Windows gives up on a disk after 60 s.
const SLOT_LIMIT: u64 = 50_000 * Tick::PER_MS;
/// How long until it is tried again to begin a log, in ticks: 10 s.
const BEGIN_AGAIN: u64 = 10_000 * Tick::PER_MS;
/// How long until it is looked again whether the server has said where it stands, in ticks: 1 s.
const PLACED_AGAIN: u64 = 1_000 * Tick::PER_MS;

/// The thread.
pub struct Logging {
    /// The session.
    pub session: Shared<Session>,
    /// Its volume.
    pub volume: Shared<Volume>,
}

impl Run for Logging {
    fn run(context: &Shared<Self>) {
        let Self { session, volume } = &**context;
        while !session.is_stopped() {
            let until = step(volume, session);
            volume.state().wait_for_log(until.since(now()));
        }
        end(volume);
    }
}

fn now() -> Tick {
    Tick(time::uptime())
}

fn place(volume: &Volume) -> Place<'_> {
    let deadline = volume_query::deadline(SLOT_LIMIT);
    Place { state: volume.state(), device: volume.lower(), deadline }
}

/// Does what is to be done; returns when there may be something again.
#[inline(never)]
fn step(volume: &Volume, session: &Session) -> Tick {
    let state = volume.state();
    if state.track(|tracker| tracker.is_to_be_looked_at(now())) {
        sleep::look(volume, session);
        return now();
    }
    let todo = state.track(|tracker| tracker.log_mut().map(|log| log.todo(now())));
    match todo {
        None => return begin(volume, session),
        Some(Todo::Nothing(until)) => return until,
        Some(Todo::Pass) => pass(volume, session),
        Some(Todo::Slot) => slot(volume, session, None),
        Some(Todo::Stamp) => stamp(volume, session),
        Some(Todo::Void | Todo::End) => end(volume),
    }
    now()
}

/// Begins a log if there is an area for one.
#[inline(never)]
fn begin(volume: &Volume, session: &Session) -> Tick {
    let again = now().after(BEGIN_AGAIN);
    let Some(area) = volume.with_keeper(|keeper| keeper.area_for_log()) else { return again };
    if begin_in(volume, session, &area).is_err() {
        volume.state().track(|tracker| tracker.end_log());
        // What would have taken the area away.
        volume.state().slot_done();
        return again;
    }
    now()
}

fn begin_in(volume: &Volume, session: &Session, area: &KeptArea) -> Result<(), NTSTATUS> {
    let state = volume.state();
    let log = new_log(session, area).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let [first] = &*log;
    first.publish(session.marks());
    // From now on a write to the area is noticed; none that came before is under way.
    let begun = state.track(|tracker| tracker.begin_log(log, area.extent));
    if !begun || session.engine().may_write(&area.extent) {
        return Err(STATUS_DEVICE_BUSY);
    }
    if let Some(blocks) = session.geometry().blocks_of(&area.extent) {
        session.engine().keep_apart(blocks);
    }
    volume.with_keeper(|keeper| keeper.begin_log(place(volume), area))
}

#[inline(never)] // It is on the stack only while it is made.
fn new_log(session: &Session, area: &KeptArea) -> Option<Log> {
    let regions = Regions::of(session.geometry());
    let times = (Timing::DRIVER, now());
    tracker::new_log(regions, &area.extent, &area.stamp, times).ok()
}

/// Takes marks off regions that are not written to and of which the server has all.
#[inline(never)]
fn pass(volume: &Volume, session: &Session) {
    let (state, marks) = (volume.state(), session.marks());
    let Some(area) = volume.with_keeper(|keeper| keeper.area()) else { return };
    let regions = *marks.regions();
    for region in 0..regions.count() {
        let Some(extent) = regions.extent(region) else { continue };
        // What the boot loader writes is past every session, and so is the log.
        let is_kept = |kept: &Extent| kept.overlaps(&extent);
        if is_kept(&area.extent) || area.always.iter().any(|always| is_kept(&always)) {
            continue;
        }
        let Some(unmarked) = state.track(|tracker| tracker.unmark(region, marks)) else { continue };
        let keeps = saving::lacks(session, &extent);
        state.track(|tracker| {
            if let Some(log) = tracker.log_mut() {
                if keeps { log.remark(unmarked) } else { log.leave_unmarked(unmarked) }
            }
        });
    }
    state.track(|tracker| {
        if let Some(log) = tracker.log_mut() {
            log.passed(now(), marks);
            log.publish(marks);
        }
    });
}

/// Reads the stamp, and writes a slot with its hash.
#[inline(never)]
fn stamp(volume: &Volume, session: &Session) {
    let state = volume.state();
    // Another system may have written it.
    if !session.engine().is_placed() || state.is_doubtful() {
        return put_off(volume, PLACED_AGAIN);
    }
    if state.track(|tracker| tracker.log().is_some_and(IntentLog::is_new)) {
        pass(volume, session);
    }
    let Some(area) = volume.with_keeper(|keeper| keeper.area()) else { return };
    let writes = state.track(|tracker| tracker.log().map(IntentLog::stamp_writes));
    if area.stamp.iter().any(|range| session.engine().may_write(&range)) {
        return put_off(volume, Timing::DRIVER.settle);
    }
    let read = writes.and_then(|writes| {
        let read = |keeper: &mut Keeper| keeper.read_for_log(place(volume), &area.stamp, writes);
        volume.with_keeper(read).ok()
    });
    match read {
        Some(read) => slot(volume, session, Some(read)),
        None => put_off(volume, PLACED_AGAIN),
    }
}

fn put_off(volume: &Volume, ticks: u64) {
    volume.state().track(|tracker| {
        if let Some(log) = tracker.log_mut() {
            log.put_off(now(), ticks);
        }
    });
}

/// Writes a live slot; what waited for it goes.
#[inline(never)]
fn slot(volume: &Volume, session: &Session, read: Option<StampRead>) {
    let state = volume.state();
    // HANG (rules.md#hang): what waits goes, also if there is no memory.
    let Some(saved) = saved(volume, session) else {
        state.track(|tracker| {
            if let Some(log) = tracker.log_mut() {
                log.lose();
            }
        });
        return;
    };
    let begun = volume
        .with_keeper(|keeper| keeper.write_live(place(volume), read, &saved, session.marks()));
    if !begun {
        put_off(volume, Timing::DRIVER.settle);
    }
    state.slot_done();
}

/// What a slot says of the session; `None` if it has stopped, or there is no memory.
#[inline(never)] // It is on the stack only while it is made.
fn saved(volume: &Volume, session: &Session) -> Option<Shared<SavedState>> {
    let area = volume.with_keeper(|keeper| keeper.area())?;
    let records = saving::records(session).filter(|_| !session.is_stopped())?;
    saving::state(session, &area, &records)
}

/// Makes the log void and ends it, if there is one.
#[inline(never)]
fn end(volume: &Volume) {
    let state = volume.state();
    if state.track(|tracker| tracker.log().is_none()) {
        return;
    }
    let is_void = volume.with_keeper(|keeper| keeper.end_log(place(volume)));
    state.log_ended(is_void);
    if !is_void {
        log::line(c"a volume's write-intent log could not be made void: it is not to be trusted");
    }
    state.slot_done();
}
