//! Symbolic links of the object manager, such as drive letters. PASSIVE_LEVEL.

use core::ptr::{from_mut, null_mut};

use snapless_wire::ioctl::{DEVICE_NAME_MAX, DeviceName};
use wdk_sys::ntddk::{ZwClose, ZwOpenSymbolicLinkObject, ZwQuerySymbolicLinkObject};
use wdk_sys::{
    HANDLE, NT_SUCCESS, NTSTATUS, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES,
    STATUS_INSUFFICIENT_RESOURCES, SYMBOLIC_LINK_QUERY, ULONG, UNICODE_STRING,
};

use super::unicode::UnicodeString;

/// The device name that a link leads to; `None` if there is no such link, or its target is not a
/// device name. An error if there was no memory to find out. PASSIVE_LEVEL.
#[inline(never)] // Its buffer is on the stack only while it is needed.
pub fn target(link: &UnicodeString) -> Result<Option<DeviceName>, NTSTATUS> {
    let Ok(mut name) = link.as_kernel() else { return Ok(None) };
    let mut attributes = OBJECT_ATTRIBUTES {
        Length: ULONG::try_from(size_of::<OBJECT_ATTRIBUTES>()).unwrap_or(0),
        RootDirectory: null_mut(),
        ObjectName: from_mut(&mut name),
        Attributes: OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE,
        SecurityDescriptor: null_mut(),
        SecurityQualityOfService: null_mut(),
    };
    let mut handle: HANDLE = null_mut();
    // SAFETY: all pointers are valid for the call.
    let status = unsafe {
        ZwOpenSymbolicLinkObject(&raw mut handle, SYMBOLIC_LINK_QUERY, from_mut(&mut attributes))
    };
    if !NT_SUCCESS(status) {
        return none_unless_out_of_memory(status);
    }
    let mut units = [0_u16; DEVICE_NAME_MAX];
    let mut found = UNICODE_STRING {
        Length: 0,
        MaximumLength: u16::try_from(size_of_val(&units)).unwrap_or(0),
        Buffer: units.as_mut_ptr(),
    };
    // SAFETY: the link is open; the string has room for as many bytes as it says.
    let status = unsafe { ZwQuerySymbolicLinkObject(handle, &raw mut found, null_mut()) };
    // SAFETY: opened above, closed once.
    let _ = unsafe { ZwClose(handle) };
    if !NT_SUCCESS(status) {
        return none_unless_out_of_memory(status);
    }
    let units = units.get(..usize::from(found.Length) / 2);
    Ok(units.and_then(|units| DeviceName::new(units.iter().copied())))
}

fn none_unless_out_of_memory(status: NTSTATUS) -> Result<Option<DeviceName>, NTSTATUS> {
    if status == STATUS_INSUFFICIENT_RESOURCES { Err(status) } else { Ok(None) }
}
