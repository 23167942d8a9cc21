//! The lower device, and what it and the devices below it say of themselves.

use core::ptr::NonNull;

use snapless_driver_logic::protection::{DeviceFacts, StackFacts};
use wdk_sys::PDEVICE_OBJECT;
use wdk_sys::ntddk::{IoGetLowerDeviceObject, ObfDereferenceObject};

/// The device that a filter is attached to.
#[derive(Clone, Copy)]
pub struct LowerDevice(NonNull<wdk_sys::DEVICE_OBJECT>);

// SAFETY: a device object may be sent requests from any thread.
unsafe impl Send for LowerDevice {}
// SAFETY: as above.
unsafe impl Sync for LowerDevice {}

impl LowerDevice {
    /// Wraps the device below a filter. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The filter stays attached to it as long as the result is used.
    pub unsafe fn new(device: PDEVICE_OBJECT) -> Option<Self> {
        NonNull::new(device).map(Self)
    }

    /// The device object. IRQL <= DISPATCH_LEVEL.
    pub(super) fn as_ptr(self) -> PDEVICE_OBJECT {
        self.0.as_ptr()
    }

    /// Stack locations that an IRP to it needs. IRQL <= DISPATCH_LEVEL.
    pub fn stack_size(self) -> i8 {
        // SAFETY: attached to, so it exists.
        unsafe { (*self.0.as_ptr()).StackSize }
    }

    /// The `FILE_DEVICE_…` types, `FILE_…` characteristics and `DO_…` flags of this device and of
    /// all devices below it, down to the physical one: drivers in between need not hand them on.
    /// PASSIVE_LEVEL.
    pub fn stack_facts(self) -> StackFacts {
        let mut facts = StackFacts::of_lower(facts_of(self.0));
        let mut held = None;
        loop {
            let device =
                held.as_ref().map_or(self.as_ptr(), |device: &Referenced| device.0.as_ptr());
            // SAFETY: the first device is attached to, each other one referenced.
            let next = NonNull::new(unsafe { IoGetLowerDeviceObject(device) });
            let Some(next) = next.map(Referenced) else { return facts };
            facts.add(facts_of(next.0));
            held = Some(next);
        }
    }

    /// Its `DO_…` flags. IRQL <= DISPATCH_LEVEL.
    pub fn flags(self) -> u32 {
        // SAFETY: attached to, so it exists.
        unsafe { (*self.0.as_ptr()).Flags }
    }
}

/// A device object with a reference of ours.
struct Referenced(NonNull<wdk_sys::DEVICE_OBJECT>);

impl Drop for Referenced {
    fn drop(&mut self) {
        // SAFETY: referenced by `IoGetLowerDeviceObject`, dereferenced once.
        unsafe { ObfDereferenceObject(self.0.as_ptr().cast()) };
    }
}

fn facts_of(device: NonNull<wdk_sys::DEVICE_OBJECT>) -> DeviceFacts {
    // SAFETY: the caller's device exists: it is attached to, or referenced.
    let device = unsafe { device.as_ref() };
    DeviceFacts {
        device_type: device.DeviceType,
        characteristics: device.Characteristics,
        flags: device.Flags,
    }
}
