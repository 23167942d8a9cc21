//! Device objects and symbolic links.
//!
//! The rule: the owner deletes each device object once.

use core::{ffi::c_void, ptr};

use wdk_sys::{
    DO_DEVICE_INITIALIZING, PDEVICE_OBJECT, PDRIVER_OBJECT, STATUS_NO_SUCH_DEVICE,
    ntddk::{
        IoAttachDeviceToDeviceStack, IoCreateDevice, IoCreateSymbolicLink, IoDeleteDevice,
        IoDeleteSymbolicLink, IoDetachDevice,
    },
};

use crate::{
    status::{Failure, Result, check},
    unicode::{Borrowed, Wide},
};

/// Properties of a new device object.
pub struct NewDevice<'a> {
    /// Its name in the object manager, if it has one.
    pub name: Option<&'a Wide>,
    /// `FILE_DEVICE_…`
    pub device_type: u32,
    /// `FILE_…` characteristics.
    pub characteristics: u32,
    /// The size of the device extension.
    pub extension_size: usize,
}

/// A live device object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Device(PDEVICE_OBJECT);

// SAFETY: device objects are the kernel's; the address may be known on every thread.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// A device object of another driver; `None` for null.
    ///
    /// # Safety
    /// The device object stays as long as the value is used.
    pub unsafe fn from_raw(raw: PDEVICE_OBJECT) -> Option<Self> {
        (!raw.is_null()).then_some(Self(raw))
    }

    /// Creates a device object, still marked as initialising.
    ///
    /// # Safety
    /// `driver` is the calling driver's object.
    pub unsafe fn create(driver: PDRIVER_OBJECT, new: &NewDevice<'_>) -> Result<Self> {
        let name = new.name.map(Wide::borrow);
        let mut device = ptr::null_mut();
        // SAFETY: the caller vouches for the driver object; the rest is valid for the call.
        let status = unsafe {
            IoCreateDevice(
                driver,
                new.extension_size.try_into().unwrap_or(u32::MAX),
                name.as_ref().map_or(ptr::null_mut(), Borrowed::as_ptr),
                new.device_type,
                new.characteristics,
                0,
                &raw mut device,
            )
        };
        check(status)?;
        Ok(Self(device))
    }

    /// The object's address.
    pub fn raw(self) -> PDEVICE_OBJECT {
        self.0
    }

    /// Sets flags of the device object.
    pub fn set_flags(self, flags: u32) {
        // SAFETY: the device exists until `delete`.
        unsafe { (*self.0).Flags |= flags };
    }

    /// Accepts requests.
    pub fn finish_initializing(self) {
        // SAFETY: the device exists until `delete`.
        unsafe { (*self.0).Flags &= !DO_DEVICE_INITIALIZING };
    }

    /// The device extension.
    pub fn extension(self) -> *mut c_void {
        // SAFETY: the device exists until `delete`.
        unsafe { (*self.0).DeviceExtension }
    }

    /// Attaches this device to the top of another one's stack.
    ///
    /// # Errors
    /// The stack cannot be attached to.
    pub fn attach_to(self, lower: Self) -> Result {
        // SAFETY: both devices exist.
        let below = unsafe { IoAttachDeviceToDeviceStack(self.0, lower.0) };
        if below.is_null() { Err(Failure(STATUS_NO_SUCH_DEVICE)) } else { Ok(()) }
    }

    /// Detaches what is attached to this device.
    pub fn detach_upper(self) {
        // SAFETY: the device exists.
        unsafe { IoDetachDevice(self.0) };
    }

    /// Deletes the device object.
    pub fn delete(self) {
        // SAFETY: called once, by the owner.
        unsafe { IoDeleteDevice(self.0) };
    }
}

/// Creates a symbolic link to a device.
pub fn create_link(link: &Wide, target: &Wide) -> Result {
    let (link, target) = (link.borrow(), target.borrow());
    // SAFETY: both strings are valid for the call.
    check(unsafe { IoCreateSymbolicLink(link.as_ptr(), target.as_ptr()) })
}

/// Deletes a symbolic link.
pub fn delete_link(link: &Wide) {
    let link = link.borrow();
    // SAFETY: the string is valid for the call. That the link is already gone is no error here.
    let _ = unsafe { IoDeleteSymbolicLink(link.as_ptr()) };
}
