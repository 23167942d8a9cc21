//! A state area, as the driver finds it on a volume, and the list of areas in the registry.
//!
//! Upholds: what counts is of the area that is looked for and says nothing that a volume cannot be;
//! what makes it void is what counts then.

use snapless_driver_logic::state_areas::{AREAS_MAX, StateAreas};
use snapless_tracking::regions::RegionMap;
use snapless_types::Regions;
use snapless_wire::id::AreaId;
use snapless_wire::state_area::{
    self, AREA_LEN, Kind, LOG_LEN, MAP_LEN, SECTOR_SIZE_MAX, SLOT_LEN, STAMP_LEN, newest,
};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "area",
    repairs: &[seal],
    run,
    reached: &["areas", "none", "used", "saved", "live"],
};

/// Of every area of this target.
const ID: AreaId = AreaId([7; 16]);
/// The checksum's place in a slot.
const CRC: std::ops::Range<usize> = 172..176;

/// Makes the checksums right, and the identities.
fn seal(input: &mut [u8]) {
    for slot in input.chunks_exact_mut(SLOT_LEN) {
        slot[16..32].copy_from_slice(&ID.0);
        slot[CRC].fill(0);
        // Of those kinds only the first bytes are written.
        let is_log = [Kind::Live, Kind::Void]
            .iter()
            .any(|kind| slot[12..16] == kind.to_wire().to_le_bytes());
        let crc = crc32c::crc32c(if is_log { &slot[..LOG_LEN] } else { &*slot });
        slot[CRC].copy_from_slice(&crc.to_le_bytes());
    }
}

fn run(input: &[u8]) -> &'static str {
    if input.len() < SLOT_LEN {
        return areas(input);
    }
    // A short input is the first slot, and the other one is zeros.
    let mut area = vec![0; AREA_LEN];
    let len = input.len().min(AREA_LEN);
    area[..len].copy_from_slice(&input[..len]);
    assert!(
        newest(&area, AreaId([8; 16]))
            .is_none_or(|_| area[16..32] == [8; 16] || area[SLOT_LEN + 16..][..16] == [8; 16])
    );
    let Some(slot) = newest(&area, ID) else { return "none" };
    assert_eq!((slot.map().len(), slot.stamp().len()), (MAP_LEN, STAMP_LEN));
    let (saved, is_live) = (slot.saved(), slot.stamp_hash().is_some());
    let Some(saved) = saved else { return "used" };
    let geometry = saved.geometry;
    assert!(saved.acknowledged <= saved.captured && !saved.session.is_nil());
    assert!(geometry.sector_size() <= SECTOR_SIZE_MAX);
    let records = saved.acknowledged..=saved.captured;
    assert!(saved.ends.iter().all(|end| records.contains(&end.seq)));
    let stamped: u64 = saved.stamp.iter().map(|range| range.len()).sum();
    assert!((1..=STAMP_LEN as u64).contains(&stamped));
    assert!(saved.stamp.iter().all(|range| range.end() <= geometry.length()));
    let startup = slot.startup().expect("a state has one");
    if let Some(settings) = startup.settings(&saved) {
        assert_eq!((settings.session, settings.block_size), (saved.session, geometry.block_size()));
        let mut extents = startup.always.iter().chain(startup.excluded.iter());
        assert!(extents.all(|extent| extent.end() <= geometry.length()));
    }
    let mut map = RegionMap::new(Regions::of(&geometry)).expect("there is memory");
    map.mark(slot.map());
    let unmarked: u64 = map.unmarked().map(|region| region.len()).sum();
    assert_eq!(map.marked_bytes() + unmarked, geometry.length());
    let (index, generation) = (slot.index(), slot.generation());
    if let Some(next) = generation.checked_add(1) {
        let slots = area.as_chunks_mut::<SLOT_LEN>().0;
        state_area::seal_used(&mut slots[index], ID, next);
        assert!(newest(&area, ID).is_some_and(|slot| slot.saved().is_none()), "it is void");
    }
    if is_live { "live" } else { "saved" }
}

/// A value of the registry.
fn areas(input: &[u8]) -> &'static str {
    let areas = StateAreas::read(input).expect("there is memory");
    assert!(areas.value().len() <= input.len().min(AREAS_MAX * 32));
    let again = StateAreas::read(areas.value()).expect("there is memory");
    assert_eq!(again.value(), areas.value());
    "areas"
}
