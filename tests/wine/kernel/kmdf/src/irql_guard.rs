//! Kernel routines that Wine implements and that are only legal up to a certain IRQL: each import of one is led
//! through a few instructions that check the caller's level and then jump to the routine.
//!
//! The rule: a routine of the pageable kernel that is called with a spin lock held, or from code that storage enters at
//! DISPATCH_LEVEL, is reported, even though Wine would not mind.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{ffi::c_void, ptr};

use nt::win32::{MEM_COMMIT, MEM_RESERVE, VirtualAlloc};

use crate::{
    checks::{Rule, describe, violation},
    irql::{self, APC_LEVEL, Irql, PASSIVE_LEVEL},
};

const PAGE_EXECUTE_READWRITE: u32 = 0x40;

/// Name prefixes of routines that need PASSIVE_LEVEL.
const PASSIVE_PREFIXES: [&str; 5] = ["Zw", "Ps", "Se", "Cm", "Ob"];

/// Other routines, with the highest level that their documentation allows.
const LIMITS: [(&str, Irql); 26] = [
    ("ExAcquireFastMutex", APC_LEVEL),
    ("ExAcquireResourceExclusiveLite", APC_LEVEL),
    ("ExAcquireResourceSharedLite", APC_LEVEL),
    ("ExReleaseFastMutex", APC_LEVEL),
    ("ExUuidCreate", PASSIVE_LEVEL),
    ("IoAttachDeviceToDeviceStack", PASSIVE_LEVEL),
    ("IoBuildSynchronousFsdRequest", PASSIVE_LEVEL),
    ("IoCreateDevice", APC_LEVEL),
    ("IoCreateFile", PASSIVE_LEVEL),
    ("IoCreateSymbolicLink", PASSIVE_LEVEL),
    ("IoDeleteDevice", APC_LEVEL),
    ("IoDeleteSymbolicLink", PASSIVE_LEVEL),
    ("IoDetachDevice", PASSIVE_LEVEL),
    ("IoGetDeviceObjectPointer", PASSIVE_LEVEL),
    ("IoGetDeviceProperty", PASSIVE_LEVEL),
    ("IoOpenDeviceRegistryKey", PASSIVE_LEVEL),
    ("MmGetSystemRoutineAddress", PASSIVE_LEVEL),
    ("RtlAppendUnicodeStringToString", PASSIVE_LEVEL),
    ("RtlAppendUnicodeToString", PASSIVE_LEVEL),
    ("RtlCompareUnicodeString", PASSIVE_LEVEL),
    ("RtlEqualUnicodeString", PASSIVE_LEVEL),
    ("RtlGUIDFromString", PASSIVE_LEVEL),
    ("RtlIntegerToUnicodeString", PASSIVE_LEVEL),
    ("RtlQueryRegistryValues", PASSIVE_LEVEL),
    ("RtlStringFromGUID", PASSIVE_LEVEL),
    ("RtlUnicodeStringToInteger", PASSIVE_LEVEL),
];

/// Routines of the prefixes above that may be called at any level up to DISPATCH_LEVEL, and exported variables.
const UNLIMITED: [&str; 12] = [
    "ObfDereferenceObject",
    "ObfReferenceObject",
    "ObDereferenceObjectDeferDelete",
    "ObReferenceObjectByPointer",
    "PsGetCurrentThread",
    "PsGetCurrentThreadId",
    "PsGetCurrentProcessId",
    "PsGetThreadId",
    "PsGetProcessId",
    "PsThreadType",
    "PsProcessType",
    "PsInitialSystemProcess",
];

struct Guarded {
    name: String,
    highest: Irql,
}

/// A guard for an import, if its routine has a limit.
pub(crate) fn guard(name: &str, routine: *const c_void) -> Option<*const c_void> {
    let highest = limit(name)?;
    let guarded: &'static Guarded = Box::leak(Box::new(Guarded { name: name.into(), highest }));
    Some(assemble(guarded, routine))
}

fn limit(name: &str) -> Option<Irql> {
    if UNLIMITED.contains(&name) {
        return None;
    }
    if let Some((_, highest)) = LIMITS.iter().find(|(limited, _)| *limited == name) {
        return Some(*highest);
    }
    PASSIVE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)).then_some(PASSIVE_LEVEL)
}

/// What a guard calls.
unsafe extern "system" fn check(guarded: *const Guarded, caller: *const c_void) {
    // SAFETY: `assemble` put the pointer to the leaked record into the guard.
    let guarded = unsafe { &*guarded };
    let level = irql::current();
    if level > guarded.highest {
        violation(
            Rule::Irql,
            &guarded.name,
            format_args!(
                "called from {} at {}, allowed at most at {}",
                describe(caller.cast_mut()),
                irql::name(level),
                irql::name(guarded.highest)
            ),
        );
    }
}

/// Writes the guard: save the argument registers, call `check`, restore them, jump to the routine.
fn assemble(guarded: &'static Guarded, routine: *const c_void) -> *const c_void {
    let mut code: Vec<u8> = Vec::new();
    code.extend([0x51, 0x52, 0x41, 0x50, 0x41, 0x51]); // push rcx, rdx, r8, r9
    code.extend([0x48, 0x8b, 0x54, 0x24, 0x20]); // mov rdx, [rsp+0x20]: the return address
    code.extend([0x48, 0x83, 0xec, 0x28]); // sub rsp, 0x28: home space; the stack is aligned now
    code.extend([0x48, 0xb9]); // mov rcx, guarded
    code.extend((ptr::from_ref(guarded) as usize).to_le_bytes());
    code.extend([0x48, 0xb8]); // mov rax, check
    code.extend((check as *const () as usize).to_le_bytes());
    code.extend([0xff, 0xd0]); // call rax
    code.extend([0x48, 0x83, 0xc4, 0x28]); // add rsp, 0x28
    code.extend([0x41, 0x59, 0x41, 0x58, 0x5a, 0x59]); // pop r9, r8, rdx, rcx
    code.extend([0x48, 0xb8]); // mov rax, routine
    code.extend((routine as usize).to_le_bytes());
    code.extend([0xff, 0xe0]); // jmp rax
    let memory = code_memory(code.len());
    // SAFETY: `code_memory` returned that many writable bytes of our own.
    unsafe { ptr::copy_nonoverlapping(code.as_ptr(), memory, code.len()) };
    memory.cast()
}

/// Executable memory that is never freed: the driver may call through it until the process ends.
fn code_memory(length: usize) -> *mut u8 {
    use nt::spinlock::SpinLock;

    const CHUNK: usize = 64 << 10;
    struct Chunk {
        next: usize,
        end: usize,
    }
    static CURRENT: SpinLock<Chunk> = SpinLock::new(Chunk { next: 0, end: 0 });

    let mut chunk = CURRENT.lock();
    if chunk.next + length > chunk.end {
        // SAFETY: asks for fresh memory.
        let fresh = unsafe {
            VirtualAlloc(ptr::null_mut(), CHUNK, MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READWRITE)
        };
        assert!(!fresh.is_null(), "no memory for the IRQL guards");
        *chunk = Chunk { next: fresh as usize, end: fresh as usize + CHUNK };
    }
    let start = chunk.next;
    chunk.next += length.next_multiple_of(16);
    start as *mut u8
}
