//! Device control requests to the control device.

use core::ptr::{NonNull, null_mut};

use wdk_sys::{
    NT_SUCCESS, NTSTATUS, PMDL, PVOID, STATUS_INSUFFICIENT_RESOURCES, ULONG_PTR, WDFFILEOBJECT,
    WDFFILEOBJECT__, WDFREQUEST,
};

use super::table::wdf;
use crate::kernel::mdl;

/// A file object of the control device: an open handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileObject(NonNull<WDFFILEOBJECT__>);

// SAFETY: compared, and handed to the framework, which synchronizes its objects.
unsafe impl Send for FileObject {}

impl FileObject {
    /// `None` for a null handle. IRQL <= DISPATCH_LEVEL.
    pub(super) fn new(file: WDFFILEOBJECT) -> Option<Self> {
        NonNull::new(file).map(Self)
    }

    /// IRQL <= DISPATCH_LEVEL.
    pub(super) fn handle(self) -> WDFFILEOBJECT {
        self.0.as_ptr()
    }
}

/// A request that the driver owns and completes once.
#[must_use = "a request that is not completed hangs its caller"]
pub struct Request(WDFREQUEST);

// SAFETY: the framework synchronizes its objects.
unsafe impl Send for Request {}

impl Request {
    /// Takes ownership of a request. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The framework has given the request to the driver, which has no other value of it.
    pub(super) unsafe fn new(request: WDFREQUEST) -> Self {
        Self(request)
    }

    /// IRQL <= DISPATCH_LEVEL.
    pub(super) fn handle(&self) -> WDFREQUEST {
        self.0
    }

    /// Gives ownership up: the request is completed, or the framework has it. IRQL <=
    /// DISPATCH_LEVEL.
    pub(super) fn relinquish(self) {
        core::mem::forget(self);
    }

    /// The file object that it came through; `None` if it came through none. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn file(&self) -> Option<FileObject> {
        // SAFETY: we own the request.
        FileObject::new(unsafe { wdf!(WdfRequestGetFileObject, self.0) })
    }

    /// The input buffer of a buffered request. IRQL <= DISPATCH_LEVEL.
    pub fn input(&self) -> Result<&[u8], NTSTATUS> {
        let mut buffer: PVOID = null_mut();
        let mut len = 0;
        // SAFETY: we own the request; on success the buffer has `len` bytes.
        let status = unsafe {
            wdf!(WdfRequestRetrieveInputBuffer, self.0, 0, &raw mut buffer, &raw mut len)
        };
        if !NT_SUCCESS(status) {
            return Err(status);
        }
        // SAFETY: the framework's system buffer of `len` bytes, which is not written to before
        // `reply` consumes the request.
        Ok(unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), len) })
    }

    /// Writes `bytes` to the output buffer of a buffered request and completes it. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn reply(self, bytes: &[u8]) {
        let mut buffer: PVOID = null_mut();
        let mut len = 0;
        // SAFETY: we own the request; on success the buffer has at least `bytes.len()` bytes.
        let status = unsafe {
            wdf!(WdfRequestRetrieveOutputBuffer, self.0, bytes.len(), &raw mut buffer, &raw mut len)
        };
        if !NT_SUCCESS(status) {
            self.complete(status);
            return;
        }
        // SAFETY: the system buffer is at least as long; it is not `bytes`, which are the driver's
        // own.
        unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.complete_with(0, bytes.len());
    }

    /// The output buffer of a direct request. IRQL <= DISPATCH_LEVEL.
    pub fn output(&self) -> Result<Output<'_>, NTSTATUS> {
        let mut list: PMDL = null_mut();
        // SAFETY: we own the request.
        let status = unsafe { wdf!(WdfRequestRetrieveOutputWdmMdl, self.0, &raw mut list) };
        if !NT_SUCCESS(status) {
            return Err(status);
        }
        // SAFETY: the request's own MDL, locked by the I/O manager.
        let mapped = unsafe { mdl::system_address(list) };
        let (base, len) = mapped.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let base = base.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(Output { base, len, filled: 0, _request: self })
    }

    /// Completes the request without output. IRQL <= DISPATCH_LEVEL.
    pub fn complete(self, status: NTSTATUS) {
        self.complete_with(status, 0);
    }

    /// Completes the request with `information` bytes of output. IRQL <= DISPATCH_LEVEL.
    pub fn complete_with(self, status: NTSTATUS, information: usize) {
        // SAFETY: we own the request, and forget it right after.
        unsafe {
            wdf!(WdfRequestCompleteWithInformation, self.0, status, information as ULONG_PTR);
        }
        self.relinquish();
    }
}

impl Drop for Request {
    /// Completes a request that was forgotten, so that its caller does not hang (rule HANG,
    /// rules.md#hang).
    fn drop(&mut self) {
        // SAFETY: ownership was not given up, so the request is still ours.
        unsafe { wdf!(WdfRequestComplete, self.0, wdk_sys::STATUS_UNSUCCESSFUL) };
    }
}

/// A direct request's output buffer, filled from the front.
pub struct Output<'a> {
    base: NonNull<u8>,
    len: usize,
    filled: usize,
    _request: &'a Request,
}

impl Output<'_> {
    /// Bytes that are still free. IRQL <= DISPATCH_LEVEL.
    pub fn room(&self) -> usize {
        self.len.saturating_sub(self.filled)
    }

    /// Bytes filled so far. IRQL <= DISPATCH_LEVEL.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Appends bytes; false, and nothing is written, if they do not fit. IRQL <= DISPATCH_LEVEL.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        // SAFETY: `filled` is inside the buffer.
        let target = unsafe { self.base.add(self.filled) };
        // SAFETY: there is room for the bytes; they are the driver's, which the output buffer is
        // not.
        unsafe { target.copy_from_nonoverlapping(NonNull::from_ref(bytes).cast(), bytes.len()) };
        self.filled = self.filled.saturating_add(bytes.len());
        true
    }
}
