//! Nonpaged pool: the global allocator, and page-aligned buffers.
//!
//! `ExAllocatePool2` is the newer call, but Windows Server 2019 lacks it; `ExAllocatePoolWithTag`
//! with `NonPagedPoolNx` is what both have (docs: "Updating Deprecated `ExAllocatePool` Calls").

use alloc::boxed::Box;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use wdk_sys::ntddk::ExFreePoolWithTag;
use wdk_sys::{_POOL_TYPE::NonPagedPoolNx, POOL_TYPE, PVOID, SIZE_T, ULONG};

/// `Snpl` in a pool dump.
pub const POOL_TAG: ULONG = u32::from_le_bytes(*b"Snpl");
/// What pool allocations are aligned to, in bytes (docs: `ExAllocatePoolWithTag`, 64-bit).
const POOL_ALIGNMENT: usize = 16;
/// Allocations of a page or more begin on a page boundary (same page of the docs).
const PAGE_SIZE: usize = 4096;

unsafe extern "C" {
    /// Imported by hand: the WDK's headers of today declare it as deprecated.
    fn ExAllocatePoolWithTag(kind: POOL_TYPE, bytes: SIZE_T, tag: ULONG) -> PVOID;
}

/// Allocates nonpaged pool at IRQL <= DISPATCH_LEVEL. After load the driver calls it by fallible
/// paths only, and never on the write path (rule BOUND, rules.md#bound).
pub struct PoolAllocator;

// SAFETY: the pool returns memory of at least the size, aligned to `POOL_ALIGNMENT`, or to a page
// from a page on; a stricter alignment is refused.
unsafe impl GlobalAlloc for PoolAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let natural = if layout.size() >= PAGE_SIZE { PAGE_SIZE } else { POOL_ALIGNMENT };
        if layout.align() > natural {
            return core::ptr::null_mut();
        }
        // SAFETY: callable at IRQL <= DISPATCH_LEVEL, which every caller of the allocator is at.
        unsafe { ExAllocatePoolWithTag(NonPagedPoolNx, layout.size() as SIZE_T, POOL_TAG) }.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        // SAFETY: the caller got `memory` from `alloc`, which used this tag.
        unsafe { ExFreePoolWithTag(memory.cast(), POOL_TAG) }
    }
}

/// Moves `value` into pool memory; gives it back if there is no memory. IRQL <= DISPATCH_LEVEL.
pub fn try_box<T>(value: T) -> Result<Box<T>, T> {
    // A type without size has no layout to allocate.
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout's size is not zero.
    let memory = unsafe { alloc::alloc::alloc(Layout::new::<T>()) };
    let Some(memory) = NonNull::new(memory.cast::<T>()) else { return Err(value) };
    // SAFETY: fresh memory of the right size and alignment.
    unsafe { memory.write(value) };
    // SAFETY: allocated by the global allocator with the layout of a `T`, and holds one.
    Ok(unsafe { Box::from_raw(memory.as_ptr()) })
}

/// A zeroed, page-aligned buffer of nonpaged memory at a fixed address.
///
/// It returns pointers, not references: several owners of disjoint ranges use it at the same time.
pub struct PoolBuffer {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: memory that any thread may use; the owner of the value decides who uses which range.
unsafe impl Send for PoolBuffer {}
// SAFETY: as above; `PoolBuffer` itself does not access the memory after `new`.
unsafe impl Sync for PoolBuffer {}

impl PoolBuffer {
    /// Allocates `bytes` of memory, a page at least; `None` if there is no memory. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn new(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.max(PAGE_SIZE), PAGE_SIZE).ok()?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { PoolAllocator.alloc(layout) })?;
        // SAFETY: `alloc` returned that many bytes. Zeroed, so that no stale kernel memory reaches
        // user mode.
        unsafe { base.as_ptr().write_bytes(0, layout.size()) };
        Some(Self { base, layout })
    }

    /// A pointer to `len` bytes at `offset`; `None` if they are not all inside. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn range(&self, offset: u64, len: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        if usize::try_from(end).ok()? > self.layout.size() {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: checked to stay inside the allocation.
        Some(unsafe { self.base.add(offset) })
    }

    /// The first byte. IRQL <= DISPATCH_LEVEL.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Number of bytes. IRQL <= DISPATCH_LEVEL.
    pub fn len(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for PoolBuffer {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc` with this layout and is freed once.
        unsafe { PoolAllocator.dealloc(self.base.as_ptr(), self.layout) }
    }
}
