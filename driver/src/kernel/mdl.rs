//! Memory descriptor lists: of a write's payload, and of parts of the queue's memory to read to.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_sys::ntddk::{
    IoAllocateMdl, IoBuildPartialMdl, IoFreeMdl, MmBuildMdlForNonPagedPool,
    MmMapLockedPagesSpecifyCache, MmUnmapLockedPages,
};
use wdk_sys::{
    _MEMORY_CACHING_TYPE::MmCached, _MM_PAGE_PRIORITY::NormalPagePriority, MDL_MAPPED_TO_SYSTEM_VA,
    MDL_PARTIAL_HAS_BEEN_MAPPED, MDL_SOURCE_IS_NONPAGED_POOL, PMDL, ULONG,
};

use super::KERNEL_MODE;
use super::pool::PoolBuffer;

/// Do not make mapped pages executable (docs: `MmMapLockedPagesSpecifyCache`, Windows 8 and later).
const MDL_MAPPING_NO_EXECUTE: i32 = 0x4000_0000;

/// The system address of the bytes that an MDL of an IRP describes, mapped if need be, and their
/// number; no address if they cannot be mapped: what the macro `MmGetSystemAddressForMdlSafe` does.
/// `None` if there is no MDL, or it is one of a chain. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// `mdl` is null or belongs to an IRP that the caller owns; its pages are locked.
pub unsafe fn system_address(mdl: PMDL) -> Option<(Option<NonNull<u8>>, usize)> {
    // SAFETY: the caller owns it.
    let list = unsafe { mdl.as_ref() }?;
    if !list.Next.is_null() {
        return None;
    }
    let len = usize::try_from(list.ByteCount).ok()?;
    let mapped = MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL;
    let address = if u32::from(list.MdlFlags.cast_unsigned()) & mapped != 0 {
        list.MappedSystemVa
    } else {
        // SAFETY: the pages are locked; for kernel mode, failure gives null instead of an
        // exception.
        unsafe {
            MmMapLockedPagesSpecifyCache(
                mdl,
                KERNEL_MODE,
                MmCached,
                core::ptr::null_mut(),
                0,
                NormalPagePriority | MDL_MAPPING_NO_EXECUTE,
            )
        }
    };
    Some((NonNull::new(address.cast()), len))
}

/// An MDL of a whole buffer.
pub struct BufferMdl {
    mdl: NonNull<wdk_sys::MDL>,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: only read once it is built.
unsafe impl Send for BufferMdl {}
// SAFETY: as above.
unsafe impl Sync for BufferMdl {}

impl BufferMdl {
    /// Describes `buffer`, which has to outlive the result. `None` if it is longer than 4 GiB or
    /// there is no memory. IRQL <= DISPATCH_LEVEL.
    pub fn new(buffer: &PoolBuffer) -> Option<Self> {
        let mdl = allocate(buffer.base(), buffer.len())?;
        // SAFETY: freshly allocated for a range of nonpaged pool.
        unsafe { MmBuildMdlForNonPagedPool(mdl.as_ptr()) };
        Some(Self { mdl, base: buffer.base(), len: buffer.len() })
    }

    /// The MDL. Any IRQL.
    pub(super) fn as_ptr(&self) -> PMDL {
        self.mdl.as_ptr()
    }

    /// The system address of `len` bytes at `offset`; `None` if they are not all inside. Any IRQL.
    pub fn address(&self, offset: u64, len: u64) -> Option<NonNull<u8>> {
        let end = usize::try_from(offset.checked_add(len)?).ok()?;
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: checked to be inside the buffer.
        (end <= self.len).then(|| unsafe { self.base.add(offset) })
    }
}

impl Drop for BufferMdl {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed once.
        unsafe { IoFreeMdl(self.mdl.as_ptr()) };
    }
}

/// An MDL that is allocated beforehand and describes one part of a buffer after the other (rule
/// BOUND, rules.md#bound).
pub struct WindowMdl {
    mdl: NonNull<wdk_sys::MDL>,
    longest: usize,
}

// SAFETY: the owner of the value is the only one to use the MDL.
unsafe impl Send for WindowMdl {}

impl WindowMdl {
    /// An MDL for parts of at most `longest` bytes of what `whole` describes. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn new(whole: &BufferMdl, longest: usize) -> Option<Self> {
        let longest = longest.min(whole.len);
        // One page more, for a part that begins inside a page.
        let room = longest.checked_add(4096)?;
        Some(Self { mdl: allocate(whole.base, room)?, longest })
    }

    /// Describes `len` bytes at `offset` of `whole`; `None` if they do not fit. PASSIVE_LEVEL.
    pub fn show(&mut self, whole: &BufferMdl, offset: u64, len: u64) -> Option<PMDL> {
        let offset = usize::try_from(offset).ok()?;
        let len = usize::try_from(len).ok()?;
        if len > self.longest || offset.checked_add(len)? > whole.len {
            return None;
        }
        self.unmap();
        // SAFETY: checked to be inside the buffer.
        let address = unsafe { whole.base.add(offset) };
        // SAFETY: the source describes that address and `len` bytes; the target has room for them.
        unsafe {
            IoBuildPartialMdl(
                whole.mdl.as_ptr(),
                self.mdl.as_ptr(),
                address.as_ptr().cast(),
                ULONG::try_from(len).ok()?,
            );
        }
        Some(self.mdl.as_ptr())
    }

    fn unmap(&mut self) {
        // SAFETY: only this value uses the MDL.
        unsafe { unmap_partial(self.mdl.as_ptr()) };
    }
}

/// Unmaps a partial MDL, which a driver below may have mapped: what the macro
/// `MmPrepareMdlForReuse` does. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// A partial MDL of the caller's that no driver below uses any more.
pub(super) unsafe fn unmap_partial(mdl: PMDL) {
    // SAFETY: the caller's.
    let flags = unsafe { (*mdl).MdlFlags };
    if u32::from(flags.cast_unsigned()) & MDL_PARTIAL_HAS_BEEN_MAPPED != 0 {
        // SAFETY: the caller's.
        let address: *mut c_void = unsafe { (*mdl).MappedSystemVa };
        // SAFETY: the flag says that this address is a mapping of this MDL.
        unsafe { MmUnmapLockedPages(address, mdl) };
    }
}

impl Drop for WindowMdl {
    fn drop(&mut self) {
        self.unmap();
        // SAFETY: allocated in `new`, freed once.
        unsafe { IoFreeMdl(self.mdl.as_ptr()) };
    }
}

/// An MDL with room for `len` bytes that begin at `base`. IRQL <= DISPATCH_LEVEL.
pub(super) fn allocate(base: NonNull<u8>, len: usize) -> Option<NonNull<wdk_sys::MDL>> {
    let len = ULONG::try_from(len).ok()?;
    // SAFETY: no IRP is given, so the result belongs to the caller alone.
    NonNull::new(unsafe { IoAllocateMdl(base.as_ptr().cast(), len, 0, 0, core::ptr::null_mut()) })
}
