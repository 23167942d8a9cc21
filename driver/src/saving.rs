//! What the volumes keep while the machine is off: saved at the last chance before it goes down
//! (rule RESUME, rules.md#resume). PASSIVE_LEVEL throughout.
//!
//! In this order, while writes go on:
//!
//! 1. From now on every change is noted.
//! 2. The records are looked at that the server's stream may end with.
//! 3. Every region is marked of which the server may lack something, or may have it only as a
//!    record after those.
//! 4. The last acknowledged record is looked at.
//! 5. The map is sealed and written. From then on a change that it does not have waits until the
//!    state on the disk is void.
//!
//! A server whose stream ends with one of those records, the acknowledged one or one behind it, has
//! what the disk has in all regions that are not marked.

use snapless_engine::{Phase, RegionMap, Tick};
use snapless_types::{Ends, Extent, Regions, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::state_area::SavedState;

use crate::globals::Globals;
use crate::keeper::{KeptArea, Place};
use crate::kernel::log;
use crate::kernel::shared::Shared;
use crate::kernel::time;
use crate::session::Session;
use crate::volume::Volume;
use crate::volume_query;

/// How long one volume may take, in ticks: 2 s.
const SAVE_LIMIT: u64 = 2_000 * Tick::PER_MS;
/// How long all of them may take, in ticks: 10 s.
const ALL_LIMIT: u64 = 10_000 * Tick::PER_MS;

/// Most blocks that the engine is asked about at a time: writes wait for its lock.
const BLOCKS_MAX: u64 = 8_192;

/// Saves the state of every volume that has one. PASSIVE_LEVEL.
pub fn save_all(globals: &Globals) {
    let end = volume_query::deadline(ALL_LIMIT);
    for volume in globals.volumes.volumes() {
        save(&volume, end.min(volume_query::deadline(SAVE_LIMIT)));
    }
}

#[inline(never)]
fn save(volume: &Volume, deadline: Tick) {
    // If the disk keeps a slot of the log, that is what the disk has.
    let area = volume.with_keeper_by(deadline, |keeper| keeper.area());
    let Some(area) = area.flatten() else { return };
    let Some(protection) = volume.rundown.acquire() else { return };
    let saved = match volume.rundown.session(&protection) {
        Some(session) => collect(volume, session, &area),
        None => save_again(volume),
    };
    if let Some(saved) = saved
        && write(volume, &area, &saved, deadline).is_none()
    {
        // Not sealed: nothing is noted any more. Sealed: it is void, or becomes so.
        volume.state().forget();
        log::line(c"a volume's state could not be saved: it is verified after the restart");
    }
    volume.rundown.release(protection);
}

/// The state that nothing has taken since the start is saved again.
#[inline(never)]
fn save_again(volume: &Volume) -> Option<Shared<SavedState>> {
    let saved_at = FileTime::new(time::system_time());
    let saved = volume.state().begin_save_again()?;
    let saved = Shared::new(SavedState { saved_at, ..saved });
    if saved.is_none() {
        volume.state().forget();
    }
    saved
}

/// Has every change noted from now on, and marks what the server may lack.
#[inline(never)]
fn collect(volume: &Volume, session: &Session, area: &KeptArea) -> Option<Shared<SavedState>> {
    let (state, geometry) = (volume.state(), session.geometry());
    let regions = Regions::of(geometry);
    let map = RegionMap::new(regions).ok()?;
    if !state.begin_save(map, area.extent) {
        return None;
    }
    let looked_at = records(session);
    mark(volume, session, &regions, area);
    let saved = looked_at.and_then(|looked_at| {
        let acknowledged = records(session)?.acknowledged;
        let ends = looked_at.ends.from(acknowledged);
        // The area may be where another file is by now: no write to it is under way.
        let is_free = !session.engine().may_write(&area.extent);
        let holds = is_free && acknowledged <= looked_at.captured;
        let records = Records { acknowledged, ends, ..looked_at };
        if holds { self::state(session, area, &records) } else { None }
    });
    if saved.is_none() {
        state.forget();
    }
    saved
}

/// Records of a session that a state speaks of.
pub struct Records {
    /// As [`SavedState::acknowledged`].
    pub acknowledged: Seq,
    /// As [`SavedState::captured`].
    pub captured: Seq,
    /// As [`SavedState::ends`].
    pub ends: Ends,
}

/// What a state says of the session that is made of it now. PASSIVE_LEVEL.
#[inline(never)] // It is on the stack only while it is made.
pub fn state(session: &Session, area: &KeptArea, records: &Records) -> Option<Shared<SavedState>> {
    let Records { acknowledged, captured, ends } = *records;
    Shared::new(SavedState {
        session: session.id(),
        geometry: *session.geometry(),
        acknowledged,
        captured,
        ends,
        stamp: area.stamp,
        saved_at: FileTime::new(time::system_time()),
    })
}

/// The records of a session now. Of one whose server has not been reached since the start, those of
/// the state that it continues with: the server has nothing else. `None` if there is no such state,
/// or the session does not describe the volume. PASSIVE_LEVEL.
#[inline(never)] // They are on the stack only meanwhile.
pub fn records(session: &Session) -> Option<Records> {
    let is_placed = session.engine().is_placed();
    let (acknowledged, last) = numbers(session)?;
    if !is_placed {
        let taken = session.taken()?;
        let (acknowledged, captured, ends) = (taken.acknowledged, taken.captured, taken.ends);
        return Some(Records { acknowledged, captured, ends });
    }
    let ends = session.engine().ends();
    // Others may have been made meanwhile.
    Some(Records { acknowledged, captured: last.max(ends.last()), ends })
}

/// The last acknowledged record and the last one; `None` of a session that does not describe the
/// volume.
#[inline(never)] // The engine's status is on the stack only meanwhile.
fn numbers(session: &Session) -> Option<(Seq, Seq)> {
    let status = session.engine().status();
    let runs = matches!(status.phase, Phase::Capturing | Phase::Uncaptured);
    if !runs || status.resized {
        return None;
    }
    Some((Seq::new(status.acknowledged_seq), Seq::new(status.last_seq)))
}

#[inline(never)]
fn mark(volume: &Volume, session: &Session, regions: &Regions, area: &KeptArea) {
    let state = volume.state();
    for extent in (0..regions.count()).filter_map(|region| regions.extent(region)) {
        if lacks(session, &extent) {
            state.note(&extent);
        }
    }
    // The area is written past the session, and so is what the boot loader writes.
    state.note(&area.extent);
    for extent in area.always.iter() {
        state.note(&extent);
    }
}

/// True if the server may lack something of a region. PASSIVE_LEVEL.
pub fn lacks(session: &Session, region: &Extent) -> bool {
    let Some(blocks) = session.geometry().blocks_of(region) else { return true };
    blocks.chunks(BLOCKS_MAX).any(|some| session.engine().lacks(some))
}

/// Seals and writes the state; `None` if that did not succeed.
#[inline(never)]
fn write(volume: &Volume, area: &KeptArea, saved: &SavedState, deadline: Tick) -> Option<()> {
    let place = Place { state: volume.state(), device: volume.lower(), deadline };
    let saved = volume.with_keeper_by(deadline, |keeper| {
        let found = keeper.find(place, area.id, area.extent.offset()).ok()?;
        keeper.save(place, &found, saved).ok()
    });
    saved.flatten()
}
