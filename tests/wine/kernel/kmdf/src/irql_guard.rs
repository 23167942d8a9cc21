//! Kernel routines that Wine implements and that have an IRQL limit: each import of one goes
//! through a few instructions that check the caller's level and then jump to the routine.
//!
//! The rule: a routine of the pageable kernel that is called with a spin lock held, or from code
//! that storage enters at DISPATCH_LEVEL, is reported, although it works on Wine.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{ffi::c_void, ptr};

use crate::{
    checks::{describe, violation},
    code,
    irql::{self, APC_LEVEL, Irql, PASSIVE_LEVEL},
};

/// Name prefixes of routines that need PASSIVE_LEVEL.
const PASSIVE_PREFIXES: [&str; 5] = ["Zw", "Ps", "Se", "Cm", "Ob"];

/// Other routines that need PASSIVE_LEVEL.
const PASSIVE: &str = "ExUuidCreate IoAttachDeviceToDeviceStack IoBuildSynchronousFsdRequest \
    IoCreateFile IoCreateSymbolicLink IoDeleteSymbolicLink IoDetachDevice IoGetDeviceObjectPointer \
    IoGetDeviceProperty IoOpenDeviceRegistryKey MmGetSystemRoutineAddress \
    RtlAppendUnicodeStringToString RtlAppendUnicodeToString RtlCompareUnicodeString \
    RtlEqualUnicodeString RtlGUIDFromString RtlIntegerToUnicodeString RtlQueryRegistryValues \
    RtlStringFromGUID RtlUnicodeStringToInteger";

/// Routines that may be called up to APC_LEVEL.
const APC: &str = "ExAcquireFastMutex ExAcquireResourceExclusiveLite ExAcquireResourceSharedLite \
    ExReleaseFastMutex IoCreateDevice IoDeleteDevice";

/// Routines of the prefixes above that may be called up to DISPATCH_LEVEL, and exported variables.
const UNLIMITED: &str = "ObfDereferenceObject ObfReferenceObject ObDereferenceObjectDeferDelete \
    ObReferenceObjectByPointer PsGetCurrentThread PsGetCurrentThreadId PsGetCurrentProcessId \
    PsGetThreadId PsGetProcessId PsThreadType PsProcessType PsInitialSystemProcess";

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
    let is_in = |list: &str| list.split_whitespace().any(|listed| listed == name);
    if is_in(APC) {
        return Some(APC_LEVEL);
    }
    let passive = PASSIVE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (is_in(PASSIVE) || passive && !is_in(UNLIMITED)).then_some(PASSIVE_LEVEL)
}

/// Called by the guards.
unsafe extern "system" fn check(guarded: *const Guarded, caller: *const c_void) {
    // SAFETY: `assemble` put the pointer to the leaked record into the guard.
    let guarded = unsafe { &*guarded };
    let level = irql::current();
    if level > guarded.highest {
        violation!(
            Irql,
            &guarded.name,
            "called from {} at {}, allowed at most at {}",
            describe(caller.cast_mut()),
            irql::name(level),
            irql::name(guarded.highest)
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
    code::place(&code)
}
