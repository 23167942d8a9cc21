//! The file whose bytes on the disk are the state area: made through the file system, and kept
//! where it is as long as it is open.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle};
use std::ptr;

use snapless_wire::id::AreaId;
use snapless_wire::ioctl::DeviceName;
use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::{
    ERROR_SUCCESS, GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Security::Authorization::{GetSecurityInfo, SE_FILE_OBJECT};
use windows_sys::Win32::Security::{
    IsWellKnownSid, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
    WinBuiltinAdministratorsSid, WinLocalSystemSid,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, COMPRESSION_FORMAT_NONE, CreateFileW, FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_SYSTEM,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_FLAG_WRITE_THROUGH, FILE_SHARE_READ,
    GetFileInformationByHandle, OPEN_ALWAYS,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    FSCTL_MARK_HANDLE, FSCTL_SET_COMPRESSION, MARK_HANDLE_INFO, MARK_HANDLE_PROTECT_CLUSTERS,
};

use crate::access_list::Descriptor;
use crate::state_place::{STATE_FILE, blank_area};
use crate::volume::device_text;
use crate::volume_handle::VolumeHandle;

/// Full access for SYSTEM and Administrators, none for others: who can write it could hide writes
/// from the verification after a restart.
const ADMINISTRATORS_ONLY: &str = "D:P(A;;FA;;;SY)(A;;FA;;;BA)";

/// The open file. Nobody else writes, moves or deletes it meanwhile.
#[derive(Debug)]
pub(crate) struct StateFile(File);

impl StateFile {
    /// Opens the file on this device's volume, and makes it if it is not there.
    pub(crate) fn open(device: &DeviceName, volume: &VolumeHandle) -> io::Result<Self> {
        let device = device_text(device).ok_or(io::ErrorKind::InvalidInput)?;
        let file = Self(create(&format!(r"\\?\GLOBALROOT{device}\{STATE_FILE}"))?);
        if !file.is_plain()? || !file.is_administrators()? {
            return Err(io::Error::other("another account has made it: delete it"));
        }
        file.pin(volume);
        Ok(file)
    }

    /// Gives the file a blank area with a new identity.
    pub(crate) fn fill(&mut self, id: AreaId) -> io::Result<()> {
        let area = blank_area(id);
        self.0.set_len(0)?;
        self.store_plainly()?;
        self.0.rewind()?;
        self.0.write_all(&area)?;
        self.0.sync_all()
    }

    /// True for a file with one name that is no link to another one.
    fn is_plain(&self) -> io::Result<bool> {
        let mut facts = BY_HANDLE_FILE_INFORMATION::default();
        // SAFETY: the handle is open, the place is valid.
        if unsafe { GetFileInformationByHandle(self.0.as_raw_handle(), &raw mut facts) } == 0 {
            return Err(io::Error::last_os_error());
        }
        let other = FILE_ATTRIBUTE_REPARSE_POINT | FILE_ATTRIBUTE_DIRECTORY;
        Ok(facts.nNumberOfLinks == 1 && facts.dwFileAttributes & other == 0)
    }

    /// True if SYSTEM or Administrators own it: no other account can give itself access.
    fn is_administrators(&self) -> io::Result<bool> {
        let (mut owner, mut descriptor): (PSID, PSECURITY_DESCRIPTOR) =
            (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the handle is open; the places that are not asked for are optional.
        let status = unsafe {
            GetSecurityInfo(
                self.0.as_raw_handle(),
                SE_FILE_OBJECT,
                OWNER_SECURITY_INFORMATION,
                &raw mut owner,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                &raw mut descriptor,
            )
        };
        if status != ERROR_SUCCESS {
            return Err(io::Error::from_raw_os_error(status.cast_signed()));
        }
        // SAFETY: the call above allocated it, and nothing else frees it.
        let _descriptor = unsafe { Descriptor::from_raw(descriptor) };
        Ok([WinLocalSystemSid, WinBuiltinAdministratorsSid].into_iter().any(|sid| {
            // SAFETY: the owner is in the descriptor, which lives until the end of this function.
            unsafe { IsWellKnownSid(owner, sid) != 0 }
        }))
    }

    /// Keeps the file system from moving the file. If it does not, the driver finds other bytes
    /// there when it saves the state, and saves none.
    fn pin(&self, volume: &VolumeHandle) {
        let info = MARK_HANDLE_INFO {
            VolumeHandle: volume.as_handle().as_raw_handle(),
            HandleInfo: MARK_HANDLE_PROTECT_CLUSTERS,
            ..MARK_HANDLE_INFO::default()
        };
        // SAFETY: the structure is what the request takes, and the volume's handle is open.
        let _pinned = unsafe { self.control(FSCTL_MARK_HANDLE, &info) };
    }

    /// Keeps the file's bytes on the disk as they are written.
    fn store_plainly(&self) -> io::Result<()> {
        // SAFETY: the request takes a number.
        unsafe { self.control(FSCTL_SET_COMPRESSION, &COMPRESSION_FORMAT_NONE) }
    }

    /// Sends a request without an answer.
    ///
    /// # Safety
    /// `input` is what the request takes.
    unsafe fn control<T>(&self, code: u32, input: &T) -> io::Result<()> {
        let mut returned = 0;
        // SAFETY: the handle is open; the input lives until the call ends, which is when the
        // request is done, as the handle is synchronous.
        let done = unsafe {
            DeviceIoControl(
                self.0.as_raw_handle(),
                code,
                ptr::from_ref(input).cast(),
                u32::try_from(size_of::<T>()).unwrap_or(0),
                ptr::null_mut(),
                0,
                &raw mut returned,
                ptr::null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn create(path: &str) -> io::Result<File> {
    let descriptor = Descriptor::parse(ADMINISTRATORS_ONLY)?;
    let attributes = SECURITY_ATTRIBUTES {
        nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
        lpSecurityDescriptor: descriptor.as_ptr(),
        bInheritHandle: 0,
    };
    let path = HSTRING::from(path);
    // SAFETY: the path is NUL-terminated; attributes and descriptor live until the call ends.
    let handle = unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            FILE_SHARE_READ,
            &raw const attributes,
            OPEN_ALWAYS,
            FILE_ATTRIBUTE_HIDDEN
                | FILE_ATTRIBUTE_SYSTEM
                | FILE_FLAG_WRITE_THROUGH
                | FILE_FLAG_OPEN_REPARSE_POINT,
            ptr::null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above opened this handle for us alone.
    Ok(unsafe { File::from_raw_handle(handle) })
}
