//! The volume's answers to device controls of volume filters, services and file systems.
//!
//! The rule: an answer is whole; a buffer that is too small gets the status that Windows documents
//! for it. Unknown codes are STATUS_INVALID_DEVICE_REQUEST.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use nt::irp::Irp;
use protocol::names::{VOLUME_DEVICE, VOLUME_GUID_BYTES};
use wdk_sys::{
    NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_MEDIA_WRITE_PROTECTED, STATUS_SUCCESS,
};

use crate::{
    config::SECTOR,
    files::{self, Files},
    volume::Volume,
};

const IOCTL_DISK_GET_DRIVE_GEOMETRY: u32 = 0x0007_0000;
const IOCTL_DISK_GET_DRIVE_GEOMETRY_EX: u32 = 0x0007_00A0;
const IOCTL_DISK_IS_WRITABLE: u32 = 0x0007_0024;
const IOCTL_DISK_GET_LENGTH_INFO: u32 = 0x0007_405C;
const IOCTL_STORAGE_CHECK_VERIFY: u32 = 0x002D_4800;
const IOCTL_STORAGE_CHECK_VERIFY2: u32 = 0x002D_0800;
const IOCTL_STORAGE_QUERY_PROPERTY: u32 = 0x002D_1400;
const IOCTL_MOUNTDEV_QUERY_UNIQUE_ID: u32 = 0x004D_0000;
const IOCTL_MOUNTDEV_QUERY_DEVICE_NAME: u32 = 0x004D_0008;
const IOCTL_MOUNTDEV_QUERY_STABLE_GUID: u32 = 0x004D_0018;
const IOCTL_VOLUME_GET_GPT_ATTRIBUTES: u32 = 0x0056_0038;
const IOCTL_VOLUME_ONLINE: u32 = 0x0056_C008;

const STORAGE_ACCESS_ALIGNMENT_PROPERTY: u32 = 6;
const STORAGE_TRIM_PROPERTY: u32 = 8;
const PROPERTY_STANDARD_QUERY: u32 = 0;

/// The geometry that Windows reports for disks without one.
const TRACKS_PER_CYLINDER: u32 = 255;
const SECTORS_PER_TRACK: u32 = 63;
const FIXED_MEDIA: u32 = 12;
const PHYSICAL_SECTOR_SIZE: u32 = 4096;

/// Answers a device control; returns the status and the answer's length.
pub(crate) fn answer(volume: &Volume, irp: &mut Irp) -> (NTSTATUS, usize) {
    let (code, input_length, output_length) = irp.device_control();
    // SAFETY: a buffered request's system buffer holds the larger of both lengths.
    let input = unsafe { input(irp, input_length as usize) };
    let switches = &volume.scheduler.switches;
    let answer = match code {
        IOCTL_DISK_GET_LENGTH_INFO => volume.scheduler.store.length().to_le_bytes().to_vec(),
        IOCTL_DISK_GET_DRIVE_GEOMETRY => geometry(volume.scheduler.store.length()),
        IOCTL_DISK_GET_DRIVE_GEOMETRY_EX => {
            let mut answer = geometry(volume.scheduler.store.length());
            answer.extend(volume.scheduler.store.length().to_le_bytes());
            answer
        }
        // Relaxed, here and below: the switches are independent.
        IOCTL_DISK_IS_WRITABLE if switches.write_protected.load(Ordering::Relaxed) => {
            return (STATUS_MEDIA_WRITE_PROTECTED, 0);
        }
        IOCTL_DISK_IS_WRITABLE
        | IOCTL_STORAGE_CHECK_VERIFY
        | IOCTL_STORAGE_CHECK_VERIFY2
        | IOCTL_VOLUME_ONLINE => {
            return (STATUS_SUCCESS, 0);
        }
        IOCTL_STORAGE_QUERY_PROPERTY => match property(volume, &input) {
            Ok(answer) => answer,
            Err(status) => return (status, 0),
        },
        IOCTL_MOUNTDEV_QUERY_DEVICE_NAME => {
            let name: Vec<u8> = VOLUME_DEVICE.encode_utf16().flat_map(u16::to_le_bytes).collect();
            // SAFETY: as above.
            return unsafe { counted(irp, &name, output_length as usize) };
        }
        IOCTL_MOUNTDEV_QUERY_UNIQUE_ID => {
            // SAFETY: as above.
            return unsafe { counted(irp, &VOLUME_GUID_BYTES, output_length as usize) };
        }
        IOCTL_MOUNTDEV_QUERY_STABLE_GUID => VOLUME_GUID_BYTES.to_vec(),
        files::NTFS_VOLUME_DATA => Files::volume_data(),
        files::QUERY_FILE_LAYOUT => return switches.files.layout(irp),
        files::GET_VOLUME_BITMAP => {
            return switches.files.cluster_map(irp, &volume.scheduler.store);
        }
        IOCTL_VOLUME_GET_GPT_ATTRIBUTES => {
            switches.gpt_attributes.load(Ordering::Relaxed).to_le_bytes().to_vec()
        }
        _ => return (STATUS_INVALID_DEVICE_REQUEST, 0),
    };
    if (output_length as usize) < answer.len() {
        return (STATUS_BUFFER_TOO_SMALL, 0);
    }
    // SAFETY: the system buffer has at least the output's length.
    unsafe { output(irp, &answer) };
    (STATUS_SUCCESS, answer.len())
}

/// Answers a device control of a volume that has only a length and a name.
pub(crate) fn answer_second(irp: &mut Irp, length: u64, name: &str) -> (NTSTATUS, usize) {
    let (code, _, room) = irp.device_control();
    let answer = match code {
        IOCTL_DISK_GET_LENGTH_INFO => length.to_le_bytes().to_vec(),
        IOCTL_DISK_GET_DRIVE_GEOMETRY => geometry(length),
        IOCTL_MOUNTDEV_QUERY_DEVICE_NAME => {
            let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            // SAFETY: a buffered request's system buffer holds the larger of both lengths.
            return unsafe { counted(irp, &name, room as usize) };
        }
        IOCTL_DISK_IS_WRITABLE => Vec::new(),
        _ => return (STATUS_INVALID_DEVICE_REQUEST, 0),
    };
    if (room as usize) < answer.len() {
        return (STATUS_BUFFER_TOO_SMALL, 0);
    }
    // SAFETY: as above.
    unsafe { output(irp, &answer) };
    (STATUS_SUCCESS, answer.len())
}

/// `DISK_GEOMETRY`
fn geometry(length: u64) -> Vec<u8> {
    let cylinder = u64::from(TRACKS_PER_CYLINDER * SECTORS_PER_TRACK * SECTOR);
    let cylinders = length / cylinder;
    let mut answer = cylinders.to_le_bytes().to_vec();
    for field in [FIXED_MEDIA, TRACKS_PER_CYLINDER, SECTORS_PER_TRACK, SECTOR] {
        answer.extend(field.to_le_bytes());
    }
    answer
}

/// `STORAGE_ACCESS_ALIGNMENT_DESCRIPTOR`, or `DEVICE_TRIM_DESCRIPTOR` with `TrimEnabled`.
fn property(volume: &Volume, query: &[u8]) -> Result<Vec<u8>, NTSTATUS> {
    const LENGTH: u32 = 28;
    let word = |at: usize| {
        let bytes = query.get(at..at + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let (property, query_type) = word(0).zip(word(4)).ok_or(STATUS_INVALID_PARAMETER)?;
    if property == STORAGE_TRIM_PROPERTY && query_type == PROPERTY_STANDARD_QUERY {
        let trims = u32::from(volume.scheduler.switches.reports_trim());
        return Ok([12, 12, trims].into_iter().flat_map(u32::to_le_bytes).collect());
    }
    if property != STORAGE_ACCESS_ALIGNMENT_PROPERTY || query_type != PROPERTY_STANDARD_QUERY {
        return Err(STATUS_INVALID_DEVICE_REQUEST);
    }
    Ok([LENGTH, LENGTH, 0, 0, SECTOR, PHYSICAL_SECTOR_SIZE, 0]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect())
}

/// `MOUNTDEV_NAME` and `MOUNTDEV_UNIQUE_ID`: a 16-bit length and that many bytes. A buffer that has
/// room for the length only gets the length.
///
/// # Safety
/// The packet's system buffer has at least `room` bytes.
unsafe fn counted(irp: &mut Irp, bytes: &[u8], room: usize) -> (NTSTATUS, usize) {
    const LENGTH_FIELD: usize = 2;
    if room < LENGTH_FIELD {
        return (STATUS_INVALID_PARAMETER, 0);
    }
    let mut answer = (bytes.len() as u16).to_le_bytes().to_vec();
    if room < LENGTH_FIELD + bytes.len() {
        // SAFETY: room for the length was checked.
        unsafe { output(irp, &answer) };
        return (STATUS_BUFFER_OVERFLOW, LENGTH_FIELD + usize::from(room >= 4) * 2);
    }
    answer.extend(bytes);
    // SAFETY: room was checked.
    unsafe { output(irp, &answer) };
    (STATUS_SUCCESS, answer.len())
}

/// # Safety
/// The packet's system buffer has at least `length` bytes.
unsafe fn input(irp: &Irp, length: usize) -> Vec<u8> {
    let buffer = irp.system_buffer().cast::<u8>();
    if buffer.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller says so.
    unsafe { core::slice::from_raw_parts(buffer, length) }.to_vec()
}

/// # Safety
/// The packet's system buffer has room for the answer.
unsafe fn output(irp: &mut Irp, answer: &[u8]) {
    let buffer = irp.system_buffer().cast::<u8>();
    // SAFETY: the caller says so.
    unsafe { core::ptr::copy_nonoverlapping(answer.as_ptr(), buffer, answer.len()) };
}
