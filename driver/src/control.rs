//! The control device `\\.\Snapless`: where the service and the command line reach the driver.
//!
//! What becomes of a request is decided in `snapless_driver_logic::control`; here is what that does.
//!
//! Requests come one after the other, at PASSIVE_LEVEL. Drains do not stay here: they wait in a queue of
//! their own until the session has records for them.

use alloc::vec::Vec;

use snapless_driver_logic::control::{self, Refusal};
use snapless_types::EpochId;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    DeviceName, Protection, SessionReply, StartSettings, StatusReply, VolumeEntry,
};
use wdk_sys::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND,
    STATUS_NOT_SUPPORTED, STATUS_REVISION_MISMATCH, STATUS_SUCCESS, ULONG, WDFDEVICE, WDFDRIVER,
    WDFFILEOBJECT, WDFQUEUE, WDFREQUEST,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::filter::CALLBACKS;
use crate::framework::device::{self, ControlDevice};
use crate::framework::queue::Queue;
use crate::framework::request::Request;
use crate::globals::{self, Globals};
use crate::kernel::reserved;
use crate::kernel::shared::Shared;
use crate::questions;
use crate::session::{Claim, Session};
use crate::trace;
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

    /// Where drains wait. PASSIVE_LEVEL.
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
    let Some(globals) = globals::get() else { return };
    for volume in globals.registry.volumes() {
        volume.shut_down();
    }
}

/// `EvtIoDeviceControl`. PASSIVE_LEVEL.
extern "C" fn evt_io_device_control(
    _queue: WDFQUEUE,
    request: WDFREQUEST,
    output_len: usize,
    input_len: usize,
    code: ULONG,
) {
    // SAFETY: the framework presents it to this callback, for good.
    let request = unsafe { Request::new(request) };
    let Some(globals) = globals::get() else {
        request.complete(STATUS_INVALID_DEVICE_REQUEST);
        return;
    };
    let request = Incoming { request, input_len, output_len };
    control::dispatch(&Sessions(globals), request, code);
}

/// A request, with the lengths that it came with.
struct Incoming {
    request: Request,
    input_len: usize,
    output_len: usize,
}

/// What a request is completed with.
struct Status(NTSTATUS);

impl control::Request for Incoming {
    type Status = Status;

    fn input(&self) -> &[u8] {
        // Nobody has to ask the framework for what is not there.
        if self.input_len == 0 { &[] } else { self.request.input().unwrap_or(&[]) }
    }

    fn room(&self) -> usize {
        self.output_len
    }

    fn answer(self, bytes: &[u8]) {
        self.request.answer(bytes);
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

/// What the dispatcher acts on.
struct Sessions<'a>(&'a Globals);

impl control::Driver for Sessions<'_> {
    type Request = Incoming;
    type Claimed = Shared<Session>;
    type Found = (Shared<Volume>, Shared<Session>);
    type Entries = Vec<u8>;

    fn has_handle(&self, request: &Incoming) -> bool {
        !request.request.file().is_null()
    }

    fn claimed(&self, request: &Incoming) -> Option<Shared<Session>> {
        self.0.registry.by_claimant(request.request.file()).ok()
    }

    fn find(&self, id: SessionId) -> Option<Self::Found> {
        self.0.registry.by_session(id).ok()
    }

    fn volumes(&self, version: u32) -> Result<Vec<u8>, Status> {
        volume_entries(self.0, version).map_err(Status)
    }

    fn start(
        &self,
        request: &Incoming,
        volume: &DeviceName,
        settings: StartSettings,
    ) -> Result<SessionReply, Status> {
        start(self.0, request.request.file(), volume, settings).map_err(Status)
    }

    fn resume(
        &self,
        request: &Incoming,
        (_, session): Self::Found,
    ) -> Result<SessionReply, Status> {
        session.resume(request.request.file()).map_err(Status)?;
        Ok(session_reply(session.geometry()))
    }

    fn drain(&self, session: Shared<Session>, request: Incoming) {
        session.await_records(request.request);
    }

    fn acknowledge(&self, session: Shared<Session>, epoch: EpochId) {
        session.acknowledge(epoch);
    }

    fn status(&self, (volume, session): Self::Found) -> StatusReply {
        session.status(volume.known_facts(&self.0.settings))
    }

    fn stop(&self, (volume, _): Self::Found, id: SessionId) -> Result<(), Status> {
        volume.stop(id).map_err(Status)
    }
}

#[inline(never)]
fn start(
    globals: &Globals,
    claimant: WDFFILEOBJECT,
    name: &DeviceName,
    settings: StartSettings,
) -> Result<SessionReply, NTSTATUS> {
    let volume = globals.registry.by_name(name)?;
    if volume.protection(&globals.settings)? != Protection::Possible {
        return Err(STATUS_NOT_SUPPORTED);
    }
    let settings = globals.settings.limits.cap(settings);
    let drains = globals.drains().ok_or(STATUS_INVALID_DEVICE_REQUEST)?;
    let claim = Claim::new(claimant, drains).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    match Volume::start(&volume, &settings, claim, CALLBACKS) {
        Ok(geometry) => Ok(session_reply(&geometry)),
        Err(status) => {
            if status == STATUS_INSUFFICIENT_RESOURCES {
                trace::out_of_memory(settings.session, settings.queue_bytes);
            }
            Err(status)
        }
    }
}

/// The entries, each as long as `version` has it.
#[inline(never)]
fn volume_entries(globals: &Globals, version: u32) -> Result<Vec<u8>, NTSTATUS> {
    let len = VolumeEntry::len_in(version);
    let mut entries = Vec::new();
    for volume in globals.registry.volumes() {
        let Some(entry) = volume_entry(&volume, globals)? else { continue };
        let bytes = entry.as_bytes().iter().take(len).copied();
        reserved::extend(&mut entries, len, bytes).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    }
    Ok(entries)
}

/// What is said of a volume; `None` for one without a name, which cannot be protected: nobody could say which one is
/// meant.
#[inline(never)]
fn volume_entry(volume: &Volume, globals: &Globals) -> Result<Option<VolumeEntry>, NTSTATUS> {
    let Ok(device) = questions::told(questions::device_name(volume.lower()))? else {
        return Ok(None);
    };
    let size = questions::told(questions::size(volume.lower()))?;
    let (length, sector_size) = size.unwrap_or((0, 0));
    let (session, phase) = volume.summary();
    let facts = volume.facts(&globals.settings)?;
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

fn session_reply(geometry: &snapless_types::Geometry) -> SessionReply {
    SessionReply {
        length: U64::new(geometry.length()),
        sector_size: U32::new(geometry.sector_size()),
        block_size: U32::new(geometry.block_size()),
    }
}
