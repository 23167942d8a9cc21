//! Where the volumes have their state areas: a value of the driver's `Parameters` registry key,
//! which the driver reads before a volume arrives, and writes when the service names an area.
//!
//! Entries are in the order in which they were named. Rule: an entry is a hint. What is at its
//! place on a volume of its length counts only if it is an area with its identity.

use alloc::boxed::Box;

use snapless_fixed::memory::{OutOfMemory, boxed_slice};
use snapless_types::{Extent, Geometry};
use snapless_wire::id::AreaId;
use snapless_wire::ioctl::KeepStateRequest;
use snapless_wire::state_area::{AREA_LEN, SECTOR_SIZE_MAX, stamped};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The value's name: a `REG_BINARY`.
pub const VALUE: &str = "StateAreas";
/// Areas that are known, at most.
pub const AREAS_MAX: usize = 64;
/// Bytes of the value, at most.
pub const VALUE_LEN_MAX: usize = AREAS_MAX * size_of::<StateArea>();

/// Where a volume has its area.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct StateArea {
    /// The area's identity.
    pub id: AreaId,
    offset: U64,
    /// Bytes of the volume.
    length: U64,
}

impl StateArea {
    const NONE: Self = Self { id: AreaId::NIL, offset: U64::ZERO, length: U64::ZERO };

    /// An area that begins at `offset` of a volume of `length` bytes.
    pub fn new(id: AreaId, offset: u64, length: u64) -> Self {
        Self { id, offset: U64::new(offset), length: U64::new(length) }
    }

    /// The area's bytes; `None` if a volume of its length has not all of them.
    pub fn extent(&self) -> Option<Extent> {
        let extent = Extent::new(self.offset.get(), AREA_LEN as u64)?;
        (extent.end() <= self.length.get()).then_some(extent)
    }
}

/// All areas.
#[derive(Debug)]
pub struct StateAreas {
    areas: Box<[StateArea]>,
    count: usize,
}

impl StateAreas {
    /// The areas of a value; what is no area is left out.
    pub fn read(value: &[u8]) -> Result<Self, OutOfMemory> {
        let areas = boxed_slice(AREAS_MAX as u64, || Ok(StateArea::NONE))?;
        let mut read = Self { areas, count: 0 };
        for entry in value.chunks_exact(size_of::<StateArea>()).take(AREAS_MAX) {
            if let Ok(area) = StateArea::read_from_bytes(entry) {
                read.put(area);
            }
        }
        Ok(read)
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        self.known().as_bytes()
    }

    /// True if no area is known.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The areas of volumes of `length` bytes.
    pub fn of_length(&self, length: u64) -> impl Iterator<Item = StateArea> + '_ {
        self.known().iter().filter(move |area| area.length.get() == length).copied()
    }

    /// Adds an area, in place of the one with its identity, or of the oldest if they are too many;
    /// false if it was known.
    pub fn put(&mut self, area: StateArea) -> bool {
        if area.id.is_nil() || area.extent().is_none() || self.known().contains(&area) {
            return false;
        }
        if !self.remove(area.id) && self.count == AREAS_MAX {
            self.remove_at(0);
        }
        if let Some(place) = self.areas.get_mut(self.count) {
            *place = area;
            self.count = self.count.saturating_add(1);
        }
        true
    }

    /// Removes the area with this identity; false if there is none.
    pub fn remove(&mut self, id: AreaId) -> bool {
        let place = self.known().iter().position(|area| area.id == id);
        place.is_some_and(|place| self.remove_at(place))
    }

    fn remove_at(&mut self, place: usize) -> bool {
        let Some(rest) = self.areas.get_mut(place..self.count) else { return false };
        if rest.is_empty() {
            return false;
        }
        rest.rotate_left(1);
        self.count = self.count.saturating_sub(1);
        true
    }

    fn known(&self) -> &[StateArea] {
        self.areas.get(..self.count).unwrap_or_default()
    }
}

/// The bytes of the area that a request names, if the volume can have it there, and the request's
/// other ranges.
pub fn check(request: &KeepStateRequest, geometry: &Geometry) -> Option<Extent> {
    let extent = request.extent()?;
    let ends_inside = |extent: &Extent| extent.end() <= geometry.length();
    let is_possible = geometry.sector_size() <= SECTOR_SIZE_MAX
        && ends_inside(&extent)
        && geometry.is_sector_aligned(&extent)
        && stamped(request.stamp(), geometry).is_some_and(|stamped| stamped > 0)
        && request.always().iter().all(|range| ends_inside(&range));
    is_possible.then_some(extent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn area(id: u8, offset: u64) -> StateArea {
        StateArea::new(AreaId([id; 16]), offset, 1 << 30)
    }

    fn ids(areas: &StateAreas) -> Vec<u8> {
        areas.known().iter().map(|area| area.id.0[0]).collect()
    }

    #[test]
    fn areas_come_back_from_their_value() {
        let mut areas = StateAreas::read(&[]).unwrap();
        assert!(areas.is_empty() && areas.value().is_empty());
        assert!(areas.put(area(1, 0)) && areas.put(area(2, 1 << 20)) && !areas.put(area(1, 0)));
        let again = StateAreas::read(areas.value()).unwrap();
        assert_eq!((ids(&again), again.known()), (vec![1, 2], areas.known()));
        assert_eq!(again.of_length(1 << 30).count(), 2);
        assert_eq!(again.of_length(1 << 20).count(), 0);
        assert_eq!(again.known()[1].extent(), Extent::new(1 << 20, 65_536));
    }

    #[test]
    fn an_area_takes_the_place_of_the_one_with_its_identity_and_at_last_of_the_oldest() {
        let mut areas = StateAreas::read(&[]).unwrap();
        for id in 1..=64 {
            assert!(areas.put(area(id, 0)));
        }
        assert!(areas.put(area(2, 4096)));
        assert_eq!((ids(&areas).len(), ids(&areas)[62..].to_vec()), (64, vec![64, 2]));
        assert!(areas.put(area(65, 0)));
        assert_eq!((ids(&areas).len(), ids(&areas)[0], ids(&areas)[63]), (64, 3, 65));
        assert_eq!(areas.value().len(), VALUE_LEN_MAX);
        assert!(areas.remove(AreaId([65; 16])) && !areas.remove(AreaId([65; 16])));
        assert_eq!((ids(&areas).len(), ids(&areas)[62]), (63, 2));
    }

    #[test]
    fn an_area_is_whole_sectors_inside_the_volume_and_so_is_its_stamp() {
        let geometry = |sector| Geometry::new(1 << 20, sector, 64 << 10).unwrap();
        let extent = |offset, len| Extent::new(offset, len).unwrap();
        let check = |offset, stamp, always, sector| {
            let request = KeepStateRequest::new(AreaId([1; 16]), offset, &[stamp], &[always]);
            check(&request.unwrap(), &geometry(sector)).is_some()
        };
        let (boot, loader) = (extent(0, 512), extent(1000, 1));
        let last = (1 << 20) - (64 << 10);
        assert!(check(4096, boot, loader, 512) && check(last, boot, loader, 512));
        assert!(!check(last + 512, boot, loader, 512), "past the end");
        assert!(!check(4097, boot, loader, 512) && !check(4096, boot, loader, 4096));
        assert!(!check(64 << 10, extent(0, 8 << 10), loader, 8 << 10), "a sector is too long");
        assert!(!check(4096, extent(1 << 20, 512), loader, 512));
        assert!(!check(4096, boot, extent(1 << 20, 1), 512));
    }

    #[test]
    fn what_is_no_area_is_left_out() {
        let odd = [
            StateArea::NONE,
            StateArea::new(AreaId([1; 16]), 1 << 30, 1 << 30),
            StateArea::new(AreaId([1; 16]), u64::MAX, u64::MAX),
        ];
        assert!(StateAreas::read(odd.as_bytes()).unwrap().is_empty());
        let sound = area(1, 0);
        let bytes = sound.as_bytes();
        let long = [bytes, &bytes[..31]].concat();
        assert_eq!(ids(&StateAreas::read(&long).unwrap()), [1]);
        assert_eq!(ids(&StateAreas::read(&bytes.repeat(100)).unwrap()), [1]);
        assert!(StateAreas::read(&[0xff; 32]).unwrap().is_empty());
    }
}
