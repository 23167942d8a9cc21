//! A handle to a volume, by which its file system is asked.
//!
//! Opened by the device's own name, since a volume may have neither a letter nor a GUID, and for
//! reading: opened for attributes alone, the volume's driver would answer in place of the file
//! system (docs: `NtCreateFile`, direct open of a device).

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle};
use std::ptr;
use std::time::Instant;

use snapless_types::Extent;
use snapless_wire::ioctl::{DEVICE_NAME_MAX, DeviceName};
use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_FS_ATTRIBUTE_INFORMATION, FILE_NO_INTERMEDIATE_BUFFERING, FILE_SYNCHRONOUS_IO_NONALERT,
    FileFsAttributeInformation, NTCREATEFILE_CREATE_OPTIONS, NtFsControlFile, NtOpenFile,
    NtQueryVolumeInformationFile,
};
use windows_sys::Win32::Foundation::{
    NTSTATUS, OBJ_CASE_INSENSITIVE, STATUS_BUFFER_OVERFLOW, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ACCESS_RIGHTS, FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, FILE_WRITE_DATA, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::{DeviceIoControl, IO_STATUS_BLOCK};
use windows_sys::Win32::System::Ioctl::{
    FSCTL_GET_NTFS_VOLUME_DATA, FSCTL_GET_VOLUME_BITMAP, FSCTL_IS_VOLUME_OWNED_BYCSVFS,
    FSCTL_QUERY_FILE_LAYOUT, NTFS_VOLUME_DATA_BUFFER,
};

use crate::file_layout::{SEARCH_LIMIT, Search, request};
use crate::file_system::{Answers, Status, Unanswered};
use crate::sectors::ReadAt;
use crate::unused_blocks::{ClusterMap, NotAMap, UnusedBlocks};

/// Room for one reply about files: some hundred of them.
const LAYOUT_REPLY_LEN: usize = 256 << 10;
/// Room for one reply about clusters: half a million of them.
const BITMAP_REPLY_LEN: usize = 64 << 10;
/// `STATUS_END_OF_FILE`
const END_OF_FILE: u32 = 0xC000_0011;

/// An open volume.
pub(crate) struct VolumeHandle(File);

impl VolumeHandle {
    /// Opens the volume with this device name.
    pub(crate) fn open(device: &DeviceName) -> Result<Self, Unanswered> {
        Self::open_with(device, 0, 0)
    }

    /// The same, for a flush of the volume.
    pub(crate) fn open_to_flush(device: &DeviceName) -> Result<Self, Unanswered> {
        Self::open_with(device, FILE_WRITE_DATA, 0)
    }

    /// The same, for reads past the system's cache.
    pub(crate) fn open_unbuffered(device: &DeviceName) -> Result<Self, Unanswered> {
        Self::open_with(device, 0, FILE_NO_INTERMEDIATE_BUFFERING)
    }

    fn open_with(
        device: &DeviceName,
        access: FILE_ACCESS_RIGHTS,
        options: NTCREATEFILE_CREATE_OPTIONS,
    ) -> Result<Self, Unanswered> {
        let mut units = [0_u16; DEVICE_NAME_MAX];
        let mut len = 0_u16;
        for (place, unit) in units.iter_mut().zip(device.units().into_iter().flatten()) {
            *place = unit;
            len += 1;
        }
        let bytes = len * 2;
        let name =
            UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: units.as_mut_ptr() };
        let attributes = OBJECT_ATTRIBUTES {
            Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).unwrap_or(0),
            ObjectName: &raw const name,
            Attributes: OBJ_CASE_INSENSITIVE,
            ..OBJECT_ATTRIBUTES::default()
        };
        let mut handle = ptr::null_mut();
        let mut block = IO_STATUS_BLOCK::default();
        // SAFETY: the name, the attributes that refer to it and the block live until the call ends.
        let status = unsafe {
            NtOpenFile(
                &raw mut handle,
                FILE_READ_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE | access,
                &raw const attributes,
                &raw mut block,
                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                FILE_SYNCHRONOUS_IO_NONALERT | options,
            )
        };
        failure(status).map_err(Unanswered::Open)?;
        // SAFETY: the call above opened this handle for us alone.
        Ok(Self(unsafe { File::from_raw_handle(handle) }))
    }

    /// Asks the file system.
    pub(crate) fn ask(&self) -> Answers {
        Answers { attributes: self.attributes(), owned_by_cluster: self.owned_by_cluster() }
    }

    /// The extents of the volume's special files. Ends after the search's limit with those that it
    /// has found.
    pub(crate) fn special_extents(&self, special_files: u32) -> Result<Vec<Extent>, Status> {
        let data = self.ntfs_data()?;
        let mut search = Search::new(special_files, data.BytesPerCluster);
        // As aligned as the structures in it.
        let mut reply = vec![0_u64; LAYOUT_REPLY_LEN / size_of::<u64>()];
        let begun = Instant::now();
        let mut is_first = true;
        while !search.is_over() && begun.elapsed() < SEARCH_LIMIT {
            let request = request(is_first);
            // SAFETY: the reply takes any bytes.
            let len = unsafe {
                self.control(
                    FSCTL_QUERY_FILE_LAYOUT,
                    &request,
                    reply.as_mut_ptr().cast(),
                    LAYOUT_REPLY_LEN,
                )
            };
            let len = match len {
                Err(Status(END_OF_FILE)) => break,
                len => len?,
            };
            search.take(&bytes_of(&reply, len));
            is_first = false;
        }
        Ok(search.into_extents())
    }

    /// The blocks of so many bytes that no file has; `None` of another file system than NTFS.
    pub(crate) fn unused_blocks(&self, block: u32) -> Result<Option<UnusedBlocks>, Unanswered> {
        let Ok(data) = self.ntfs_data() else { return Ok(None) };
        let Some(mut map) = ClusterMap::new(data.BytesPerCluster, block) else { return Ok(None) };
        // Another file system may answer for the sake of old programs. It has no file records, and
        // its bitmap need not be of places on the volume.
        if data.BytesPerFileRecordSegment == 0 || data.MftValidDataLength <= 0 {
            return Ok(None);
        }
        // As aligned as the structures in it.
        let mut reply = vec![0_u64; BITMAP_REPLY_LEN / size_of::<u64>()];
        while let Some(request) = map.request() {
            // SAFETY: the reply takes any bytes.
            let (status, len) = unsafe {
                self.send(
                    FSCTL_GET_VOLUME_BITMAP,
                    &request,
                    reply.as_mut_ptr().cast(),
                    BITMAP_REPLY_LEN,
                )
            };
            // There are more.
            if status != STATUS_BUFFER_OVERFLOW {
                failure(status).map_err(Unanswered::Clusters)?;
            }
            map.take(&bytes_of(&reply, len)).map_err(|NotAMap| Unanswered::ClusterMap)?;
        }
        Ok(Some(map.into_unused()))
    }

    /// What NTFS, or a file system that answers as NTFS, says of the volume.
    fn ntfs_data(&self) -> Result<NTFS_VOLUME_DATA_BUFFER, Status> {
        let mut data = NTFS_VOLUME_DATA_BUFFER::default();
        let room = size_of_val(&data);
        // SAFETY: the structure takes any bytes.
        unsafe { self.control(FSCTL_GET_NTFS_VOLUME_DATA, &[], (&raw mut data).cast(), room) }?;
        Ok(data)
    }

    /// Has the file system write down what it has in memory.
    pub(crate) fn flush(&self) -> Result<(), Unanswered> {
        let code = |error: io::Error| error.raw_os_error().unwrap_or(0);
        self.0.sync_all().map_err(|error| Unanswered::Flush(code(error)))
    }

    /// Sends a request to the file system; returns the reply's length.
    ///
    /// # Safety
    /// As for [`Self::send`].
    unsafe fn control(
        &self,
        code: u32,
        input: &[u8],
        reply: *mut c_void,
        room: usize,
    ) -> Result<usize, Status> {
        // SAFETY: the caller says so.
        let (status, len) = unsafe { self.send(code, input, reply, room) };
        failure(status)?;
        Ok(len)
    }

    /// Sends a request to the file system; returns its status and the reply's length.
    ///
    /// # Safety
    /// `reply` is writable for `room` bytes, and whatever bytes it gets are sound.
    unsafe fn send(
        &self,
        code: u32,
        input: &[u8],
        reply: *mut c_void,
        room: usize,
    ) -> (NTSTATUS, usize) {
        let mut block = IO_STATUS_BLOCK::default();
        let len = |len| u32::try_from(len).unwrap_or(0);
        // SAFETY: block, input and reply live until the call ends, which is when the request is
        // done: the handle is synchronous.
        let status = unsafe {
            NtFsControlFile(
                self.0.as_raw_handle(),
                ptr::null_mut(),
                None,
                ptr::null(),
                &raw mut block,
                code,
                input.as_ptr().cast(),
                len(input.len()),
                reply,
                len(room),
            )
        };
        (status, block.Information.min(room))
    }

    /// Asks the volume's devices, which fill in all of `reply`.
    ///
    /// # Safety
    /// Whatever bytes `reply` gets are sound.
    pub(crate) unsafe fn device_control<T>(&self, code: u32, reply: &mut T) -> io::Result<()> {
        let room = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
        let mut len = 0;
        // SAFETY: the reply and its length live until the call ends, which is when the request is
        // done: the handle is synchronous. The caller takes any bytes.
        let answered = unsafe {
            DeviceIoControl(
                self.0.as_raw_handle(),
                code,
                ptr::null(),
                0,
                ptr::from_mut(reply).cast(),
                room,
                &raw mut len,
                ptr::null_mut(),
            )
        };
        if answered == 0 {
            return Err(io::Error::last_os_error());
        }
        let is_whole = len == room;
        is_whole.then_some(()).ok_or_else(|| io::Error::other(format!("a reply of {len} bytes")))
    }

    fn attributes(&self) -> Result<u32, Status> {
        let mut block = IO_STATUS_BLOCK::default();
        let mut reply = FILE_FS_ATTRIBUTE_INFORMATION::default();
        // SAFETY: block and reply live until the call ends, which is when the request is done: the
        // handle is synchronous.
        let status = unsafe {
            NtQueryVolumeInformationFile(
                self.0.as_raw_handle(),
                &raw mut block,
                (&raw mut reply).cast::<c_void>(),
                u32::try_from(size_of_val(&reply)).unwrap_or(0),
                FileFsAttributeInformation,
            )
        };
        // There is no room for the file system's name, which comes last.
        if status != STATUS_BUFFER_OVERFLOW {
            failure(status)?;
        }
        Ok(reply.FileSystemAttributes)
    }

    fn owned_by_cluster(&self) -> Result<Option<u8>, Status> {
        // `CSV_IS_OWNED_BY_CSVFS`
        let mut owned = 0_u8;
        // SAFETY: it takes any byte.
        let len = unsafe {
            self.control(FSCTL_IS_VOLUME_OWNED_BYCSVFS, &[], (&raw mut owned).cast(), 1)
        }?;
        Ok((len == 1).then_some(owned))
    }
}

/// The first bytes of a reply, which is as aligned as the structures in it.
fn bytes_of(reply: &[u64], len: usize) -> Vec<u8> {
    reply.iter().flat_map(|word| word.to_le_bytes()).take(len).collect()
}

impl ReadAt for VolumeHandle {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.seek_read(buffer, offset)
    }
}

impl AsHandle for VolumeHandle {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// An error for a status that is no success; a warning is none.
fn failure(status: NTSTATUS) -> Result<(), Status> {
    if status >= 0 { Ok(()) } else { Err(Status(status.cast_unsigned())) }
}
