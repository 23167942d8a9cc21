//! What the volumes keep while the machine is off: saved at the last chance before it goes down
//! (rule RESUME, rules.md#resume). PASSIVE_LEVEL throughout.
//!
//! In this order, while writes go on:
//!
//! 1. From now on every change is noted.
//! 2. The number of the last record is looked at.
//! 3. Every region is marked of which the server may lack something, or may have it only as a
//!    record after that one.
//! 4. The number of the last acknowledged record is looked at.
//! 5. The map is sealed and written. From then on a change that it does not have waits until the
//!    state on the disk is void.
//!
//! A server whose last record is one of those two or between them has what the disk has in all
//! regions that are not marked.

use snapless_driver_logic::tracker::last_records;
use snapless_engine::{Phase, RegionMap, Tick};
use snapless_types::{Extent, Regions, Seq};
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
    let Some(area) = volume.with_keeper(|keeper| keeper.area()) else { return };
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
    let captured = numbers(session).map(|(_, captured)| captured);
    mark(volume, session, &regions, area);
    let numbers = captured.zip(numbers(session));
    // The area may be where another file is by now: no write to it is under way.
    let is_free = !session.engine().may_write(&area.extent);
    let numbers = numbers.filter(|_| is_free);
    let last =
        numbers.and_then(|(captured, (acknowledged, _))| last_records(acknowledged, captured));
    let saved = last.and_then(|(acknowledged, captured)| {
        Shared::new(SavedState {
            session: session.id(),
            geometry: *geometry,
            acknowledged,
            captured,
            stamp: area.stamp,
            saved_at: FileTime::new(time::system_time()),
        })
    });
    if saved.is_none() {
        state.forget();
    }
    saved
}

/// The last acknowledged record and the last one. Of a session whose server has not been reached
/// since the start, those of the state that it continues with: the server has nothing else. `None`
/// if there is no such state, or the session does not describe the volume.
#[inline(never)] // The engine's status is on the stack only meanwhile.
fn numbers(session: &Session) -> Option<(Seq, Seq)> {
    let status = session.engine().status();
    let runs = matches!(status.phase, Phase::Capturing | Phase::Uncaptured);
    if !runs || status.outgrown || session.has_shrunk() {
        return None;
    }
    if !status.placed {
        return session.taken_seqs();
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

/// True if the server may lack something of a region.
fn lacks(session: &Session, region: &Extent) -> bool {
    let Some(blocks) = session.geometry().blocks_of(region) else { return true };
    blocks.chunks(BLOCKS_MAX).any(|some| session.engine().lacks(some))
}

/// Seals and writes the state; `None` if that did not succeed.
#[inline(never)]
fn write(volume: &Volume, area: &KeptArea, saved: &SavedState, deadline: Tick) -> Option<()> {
    let place = Place { state: volume.state(), device: volume.lower(), deadline };
    volume.with_keeper(|keeper| {
        let found = keeper.find(place, area.id, area.extent.offset()).ok()?;
        keeper.save(place, &found, saved).ok()
    })
}
