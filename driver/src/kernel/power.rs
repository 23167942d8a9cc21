//! Notices of the system's sleep: the callback object `\Callback\PowerState`.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdk_sys::ntddk::{
    ExCreateCallback, ExRegisterCallback, ExUnregisterCallback, ObfDereferenceObject,
};
use wdk_sys::{
    _CALLBACK_OBJECT, BOOLEAN, NT_SUCCESS, NTSTATUS, OBJ_CASE_INSENSITIVE, OBJECT_ATTRIBUTES,
    PO_CB_SYSTEM_STATE_LOCK, PVOID, STATUS_INSUFFICIENT_RESOURCES, ULONG,
};

use super::unicode::UnicodeString;

#[allow(clippy::cast_possible_truncation)] // A structure of a few words.
const LENGTH: ULONG = size_of::<OBJECT_ATTRIBUTES>() as ULONG;

/// What the driver does at a notice. The system has flushed no volume and powered no device down
/// before the first one, and waits for it: docs, "Using a System-Defined Callback Object".
pub trait PowerCallbacks: 'static {
    /// The system is about to leave its working state: to sleep, to hibernate or to shut down.
    /// PASSIVE_LEVEL.
    fn falls_asleep();

    /// It is in its working state again. PASSIVE_LEVEL.
    fn is_awake();
}

/// A registration. It ends when this is dropped, and waits for a notice that is under way.
pub struct PowerNotices {
    object: *mut _CALLBACK_OBJECT,
    registration: PVOID,
}

// SAFETY: the kernel synchronizes both objects.
unsafe impl Send for PowerNotices {}

impl PowerNotices {
    /// Registers callbacks. PASSIVE_LEVEL.
    pub fn register<C: PowerCallbacks>() -> Result<Self, NTSTATUS> {
        let name = UnicodeString::new(r"\Callback\PowerState")?;
        let mut name = name.as_kernel()?;
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: LENGTH,
            ObjectName: &raw mut name,
            Attributes: OBJ_CASE_INSENSITIVE,
            ..OBJECT_ATTRIBUTES::default()
        };
        let mut object: *mut _CALLBACK_OBJECT = null_mut();
        // SAFETY: all pointers are to locals that outlive the call; the object is not created.
        let status = unsafe {
            ExCreateCallback(
                &raw mut object,
                &raw mut attributes,
                BOOLEAN::from(false),
                BOOLEAN::from(true),
            )
        };
        if !NT_SUCCESS(status) {
            return Err(status);
        }
        // SAFETY: the object was just referenced; the routine needs no context.
        let registration = unsafe { ExRegisterCallback(object, Some(noticed::<C>), null_mut()) };
        if registration.is_null() {
            // SAFETY: the reference from above.
            unsafe { ObfDereferenceObject(object.cast()) };
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        Ok(Self { object, registration })
    }
}

impl Drop for PowerNotices {
    /// PASSIVE_LEVEL.
    fn drop(&mut self) {
        // SAFETY: from `register`, and ended once; it waits for a call that is under way.
        unsafe { ExUnregisterCallback(self.registration) };
        // SAFETY: the reference from `register`.
        unsafe { ObfDereferenceObject(self.object.cast()) };
    }
}

/// Called by the system. PASSIVE_LEVEL for the notices that are handed on.
unsafe extern "C" fn noticed<C: PowerCallbacks>(
    _context: *mut c_void,
    what: *mut c_void,
    value: *mut c_void,
) {
    if what.addr() != PO_CB_SYSTEM_STATE_LOCK as usize {
        return;
    }
    if value.is_null() { C::falls_asleep() } else { C::is_awake() }
}
