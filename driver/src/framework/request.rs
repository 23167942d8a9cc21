//! Device control requests to the control device.

use core::ptr::{NonNull, null_mut};

use wdk_sys::{
    NT_SUCCESS, NTSTATUS, PMDL, PVOID, STATUS_INSUFFICIENT_RESOURCES, ULONG_PTR, WDFFILEOBJECT,
    WDFREQUEST,
};

use super::wdf;
use crate::kernel::mdl;

/// A request that is ours to complete, once.
#[must_use = "a request that is not completed hangs its caller"]
pub struct Request(WDFREQUEST);

// SAFETY: the framework synchronizes its objects; whoever has the value owns the request.
unsafe impl Send for Request {}

impl Request {
    /// Takes over a request that the framework presented. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The framework has given the request to the driver, and nobody else has it.
    pub unsafe fn new(request: WDFREQUEST) -> Self {
        Self(request)
    }

    /// IRQL <= DISPATCH_LEVEL.
    pub(super) fn handle(&self) -> WDFREQUEST {
        self.0
    }

    /// Forgets the request: somebody else completes it. IRQL <= DISPATCH_LEVEL.
    pub(super) fn given_away(self) {
        core::mem::forget(self);
    }

    /// The file object that it came through. IRQL <= DISPATCH_LEVEL.
    pub fn file(&self) -> WDFFILEOBJECT {
        // SAFETY: we own the request.
        unsafe { wdf!(WdfRequestGetFileObject, self.0) }
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
        // SAFETY: the framework's system buffer of `len` bytes, which nobody writes to before `answer` consumes the
        // request.
        Ok(unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), len) })
    }

    /// Writes `bytes` to the output buffer of a buffered request and completes it. IRQL <= DISPATCH_LEVEL.
    pub fn answer(self, bytes: &[u8]) {
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
        // SAFETY: the system buffer is at least as long; it is not `bytes`, which are the driver's own.
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
        self.given_away();
    }
}

impl Drop for Request {
    /// The last resort for a path that forgot its request: nobody may hang for it.
    fn drop(&mut self) {
        // SAFETY: the value was not given away, so the request is still ours.
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
        // SAFETY: a slice is readable over its length.
        unsafe { self.append_raw(NonNull::from_ref(bytes).cast(), bytes.len()) }
    }

    /// Appends `len` bytes from `source`; false, and nothing is written, if they do not fit.
    /// IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// `source` is readable over `len` bytes, and nobody writes to them meanwhile.
    pub unsafe fn append_raw(&mut self, source: NonNull<u8>, len: usize) -> bool {
        if len > self.room() {
            return false;
        }
        // SAFETY: `filled` is inside the buffer.
        let target = unsafe { self.base.add(self.filled) };
        // SAFETY: there is room for `len` bytes; queue memory and the caller's buffer are distinct.
        unsafe { target.copy_from_nonoverlapping(source, len) };
        self.filled = self.filled.saturating_add(len);
        true
    }
}
