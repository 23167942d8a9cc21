//! What a volume is asked by IOCTLs to the lower device. PASSIVE_LEVEL; never while the boot volume
//! is being started: a query that early has reset machines.
//!
//! Rule: all queries of one request have one deadline, so that a disk that hangs delays the request
//! by a known time.

use snapless_driver_logic::protection::VolumeFacts;
use snapless_driver_logic::requests::IOCTL_DISK_GET_LENGTH_INFO;
use snapless_engine::Tick;
use snapless_wire::ioctl::{DEVICE_NAME_MAX, DeviceName};
use wdk_sys::{
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_IO_TIMEOUT,
    STATUS_MEDIA_WRITE_PROTECTED,
};

use crate::kernel::query::QueryChannel;
use crate::kernel::time;

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
/// `StorageDeviceProperty`, in the same way: replies with a `STORAGE_DEVICE_DESCRIPTOR`.
const DEVICE_QUERY: [u8; 12] = [0; 12];
/// Bytes of a `DISK_GEOMETRY`; the last four are `BytesPerSector`.
const DISK_GEOMETRY_LEN: usize = 24;
/// Bytes of a `DEVICE_TRIM_DESCRIPTOR`; the byte behind version and size is `TrimEnabled`.
const TRIM_DESCRIPTOR_LEN: usize = 12;
const TRIM_ENABLED_AT: usize = 8;
/// Bytes of a `STORAGE_DEVICE_DESCRIPTOR` up to `RemovableMedia`, which is the last of them.
const DEVICE_DESCRIPTOR_LEN: usize = 11;
const REMOVABLE_MEDIA_AT: usize = 10;

/// How long a request of the service may wait for a volume that it starts a session on, in ticks:
/// 10 s. A disk that is spun down takes as long.
pub const START_LIMIT: u64 = 10_000 * Tick::PER_MS;
/// How long the list of volumes may wait for all of them, in ticks: 2 s.
pub const LIST_LIMIT: u64 = 2_000 * Tick::PER_MS;

/// A volume that is asked, until a deadline.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    channel: &'a QueryChannel,
    deadline: Tick,
}

/// Instant at which what begins now has taken `limit` ticks. Any IRQL.
pub fn deadline(limit: u64) -> Tick {
    Tick(time::uptime()).after(limit)
}

impl<'a> Asked<'a> {
    /// A volume, by its channel. Any IRQL.
    pub fn new(channel: &'a QueryChannel, deadline: Tick) -> Self {
        Self { channel, deadline }
    }

    fn ioctl(self, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize, NTSTATUS> {
        let left = self.deadline.since(Tick(time::uptime()));
        if left == 0 { Err(STATUS_IO_TIMEOUT) } else { self.channel.ask(code, input, output, left) }
    }
}

/// The volume's reply or refusal. That its time is up, or that there is no memory below, says
/// nothing about the volume, and is the caller's error.
fn unless_unknown<T>(reply: Result<T, NTSTATUS>) -> Result<Result<T, NTSTATUS>, NTSTATUS> {
    match reply {
        Err(status @ (STATUS_IO_TIMEOUT | STATUS_INSUFFICIENT_RESOURCES)) => Err(status),
        reply => Ok(reply),
    }
}

/// The volume's length in bytes. PASSIVE_LEVEL.
pub fn length(volume: Asked<'_>) -> Result<u64, NTSTATUS> {
    let mut length = [0; 8];
    let got = volume.ioctl(IOCTL_DISK_GET_LENGTH_INFO, &[], &mut length)?;
    if got == length.len() { Ok(u64::from_le_bytes(length)) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// The volume's length and sector size in bytes. PASSIVE_LEVEL.
pub fn size(volume: Asked<'_>) -> Result<(u64, u32), NTSTATUS> {
    let length = length(volume)?;
    let mut geometry = [0; DISK_GEOMETRY_LEN];
    let got = volume.ioctl(IOCTL_DISK_GET_DRIVE_GEOMETRY, &[], &mut geometry)?;
    let sector = geometry.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if got == geometry.len() { Ok((length, sector)) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// What decides whether the volume can be protected; an error if that could not be found out.
/// PASSIVE_LEVEL.
pub fn facts(volume: Asked<'_>) -> Result<VolumeFacts, NTSTATUS> {
    let mut attributes = [0; 8];
    let got = unless_unknown(volume.ioctl(IOCTL_VOLUME_GET_GPT_ATTRIBUTES, &[], &mut attributes))?;
    let writable = unless_unknown(volume.ioctl(IOCTL_DISK_IS_WRITABLE, &[], &mut []))?;
    Ok(VolumeFacts {
        answers: unless_unknown(size(volume))?.is_ok(),
        write_protected: writable == Err(STATUS_MEDIA_WRITE_PROTECTED),
        removable_media: has_removable_media(volume)?,
        // A disk without GPT does not support the IOCTL.
        gpt_attributes: if got == Ok(attributes.len()) {
            u64::from_le_bytes(attributes)
        } else {
            0
        },
    })
}

/// True if the disk says that its medium is removable; a volume over several disks says nothing.
fn has_removable_media(volume: Asked<'_>) -> Result<bool, NTSTATUS> {
    let mut descriptor = [0; DEVICE_DESCRIPTOR_LEN];
    let got = property(volume, &DEVICE_QUERY, &mut descriptor)?;
    let said = descriptor.get(REMOVABLE_MEDIA_AT).is_some_and(|removable| *removable != 0);
    Ok(said && got > REMOVABLE_MEDIA_AT)
}

/// True if the device supports trim; an error if that could not be found out. PASSIVE_LEVEL.
pub fn supports_trim(volume: Asked<'_>) -> Result<bool, NTSTATUS> {
    let mut descriptor = [0; TRIM_DESCRIPTOR_LEN];
    let got = property(volume, &TRIM_QUERY, &mut descriptor)?;
    let said = descriptor.get(TRIM_ENABLED_AT).is_some_and(|enabled| *enabled != 0);
    Ok(said && got > TRIM_ENABLED_AT)
}

/// Bytes of the reply to a property query; 0 if the device does not have the property.
fn property(volume: Asked<'_>, query: &[u8], reply: &mut [u8]) -> Result<usize, NTSTATUS> {
    let got = unless_unknown(volume.ioctl(IOCTL_STORAGE_QUERY_PROPERTY, query, reply))?;
    Ok(got.unwrap_or(0))
}

/// The volume's device name, as the mount manager has it. PASSIVE_LEVEL.
#[inline(never)] // Its buffer is on the stack only while it is needed.
pub fn device_name(volume: Asked<'_>) -> Result<DeviceName, NTSTATUS> {
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
