//! The pool, and the global allocator of the rig's drivers.
//!
//! The rule: the rig's own memory comes from the process's heap, so that it is never counted as the
//! driver's pool memory.

use core::{
    alloc::{GlobalAlloc, Layout},
    ffi::c_void,
};

use crate::win32::{GetProcessHeap, HeapAlloc, HeapFree};

/// `NonPagedPoolNx`
pub const NON_PAGED_POOL_NX: i32 = 512;

/// The alignment of pool and heap.
pub const POOL_ALIGNMENT: usize = 16;

// wdk-sys leaves these out, as deprecated since Windows 10 2004; Windows Server 2019 has nothing
// else.
unsafe extern "system" {
    /// Allocates pool memory.
    pub fn ExAllocatePoolWithTag(pool: i32, size: usize, tag: u32) -> *mut c_void;
    /// Frees pool memory.
    pub fn ExFreePoolWithTag(memory: *mut c_void, tag: u32);
}

/// The allocator. Allocations aligned to more than 16 bytes fail.
pub struct HeapAllocator;

// SAFETY: the heap returns memory that is 16-byte aligned, of the size asked for, until it is
// freed; larger alignments are refused with null.
unsafe impl GlobalAlloc for HeapAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > POOL_ALIGNMENT {
            return core::ptr::null_mut();
        }
        // SAFETY: has no preconditions.
        let heap = unsafe { GetProcessHeap() };
        // SAFETY: the process's heap; any size may be asked for.
        unsafe { HeapAlloc(heap, 0, layout.size()) }.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        // SAFETY: has no preconditions.
        let heap = unsafe { GetProcessHeap() };
        // SAFETY: the caller got `memory` from `alloc` above.
        unsafe { HeapFree(heap, 0, memory.cast()) };
    }
}

#[global_allocator]
static ALLOCATOR: HeapAllocator = HeapAllocator;
