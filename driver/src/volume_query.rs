//! Synchronous IOCTLs sent to the lower device. PASSIVE_LEVEL; never while the boot volume is being
//! started: a query that early has reset machines.

use snapless_driver_logic::protection::VolumeFacts;
use snapless_driver_logic::requests::IOCTL_DISK_GET_LENGTH_INFO;
use snapless_wire::ioctl::{DEVICE_NAME_MAX, DeviceName};
use wdk_sys::{
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_MEDIA_WRITE_PROTECTED,
};

use crate::kernel::lower_device::LowerDevice;

/// `CTL_CODE(IOCTL_DISK_BASE, 0, METHOD_BUFFERED, FILE_ANY_ACCESS)`; replies with a
/// `DISK_GEOMETRY`.
const IOCTL_DISK_GET_DRIVE_GEOMETRY: u32 = 0x0007_0000;
/// `CTL_CODE(IOCTL_DISK_BASE, 9, METHOD_BUFFERED, FILE_ANY_ACCESS)`; replies with its status.
const IOCTL_DISK_IS_WRITABLE: u32 = 0x0007_0024;
/// `CTL_CODE(IOCTL_VOLUME_BASE, 14, METHOD_BUFFERED, FILE_ANY_ACCESS)`; replies with a
/// `VOLUME_GET_GPT_ATTRIBUTES_INFORMATION`.
const IOCTL_VOLUME_GET_GPT_ATTRIBUTES: u32 = 0x0056_0038;
/// `CTL_CODE(MOUNTDEVCONTROLTYPE, 2, METHOD_BUFFERED, FILE_ANY_ACCESS)`; replies with a
/// `MOUNTDEV_NAME`.
const IOCTL_MOUNTDEV_QUERY_DEVICE_NAME: u32 = 0x004d_0008;
/// `CTL_CODE(IOCTL_STORAGE_BASE, 0x0500, METHOD_BUFFERED, FILE_ANY_ACCESS)`; takes a
/// `STORAGE_PROPERTY_QUERY`.
const IOCTL_STORAGE_QUERY_PROPERTY: u32 = 0x002d_1400;
/// `StorageDeviceTrimProperty`, as a `STORAGE_PROPERTY_QUERY` of the standard kind: replies with a
/// `DEVICE_TRIM_DESCRIPTOR`.
const TRIM_QUERY: [u8; 12] = [8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Bytes of a `DISK_GEOMETRY`; the last four are `BytesPerSector`.
const DISK_GEOMETRY_LEN: usize = 24;
/// Bytes of a `DEVICE_TRIM_DESCRIPTOR`; the byte behind version and size is `TrimEnabled`.
const TRIM_DESCRIPTOR_LEN: usize = 12;
const TRIM_ENABLED_AT: usize = 8;

/// The volume's length in bytes. PASSIVE_LEVEL.
pub fn length(volume: LowerDevice) -> Result<u64, NTSTATUS> {
    let mut length = [0; 8];
    let got = volume.ioctl(IOCTL_DISK_GET_LENGTH_INFO, &[], &mut length)?;
    if got == length.len() { Ok(u64::from_le_bytes(length)) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// The volume's length and sector size in bytes. PASSIVE_LEVEL.
pub fn size(volume: LowerDevice) -> Result<(u64, u32), NTSTATUS> {
    let length = length(volume)?;
    let mut geometry = [0; DISK_GEOMETRY_LEN];
    let got = volume.ioctl(IOCTL_DISK_GET_DRIVE_GEOMETRY, &[], &mut geometry)?;
    let sector = geometry.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if got == geometry.len() { Ok((length, sector)) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// The volume's reply or refusal. `STATUS_INSUFFICIENT_RESOURCES` says nothing about the volume,
/// and is the caller's error. IRQL <= DISPATCH_LEVEL.
pub fn unless_out_of_memory<T>(
    reply: Result<T, NTSTATUS>,
) -> Result<Result<T, NTSTATUS>, NTSTATUS> {
    match reply {
        Err(STATUS_INSUFFICIENT_RESOURCES) => Err(STATUS_INSUFFICIENT_RESOURCES),
        reply => Ok(reply),
    }
}

/// What decides whether the volume can be protected; an error if there was no memory to find out.
/// PASSIVE_LEVEL.
pub fn facts(volume: LowerDevice) -> Result<VolumeFacts, NTSTATUS> {
    let mut attributes = [0; 8];
    let got =
        unless_out_of_memory(volume.ioctl(IOCTL_VOLUME_GET_GPT_ATTRIBUTES, &[], &mut attributes))?;
    let writable = unless_out_of_memory(volume.ioctl(IOCTL_DISK_IS_WRITABLE, &[], &mut []))?;
    Ok(VolumeFacts {
        answers: unless_out_of_memory(size(volume))?.is_ok(),
        write_protected: writable == Err(STATUS_MEDIA_WRITE_PROTECTED),
        // A disk without GPT does not support the IOCTL.
        gpt_attributes: if got == Ok(attributes.len()) {
            u64::from_le_bytes(attributes)
        } else {
            0
        },
    })
}

/// True if the device supports trim; an error if there was no memory to find out. PASSIVE_LEVEL.
pub fn supports_trim(volume: LowerDevice) -> Result<bool, NTSTATUS> {
    let mut descriptor = [0; TRIM_DESCRIPTOR_LEN];
    let got = unless_out_of_memory(volume.ioctl(
        IOCTL_STORAGE_QUERY_PROPERTY,
        &TRIM_QUERY,
        &mut descriptor,
    ))?;
    let is_reported = got.is_ok_and(|got| got > TRIM_ENABLED_AT);
    Ok(is_reported && descriptor.get(TRIM_ENABLED_AT).is_some_and(|enabled| *enabled != 0))
}

/// The volume's device name, as the mount manager has it. PASSIVE_LEVEL.
#[inline(never)] // Its buffer is on the stack only while it is needed.
pub fn device_name(volume: LowerDevice) -> Result<DeviceName, NTSTATUS> {
    // MOUNTDEV_NAME: a length in bytes, then that many bytes of UTF-16.
    let mut reply = [0_u8; 2 + 2 * DEVICE_NAME_MAX];
    let len = volume.ioctl(IOCTL_MOUNTDEV_QUERY_DEVICE_NAME, &[], &mut reply)?;
    let name = reply.get(..len).and_then(|reply| {
        let (size, units) = reply.split_first_chunk()?;
        units.get(..usize::from(u16::from_le_bytes(*size)))
    });
    let units = name.ok_or(STATUS_INVALID_PARAMETER)?.chunks_exact(2);
    DeviceName::new(units.filter_map(|unit| unit.try_into().ok().map(u16::from_le_bytes)))
        .ok_or(STATUS_INVALID_PARAMETER)
}
