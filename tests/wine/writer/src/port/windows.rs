//! A port over a Windows device: overlapped requests on one handle, gathered by a completion port.
//!
//! Upholds: what a request under way refers to (its `OVERLAPPED`, its buffer) stays where it is until
//! the completion was taken; a port that is dropped waits for its requests.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{self, NonNull};

use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, GENERIC_READ, GENERIC_WRITE, HANDLE};
use windows_sys::Win32::Foundation::{INVALID_HANDLE_VALUE, WIN32_ERROR};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_NO_BUFFERING, FILE_FLAG_OVERLAPPED, FILE_FLAG_WRITE_THROUGH,
    FILE_SHARE_READ, FILE_SHARE_WRITE, FlushFileBuffers, OPEN_EXISTING, ReadFile, WriteFile,
};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0,
};

use super::{Completion, Port, Slot};
use crate::error::WriterError;
use crate::extent::Extent;
use crate::plan::REQUEST_MAX;

/// Alignment of buffers: no device asks for more than a page.
const BUFFER_ALIGN: usize = 4096;
const INFINITE: u32 = u32::MAX;

/// A handle to a device, with its requests under way.
pub struct DevicePort {
    device: OwnedHandle,
    completions: OwnedHandle,
    slots: Vec<SlotState>,
}

// SAFETY: the raw pointers inside point to nothing that belongs to a thread; `OVERLAPPED` may be used from
// any thread.
unsafe impl Send for SlotState {}

struct SlotState {
    /// Boxed: the system keeps its address while the request is under way.
    overlapped: Box<OVERLAPPED>,
    buffer: AlignedBuffer,
    busy: bool,
}

impl DevicePort {
    /// Opens `device` for unbuffered overlapped requests.
    pub fn open(device: &str, slots: usize, write_through: bool) -> Result<Self, WriterError> {
        let failed = |source| WriterError::Open { device: device.into(), source };
        let handle = open_device(device, write_through).map_err(failed)?;
        let completions = completion_port(&handle).map_err(failed)?;
        let slots = (0..slots).map(|_| SlotState::new()).collect();
        Ok(Self { device: handle, completions, slots })
    }

    fn begin(&mut self, slot: Slot, extent: Extent, write: bool) -> io::Result<()> {
        let device = raw(&self.device);
        let state = &mut self.slots[slot.0];
        assert!(!state.busy, "one request per slot");
        *state.overlapped = overlapped_at(extent.offset());
        let overlapped: *mut OVERLAPPED = &raw mut *state.overlapped;
        let bytes = state.buffer.bytes().as_mut_ptr();
        let len = u32::try_from(extent.len()).expect("requests are below 4 GiB");
        assert!(extent.size() <= state.buffer.layout.size(), "requests fit their buffer");
        let accepted = if write {
            // SAFETY: buffer and OVERLAPPED belong to this slot, which is not busy; they stay alive and
            // in place until the completion is taken (`busy`, `Drop`).
            unsafe { WriteFile(device, bytes, len, ptr::null_mut(), overlapped) }
        } else {
            // SAFETY: as above.
            unsafe { ReadFile(device, bytes, len, ptr::null_mut(), overlapped) }
        };
        if accepted == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error().and_then(as_win32) != Some(ERROR_IO_PENDING) {
                return Err(error);
            }
        }
        state.busy = true;
        Ok(())
    }
}

impl Port for DevicePort {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn buffer(&mut self, slot: Slot) -> &mut [u8] {
        let state = &mut self.slots[slot.0];
        assert!(!state.busy, "the buffer of a request under way is the system's");
        state.buffer.bytes()
    }

    fn write(&mut self, slot: Slot, extent: Extent) -> io::Result<()> {
        self.begin(slot, extent, true)
    }

    fn read(&mut self, slot: Slot, extent: Extent) -> io::Result<()> {
        self.begin(slot, extent, false)
    }

    fn wait(&mut self) -> io::Result<Completion> {
        let (mut bytes, mut key, mut overlapped) = (0, 0, ptr::null_mut());
        let completions = raw(&self.completions);
        // SAFETY: all four places are valid for the call.
        let ok = unsafe {
            GetQueuedCompletionStatus(
                completions,
                &raw mut bytes,
                &raw mut key,
                &raw mut overlapped,
                INFINITE,
            )
        };
        let error = (ok == 0).then(io::Error::last_os_error);
        let found = self.slots.iter_mut().enumerate().find(|(_, state)| {
            state.busy && ptr::eq::<OVERLAPPED>(&raw const *state.overlapped, overlapped)
        });
        let Some((index, state)) = found else {
            return Err(error.unwrap_or_else(|| io::Error::other("an unknown request completed")));
        };
        state.busy = false;
        let result = match error {
            Some(error) => Err(error),
            None => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
        };
        Ok(Completion { slot: Slot(index), result })
    }

    fn flush(&mut self) -> io::Result<()> {
        let device = raw(&self.device);
        // SAFETY: the handle is open for writing.
        let ok = unsafe { FlushFileBuffers(device) };
        if ok == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for DevicePort {
    fn drop(&mut self) {
        while self.slots.iter().any(|state| state.busy) {
            if self.wait().is_err() {
                // The system still owns the buffers: giving them back would corrupt memory.
                std::mem::forget(std::mem::take(&mut self.slots));
            }
        }
    }
}

impl SlotState {
    fn new() -> Self {
        Self { overlapped: Box::new(overlapped_at(0)), buffer: AlignedBuffer::new(), busy: false }
    }
}

/// Page-aligned memory, as unbuffered requests need it.
struct AlignedBuffer {
    memory: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory belongs to this value alone.
unsafe impl Send for AlignedBuffer {}

impl AlignedBuffer {
    fn new() -> Self {
        let size = usize::try_from(REQUEST_MAX).expect("a request fits in memory");
        let layout = Layout::from_size_align(size, BUFFER_ALIGN).expect("a page is an alignment");
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let memory = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
        Self { memory, layout }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let (memory, size) = (self.memory.as_ptr(), self.layout.size());
        // SAFETY: `size` initialised bytes that this value owns.
        unsafe { std::slice::from_raw_parts_mut(memory, size) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`, freed once.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) }
    }
}

fn open_device(device: &str, write_through: bool) -> io::Result<OwnedHandle> {
    let name: Vec<u16> = std::ffi::OsStr::new(device).encode_wide().chain([0]).collect();
    let through = if write_through { FILE_FLAG_WRITE_THROUGH } else { 0 };
    // SAFETY: the name ends with a zero; the other pointers may be null (docs: CreateFileW).
    let handle = unsafe {
        CreateFileW(
            name.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            ptr::null(),
            OPEN_EXISTING,
            FILE_FLAG_NO_BUFFERING | FILE_FLAG_OVERLAPPED | through,
            ptr::null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a valid handle that nobody else owns.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle.cast()) })
}

fn completion_port(device: &OwnedHandle) -> io::Result<OwnedHandle> {
    let device = raw(device);
    // SAFETY: an open overlapped handle; a null port asks for a new one.
    let handle = unsafe { CreateIoCompletionPort(device, ptr::null_mut(), 0, 1) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a valid handle that nobody else owns.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle.cast()) })
}

fn raw(handle: &OwnedHandle) -> HANDLE {
    handle.as_raw_handle().cast()
}

fn as_win32(code: i32) -> Option<WIN32_ERROR> {
    WIN32_ERROR::try_from(code).ok()
}

/// A fresh request block for a transfer at `offset`.
fn overlapped_at(offset: u64) -> OVERLAPPED {
    let low = u32::try_from(offset & u64::from(u32::MAX)).expect("masked to 32 bits");
    let high = u32::try_from(offset >> 32).expect("shifted to 32 bits");
    OVERLAPPED {
        Internal: 0,
        InternalHigh: 0,
        Anonymous: OVERLAPPED_0 { Anonymous: OVERLAPPED_0_0 { Offset: low, OffsetHigh: high } },
        hEvent: ptr::null_mut(),
    }
}
