//! A volume's state area on the disk: found, read, written. PASSIVE_LEVEL throughout.

use snapless_driver_logic::intent_log::{IntentLog, SlotPlace, StampRead};
use snapless_driver_logic::tracker::Tracker;
use snapless_engine::{Marks, RegionMap, Tick};
use snapless_types::{Extent, Regions};
use snapless_wire::id::{AreaId, Extents};
use snapless_wire::ioctl::{ALWAYS_MAX, StartSettings, SweepLimits};
use snapless_wire::state_area::{
    self, AREA_LEN, LOG_LEN, MAP_AT, MAP_LEN, SLOT_LEN, STAMP_AT, STAMP_RANGES_MAX, SavedState,
    StampHash, StartedWith,
};
use wdk_sys::{
    NTSTATUS, STATUS_DATA_ERROR, STATUS_DEVICE_NOT_CONNECTED, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_IO_TIMEOUT,
};

use crate::kernel::lower_device::LowerDevice;
use crate::kernel::raw_io::{Span, Transfer};
use crate::kernel::shared::Shared;
use crate::kernel::time;
use crate::session::startup::Startup;
use crate::state::{AreaIo, Used, Void, VolumeState, slot_mut};

/// Where a volume's area is, and what belongs to it.
#[derive(Clone, Copy, PartialEq)]
pub struct KeptArea {
    /// Its identity.
    pub id: AreaId,
    /// Its bytes.
    pub extent: Extent,
    /// The ranges of which a file system driver that mounts the volume for writing changes one.
    pub stamp: Extents<STAMP_RANGES_MAX>,
    /// The ranges that are compared after each restart.
    pub always: Extents<ALWAYS_MAX>,
    /// The volume has a write-intent log there.
    pub has_log: bool,
}

/// What is known of a volume's area, and the memory to read and write it by.
#[derive(Default)]
pub struct Keeper {
    area: Option<Shared<KeptArea>>,
    /// What the session is started with whose state the area has.
    startup: Option<Shared<Startup>>,
    io: Option<AreaIo>,
    /// The slot that counts, while there is a log.
    log: Option<Found>,
    /// The log has ended: none begins until an area is named again.
    is_log_over: bool,
    closed: bool,
}

/// The slot of an area in the buffer that counts.
#[derive(Clone, Copy)]
pub struct Found {
    id: AreaId,
    offset: u64,
    slot: SlotPlace,
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
    /// Any slot's place in the buffer: a log's slot has no stamp there.
    const BUFFER: Self =
        Self { id: AreaId::NIL, offset: 0, slot: SlotPlace { index: 0, generation: 0 } };

    /// The area's identity. PASSIVE_LEVEL.
    pub fn id(&self) -> AreaId {
        self.id
    }

    /// The slot that does not count, with the number that follows.
    fn other(&self) -> Self {
        Self { slot: self.slot.next(), ..*self }
    }

    /// The slot's bytes in the buffer and on the volume.
    fn span(&self) -> Span {
        let at = self.slot.index.saturating_mul(SLOT_LEN);
        Span { offset: self.offset.saturating_add(at as u64), at, len: SLOT_LEN }
    }

    /// Those of them that a live or a void slot has.
    fn log_span(&self) -> Span {
        Span { len: LOG_LEN, ..self.span() }
    }

    /// Where in the buffer a part of the slot begins.
    fn part(&self, at: usize) -> usize {
        self.span().at.saturating_add(at)
    }

    /// What makes a slot void that may have got to the disk, in its place.
    fn used(&self) -> Void {
        let slot = SlotPlace { generation: self.slot.generation.saturating_add(1), ..self.slot };
        Self { slot, ..*self }.void()
    }

    /// A slot here that says nothing.
    fn void(&self) -> Void {
        Void { span: self.span(), used: Used::new(self.id, self.slot) }
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

    /// What the session is started with whose state the area has, if that is known. PASSIVE_LEVEL.
    pub fn startup(&self) -> Option<Shared<Startup>> {
        self.startup.clone()
    }

    /// The session whose state the area has is started with these limits from its next slot on;
    /// `None` if there is no memory. PASSIVE_LEVEL.
    #[inline(never)] // The settings are on the stack only meanwhile.
    pub fn limit_sweep(&mut self, sweep: SweepLimits) -> Option<()> {
        if let Some(startup) = self.startup.as_ref().filter(|it| it.settings.sweep != sweep) {
            let settings = StartSettings { sweep, ..startup.settings };
            self.startup = Some(startup.with_settings(settings)?);
        }
        Some(())
    }

    /// From now on this is the area, for a session that is started with that. PASSIVE_LEVEL.
    pub fn set_area(&mut self, area: Shared<KeptArea>, startup: Option<Shared<Startup>>) {
        self.is_log_over = false;
        (self.area, self.startup) = (Some(area), startup);
    }

    /// There is no area any more; returns the identity of the one that there was. PASSIVE_LEVEL.
    pub fn forget_area(&mut self) -> Option<AreaId> {
        self.is_log_over = false;
        self.startup = None;
        self.area.take().map(|before| before.id)
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
        Ok(Found { id, offset, slot: slot.ok_or(STATUS_DATA_ERROR)? })
    }

    /// The state that the slot has, in memory of its own; `None` if it says nothing. PASSIVE_LEVEL.
    #[inline(never)] // A state is on the stack only meanwhile.
    pub fn saved(&mut self, found: &Found) -> Option<Shared<SavedState>> {
        let slot = state_area::newest(self.bytes()?, found.id)?;
        Shared::new(slot.saved()?)
    }

    /// What the slot's session is started with, and the ranges that are compared after each
    /// restart; nothing if the slot does not say. PASSIVE_LEVEL.
    #[inline(never)] // As above.
    pub fn started(
        &mut self,
        found: &Found,
        saved: &SavedState,
    ) -> Option<(Shared<Startup>, Extents<ALWAYS_MAX>)> {
        let startup = state_area::newest(self.bytes()?, found.id)?.startup()?;
        let settings = startup.settings(saved)?;
        Some((Startup::new(settings, &startup.excluded)?, startup.always))
    }

    /// The stamp's hash that the slot has, if it is the log's. PASSIVE_LEVEL.
    #[inline(never)] // As above.
    pub fn stamp_hash(&mut self, found: &Found) -> Option<u64> {
        state_area::newest(self.bytes()?, found.id)?.stamp_hash()
    }

    /// The hash of the stamp's bytes on the volume. PASSIVE_LEVEL.
    pub fn hash_stamp(
        &mut self,
        place: Place<'_>,
        ranges: &Extents<STAMP_RANGES_MAX>,
    ) -> Result<u64, NTSTATUS> {
        Ok(hash(self.stamp(place, ranges)?))
    }

    /// The stamp as it is on the volume, after so many writes to it and with none of them under
    /// way; the log keeps its bytes. PASSIVE_LEVEL.
    pub fn read_for_log(
        &mut self,
        place: Place<'_>,
        ranges: &Extents<STAMP_RANGES_MAX>,
        writes: u64,
    ) -> Result<StampRead, NTSTATUS> {
        let stamp = self.stamp(place, ranges)?;
        place.state.track(|tracker| tracker.copy_stamp(writes, stamp));
        Ok(StampRead { hash: hash(stamp), writes })
    }

    /// Whether the stamp on the volume, and the slot of its area that counts, are those that were
    /// written last; `None` if that is not known. From then on slots are numbered behind what is
    /// there. PASSIVE_LEVEL.
    pub fn is_as_written(&mut self, place: Place<'_>) -> Result<Option<bool>, NTSTATUS> {
        let (Some(area), Some(log)) = (self.area.clone(), self.log) else { return Ok(None) };
        let stamp = self.stamp(place, &area.stamp)?;
        let is_stamp = place.state.track(|tracker| tracker.is_stamp(stamp));
        let found = self.find(place, log.id, log.offset)?;
        self.log = Some(found);
        Ok(is_stamp.map(|is_stamp| is_stamp && found.slot == log.slot))
    }

    /// The stamp's bytes on the volume.
    fn stamp(
        &mut self,
        place: Place<'_>,
        ranges: &Extents<STAMP_RANGES_MAX>,
    ) -> Result<&[u8], NTSTATUS> {
        let len = self.read_stamp(place, &Found::BUFFER, ranges)?;
        let at = Found::BUFFER.part(STAMP_AT);
        let bytes: &[u8] = self.bytes().ok_or(STATUS_IO_TIMEOUT)?;
        bytes.get(at..at.saturating_add(len)).ok_or(STATUS_IO_TIMEOUT)
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

    /// Makes the state that the slot has void: the other slot counts then, and says nothing. Then
    /// this one is overwritten too, so that it cannot be found again. PASSIVE_LEVEL.
    pub fn use_up(&mut self, place: Place<'_>, found: &Found) -> Result<(), NTSTATUS> {
        let other = found.other();
        for Void { span, used } in [other.void(), other.other().void()] {
            used.seal(self.bytes().ok_or(STATUS_IO_TIMEOUT)?);
            self.transfer(place, Transfer::Write, span)?;
            self.transfer(place, Transfer::Flush, FLUSH)?;
        }
        Ok(())
    }

    /// The area, if a log is to begin there. PASSIVE_LEVEL.
    pub fn area_for_log(&self) -> Option<Shared<KeptArea>> {
        let is_free = self.log.is_none() && !self.is_log_over;
        self.area.clone().filter(|area| area.has_log && is_free)
    }

    /// True if this area has the log that there is; the session is started with that from its next
    /// slot on. PASSIVE_LEVEL.
    pub fn goes_on(&mut self, area: &KeptArea, startup: &Shared<Startup>) -> bool {
        let is_same = self.area.as_ref().is_some_and(|known| **known == *area);
        let goes_on = is_same && self.log.is_some();
        if goes_on {
            self.startup = Some(startup.clone());
        }
        goes_on
    }

    /// Begins a log in an area that says nothing then. PASSIVE_LEVEL.
    pub fn begin_log(&mut self, place: Place<'_>, area: &KeptArea) -> Result<(), NTSTATUS> {
        if !self.area.as_ref().is_some_and(|known| **known == *area) {
            return Err(STATUS_DATA_ERROR);
        }
        let offset = area.extent.offset();
        let mut found = self.find(place, area.id, offset)?;
        if self.saved(&found).is_some() {
            self.use_up(place, &found)?;
            found = self.find(place, area.id, offset)?;
        }
        self.log = Some(found);
        Ok(())
    }

    /// Writes a live slot with the log's map, over the slot that does not count; `read`: the stamp,
    /// if it was read. False if it is not to be written now. The log knows how it went.
    /// PASSIVE_LEVEL.
    #[inline(never)]
    pub fn write_live(
        &mut self,
        place: Place<'_>,
        read: Option<StampRead>,
        saved: &SavedState,
        marks: &Marks,
    ) -> bool {
        let Some(target) = self.log.map(|found| found.other()) else { return false };
        let begun = self.begin_live(place, target, read, saved);
        place.state.track(|tracker| {
            if let Some(log) = tracker.log() {
                log.publish(marks);
            }
        });
        if begun == Ok(false) {
            return false;
        }
        let written = begun.and_then(|_| self.write_slot(place, &target));
        place.state.track(|tracker| {
            if let Some(log) = tracker.log_mut() {
                match written {
                    Ok(()) => log.written(Tick(time::uptime())),
                    Err(_) => log.failed(),
                }
                log.publish(marks);
            }
        });
        if written.is_ok() {
            self.log = Some(target);
            place.state.count_slot();
        }
        true
    }

    /// Makes a live slot in the buffer; false if it is not to be written.
    #[inline(never)]
    fn begin_live(
        &mut self,
        place: Place<'_>,
        target: Found,
        read: Option<StampRead>,
        saved: &SavedState,
    ) -> Result<bool, NTSTATUS> {
        let state = place.state;
        if state.track(|tracker| tracker.log().is_some_and(IntentLog::flushes_first)) {
            self.transfer(place, Transfer::Flush, FLUSH)?;
        }
        let slot = self.slot(&target)?;
        let map = slot.get_mut(MAP_AT..STAMP_AT).unwrap_or_default();
        let hash = state.track(|tracker| tracker.begin_live(&saved.ends, read, map));
        let Some(hash) = hash else { return Ok(false) };
        self.seal(&target, |slot, id, generation, started| {
            state_area::seal_live(slot, id, generation, (saved, hash), started);
        })?;
        Ok(true)
    }

    fn write_slot(&mut self, place: Place<'_>, target: &Found) -> Result<(), NTSTATUS> {
        self.transfer(place, Transfer::Write, target.log_span())?;
        self.transfer(place, Transfer::Flush, FLUSH)
    }

    /// Ends the log, of which the disk has a void slot then: over the slot that does not count, or,
    /// if the disk fails that, over the other one. True if it has, or the log was void already.
    /// PASSIVE_LEVEL.
    #[inline(never)]
    pub fn end_log(&mut self, place: Place<'_>) -> bool {
        self.is_log_over = true;
        let Some(found) = self.log.take() else { return true };
        let begin = |tracker: &mut Tracker| {
            tracker.log_mut().is_some_and(|log| {
                log.lose();
                log.begin_void();
                !log.is_void()
            })
        };
        if !place.state.track(begin) {
            return true;
        }
        let again = Found { slot: found.slot.again(), ..found };
        // A write that is still below may get to the disk after the void slot.
        let is_void = [found.other(), again].iter().any(|target| {
            self.io.is_some()
                && self.seal_void(target).and_then(|()| self.write_slot(place, target)).is_ok()
        });
        if is_void {
            place.state.track(|tracker| {
                if let Some(log) = tracker.log_mut() {
                    log.written(Tick(time::uptime()));
                }
            });
        }
        is_void
    }

    fn seal_void(&mut self, target: &Found) -> Result<(), NTSTATUS> {
        let slot = self.slot(target)?;
        state_area::seal_void(slot, target.id, target.slot.generation);
        Ok(())
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
        let Void { span, used } = target.used();
        // What the server has of regions that are not marked is not to be lost from a cache.
        self.transfer(place, Transfer::Flush, FLUSH)?;
        self.slot(&target)?.fill(0);
        self.read_stamp(place, &target, &saved.stamp)?;
        let slot = self.slot(&target)?;
        let map = slot.get_mut(MAP_AT..STAMP_AT).unwrap_or_default();
        if !place.state.seal(map) {
            return Err(STATUS_DEVICE_NOT_CONNECTED);
        }
        // No other slot of the log is written.
        self.seal(&target, |slot, id, generation, started| {
            state_area::seal_saved(slot, id, generation, saved, started);
        })?;
        self.log = None;
        let written = self.write_through(place, span);
        let Some(mut io) = self.io.take() else { return Err(STATUS_IO_TIMEOUT) };
        if io.is_below() {
            VolumeState::left_unwritten(place.state, io, Void { span, used });
            return Err(STATUS_IO_TIMEOUT);
        }
        if written.is_ok() {
            // The slot that counts now is not overwritten.
            let Void { span, used } = target.other().void();
            used.seal(io.bytes());
            VolumeState::written(place.state, io, span);
        } else {
            used.seal(io.bytes());
            VolumeState::not_written(place.state, io, span);
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

    /// Seals a slot in the buffer, with what the session is started with.
    fn seal(
        &mut self,
        found: &Found,
        seal: impl FnOnce(&mut [u8; SLOT_LEN], AreaId, u64, Option<&StartedWith<'_>>),
    ) -> Result<(), NTSTATUS> {
        let (area, startup) = (self.area.clone(), self.startup.clone());
        let started = area.as_deref().zip(startup.as_deref());
        let started = started.map(|(area, Startup { settings, excluded })| StartedWith {
            settings,
            always: &area.always,
            excluded,
        });
        seal(self.slot(found)?, found.id, found.slot.generation, started.as_ref());
        Ok(())
    }

    fn slot(&mut self, found: &Found) -> Result<&mut [u8; SLOT_LEN], NTSTATUS> {
        let slot = self.bytes().and_then(|bytes| slot_mut(bytes, found.slot.index));
        slot.ok_or(STATUS_IO_TIMEOUT)
    }
}

fn hash(stamp: &[u8]) -> u64 {
    let mut hash = StampHash::default();
    hash.update(stamp);
    hash.finish()
}

/// Which slot counts, and its number.
#[inline(never)] // A state is on the stack only meanwhile.
fn newest(area: &[u8], id: AreaId) -> Option<SlotPlace> {
    let slot = state_area::newest(area, id)?;
    Some(SlotPlace { index: slot.index(), generation: slot.generation() })
}
