//! The control device `\\.\Snapless`, which the service and the command line open.
//!
//! `snapless_driver_logic::control` checks and dispatches requests; this module carries them out.
//! They come side by side, at PASSIVE_LEVEL. Drain requests wait in a queue of their own until
//! their session has records.
//!
//! Rule: a disk that hangs delays no request that concerns another volume. Only a start, a stop and
//! the list of volumes wait for a disk, all with a limit; no lock is held meanwhile that another
//! request takes.

use alloc::vec::Vec;

use snapless_driver_logic::control::{self, Refusal};
use snapless_driver_logic::state_areas::{self, StateArea, StateAreas};
use snapless_engine::{RegionMap, Tick};
use snapless_types::{BlockIndex, EpochId, Extent, Geometry, Regions};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    CutTime, DeviceName, DrainFrom, ExcludedExtents, IOCTL_VERSION, KeepStateRequest, MapReply,
    SessionReply, StartSettings, StatusReply, SweepLimits, UnusedRequest, Verify, VolumeEntry,
};
use wdk_sys::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_NOT_READY, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND,
    STATUS_REVISION_MISMATCH, STATUS_SUCCESS, ULONG,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::framework::control_device::{ControlCallbacks, ControlDevice, Names};
use crate::framework::driver::Driver;
use crate::framework::request::{FileObject, Request};
use crate::globals::{self, Globals};
use crate::keeper::{Keeper, KeptArea, Place};
use crate::kernel::reserved;
use crate::kernel::shared::Shared;
use crate::resolving;
use crate::saving;
use crate::session::Session;
use crate::session::startup::Startup;
use crate::starting;
use crate::volume::Volume;
use crate::volume_query;

/// Full access for SYSTEM and Administrators, none for others. Protected against inheritance.
const SDDL: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";

/// How long the service may wait for a state area to be read, in ticks: 2 s.
const AREA_LIMIT: u64 = 2_000 * Tick::PER_MS;

/// Creates the control device. PASSIVE_LEVEL.
pub fn create(driver: Driver) -> Result<ControlDevice, NTSTATUS> {
    let names = Names { device: r"\Device\Snapless", link: r"\DosDevices\Snapless", sddl: SDDL };
    ControlDevice::create::<Control>(driver, &names)
}

/// The callbacks of the control device.
struct Control;

impl ControlCallbacks for Control {
    fn device_control(request: Request, input_len: usize, output_len: usize, code: ULONG) {
        let Some(globals) = globals::get() else {
            request.complete(STATUS_INVALID_DEVICE_REQUEST);
            return;
        };
        // What every program of ours asks for first.
        if code == IOCTL_VERSION {
            globals.settings.note_reached();
        }
        let request = Incoming { request, input_len, output_len };
        control::dispatch(&Sessions(globals), request, code);
    }

    /// A claim ends with its last handle.
    fn file_cleanup(file: FileObject) {
        let Some(globals) = globals::get() else { return };
        globals.claiming.closed(file);
        release(globals, file);
        stop_noting(globals, file);
    }

    /// Sessions go on, since volumes are written to until the power is off, but no write is held
    /// for long any more. At the last chance file systems have been flushed, and what the volumes
    /// keep is saved.
    fn shutdown() {
        let Some(globals) = globals::get() else { return };
        let is_last_chance = globals.note_shutdown();
        for volume in globals.volumes.volumes() {
            volume.shut_down();
        }
        if is_last_chance {
            saving::save_all(globals);
        }
    }
}

/// A request, with the lengths of its buffers.
struct Incoming {
    request: Request,
    input_len: usize,
    output_len: usize,
}

/// The status that a request is completed with.
struct Status(NTSTATUS);

impl control::Request for Incoming {
    type Status = Status;

    fn input(&self) -> &[u8] {
        if self.input_len == 0 { &[] } else { self.request.input().unwrap_or(&[]) }
    }

    fn room(&self) -> usize {
        self.output_len
    }

    fn answer(self, bytes: &[u8]) {
        self.request.reply(bytes);
    }

    fn complete(self, result: Result<(), Status>) {
        self.request.complete(result.map_or_else(|Status(status)| status, |()| STATUS_SUCCESS));
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self(match refusal {
            Refusal::InvalidRequest => STATUS_INVALID_DEVICE_REQUEST,
            Refusal::TooSmall => STATUS_BUFFER_TOO_SMALL,
            Refusal::InvalidParameter => STATUS_INVALID_PARAMETER,
            Refusal::Version => STATUS_REVISION_MISMATCH,
            Refusal::NotFound => STATUS_NOT_FOUND,
        })
    }
}

/// The sessions that the dispatcher acts on.
struct Sessions<'a>(&'a Globals);

impl control::Driver for Sessions<'_> {
    type Request = Incoming;
    type Claimed = Shared<Session>;
    type Found = (Shared<Volume>, Shared<Session>);
    type Entries = Vec<u8>;

    fn has_handle(&self, request: &Incoming) -> bool {
        request.request.file().is_some()
    }

    fn claimed(&self, request: &Incoming) -> Option<Shared<Session>> {
        self.0.volumes.by_claimant(request.request.file()?).ok()
    }

    fn find(&self, id: SessionId) -> Option<Self::Found> {
        self.0.volumes.by_session(id).ok()
    }

    fn volumes(&self) -> Result<Vec<u8>, Status> {
        volume_entries(self.0).map_err(Status)
    }

    fn start(
        &self,
        request: &Incoming,
        volume: &DeviceName,
        settings: StartSettings,
        excluded: &ExcludedExtents,
    ) -> Result<SessionReply, Status> {
        start(self.0, handle(request)?, volume, settings, excluded).map_err(Status)
    }

    fn resume(
        &self,
        request: &Incoming,
        (_, session): Self::Found,
    ) -> Result<SessionReply, Status> {
        let handle = handle(request)?;
        let claim = || {
            if self.0.volumes.by_claimant(handle).is_ok() {
                return Err(STATUS_INVALID_DEVICE_REQUEST);
            }
            session.resume(handle)
        };
        self.0.claiming.claim(handle, claim).map_err(Status)?;
        Ok(SessionReply::new(session.geometry()))
    }

    fn drain_from(&self, session: Shared<Session>, from: DrainFrom) -> Result<bool, Status> {
        session.drain_from(from).map_err(Status)
    }

    fn drain(&self, session: Shared<Session>, request: Incoming) {
        session.pend_drain(request.request);
    }

    fn acknowledge(&self, session: Shared<Session>, epoch: EpochId) -> Result<(), Status> {
        session.acknowledge(epoch).map_err(Status)
    }

    fn review(&self, session: Shared<Session>, are_still: bool) -> Result<(), Status> {
        session.review_excluded(are_still).map_err(Status)
    }

    fn note(&self, request: &Incoming, volume: &DeviceName, block_size: u32) -> Result<(), Status> {
        note(self.0, handle(request)?, volume, block_size).map_err(Status)
    }

    fn unused(
        &self,
        session: Shared<Session>,
        request: &UnusedRequest,
    ) -> Result<BlockIndex, Status> {
        session.unused(request).map_err(Status)
    }

    fn limit_sweep(&self, session: Shared<Session>, limits: SweepLimits) -> Result<(), Status> {
        limit_sweep(self.0, &session, limits).map_err(Status)
    }

    fn keep_state(
        &self,
        session: Shared<Session>,
        request: &KeepStateRequest,
    ) -> Result<(), Status> {
        keep_state(self.0, &session, request).map_err(Status)
    }

    fn status(&self, (volume, session): Self::Found) -> StatusReply {
        session.status(volume.known_facts(&self.0.settings))
    }

    fn map(&self, (_, session): Self::Found) -> Result<Vec<u8>, Status> {
        map(&session).map_err(Status)
    }

    fn verify(&self, (_, session): Self::Found, verify: Verify) -> Result<(), Status> {
        session.verify(verify).map_err(Status)
    }

    fn cut(&self, (_, session): Self::Found, cut: CutTime) -> Result<(), Status> {
        session.cut(cut).map_err(Status)
    }

    fn stop(&self, (volume, _): Self::Found, id: SessionId) -> Result<(), Status> {
        volume.stop(id).map_err(Status)
    }
}

/// The dispatcher has checked that there is one.
fn handle(request: &Incoming) -> Result<FileObject, Status> {
    request.request.file().ok_or(Status(STATUS_INVALID_DEVICE_REQUEST))
}

/// Ends the claim of a handle, if it has one.
fn release(globals: &Globals, file: FileObject) {
    if let Ok(session) = globals.volumes.by_claimant(file) {
        session.release(file);
    }
}

#[inline(never)]
fn start(
    globals: &Globals,
    claimant: FileObject,
    name: &DeviceName,
    settings: StartSettings,
    excluded: &ExcludedExtents,
) -> Result<SessionReply, NTSTATUS> {
    let (volumes, session) = (&globals.volumes, settings.session);
    let is_free = || volumes.by_claimant(claimant).is_err() && volumes.by_session(session).is_err();
    let start = || start_claimed(globals, claimant, name, settings, excluded);
    let close = || release(globals, claimant);
    globals.claiming.start(Some(claimant), Some(session), is_free, start, close)
}

#[inline(never)]
fn start_claimed(
    globals: &Globals,
    claimant: FileObject,
    name: &DeviceName,
    settings: StartSettings,
    excluded: &ExcludedExtents,
) -> Result<SessionReply, NTSTATUS> {
    let deadline = volume_query::deadline(volume_query::START_LIMIT);
    let volume = globals.volumes.by_name(name, deadline)?;
    let settings = globals.settings.limits.cap(settings);
    let startup = Startup::new(settings, excluded).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let geometry = starting::start(globals, Some(claimant), &volume, startup, deadline)?;
    Ok(SessionReply::new(&geometry))
}

/// Notes changes of a volume from now on, for the session that the handle starts on it next.
#[inline(never)]
fn note(
    globals: &Globals,
    noter: FileObject,
    name: &DeviceName,
    block_size: u32,
) -> Result<(), NTSTATUS> {
    let is_free = || globals.volumes.by_claimant(noter).is_err();
    let note = || note_claimed(globals, noter, name, block_size);
    let close = || stop_noting(globals, noter);
    globals.claiming.start(Some(noter), None, is_free, note, close)
}

#[inline(never)]
fn note_claimed(
    globals: &Globals,
    noter: FileObject,
    name: &DeviceName,
    block_size: u32,
) -> Result<(), NTSTATUS> {
    let deadline = volume_query::deadline(volume_query::START_LIMIT);
    let volume = globals.volumes.by_name(name, deadline)?;
    let (length, sector_size) = volume.last_size(deadline)?;
    let geometry =
        Geometry::new(length, sector_size, block_size).map_err(|_| STATUS_INVALID_PARAMETER)?;
    // Until it is known whether a state was saved, nothing else is noted.
    resolving::resolve(&volume, deadline);
    let map = RegionMap::new(Regions::of(&geometry)).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    let begun = volume.state().begin_noting(noter, map);
    begun.then_some(()).ok_or(STATUS_DEVICE_NOT_READY)
}

/// The handle is closed: what was noted for its session is dropped.
fn stop_noting(globals: &Globals, noter: FileObject) {
    for volume in globals.volumes.volumes() {
        volume.state().noter_closed(noter);
    }
}

/// Sets how hard the sweep may read the disk: of a claimed session, and of the one that it is when
/// the machine comes up.
#[inline(never)]
fn limit_sweep(globals: &Globals, session: &Session, limits: SweepLimits) -> Result<(), NTSTATUS> {
    session.limit_sweep(limits);
    let (volume, _) = globals.volumes.by_session(session.id())?;
    let kept = volume.with_keeper(|keeper| keeper.limit_sweep(limits));
    kept.ok_or(STATUS_INSUFFICIENT_RESOURCES)
}

/// Notes where the state of a claimed session's volume is kept, or that it is not.
#[inline(never)]
fn keep_state(
    globals: &Globals,
    session: &Session,
    request: &KeepStateRequest,
) -> Result<(), NTSTATUS> {
    let (volume, session) = globals.volumes.by_session(session.id())?;
    let (state, geometry) = (volume.state(), session.geometry());
    if request.area().is_nil() {
        let deadline = volume_query::deadline(AREA_LIMIT);
        end_log(&volume, Place { state, device: volume.lower(), deadline });
        let before = volume.with_keeper(Keeper::forget_area);
        let forget = |areas: &mut StateAreas| before.is_some_and(|id| areas.remove(id));
        return globals.settings.change_areas(forget).ok_or(STATUS_INSUFFICIENT_RESOURCES);
    }
    let extent = state_areas::check(request, geometry).ok_or(STATUS_INVALID_PARAMETER)?;
    let area = kept_area(request, extent).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let startup = next_startup(&session, request).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let deadline = volume_query::deadline(AREA_LIMIT);
    let place = Place { state, device: volume.lower(), deadline };
    if volume.with_keeper(|keeper| keeper.goes_on(&area, &startup)) {
        // The service has come again.
        return Ok(());
    }
    end_log(&volume, place);
    volume.with_keeper(|keeper| {
        keeper.forget_area();
        let found = keeper.find(place, area.id, extent.offset())?;
        // It was not read when the machine came up.
        if keeper.saved(&found).is_some() {
            keeper.use_up(place, &found)?;
        }
        Ok::<(), NTSTATUS>(())
    })?;
    // The area is not locked meanwhile: what the registry writes may wait for the log.
    let entry = StateArea::new(area.id, extent.offset(), geometry.length());
    let kept = globals.settings.change_areas(|areas| areas.put(entry));
    kept.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    volume.with_keeper(|keeper| keeper.set_area(area, Some(startup)));
    state.wake_log();
    Ok(())
}

/// What the session is started with when the machine comes up.
#[inline(never)] // The settings are on the stack only meanwhile.
fn next_startup(session: &Session, request: &KeepStateRequest) -> Option<Shared<Startup>> {
    let last = session.startup();
    last.with_settings(request.settings(&last.settings))
}

#[inline(never)] // It is on the stack only while it is made.
fn kept_area(request: &KeepStateRequest, extent: Extent) -> Option<Shared<KeptArea>> {
    let (id, stamp, always) = (request.area(), *request.stamp(), *request.always());
    Shared::new(KeptArea { id, extent, stamp, always, has_log: request.has_log() })
}

/// Ends a log that the volume has, void: its area is given up, or becomes another one.
fn end_log(volume: &Volume, place: Place<'_>) {
    let state = volume.state();
    volume.with_keeper(|keeper| {
        if state.track(|tracker| tracker.log().is_some()) {
            let is_void = keeper.end_log(place);
            state.log_ended(is_void);
        }
    });
    state.slot_done();
}

/// The entries of all volumes.
#[inline(never)]
fn volume_entries(globals: &Globals) -> Result<Vec<u8>, NTSTATUS> {
    let mut entries = Vec::new();
    // One for all: each volume that hangs would add to the time of the others.
    let deadline = volume_query::deadline(volume_query::LIST_LIMIT);
    for volume in globals.volumes.volumes() {
        let Some(entry) = volume_entry(&volume, globals, deadline)? else { continue };
        let bytes = entry.as_bytes();
        reserved::extend(&mut entries, bytes.len(), bytes.iter().copied())
            .ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    }
    Ok(entries)
}

/// The bytes of a map's reply.
fn map(session: &Session) -> Result<Vec<u8>, NTSTATUS> {
    let mut bytes = Vec::new();
    let cells = session.map();
    reserved::extend(&mut bytes, size_of::<MapReply>(), cells.flat_map(|cell| cell.to_bytes()))
        .ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    Ok(bytes)
}

/// A volume's entry; `None` for one without a name: it cannot be named in a start, and so not be
/// protected.
#[inline(never)]
fn volume_entry(
    volume: &Volume,
    globals: &Globals,
    deadline: Tick,
) -> Result<Option<VolumeEntry>, NTSTATUS> {
    let device = match volume.name(deadline) {
        Err(STATUS_INSUFFICIENT_RESOURCES) => return Err(STATUS_INSUFFICIENT_RESOURCES),
        Err(_) => return Ok(None),
        Ok(device) => device,
    };
    let (length, sector_size) = match volume.last_size(deadline) {
        Err(STATUS_INSUFFICIENT_RESOURCES) => return Err(STATUS_INSUFFICIENT_RESOURCES),
        size => size.unwrap_or((0, 0)),
    };
    let (session, phase) = volume.summary();
    let facts = volume.facts(&globals.settings, deadline)?;
    Ok(Some(VolumeEntry {
        device,
        length: U64::new(length),
        sector_size: U32::new(sector_size),
        phase: U32::new(phase as u32),
        session,
        protection: U32::new(facts.protection as u32),
        special_files: U32::new(facts.special_files),
    }))
}
