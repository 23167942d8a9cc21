//! System addresses that the driver has had since its load, to read data that cannot be mapped: the
//! system has no addresses left (rule BOUND, rules.md#bound).
//!
//! One reserve serves all volumes, one part of a write at a time: it is needed only while memory is
//! short. It is freed at PASSIVE_LEVEL, as addresses have to be; a session may not be.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_sys::ntddk::{
    IoBuildPartialMdl, IoFreeMdl, MmAllocateMappingAddress, MmFreeMappingAddress,
    MmMapLockedPagesWithReservedMapping, MmUnmapReservedMapping,
};
use wdk_sys::{_MEMORY_CACHING_TYPE::MmCached, MDL, PMDL, SIZE_T, ULONG};

use super::global::{Global, Unloading};
use super::mdl;
use super::pool::POOL_TAG;
use super::spin_lock::SpinLock;

/// How many bytes are mapped at a time: to copy them takes a few microseconds.
const LEN: usize = 32 << 10;
/// One page more, for a part that begins inside a page.
const ROOM: usize = LEN + 4096;

static RESERVE: Global<SpinLock<Reserve>> = Global::new();

/// Allocates the reserve, once; false if there is no memory. PASSIVE_LEVEL.
pub fn create() -> bool {
    Reserve::new().is_some_and(|reserve| RESERVE.set(SpinLock::new(reserve)).is_ok())
}

/// Frees the reserve. PASSIVE_LEVEL.
pub fn destroy(unloading: &Unloading) {
    RESERVE.clear(unloading);
}

/// Copies `len` bytes from `offset` on of what an MDL describes to `target`; false if they cannot
/// be mapped. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// `mdl` belongs to an IRP that the caller owns. It is not mapped, its pages are locked, and it
/// describes `offset` and `len` bytes more. `target` has room for them.
pub unsafe fn copy(mdl: PMDL, offset: usize, target: NonNull<u8>, len: usize) -> bool {
    let Some(reserve) = RESERVE.get() else { return false };
    let mut done = 0_usize;
    while let Some(left) = len.checked_sub(done).filter(|&left| left > 0) {
        // SAFETY: inside the caller's range.
        let rest = unsafe { target.add(done) };
        let offset = offset.saturating_add(done);
        // SAFETY: the caller's promise, for a part.
        let copied = reserve.with(|reserve| unsafe { reserve.copy(mdl, offset, rest, left) });
        let Some(copied) = copied else { return false };
        done = done.saturating_add(copied);
    }
    true
}

struct Reserve {
    addresses: NonNull<c_void>,
    /// Describes the part that is mapped.
    window: NonNull<MDL>,
}

// SAFETY: the owner of the value is the only one to use either.
unsafe impl Send for Reserve {}

impl Reserve {
    /// PASSIVE_LEVEL.
    fn new() -> Option<Self> {
        // SAFETY: has no preconditions.
        let addresses = unsafe { MmAllocateMappingAddress(ROOM as SIZE_T, POOL_TAG) };
        let addresses = NonNull::new(addresses)?;
        let Some(window) = mdl::allocate(NonNull::dangling(), ROOM) else {
            // SAFETY: allocated above with this tag, and not mapped.
            unsafe { MmFreeMappingAddress(addresses.as_ptr(), POOL_TAG) };
            return None;
        };
        Some(Self { addresses, window })
    }

    /// Copies as many bytes as are mapped at a time, and at most `len`; returns how many. IRQL <=
    /// DISPATCH_LEVEL.
    ///
    /// # Safety
    /// As for [`copy`].
    unsafe fn copy(
        &mut self,
        mdl: PMDL,
        offset: usize,
        target: NonNull<u8>,
        len: usize,
    ) -> Option<usize> {
        let len = len.min(LEN);
        let (base, window) = (self.addresses.as_ptr(), self.window.as_ptr());
        // SAFETY: the caller owns the MDL.
        let source = unsafe { &*mdl };
        // What the macro `MmGetMdlVirtualAddress` does.
        let begin = source.StartVa.wrapping_byte_add(usize::try_from(source.ByteOffset).ok()?);
        let (begin, bytes) = (begin.wrapping_byte_add(offset), ULONG::try_from(len).ok()?);
        // SAFETY: the source describes those bytes; the window has room for them.
        unsafe { IoBuildPartialMdl(mdl, window, begin, bytes) };
        // SAFETY: nothing else is mapped at the addresses, which have room for the window; its
        // pages are locked.
        let from = unsafe { MmMapLockedPagesWithReservedMapping(base, POOL_TAG, window, MmCached) };
        // Fails only for pages that are mapped elsewhere as memory of another kind.
        let from = NonNull::new(from.cast::<u8>())?;
        // SAFETY: as many bytes are mapped there; the caller vouches for the target.
        unsafe { target.copy_from_nonoverlapping(from, len) };
        // SAFETY: mapped above.
        unsafe { MmUnmapReservedMapping(base, POOL_TAG, window) };
        Some(len)
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed once; not mapped, since `copy` unmaps.
        unsafe { MmFreeMappingAddress(self.addresses.as_ptr(), POOL_TAG) };
        // SAFETY: allocated in `new`, freed once.
        unsafe { IoFreeMdl(self.window.as_ptr()) };
    }
}
