//! Requests other than writes that change a volume.
//!
//! While a session runs they are refused: each of these has callers that fall back to ordinary writes, or for
//! whom it is advice. `STATUS_NOT_SUPPORTED` is what a device without the feature answers.

use crate::kernel::irp::OwnedIrp;

/// `CTL_CODE(IOCTL_STORAGE_BASE, 0x0501, METHOD_BUFFERED, FILE_WRITE_ACCESS)`: trim, zero, offloaded
/// write and others, by the action in its input.
const IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES: u32 = 0x002d_9404;
/// `CTL_CODE(IOCTL_DISK_BASE, 0x0019, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)`.
const IOCTL_DISK_COPY_DATA: u32 = 0x0007_c064;
/// `CTL_CODE(IOCTL_SCSI_BASE, 0x0401, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)`.
const IOCTL_SCSI_PASS_THROUGH: u32 = 0x0004_d004;
/// As above, function 0x0405.
const IOCTL_SCSI_PASS_THROUGH_DIRECT: u32 = 0x0004_d014;
/// As above, function 0x0411.
const IOCTL_SCSI_PASS_THROUGH_EX: u32 = 0x0004_d044;
/// As above, function 0x0412.
const IOCTL_SCSI_PASS_THROUGH_DIRECT_EX: u32 = 0x0004_d048;
/// `CTL_CODE(IOCTL_DISK_BASE, 6, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)`.
const IOCTL_DISK_FORMAT_TRACKS: u32 = 0x0007_c018;
/// As above, function 0x000b.
const IOCTL_DISK_FORMAT_TRACKS_EX: u32 = 0x0007_c02c;
/// Bit of a data set action that leaves the data alone (docs: `DEVICE_DATA_MANAGEMENT_SET_ACTION`).
const DSM_ACTION_NON_DESTRUCTIVE: u32 = 0x8000_0000;

/// True for a request that may change the volume's content.
pub fn changes_the_volume(irp: &OwnedIrp) -> bool {
    let (code, input) = irp.control();
    match code {
        IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES => {
            // DEVICE_MANAGE_DATA_SET_ATTRIBUTES: its size, then the action. One too short for that is
            // the lower driver's to refuse.
            input.is_some_and(|[_, _, _, _, action @ ..]| {
                u32::from_le_bytes(action) & DSM_ACTION_NON_DESTRUCTIVE == 0
            })
        }
        IOCTL_DISK_COPY_DATA
        | IOCTL_SCSI_PASS_THROUGH
        | IOCTL_SCSI_PASS_THROUGH_DIRECT
        | IOCTL_SCSI_PASS_THROUGH_EX
        | IOCTL_SCSI_PASS_THROUGH_DIRECT_EX
        | IOCTL_DISK_FORMAT_TRACKS
        | IOCTL_DISK_FORMAT_TRACKS_EX => true,
        _ => false,
    }
}
