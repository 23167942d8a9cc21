//! Data set management at the bottom of the stack: trim and writes of zeros. Both write zeros.
//!
//! The rule: the volume is as strict as a disk: whole sectors, within its length, no more than the
//! buffer holds.

use alloc::vec::Vec;

use nt::irp::Irp;
use wdk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED};

use crate::config::SECTOR;

/// `IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES`
pub(crate) const CODE: u32 = 0x002D_9404;

const HEADER: usize = 28;
const TRIM: u32 = 1;
const WRITE_ZEROES: u32 = 0x19;

/// The ranges of a request, offset and length in bytes, or the status that it fails with.
pub(crate) fn ranges(irp: &Irp, length: u64) -> Result<Vec<(u64, u64)>, NTSTATUS> {
    let (_, input_length, _) = irp.device_control();
    let buffer = irp.system_buffer().cast::<u8>();
    if buffer.is_null() || (input_length as usize) < HEADER {
        return Err(STATUS_INVALID_PARAMETER);
    }
    // SAFETY: a buffered request's system buffer holds its input.
    let input = unsafe { core::slice::from_raw_parts(buffer, input_length as usize) };
    let word =
        |at: usize| u32::from_le_bytes([input[at], input[at + 1], input[at + 2], input[at + 3]]);
    if ![TRIM, WRITE_ZEROES].contains(&word(4)) {
        return Err(STATUS_NOT_SUPPORTED);
    }
    let (at, size) = (word(20) as usize, word(24) as usize);
    let list = input.get(at..at.saturating_add(size)).ok_or(STATUS_INVALID_PARAMETER)?;
    let mut ranges = Vec::new();
    for range in list.chunks(16) {
        let range: &[u8; 16] = range.try_into().map_err(|_| STATUS_INVALID_PARAMETER)?;
        let both = u128::from_le_bytes(*range);
        let (offset, len) = (both as u64, (both >> 64) as u64);
        let whole = (offset | len).is_multiple_of(SECTOR.into());
        if !whole || offset.checked_add(len).is_none_or(|end| end > length) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        ranges.push((offset, len));
    }
    Ok(ranges)
}
