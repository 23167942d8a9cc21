//! The port over the control device, and the look-up of volumes by their Windows names.
//!
//! The handle is overlapped: a pending drain does not block acknowledgements on the same handle,
//! and [`DriverPort::cancel`] ends it.

use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr;

use snapless_types::{BlockIndex, EpochId, Extent, Geometry};
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::ioctl::{
    AcknowledgeRequest, CONTROL_DEVICE_PATH, CutRequest, CutTime, DeviceName, DrainFrom,
    DrainFromReply, DrainFromRequest, IOCTL_ACKNOWLEDGE, IOCTL_CUT, IOCTL_DRAIN, IOCTL_DRAIN_FROM,
    IOCTL_KEEP_STATE, IOCTL_LIMIT_SWEEP, IOCTL_LIST_VOLUMES, IOCTL_MAP, IOCTL_NOTE, IOCTL_RESUME,
    IOCTL_REVIEW, IOCTL_START, IOCTL_STATUS, IOCTL_STOP, IOCTL_UNUSED, IOCTL_VERIFY, IOCTL_VERSION,
    KeepStateRequest, ListRequest, MapReply, NoteRequest, Protection, ReviewRequest, SessionReply,
    SessionRequest, StartRequest, StatusReply, SweepLimits, SweepRequest, UnusedReply,
    UnusedRequest, Verify, VerifyRequest, VersionReply, VolumeEntry,
};
use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BUSY, ERROR_CRC, ERROR_DEVICE_NOT_CONNECTED, ERROR_FILE_NOT_FOUND,
    ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_FUNCTION, ERROR_INVALID_PARAMETER, ERROR_MORE_DATA,
    ERROR_NO_MORE_FILES, ERROR_NO_SUCH_DEVICE, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY,
    ERROR_NOT_FOUND, ERROR_NOT_READY, ERROR_OPERATION_ABORTED, ERROR_PATH_NOT_FOUND,
    ERROR_WRONG_DISK, GENERIC_READ, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ, FILE_SHARE_WRITE, FindFirstVolumeW,
    FindNextVolumeW, FindVolumeClose, OPEN_EXISTING, QueryDosDeviceW,
};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Call, DriverError};
use crate::file_system::Unanswered;
use crate::identity::random_area;
use crate::overlapped::{Event, control};
use crate::port::{Driver, DriverPort, KeptPlace, Volume, check_version, geometry};
use crate::sectors::Sectors;
use crate::state_file::StateFile;
use crate::state_place::{NoPlace, StatePlace};
use crate::status::SessionStatus;
use crate::unused_blocks::UnusedBlocks;
use crate::volume::{VolumeName, device_text};
use crate::volume_handle::VolumeHandle;

/// Entries of the first buffer for the list of volumes.
const VOLUMES_FIRST: usize = 64;
/// A longer list is an error in the driver.
const VOLUMES_MAX: usize = 65_536;
/// UTF-16 units for the target of a device link.
const LINK_TARGET_MAX: usize = 1024;
/// UTF-16 units of `\\?\Volume{GUID}\` with its final zero, and some.
const VOLUME_PATH_MAX: u32 = 64;
/// Room for such a path.
type VolumePath = [u16; VOLUME_PATH_MAX as usize];

/// The driver of this machine.
#[derive(Clone, Copy, Default, Debug)]
pub struct WindowsDriver;

impl Driver for WindowsDriver {
    fn open(&self) -> Result<Box<dyn DriverPort>, DriverError> {
        Ok(Box::new(ControlDevice::open()?))
    }

    fn device_of(&self, name: &VolumeName) -> Result<DeviceName, DriverError> {
        let unknown = || DriverError::NoSuchVolume(name.to_string());
        match name.dos_name() {
            None => DeviceName::new(name.to_string().encode_utf16()).ok_or_else(unknown),
            Some(link) => link_target(&link).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => unknown(),
                _ => DriverError::Os { call: Call::List, source },
            }),
        }
    }

    fn guid_of(&self, device: &DeviceName) -> Result<Option<VolumeGuid>, DriverError> {
        for guid in volume_guids().map_err(|source| DriverError::Os { call: Call::List, source })? {
            // A volume may go away between the two calls; it is skipped.
            let target = link_target(&format!("Volume{{{guid}}}"));
            if target.is_ok_and(|target| target.matches(device)) {
                return Ok(Some(guid));
            }
        }
        Ok(None)
    }

    fn file_system_protection(&self, device: &DeviceName) -> Result<Protection, DriverError> {
        VolumeHandle::open(device).and_then(|volume| volume.ask().protection()).map_err(|why| {
            DriverError::FileSystem { device: device_text(device).unwrap_or_default(), why }
        })
    }

    fn special_extents(
        &self,
        device: &DeviceName,
        special_files: u32,
    ) -> Result<Vec<Extent>, Unanswered> {
        if special_files == 0 {
            return Ok(Vec::new());
        }
        let extents = VolumeHandle::open(device)?.special_extents(special_files);
        extents.map_err(Unanswered::Layout)
    }

    fn unused_blocks(
        &self,
        device: &DeviceName,
        block_size: u32,
    ) -> Result<Option<UnusedBlocks>, Unanswered> {
        let volume = VolumeHandle::open_to_flush(device)?;
        let unused = volume.unused_blocks(block_size)?;
        if unused.is_some() {
            // Afterwards: what the disk has of the file system is no older than the map.
            volume.flush()?;
        }
        Ok(unused)
    }

    fn state_place(&self, device: &DeviceName) -> Result<KeptPlace, NoPlace> {
        let unreadable = |error: Unanswered| NoPlace::Unreadable(error.to_string());
        let volume = VolumeHandle::open(device).map_err(unreadable)?;
        let place = match StatePlace::find(&mut Sectors::new(&volume)) {
            Ok(place) => Some(place),
            Err(NoPlace::NoFile) => None,
            Err(other) => return Err(other),
        };
        match (StateFile::open(device, &volume), place) {
            (Ok(file), Some(place)) => Ok(KeptPlace { place, held: Box::new(file) }),
            (Ok(mut file), None) => {
                file.fill(random_area())?;
                // It has to reach the disk first.
                Err(NoPlace::NoFile)
            }
            // The volume opens no files by their names, and so moves none.
            (Err(error), Some(place)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(KeptPlace { place, held: Box::new(()) })
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}

/// An open handle to the control device.
struct ControlDevice {
    handle: OwnedHandle,
    cancelled: Event,
    /// The version that driver and program share.
    version: u32,
}

impl ControlDevice {
    fn open() -> Result<Self, DriverError> {
        let cancelled =
            Event::new().map_err(|source| DriverError::Os { call: Call::Open, source })?;
        let handle = open_device().map_err(open_error)?;
        let mut device = Self { handle, cancelled, version: 0 };
        let reply: VersionReply = device.ask(Call::Version, IOCTL_VERSION, &[])?;
        device.version = check_version(&reply)?;
        Ok(device)
    }

    /// A call that answers with exactly one `Reply`.
    fn ask<Reply>(&self, call: Call, code: u32, input: &[u8]) -> Result<Reply, DriverError>
    where
        Reply: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned,
    {
        let mut reply = Reply::new_zeroed();
        let len = control(&self.handle, code, input, reply.as_mut_bytes(), None)
            .map_err(|source| call_error(call, source))?;
        if len != size_of::<Reply>() {
            return Err(DriverError::answer(call, format!("a reply of {len} bytes")));
        }
        Ok(reply)
    }

    /// A call without an answer.
    fn send(&self, call: Call, code: u32, input: &[u8]) -> Result<(), DriverError> {
        control(&self.handle, code, input, &mut [], None)
            .map(|_| ())
            .map_err(|source| call_error(call, source))
    }
}

impl DriverPort for ControlDevice {
    fn version(&self) -> u32 {
        self.version
    }

    fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let request = ListRequest::new(self.version);
        let input = request.as_bytes();
        let mut room = VOLUMES_FIRST;
        while room <= VOLUMES_MAX {
            let mut buffer = vec![0; room * size_of::<VolumeEntry>()];
            match control(&self.handle, IOCTL_LIST_VOLUMES, input, &mut buffer, None) {
                Ok(len) => return parse_list(buffer.get(..len).unwrap_or(&buffer)),
                Err(error) if is_too_small(&error) => room *= 4,
                Err(error) => return Err(call_error(Call::List, error)),
            }
        }
        Err(DriverError::answer(Call::List, format!("more than {VOLUMES_MAX} volumes")))
    }

    fn start(&self, request: &StartRequest) -> Result<Geometry, DriverError> {
        let request = StartRequest { version: U32::new(self.version), ..*request };
        let reply: SessionReply = self.ask(Call::Start, IOCTL_START, request.as_bytes())?;
        geometry(Call::Start, &reply)
    }

    fn resume(&self, session: SessionId) -> Result<Geometry, DriverError> {
        let request = SessionRequest::new(self.version, session);
        let reply: SessionReply = self.ask(Call::Resume, IOCTL_RESUME, request.as_bytes())?;
        geometry(Call::Resume, &reply)
    }

    fn drain_from(&self, from: DrainFrom) -> Result<bool, DriverError> {
        let request = DrainFromRequest::new(from);
        let reply: DrainFromReply =
            self.ask(Call::DrainFrom, IOCTL_DRAIN_FROM, request.as_bytes())?;
        let neither = || DriverError::answer(Call::DrainFrom, "neither yes nor no");
        reply.has_all().ok_or_else(neither)
    }

    fn drain(&self, buffer: &mut [u8]) -> Result<usize, DriverError> {
        let room = buffer.len();
        let len = control(&self.handle, IOCTL_DRAIN, &[], buffer, Some(&self.cancelled))
            .map_err(|source| call_error(Call::Drain, source))?;
        if len == 0 || len > room {
            return Err(DriverError::answer(Call::Drain, format!("{len} bytes of {room}")));
        }
        Ok(len)
    }

    fn acknowledge(&self, epoch: EpochId) -> Result<(), DriverError> {
        let request = AcknowledgeRequest::new(epoch);
        self.send(Call::Acknowledge, IOCTL_ACKNOWLEDGE, request.as_bytes())
    }

    fn review(&self, are_still: bool) -> Result<(), DriverError> {
        let request = ReviewRequest::new(are_still);
        self.send(Call::Review, IOCTL_REVIEW, request.as_bytes())
    }

    fn note(&self, device: &DeviceName, block_size: u32) -> Result<(), DriverError> {
        let request = NoteRequest::new(self.version, block_size, *device);
        self.send(Call::Note, IOCTL_NOTE, request.as_bytes())
    }

    fn unused(&self, request: &UnusedRequest) -> Result<BlockIndex, DriverError> {
        let reply: UnusedReply = self.ask(Call::Unused, IOCTL_UNUSED, request.as_bytes())?;
        let none = || DriverError::answer(Call::Unused, "no block of the request");
        reply.next(request).ok_or_else(none)
    }

    fn limit_sweep(&self, limits: SweepLimits) -> Result<(), DriverError> {
        let request = SweepRequest::new(limits);
        self.send(Call::LimitSweep, IOCTL_LIMIT_SWEEP, request.as_bytes())
    }

    fn keep_state(&self, request: &KeepStateRequest) -> Result<(), DriverError> {
        self.send(Call::KeepState, IOCTL_KEEP_STATE, request.as_bytes())
    }

    fn status(&self, session: SessionId) -> Result<SessionStatus, DriverError> {
        let request = SessionRequest::new(self.version, session);
        let reply: StatusReply = self.ask(Call::Status, IOCTL_STATUS, request.as_bytes())?;
        SessionStatus::parse(&reply)
    }

    fn map(&self, session: SessionId) -> Result<MapReply, DriverError> {
        let request = SessionRequest::new(self.version, session);
        self.ask(Call::Map, IOCTL_MAP, request.as_bytes())
    }

    fn verify(&self, session: SessionId, verify: Verify) -> Result<(), DriverError> {
        let request = VerifyRequest::new(self.version, session, verify);
        self.send(Call::Verify, IOCTL_VERIFY, request.as_bytes())
    }

    fn cut(&self, session: SessionId, cut: CutTime) -> Result<(), DriverError> {
        let request = CutRequest::new(self.version, session, cut);
        self.send(Call::Cut, IOCTL_CUT, request.as_bytes())
    }

    fn stop(&self, session: SessionId) -> Result<(), DriverError> {
        let request = SessionRequest::new(self.version, session);
        self.send(Call::Stop, IOCTL_STOP, request.as_bytes())
    }

    fn cancel(&self) {
        self.cancelled.set();
    }
}

fn open_device() -> io::Result<OwnedHandle> {
    let path = HSTRING::from(CONTROL_DEVICE_PATH);
    // SAFETY: `path` ends with a zero and lives through the call; no attributes, no template.
    let handle = unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            ptr::null(),
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED,
            ptr::null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above opened this handle for us alone.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn open_error(source: io::Error) -> DriverError {
    match os_code(&source) {
        Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => DriverError::Absent,
        Some(ERROR_ACCESS_DENIED) => DriverError::AccessDenied(Call::Open),
        _ => DriverError::Os { call: Call::Open, source },
    }
}

/// The outcome of a call, by the Win32 code that its `NTSTATUS` maps to.
fn call_error(call: Call, source: io::Error) -> DriverError {
    match os_code(&source) {
        // These calls act on the session that the handle claimed; if there is none, it has ended.
        Some(ERROR_NOT_FOUND)
            if matches!(
                call,
                Call::DrainFrom
                    | Call::Drain
                    | Call::Acknowledge
                    | Call::Review
                    | Call::Unused
                    | Call::LimitSweep
                    | Call::KeepState
            ) =>
        {
            DriverError::SessionEnded(call)
        }
        Some(ERROR_INVALID_PARAMETER) if call == Call::Acknowledge => DriverError::ImpossibleEpoch,
        Some(ERROR_INVALID_PARAMETER) if call == Call::DrainFrom => DriverError::ImpossibleSeq,
        // `STATUS_DATA_ERROR`.
        Some(ERROR_CRC) if call == Call::KeepState => DriverError::NoStateArea,
        // `STATUS_DEVICE_NOT_READY`.
        Some(ERROR_NOT_READY) if call == Call::Verify => DriverError::NotNow,
        Some(ERROR_NOT_READY) if call == Call::Cut => DriverError::NoCut,
        Some(ERROR_NOT_READY) if call == Call::Note => DriverError::CannotNote,
        // `STATUS_INVALID_DEVICE_REQUEST`.
        Some(ERROR_INVALID_FUNCTION) if matches!(call, Call::LimitSweep | Call::Cut) => {
            DriverError::Older(call)
        }
        Some(ERROR_NO_SYSTEM_RESOURCES | ERROR_NOT_ENOUGH_MEMORY) => DriverError::NoMemory(call),
        // `STATUS_WRONG_VOLUME`.
        Some(ERROR_WRONG_DISK) => DriverError::VolumeChanged(call),
        Some(ERROR_DEVICE_NOT_CONNECTED) => DriverError::SessionEnded(call),
        Some(ERROR_OPERATION_ABORTED) => DriverError::Cancelled(call),
        Some(ERROR_BUSY) => DriverError::Busy(call),
        Some(ERROR_FILE_NOT_FOUND | ERROR_NOT_FOUND | ERROR_NO_SUCH_DEVICE) => {
            DriverError::NotFound(call)
        }
        Some(ERROR_ACCESS_DENIED) => DriverError::AccessDenied(call),
        _ => DriverError::Os { call, source },
    }
}

fn is_too_small(error: &io::Error) -> bool {
    matches!(os_code(error), Some(ERROR_INSUFFICIENT_BUFFER | ERROR_MORE_DATA))
}

fn os_code(error: &io::Error) -> Option<u32> {
    error.raw_os_error().map(i32::cast_unsigned)
}

fn parse_list(bytes: &[u8]) -> Result<Vec<Volume>, DriverError> {
    let entries = <[VolumeEntry]>::ref_from_bytes(bytes)
        .map_err(|_| DriverError::answer(Call::List, format!("a list of {} bytes", bytes.len())))?;
    entries.iter().map(Volume::parse).collect()
}

/// The device that the link `name` in `\??\` leads to.
fn link_target(name: &str) -> io::Result<DeviceName> {
    let name = HSTRING::from(name);
    let mut units = [0_u16; LINK_TARGET_MAX];
    // SAFETY: `name` ends with a zero; `units` has the length that is given.
    let len = unsafe {
        QueryDosDeviceW(name.as_ptr(), units.as_mut_ptr(), units.len().try_into().unwrap_or(0))
    };
    if len == 0 {
        return Err(io::Error::last_os_error());
    }
    DeviceName::new(until_nul(&units).iter().copied())
        .ok_or_else(|| io::Error::other("the device's name is empty or too long"))
}

/// The GUIDs of all volumes that the mount manager knows.
fn volume_guids() -> io::Result<Vec<VolumeGuid>> {
    let mut path: VolumePath = [0; VOLUME_PATH_MAX as usize];
    let Some(search) = VolumeSearch::first(&mut path)? else { return Ok(Vec::new()) };
    let mut guids = Vec::new();
    loop {
        let text = String::from_utf16_lossy(until_nul(&path));
        if let Ok(VolumeName::Guid(guid)) = text.parse() {
            guids.push(guid);
        }
        if !search.next(&mut path)? {
            return Ok(guids);
        }
    }
}

/// The units before the first zero.
fn until_nul(units: &[u16]) -> &[u16] {
    units.split(|unit| *unit == 0).next().unwrap_or_default()
}

/// A search over the mount manager's volumes.
struct VolumeSearch(HANDLE);

impl VolumeSearch {
    fn first(path: &mut VolumePath) -> io::Result<Option<Self>> {
        // SAFETY: the buffer has the length that is given.
        let search = unsafe { FindFirstVolumeW(path.as_mut_ptr(), VOLUME_PATH_MAX) };
        if search != INVALID_HANDLE_VALUE {
            return Ok(Some(Self(search)));
        }
        none_left().map(|()| None)
    }

    /// False when there are no more.
    fn next(&self, path: &mut VolumePath) -> io::Result<bool> {
        // SAFETY: the search is open; the buffer has the length that is given.
        let found = unsafe { FindNextVolumeW(self.0, path.as_mut_ptr(), VOLUME_PATH_MAX) } != 0;
        if found { Ok(true) } else { none_left().map(|()| false) }
    }
}

impl Drop for VolumeSearch {
    fn drop(&mut self) {
        // SAFETY: the search is open and closed only here.
        unsafe { FindVolumeClose(self.0) };
    }
}

/// `Ok` at the end of a search; any other error is a failure.
fn none_left() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if os_code(&error) == Some(ERROR_NO_MORE_FILES) { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn outcome(call: Call, code: u32) -> DriverError {
        call_error(call, io::Error::from_raw_os_error(code.cast_signed()))
    }

    #[test]
    fn codes_become_the_outcomes_that_callers_act_upon() {
        use DriverError::{
            Busy, Cancelled, ImpossibleEpoch, ImpossibleSeq, NoMemory, NotFound, Os, SessionEnded,
        };
        let drain = Call::Drain;
        assert!(matches!(outcome(drain, ERROR_DEVICE_NOT_CONNECTED), SessionEnded(_)));
        assert!(matches!(outcome(drain, ERROR_NOT_FOUND), SessionEnded(_)));
        assert!(matches!(outcome(Call::Resume, ERROR_NOT_FOUND), NotFound(_)));
        assert!(matches!(outcome(drain, ERROR_OPERATION_ABORTED), Cancelled(_)));
        assert!(matches!(outcome(Call::Start, ERROR_BUSY), Busy(_)));
        assert!(matches!(outcome(Call::Start, ERROR_NO_SYSTEM_RESOURCES), NoMemory(_)));
        assert!(matches!(outcome(Call::Start, ERROR_MORE_DATA), Os { call: Call::Start, .. }));
        assert!(matches!(outcome(Call::Acknowledge, ERROR_INVALID_PARAMETER), ImpossibleEpoch));
        assert!(matches!(outcome(Call::DrainFrom, ERROR_INVALID_PARAMETER), ImpossibleSeq));
        assert!(matches!(outcome(Call::Start, ERROR_INVALID_PARAMETER), Os { .. }));
        assert!(matches!(outcome(Call::Verify, ERROR_NOT_READY), NotNow));
    }

    #[test]
    fn a_list_is_whole_entries() {
        let mut entry = VolumeEntry::new_zeroed();
        entry.device = DeviceName::new(r"\Device\HarddiskVolume3".encode_utf16()).unwrap();
        let list = [entry.as_bytes(), entry.as_bytes()].concat();
        assert_eq!(parse_list(&list).unwrap().len(), 2);
        assert!(parse_list(&list[..list.len() - 1]).is_err());
        assert_eq!(parse_list(&[]).unwrap().len(), 0);
    }

    #[test]
    fn volumes_that_are_not_there_are_named() {
        let nowhere = VolumeName::Guid(VolumeGuid([0xa5; 16]));
        let error = WindowsDriver.device_of(&nowhere).err().unwrap().to_string();
        assert!(error.contains(&nowhere.to_string()), "{error}");
    }

    #[test]
    fn a_volume_is_found_by_its_guid_and_known_by_it() {
        for guid in volume_guids().unwrap() {
            // A volume may go away between the two calls.
            let Ok(device) = WindowsDriver.device_of(&VolumeName::Guid(guid)) else { continue };
            assert_eq!(WindowsDriver.guid_of(&device).unwrap(), Some(guid));
        }
    }
}
