//! What is done when the machine goes to sleep and wakes up (rule RESUME, rules.md#resume): see
//! `snapless_driver_logic::sleep`. PASSIVE_LEVEL throughout.
//!
//! The system's notices come by `\Callback\PowerState`: one before it flushes the volumes and
//! powers any device down, one after all devices are up. Power requests would come too late, and in
//! an order of its own for each device stack: the disk may sleep before its volume is told.
//!
//! The thread of a session's log looks at the volume, as it alone writes slots and reads the stamp.
//! A session without a log has nothing to compare with.

use snapless_driver_logic::intent_log::{IntentLog, Timing};
use snapless_engine::{Tick, Worker};

use crate::globals;
use crate::keeper::{KeptArea, Place};
use crate::kernel::log;
use crate::kernel::power::{PowerCallbacks, PowerNotices};
use crate::kernel::shared::Shared;
use crate::kernel::time;
use crate::session::Session;
use crate::volume::Volume;
use crate::volume_query;

/// How long the volume may take to be read, in ticks: 50 s, as Windows gives up on a disk after 60
/// s. A disk that wakes up has to spin up first.
const READ_LIMIT: u64 = 50_000 * Tick::PER_MS;
/// How long a write to the stamp that is under way may take, in ticks: 2 s.
const SETTLE_LIMIT: u64 = 2_000 * Tick::PER_MS;

/// Asks for the system's notices; without them a sleep is not noticed. PASSIVE_LEVEL.
pub fn begin() {
    let Some(globals) = globals::get() else { return };
    if globals.settings.limits.pass_through {
        return;
    }
    match PowerNotices::register::<Notices>() {
        Ok(notices) => globals.power.with(|power| *power = Some(notices)),
        Err(_) => log::line(c"no notice of sleep: what other systems write meanwhile is not seen"),
    }
}

/// Ends the notices; none is under way any more. PASSIVE_LEVEL.
pub fn end() {
    if let Some(globals) = globals::get() {
        let notices = globals.power.with(Option::take);
        drop(notices);
    }
}

/// The notices.
struct Notices;

impl PowerCallbacks for Notices {
    fn falls_asleep() {
        let Some(globals) = globals::get() else { return };
        for volume in globals.volumes.volumes() {
            volume.state().track(|tracker| tracker.falls_asleep(now()));
        }
    }

    fn is_awake() {
        let Some(globals) = globals::get() else { return };
        for volume in globals.volumes.volumes() {
            let has_session = volume.with_session(|_| ()).is_some();
            volume.state().track(|tracker| tracker.wakes(has_session));
            volume.state().wake_log();
        }
    }
}

fn now() -> Tick {
    Tick(time::uptime())
}

/// Looks at a volume after the machine has slept: if it is not what the session has written last,
/// all of it is read again. On the log's thread, when the tracker says so. PASSIVE_LEVEL.
#[inline(never)]
pub fn look(volume: &Volume, session: &Session) {
    let (state, at) = (volume.state(), now());
    let then = state.track(|tracker| tracker.sleep());
    let same = is_same(volume, session);
    if !then.is_to_be_looked_at(at) {
        // A write to the stamp waits for it.
        state.track(|tracker| tracker.looked_at_early(same));
        state.looked_at();
        return;
    }
    let same = same == Some(true);
    if !same {
        log::line(c"the machine has slept, and a volume may have changed: it is verified");
        session.doubt();
    }
    state.track(|tracker| tracker.looked_at(then, at, same));
    state.looked_at();
    session.event(Worker::Drain).set();
}

/// Whether the volume has what was written there last, as far as its stamp and its area show;
/// `None` if that is not known.
fn is_same(volume: &Volume, session: &Session) -> Option<bool> {
    let (state, settled) = (volume.state(), now().after(SETTLE_LIMIT));
    let deadline = volume_query::deadline(READ_LIMIT);
    let place = Place { state, device: volume.lower(), deadline };
    loop {
        let before = writes(volume, session);
        match volume.with_keeper(|keeper| keeper.is_as_written(place)) {
            // A write is under way, or was.
            Ok(Some(false)) if before.is_none() || writes(volume, session) != before => {}
            Ok(same) => return same,
            Err(_) => {
                // Nor is anything known of what is on the disk of the log.
                state.track(|tracker| tracker.log_mut().map(IntentLog::lose));
                return Some(false);
            }
        }
        if now() >= settled || session.is_stopped() {
            return Some(false);
        }
        state.wait_for_log(Timing::DRIVER.settle);
    }
}

/// How often the stamp was written to; `None` while a write to it may be under way.
fn writes(volume: &Volume, session: &Session) -> Option<u64> {
    let writes = volume.state().track(|tracker| tracker.log().map(IntentLog::stamp_writes));
    let area = volume.with_keeper(|keeper| keeper.area());
    let is_written =
        |area: &Shared<KeptArea>| area.stamp.iter().any(|range| session.engine().may_write(&range));
    // Without a log there is none that counts.
    Some(writes.unwrap_or(0)).filter(|_| !area.as_ref().is_some_and(is_written))
}
