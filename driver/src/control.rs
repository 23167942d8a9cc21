//! The control device `\\.\Snapless`: where the service and the command line reach the driver.
//!
//! Requests come one after the other, at PASSIVE_LEVEL. Drains do not stay here: they wait in a queue of
//! their own until the session has records for them.

use alloc::vec::Vec;

use snapless_wire::ioctl::{
    AcknowledgeRequest, BadRequest, DRAIN_BUFFER_MIN, IOCTL_ACKNOWLEDGE, IOCTL_DRAIN,
    IOCTL_LIST_VOLUMES, IOCTL_RESUME, IOCTL_START, IOCTL_STATUS, IOCTL_STOP, IOCTL_VERSION,
    ListRequest, Protection, SessionReply, SessionRequest, StartRequest, StatusReply, VersionReply,
    VolumeEntry,
};
use wdk_sys::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
    STATUS_REVISION_MISMATCH, STATUS_SUCCESS, ULONG, WDFDEVICE, WDFDRIVER, WDFFILEOBJECT, WDFQUEUE,
    WDFREQUEST,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::filter::CALLBACKS;
use crate::framework::device::{self, ControlDevice};
use crate::framework::queue::Queue;
use crate::framework::request::Request;
use crate::globals::{self, Globals};
use crate::kernel::reserved;
use crate::questions;
use crate::session::{Claim, Session};
use crate::volume::Volume;

/// SYSTEM and Administrators: everything. Nobody else anything. Protected against inheritance.
const SDDL: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";

/// The control device and the queue where drains wait.
pub struct Control {
    device: WDFDEVICE,
    drains: Queue,
}

// SAFETY: the framework synchronizes its objects.
unsafe impl Send for Control {}

impl Control {
    /// Makes the device. PASSIVE_LEVEL.
    pub fn create(driver: WDFDRIVER) -> Result<Self, NTSTATUS> {
        let plan = ControlDevice {
            name: r"\Device\Snapless",
            link: r"\DosDevices\Snapless",
            sddl: SDDL,
            file_cleanup: Some(evt_file_cleanup),
            shutdown: Some(evt_shutdown),
        };
        // SAFETY: the driver's own framework object; the callback is written for it.
        let device = unsafe { device::create_control(driver, &plan) }?;
        match Self::create_queues(device) {
            Ok(drains) => {
                // SAFETY: made above, queues complete.
                unsafe { device::finish_control(device) };
                Ok(Self { device, drains })
            }
            Err(status) => {
                // SAFETY: made above and known to nobody else.
                unsafe { device::delete(device) };
                Err(status)
            }
        }
    }

    /// Deletes the device. PASSIVE_LEVEL.
    pub fn delete(self) {
        // SAFETY: made by `create`, and not used after this.
        unsafe { device::delete(self.device) };
    }

    /// Where drains wait.
    pub fn drains(&self) -> Queue {
        self.drains
    }

    fn create_queues(device: WDFDEVICE) -> Result<Queue, NTSTATUS> {
        // SAFETY: the device has just been made; the handler is written for the queue.
        unsafe { Queue::sequential(device, Some(evt_io_device_control)) }?;
        // SAFETY: as above.
        unsafe { Queue::manual(device) }
    }
}

/// `EvtFileCleanup`: the last handle is closed. Whoever had a claim has lost it. PASSIVE_LEVEL.
extern "C" fn evt_file_cleanup(file: WDFFILEOBJECT) {
    let session = globals::get().and_then(|globals| globals.registry.by_claimant(file).ok());
    if let Some(session) = session {
        session.release(file);
    }
}

/// `EvtDeviceShutdownNotification`: the file systems will be flushed next. PASSIVE_LEVEL.
///
/// Sessions go on, since volumes are written to until the power is off, but nothing is held for long any more. There is
/// nothing to be done at the last chance, which comes when the file systems are flushed.
extern "C" fn evt_shutdown(_device: WDFDEVICE) {
    let volumes = globals::get().and_then(|globals| globals.registry.volumes().ok());
    for volume in volumes.iter().flatten() {
        volume.shut_down();
    }
}

/// `EvtIoDeviceControl`. PASSIVE_LEVEL.
extern "C" fn evt_io_device_control(
    _queue: WDFQUEUE,
    request: WDFREQUEST,
    _output_len: usize,
    input_len: usize,
    code: ULONG,
) {
    // SAFETY: the framework presents it to this callback, for good.
    let request = unsafe { Request::new(request) };
    let Some(globals) = globals::get() else {
        request.complete(STATUS_INVALID_DEVICE_REQUEST);
        return;
    };
    match code {
        IOCTL_VERSION => version(request),
        IOCTL_LIST_VOLUMES => list_volumes(globals, request, input_len),
        IOCTL_START => reply(request, |request| start(globals, request)),
        IOCTL_RESUME => reply(request, |request| resume(globals, request)),
        IOCTL_DRAIN => drain(globals, request),
        IOCTL_ACKNOWLEDGE => finish(request, |request| acknowledge(globals, request)),
        IOCTL_STATUS => status(globals, request),
        IOCTL_STOP => finish(request, |request| {
            let id = session_id(request)?;
            globals.registry.by_session(id)?.0.stop(id)
        }),
        _ => request.complete(STATUS_INVALID_DEVICE_REQUEST),
    }
}

fn version(request: Request) {
    request.answer(&VersionReply::of_this_code());
}

// Out of line, as the next ones: what they answer need not be on the stack of each other.
#[inline(never)]
fn list_volumes(globals: &Globals, request: Request, input_len: usize) {
    let version = match input_len {
        // Its input came with version 2.
        0 => Ok(1),
        _ => request.input::<ListRequest>().and_then(|input| input.parse().map_err(bad_request)),
    };
    match version.and_then(|version| volume_entries(globals, version)) {
        Ok(entries) => request.answer(entries.as_slice()),
        Err(status) => request.complete(status),
    }
}

/// The entries, each as long as `version` has it.
#[inline(never)]
fn volume_entries(globals: &Globals, version: u32) -> Result<Vec<u8>, NTSTATUS> {
    let volumes = globals.registry.volumes()?;
    let entries = volumes.iter().filter_map(|volume| volume_entry(volume, globals));
    let entries = reserved::collect(volumes.len(), entries).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let len = VolumeEntry::len_in(version);
    let bytes = entries.iter().flat_map(|entry| entry.as_bytes().iter().take(len).copied());
    let room = entries.len().saturating_mul(len);
    reserved::collect(room, bytes).ok_or(STATUS_INSUFFICIENT_RESOURCES)
}

/// What is said of a volume; `None` for one without a name, which cannot be protected: nobody could say which one is
/// meant.
#[inline(never)]
fn volume_entry(volume: &Volume, globals: &Globals) -> Option<VolumeEntry> {
    let device = questions::device_name(volume.lower()).ok()?;
    let (length, sector_size) = questions::size(volume.lower()).unwrap_or((0, 0));
    let (session, phase) = volume.summary();
    let facts = volume.facts(&globals.settings);
    Some(VolumeEntry {
        device,
        length: U64::new(length),
        sector_size: U32::new(sector_size),
        phase: U32::new(phase as u32),
        session,
        protection: U32::new(facts.protection as u32),
        special_files: U32::new(facts.special_files),
    })
}

#[inline(never)]
fn status(globals: &Globals, request: Request) {
    let found = request.input::<SessionRequest>().and_then(|input| {
        let id = input.parse().map_err(bad_request)?;
        Ok((input.version.get(), globals.registry.by_session(id)?))
    });
    match found {
        Ok((version, (volume, session))) => {
            let status = session.status(volume.known_facts(&globals.settings));
            let len = StatusReply::len_in(version);
            request.answer(status.as_bytes().get(..len).unwrap_or(&[]));
        }
        Err(status) => request.complete(status),
    }
}

#[inline(never)]
fn start(globals: &Globals, request: &Request) -> Result<SessionReply, NTSTATUS> {
    let input: StartRequest = request.input()?;
    let settings = input.settings().map_err(bad_request)?;
    let claimant = request.file();
    if claimant.is_null() || globals.registry.by_claimant(claimant).is_ok() {
        // A handle claims one session.
        return Err(STATUS_INVALID_DEVICE_REQUEST);
    }
    if globals.registry.by_session(settings.session).is_ok() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let volume = globals.registry.by_name(&input.device)?;
    if volume.protection(&globals.settings) != Protection::Possible {
        return Err(STATUS_NOT_SUPPORTED);
    }
    let settings = globals.settings.limits.cap(settings);
    let drains = globals.drains().ok_or(STATUS_INVALID_DEVICE_REQUEST)?;
    let claim = Claim::new(claimant, drains).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let geometry = Volume::start(&volume, &settings, claim, CALLBACKS)?;
    Ok(session_reply(&geometry))
}

#[inline(never)]
fn resume(globals: &Globals, request: &Request) -> Result<SessionReply, NTSTATUS> {
    let claimant = request.file();
    if claimant.is_null() || globals.registry.by_claimant(claimant).is_ok() {
        return Err(STATUS_INVALID_DEVICE_REQUEST);
    }
    let (_, session) = globals.registry.by_session(session_id(request)?)?;
    session.resume(claimant)?;
    Ok(session_reply(session.geometry()))
}

fn drain(globals: &Globals, request: Request) {
    let claimed = claimed(globals, &request);
    let room = request.output().map(|output| output.room());
    match (claimed, room) {
        (Ok(session), Ok(room)) if room >= DRAIN_BUFFER_MIN => session.await_records(request),
        (Ok(_), Ok(_)) => request.complete(STATUS_BUFFER_TOO_SMALL),
        (Err(status), _) | (_, Err(status)) => request.complete(status),
    }
}

fn acknowledge(globals: &Globals, request: &Request) -> Result<(), NTSTATUS> {
    let input: AcknowledgeRequest = request.input()?;
    claimed(globals, request)?.acknowledge(input.epoch);
    Ok(())
}

/// The session that the request's file object claims.
fn claimed(
    globals: &Globals,
    request: &Request,
) -> Result<crate::kernel::shared::Shared<Session>, NTSTATUS> {
    let claimant = request.file();
    if claimant.is_null() {
        return Err(STATUS_INVALID_DEVICE_REQUEST);
    }
    globals.registry.by_claimant(claimant)
}

fn session_id(request: &Request) -> Result<snapless_wire::id::SessionId, NTSTATUS> {
    request.input::<SessionRequest>()?.parse().map_err(bad_request)
}

fn session_reply(geometry: &snapless_engine::Geometry) -> SessionReply {
    SessionReply {
        length: U64::new(geometry.length()),
        sector_size: U32::new(geometry.sector_size()),
        block_size: U32::new(u32::try_from(geometry.block_size()).unwrap_or(u32::MAX)),
    }
}

fn bad_request(bad: BadRequest) -> NTSTATUS {
    match bad {
        BadRequest::Version => STATUS_REVISION_MISMATCH,
        _ => STATUS_INVALID_PARAMETER,
    }
}

/// Completes a request with what `act` answers.
#[inline(never)]
fn reply<T: IntoBytes + zerocopy::Immutable>(
    request: Request,
    act: impl FnOnce(&Request) -> Result<T, NTSTATUS>,
) {
    match act(&request) {
        Ok(answer) => request.answer(&answer),
        Err(status) => request.complete(status),
    }
}

/// Completes a request that has no answer but its status.
fn finish(request: Request, act: impl FnOnce(&Request) -> Result<(), NTSTATUS>) {
    let status = act(&request).err().unwrap_or(STATUS_SUCCESS);
    request.complete(status);
}
