//! What a volume has kept while the machine was off: read when the first request would change it,
//! or a session starts (rule RESUME, rules.md#resume). PASSIVE_LEVEL throughout.
//!
//! Nothing is asked of a volume when it arrives: that has reset machines. A state is used only if
//! the volume is as it was when it was saved, and is void on the disk before anything is written.
//! In doubt, and if a disk does not answer in 2 s, nothing is known: everything is verified.

use snapless_driver_logic::intent_log;
use snapless_driver_logic::state_areas::StateArea;
use snapless_driver_logic::tracker::Known;
use snapless_engine::{RegionMap, Tick};
use snapless_types::{Extent, Regions};
use snapless_wire::id::Extents;
use snapless_wire::ioctl::ALWAYS_MAX;
use snapless_wire::state_area::SavedState;
use wdk_sys::{NTSTATUS, STATUS_DATA_ERROR, STATUS_INSUFFICIENT_RESOURCES};

use crate::globals::{self, Globals};
use crate::keeper::{Found, Keeper, KeptArea, Place};
use crate::kernel::shared::Shared;
use crate::volume::Volume;
use crate::volume_query::{self, Asked};

/// How long requests wait for a volume's area to be read, in ticks: 2 s.
const READ_LIMIT: u64 = 2_000 * Tick::PER_MS;

/// Reads the area of a volume of which nothing is known yet; requests that waited for it go.
/// PASSIVE_LEVEL.
pub fn resolve(volume: &Volume, deadline: Tick) {
    if let Some(globals) = globals::get() {
        resolve_with(globals, volume, deadline.min(volume_query::deadline(READ_LIMIT)));
    }
}

/// The same, for requests that wait since then: all that do have waited long enough at the same
/// time. PASSIVE_LEVEL.
pub fn resolve_since(globals: &Globals, volume: &Volume, asked_at: u64) {
    resolve_with(globals, volume, Tick(asked_at).after(READ_LIMIT));
}

#[inline(never)]
fn resolve_with(globals: &Globals, volume: &Volume, deadline: Tick) {
    let state = volume.state();
    volume.with_keeper(|keeper| {
        // Another thread may have read it meanwhile.
        if !state.is_unknown() {
            return;
        }
        let known = read(globals, volume, keeper, deadline).ok().flatten();
        state.loaded(known, keeper.area().map(|area| area.extent));
    });
}

/// What was saved and holds, used up on the disk; `None` if nothing is.
#[inline(never)]
fn read(
    globals: &Globals,
    volume: &Volume,
    keeper: &mut Keeper,
    deadline: Tick,
) -> Result<Option<Known>, NTSTATUS> {
    let (length, sector_size) = volume_query::size(Asked::new(volume.queries(), deadline))?;
    let place = Place { state: volume.state(), device: volume.lower(), deadline };
    let mut last = None;
    // The lock of the areas is not held while a disk is waited for.
    while let Some(area) = next_area(globals, length, last) {
        last = Some(area);
        let Some(extent) = area.extent() else { continue };
        match keeper.find(place, area.id, extent.offset()) {
            Err(STATUS_DATA_ERROR) => {}
            found => return use_found(keeper, place, extent, &found?, (length, sector_size)),
        }
    }
    Ok(None)
}

/// The area of a volume of this length that comes after another one.
fn next_area(globals: &Globals, length: u64, last: Option<StateArea>) -> Option<StateArea> {
    globals.settings.with_areas(|areas| {
        let mut areas = areas.of_length(length);
        match last {
            Some(last) => areas.skip_while(|area| *area != last).nth(1),
            None => areas.next(),
        }
    })
}

#[inline(never)]
fn use_found(
    keeper: &mut Keeper,
    place: Place<'_>,
    extent: Extent,
    found: &Found,
    (length, sector_size): (u64, u32),
) -> Result<Option<Known>, NTSTATUS> {
    let Some(saved) = keeper.saved(found) else { return Ok(None) };
    let geometry = &saved.geometry;
    let is_same = geometry.length() == length && geometry.sector_size() == sector_size;
    let log = keeper.stamp_hash(found);
    let holds = is_same
        && match log {
            Some(hash) => intent_log::is_stamped(hash, keeper.hash_stamp(place, &saved.stamp)?),
            None => keeper.is_stamped(place, found, &saved)?,
        };
    let map = keeper.map(found, Regions::of(geometry))?;
    let started = keeper.started(found, &saved);
    // In any case: nothing is to be taken for known at the next start.
    keeper.use_up(place, found)?;
    if !holds {
        return Ok(None);
    }
    let area = kept_area(found, extent, &saved, started.as_ref().map(|(_, always)| always));
    let area = area.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    keeper.set_area(area, started.map(|(startup, _)| startup));
    Ok(Some(known(&saved, map, log.is_some())))
}

/// The area, until the service names it. A log begins then.
#[inline(never)] // It is on the stack only while it is made.
fn kept_area(
    found: &Found,
    extent: Extent,
    saved: &SavedState,
    always: Option<&Extents<ALWAYS_MAX>>,
) -> Option<Shared<KeptArea>> {
    let (id, stamp) = (found.id(), saved.stamp);
    let always = always.copied().unwrap_or(Extents::NONE);
    Shared::new(KeptArea { id, extent, stamp, always, has_log: false })
}

fn known(saved: &SavedState, map: RegionMap, is_log: bool) -> Known {
    Known { saved: *saved, map, is_log }
}
