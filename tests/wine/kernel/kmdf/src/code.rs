//! Machine code that the rig generates: guards of imports and entries of the function table.
//!
//! The rule: code is never freed; the driver may call through it until the process ends.

use core::{ffi::c_void, ptr};

use nt::{
    spinlock::SpinLock,
    win32::{MEM_COMMIT, MEM_RESERVE, VirtualAlloc},
};

const PAGE_EXECUTE_READWRITE: u32 = 0x40;
const CHUNK: usize = 64 << 10;

/// Copies instructions to executable memory.
pub(crate) fn place(code: &[u8]) -> *const c_void {
    /// Where the next code goes, and where the memory ends.
    static FREE: SpinLock<(usize, usize)> = SpinLock::new((0, 0));

    let mut free = FREE.lock();
    if free.0 + code.len() > free.1 {
        // SAFETY: asks for fresh memory.
        let fresh = unsafe {
            VirtualAlloc(ptr::null_mut(), CHUNK, MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READWRITE)
        };
        assert!(!fresh.is_null(), "no memory for generated code");
        *free = (fresh as usize, fresh as usize + CHUNK);
    }
    let start = free.0 as *mut u8;
    // SAFETY: that many writable bytes are ours and free.
    unsafe { ptr::copy_nonoverlapping(code.as_ptr(), start, code.len()) };
    free.0 += code.len().next_multiple_of(16);
    start.cast()
}
