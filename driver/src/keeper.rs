//! A volume's state area on the disk: found, read, written. PASSIVE_LEVEL throughout.

use snapless_engine::{RegionMap, Tick};
use snapless_types::{Extent, Regions};
use snapless_wire::id::{AreaId, Extents};
use snapless_wire::ioctl::ALWAYS_MAX;
use snapless_wire::state_area::{
    self, AREA_LEN, MAP_AT, MAP_LEN, SLOT_LEN, STAMP_AT, STAMP_RANGES_MAX, SavedState,
};
use wdk_sys::{
    NTSTATUS, STATUS_DATA_ERROR, STATUS_DEVICE_NOT_CONNECTED, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_IO_TIMEOUT,
};

use crate::kernel::lower_device::LowerDevice;
use crate::kernel::raw_io::{Span, Transfer};
use crate::kernel::shared::Shared;
use crate::kernel::time;
use crate::state::{AreaIo, Used, Void, VolumeState, slot_mut};

/// Where a volume's area is, and what belongs to it.
#[derive(Clone, Copy)]
pub struct KeptArea {
    /// Its identity.
    pub id: AreaId,
    /// Its bytes.
    pub extent: Extent,
    /// The ranges of which a file system driver that mounts the volume for writing changes one.
    pub stamp: Extents<STAMP_RANGES_MAX>,
    /// The ranges that are compared after each restart.
    pub always: Extents<ALWAYS_MAX>,
}

/// What is known of a volume's area, and the memory to read and write it by.
#[derive(Default)]
pub struct Keeper {
    area: Option<Shared<KeptArea>>,
    io: Option<AreaIo>,
    closed: bool,
}

/// The slot of an area in the buffer that counts.
#[derive(Clone, Copy)]
pub struct Found {
    id: AreaId,
    offset: u64,
    index: usize,
    generation: u64,
}

/// A volume whose area is read or written.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Its state, which gets the memory that a disk keeps.
    pub state: &'a Shared<VolumeState>,
    /// Where its requests go.
    pub device: LowerDevice,
    /// All transfers end by then.
    pub deadline: Tick,
}

/// A flush has no bytes.
const FLUSH: Span = Span { offset: 0, at: 0, len: 0 };

impl Found {
    /// The area's identity. PASSIVE_LEVEL.
    pub fn id(&self) -> AreaId {
        self.id
    }

    /// The slot that does not count, with the number that follows.
    fn other(&self) -> Self {
        let generation = self.generation.saturating_add(1);
        Self { index: 1_usize.saturating_sub(self.index), generation, ..*self }
    }

    /// The slot's bytes in the buffer and on the volume.
    fn span(&self) -> Span {
        let at = self.index.saturating_mul(SLOT_LEN);
        Span { offset: self.offset.saturating_add(at as u64), at, len: SLOT_LEN }
    }

    /// Where in the buffer a part of the slot begins.
    fn part(&self, at: usize) -> usize {
        self.span().at.saturating_add(at)
    }

    /// What makes the slot void; `None` if no number is left.
    fn used(&self) -> Option<Used> {
        let Self { id, index, .. } = *self;
        Some(Used::new(id, index, self.generation.checked_add(1)?))
    }
}

impl Place<'_> {
    fn left(&self) -> Result<u64, NTSTATUS> {
        match self.deadline.since(Tick(time::uptime())) {
            0 => Err(STATUS_IO_TIMEOUT),
            left => Ok(left),
        }
    }
}

impl Keeper {
    /// The area that the service has named or that was found at the start, if any. PASSIVE_LEVEL.
    pub fn area(&self) -> Option<Shared<KeptArea>> {
        self.area.clone()
    }

    /// Sets or forgets it; returns the identity of the one before. PASSIVE_LEVEL.
    pub fn set_area(&mut self, area: Option<Shared<KeptArea>>) -> Option<AreaId> {
        let before = core::mem::replace(&mut self.area, area);
        before.map(|before| before.id)
    }

    /// Nothing is read or written from now on: the volume is going. PASSIVE_LEVEL.
    pub fn close(&mut self) {
        self.closed = true;
        self.io = None;
    }

    /// Reads the area that begins at `offset`, and finds its slot that counts. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `STATUS_DATA_ERROR` if there is no area with this identity.
    pub fn find(&mut self, place: Place<'_>, id: AreaId, offset: u64) -> Result<Found, NTSTATUS> {
        self.transfer(place, Transfer::Read, Span { offset, at: 0, len: AREA_LEN })?;
        let slot = self.bytes().and_then(|bytes| newest(bytes, id));
        let (index, generation) = slot.ok_or(STATUS_DATA_ERROR)?;
        Ok(Found { id, offset, index, generation })
    }

    /// The state that the slot has, in memory of its own; `None` if it says nothing. PASSIVE_LEVEL.
    #[inline(never)] // A state is on the stack only meanwhile.
    pub fn saved(&mut self, found: &Found) -> Option<Shared<SavedState>> {
        let slot = state_area::newest(self.bytes()?, found.id)?;
        Shared::new(*slot.saved()?)
    }

    /// True if the stamp's bytes on the volume are those of the slot. PASSIVE_LEVEL.
    pub fn is_stamped(
        &mut self,
        place: Place<'_>,
        found: &Found,
        saved: &SavedState,
    ) -> Result<bool, NTSTATUS> {
        // The other slot is not needed any more.
        let other = found.other();
        let len = self.read_stamp(place, &other, &saved.stamp)?;
        let bytes: &[u8] = self.bytes().ok_or(STATUS_IO_TIMEOUT)?;
        let stamp = |slot: &Found| {
            let at = slot.part(STAMP_AT);
            bytes.get(at..at.saturating_add(len))
        };
        let kept = stamp(found);
        Ok(kept.is_some() && kept == stamp(&other))
    }

    /// The map of the slot. PASSIVE_LEVEL.
    pub fn map(&mut self, found: &Found, regions: Regions) -> Result<RegionMap, NTSTATUS> {
        let map = RegionMap::new(regions);
        let mut map = map.map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let at = found.part(MAP_AT);
        let bytes: &[u8] = self.bytes().ok_or(STATUS_IO_TIMEOUT)?;
        map.mark(bytes.get(at..at.saturating_add(MAP_LEN)).ok_or(STATUS_IO_TIMEOUT)?);
        Ok(map)
    }

    /// Makes the state that the slot has void: it is overwritten where it is. So it is gone
    /// whatever the disk has done of that when power fails. PASSIVE_LEVEL.
    pub fn use_up(&mut self, place: Place<'_>, found: &Found) -> Result<(), NTSTATUS> {
        let used = found.used().ok_or(STATUS_DATA_ERROR)?;
        used.seal(self.bytes().ok_or(STATUS_IO_TIMEOUT)?);
        self.transfer(place, Transfer::Write, found.span())?;
        self.transfer(place, Transfer::Flush, FLUSH)
    }

    /// Writes a state to the slot that does not count, with the stamp that the volume has now and
    /// the map that its state seals now. From then on a request that the sealed map does not have
    /// waits until the state on the disk is void, whatever becomes of the write. PASSIVE_LEVEL.
    pub fn save(
        &mut self,
        place: Place<'_>,
        found: &Found,
        saved: &SavedState,
    ) -> Result<(), NTSTATUS> {
        let target = found.other();
        let used = target.used().ok_or(STATUS_DATA_ERROR)?;
        self.slot(&target)?.fill(0);
        self.read_stamp(place, &target, &saved.stamp)?;
        let slot = self.slot(&target)?;
        let map = slot.get_mut(MAP_AT..STAMP_AT).unwrap_or_default();
        if !place.state.seal(map) {
            return Err(STATUS_DEVICE_NOT_CONNECTED);
        }
        state_area::seal_saved(slot, target.id, target.generation, saved);
        let span = target.span();
        let written = self.write_through(place, span);
        let Some(mut io) = self.io.take() else { return Err(STATUS_IO_TIMEOUT) };
        if io.is_below() {
            VolumeState::left_unwritten(place.state, io, Void { span, used });
            return Err(STATUS_IO_TIMEOUT);
        }
        used.seal(io.bytes());
        match written {
            Ok(()) => VolumeState::written(place.state, io, span),
            Err(_) => VolumeState::not_written(place.state, io, span),
        }
        written
    }

    fn write_through(&mut self, place: Place<'_>, span: Span) -> Result<(), NTSTATUS> {
        let io = self.io.as_mut().ok_or(STATUS_IO_TIMEOUT)?;
        io.transfer(Transfer::Write, span, place.left()?)?;
        io.transfer(Transfer::Flush, FLUSH, place.left()?)
    }

    /// Reads the stamp's bytes to a slot in the buffer; returns how many they are.
    fn read_stamp(
        &mut self,
        place: Place<'_>,
        slot: &Found,
        ranges: &Extents<STAMP_RANGES_MAX>,
    ) -> Result<usize, NTSTATUS> {
        let mut len = 0_usize;
        for range in ranges.iter() {
            let at = slot.part(STAMP_AT).saturating_add(len);
            let bytes = usize::try_from(range.len()).map_err(|_| STATUS_DATA_ERROR)?;
            let span = Span { offset: range.offset(), at, len: bytes };
            self.transfer(place, Transfer::Read, span)?;
            len = len.saturating_add(bytes);
        }
        Ok(len)
    }

    /// Transfers, with memory that is allocated the first time.
    fn transfer(&mut self, place: Place<'_>, what: Transfer, span: Span) -> Result<(), NTSTATUS> {
        if self.closed {
            return Err(STATUS_DEVICE_NOT_CONNECTED);
        }
        let left = place.left()?;
        if self.io.is_none() {
            self.io = AreaIo::new(place.device, AREA_LEN);
        }
        let io = self.io.as_mut().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let result = io.transfer(what, span, left);
        if io.is_below()
            && let Some(io) = self.io.take()
        {
            VolumeState::give_up(place.state, io);
        }
        result
    }

    fn bytes(&mut self) -> Option<&mut [u8]> {
        self.io.as_mut().map(AreaIo::bytes)
    }

    fn slot(&mut self, found: &Found) -> Result<&mut [u8; SLOT_LEN], NTSTATUS> {
        let slot = self.bytes().and_then(|bytes| slot_mut(bytes, found.index));
        slot.ok_or(STATUS_IO_TIMEOUT)
    }
}

/// Which slot counts, and its number.
#[inline(never)] // A state is on the stack only meanwhile.
fn newest(area: &[u8], id: AreaId) -> Option<(usize, u64)> {
    let slot = state_area::newest(area, id)?;
    Some((slot.index(), slot.generation()))
}
