//! The few user-mode routines that kernel code on Wine may call, because Wine's kernel is an
//! ordinary process.
//!
//! The rule: only the rig calls these. The driver under test never does: it imports ntoskrnl.exe
//! and WDFLDR.SYS and nothing else.

use core::ffi::c_void;

use wdk_sys::NTSTATUS;

/// The pseudo handle of the calling process.
pub const CURRENT_PROCESS: *mut c_void = usize::MAX as *mut c_void;

/// `PAGE_NOACCESS`
pub const PAGE_NOACCESS: u32 = 0x01;
/// `PAGE_READWRITE`
pub const PAGE_READWRITE: u32 = 0x04;
/// `MEM_COMMIT`
pub const MEM_COMMIT: u32 = 0x1000;
/// `MEM_RESERVE`
pub const MEM_RESERVE: u32 = 0x2000;
/// `MEM_RELEASE`
pub const MEM_RELEASE: u32 = 0x8000;
/// What `TlsAlloc` returns when there is no slot left.
pub const TLS_OUT_OF_INDEXES: u32 = u32::MAX;
/// `LDR_ADDREF_DLL_PIN`: the module stays until the process ends.
pub const LDR_ADDREF_DLL_PIN: u32 = 1;

#[link(name = "kernel32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    /// Reserves or commits pages.
    pub fn VirtualAlloc(at: *mut c_void, size: usize, kind: u32, protection: u32) -> *mut c_void;
    /// Frees pages.
    pub fn VirtualFree(at: *mut c_void, size: usize, kind: u32) -> i32;
    /// Changes the protection of pages.
    pub fn VirtualProtect(at: *mut c_void, size: usize, new: u32, old: *mut u32) -> i32;
    /// The heap that every process has.
    pub fn GetProcessHeap() -> *mut c_void;
    /// Allocates from a heap.
    pub fn HeapAlloc(heap: *mut c_void, flags: u32, size: usize) -> *mut c_void;
    /// Frees memory of a heap.
    pub fn HeapFree(heap: *mut c_void, flags: u32, memory: *mut c_void) -> i32;
    /// Gives up the rest of the time slice.
    pub fn SwitchToThread() -> i32;
    /// Allocates a thread-local slot.
    pub fn TlsAlloc() -> u32;
    /// Reads a thread-local slot.
    pub fn TlsGetValue(slot: u32) -> *mut c_void;
    /// Writes a thread-local slot.
    pub fn TlsSetValue(slot: u32, value: *mut c_void) -> i32;
    /// The id of the calling thread.
    pub fn GetCurrentThreadId() -> u32;
    /// The system time with the best resolution there is, in 100 ns units since 1601.
    pub fn GetSystemTimePreciseAsFileTime(time: *mut u64);
    /// The performance counter.
    pub fn QueryPerformanceCounter(count: *mut i64) -> i32;
    /// The performance counter's ticks per second.
    pub fn QueryPerformanceFrequency(frequency: *mut i64) -> i32;
}

#[link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    /// Ends a process.
    pub fn NtTerminateProcess(process: *mut c_void, status: NTSTATUS) -> NTSTATUS;
    /// The base of the image that holds an address, or null.
    pub fn RtlPcToFileHeader(address: *const c_void, base: *mut *mut c_void) -> *mut c_void;
    /// The return addresses of the calling thread's frames.
    pub fn RtlCaptureStackBackTrace(
        skip: u32,
        count: u32,
        frames: *mut *mut c_void,
        hash: *mut u32,
    ) -> u16;
    /// Takes a slim lock.
    pub fn RtlAcquireSRWLockExclusive(lock: *mut *mut c_void);
    /// Releases a slim lock.
    pub fn RtlReleaseSRWLockExclusive(lock: *mut *mut c_void);
    /// Waits for a condition, with the lock released meanwhile.
    pub fn RtlSleepConditionVariableSRW(
        condition: *mut *mut c_void,
        lock: *mut *mut c_void,
        timeout: *const i64,
        flags: u32,
    ) -> NTSTATUS;
    /// Wakes one waiter of a condition.
    pub fn RtlWakeConditionVariable(condition: *mut *mut c_void);
    /// Wakes all waiters of a condition.
    pub fn RtlWakeAllConditionVariable(condition: *mut *mut c_void);
    /// Adds a reference to a loaded module.
    pub fn LdrAddRefDll(flags: u32, module: *mut c_void) -> NTSTATUS;
}
