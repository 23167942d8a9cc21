//! Files, read and written at given offsets.
//!
//! The rule: a transfer is whole or an error.

use core::ptr;

use wdk_sys::{
    _FILE_INFORMATION_CLASS::FileStandardInformation,
    FILE_ATTRIBUTE_NORMAL, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_OVERWRITE_IF, FILE_SHARE_READ,
    FILE_SHARE_WRITE, FILE_STANDARD_INFORMATION, FILE_SYNCHRONOUS_IO_NONALERT, GENERIC_READ,
    GENERIC_WRITE, HANDLE, IO_STATUS_BLOCK, LARGE_INTEGER, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE,
    OBJECT_ATTRIBUTES, STATUS_END_OF_FILE, SYNCHRONIZE,
    ntddk::{
        ZwClose, ZwCreateFile, ZwFlushBuffersFile, ZwQueryInformationFile, ZwReadFile, ZwWriteFile,
    },
};

use crate::{
    status::{Failure, Result, check},
    unicode::Wide,
};

/// How to open a file that exists or does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It must exist.
    Open,
    /// It is created, or emptied.
    Overwrite,
    /// It is created, or kept.
    OpenOrCreate,
}

/// An open file.
pub struct File {
    handle: HANDLE,
}

// SAFETY: a kernel handle may be used on any thread.
unsafe impl Send for File {}
// SAFETY: as above; transfers name their offset, so they do not disturb each other.
unsafe impl Sync for File {}

impl File {
    /// Opens a file by its NT path for reading and writing.
    pub fn open(path: &Wide, disposition: Disposition) -> Result<Self> {
        let path = path.borrow();
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
            ObjectName: path.as_ptr(),
            Attributes: OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE,
            ..OBJECT_ATTRIBUTES::default()
        };
        let mut handle = ptr::null_mut();
        let mut outcome = IO_STATUS_BLOCK::default();
        // SAFETY: everything is valid for the call.
        let status = unsafe {
            ZwCreateFile(
                &raw mut handle,
                GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE,
                &raw mut attributes,
                &raw mut outcome,
                ptr::null_mut(),
                FILE_ATTRIBUTE_NORMAL,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                match disposition {
                    Disposition::Open => FILE_OPEN,
                    Disposition::Overwrite => FILE_OVERWRITE_IF,
                    Disposition::OpenOrCreate => wdk_sys::FILE_OPEN_IF,
                },
                FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE,
                ptr::null_mut(),
                0,
            )
        };
        check(status)?;
        Ok(Self { handle })
    }

    /// The file's length in bytes.
    pub fn length(&self) -> Result<u64> {
        let mut information = FILE_STANDARD_INFORMATION::default();
        let mut outcome = IO_STATUS_BLOCK::default();
        // SAFETY: the buffer is of the class's type.
        let status = unsafe {
            ZwQueryInformationFile(
                self.handle,
                &raw mut outcome,
                (&raw mut information).cast(),
                size_of::<FILE_STANDARD_INFORMATION>() as u32,
                FileStandardInformation,
            )
        };
        check(status)?;
        // SAFETY: the kernel filled in the whole 64-bit value.
        Ok(unsafe { information.EndOfFile.QuadPart }.cast_unsigned())
    }

    /// Fills a buffer from an offset.
    ///
    /// # Safety
    /// `into` is valid for writes of `length` bytes.
    pub unsafe fn read_at(&self, offset: u64, into: *mut u8, length: u32) -> Result {
        let mut outcome = IO_STATUS_BLOCK::default();
        let mut offset = LARGE_INTEGER { QuadPart: offset.cast_signed() };
        // SAFETY: the caller vouches for the buffer; the rest is valid for the call.
        let status = unsafe {
            ZwReadFile(
                self.handle,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
                &raw mut outcome,
                into.cast(),
                length,
                &raw mut offset,
                ptr::null_mut(),
            )
        };
        whole(status, &outcome, length)
    }

    /// Writes a buffer at an offset.
    ///
    /// # Safety
    /// `from` is valid for reads of `length` bytes.
    pub unsafe fn write_at(&self, offset: u64, from: *const u8, length: u32) -> Result {
        let mut outcome = IO_STATUS_BLOCK::default();
        let mut offset = LARGE_INTEGER { QuadPart: offset.cast_signed() };
        // SAFETY: the caller vouches for the buffer, which is only read; the rest is valid for the
        // call.
        let status = unsafe {
            ZwWriteFile(
                self.handle,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
                &raw mut outcome,
                from.cast_mut().cast(),
                length,
                &raw mut offset,
                ptr::null_mut(),
            )
        };
        whole(status, &outcome, length)
    }

    /// Writes a slice at an offset.
    pub fn write_slice_at(&self, offset: u64, bytes: &[u8]) -> Result {
        let length =
            u32::try_from(bytes.len()).map_err(|_| Failure(wdk_sys::STATUS_INVALID_PARAMETER))?;
        // SAFETY: a slice is valid for reads of its length.
        unsafe { self.write_at(offset, bytes.as_ptr(), length) }
    }

    /// Makes what was written durable.
    pub fn flush(&self) -> Result {
        let mut outcome = IO_STATUS_BLOCK::default();
        // SAFETY: the handle is ours.
        check(unsafe { ZwFlushBuffersFile(self.handle, &raw mut outcome) })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        let _ = unsafe { ZwClose(self.handle) };
    }
}

fn whole(status: i32, outcome: &IO_STATUS_BLOCK, length: u32) -> Result {
    check(status)?;
    if outcome.Information == u64::from(length) { Ok(()) } else { Err(Failure(STATUS_END_OF_FILE)) }
}
