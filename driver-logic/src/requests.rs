//! How device control requests to a volume are handled while a session runs.
//!
//! Rule: a request that changes content is recorded in the stream or refused. A request that is not
//! listed here does not change content.

use crate::dataset::{self, CheckedClearing, Judgement};

/// `CTL_CODE(IOCTL_STORAGE_BASE, 0x0501, METHOD_BUFFERED, FILE_WRITE_ACCESS)`: trim, zeros,
/// offloaded write and others, by the action in its input.
pub const IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES: u32 = 0x002d_9404;
/// `CTL_CODE(IOCTL_DISK_BASE, 0x0017, METHOD_BUFFERED, FILE_READ_ACCESS)`; replies with a
/// `GET_LENGTH_INFORMATION`.
pub const IOCTL_DISK_GET_LENGTH_INFO: u32 = 0x0007_405c;

/// Requests that change content in a way that no record describes.
const UNRECORDABLE: [u32; 14] = [
    // `CTL_CODE(IOCTL_DISK_BASE, 0x0019, …, FILE_READ_ACCESS | FILE_WRITE_ACCESS)`:
    // IOCTL_DISK_COPY_DATA.
    0x0007_c064,
    // IOCTL_SCSI_PASS_THROUGH, …_DIRECT, …_EX, …_DIRECT_EX: functions 0x0401, 0x0405, 0x0411,
    // 0x0412 of IOCTL_SCSI_BASE.
    0x0004_d004,
    0x0004_d014,
    0x0004_d044,
    0x0004_d048,
    // IOCTL_ATA_PASS_THROUGH, …_DIRECT: functions 0x040b, 0x040c.
    0x0004_d02c,
    0x0004_d030,
    // IOCTL_STORAGE_PROTOCOL_COMMAND: function 0x04f0 of IOCTL_STORAGE_BASE; NVMe and other
    // commands.
    0x002d_d3c0,
    // IOCTL_STORAGE_REINITIALIZE_MEDIA: function 0x0590; sanitizes.
    0x002d_9640,
    // IOCTL_DISK_FORMAT_TRACKS, …_EX: functions 6 and 0x000b of IOCTL_DISK_BASE.
    0x0007_c018,
    0x0007_c02c,
    // IOCTL_DISK_REASSIGN_BLOCKS, …_EX: functions 7 and 0x0029.
    0x0007_c01c,
    0x0007_c0a4,
    // IOCTL_DISK_FORMAT_DRIVE: function 0x00f3.
    0x0007_c3cc,
];

/// Requests that may change the volume's length.
const RESIZING: [u32; 3] = [
    // IOCTL_DISK_GROW_PARTITION: function 0x0034 of IOCTL_DISK_BASE.
    0x0007_c0d0,
    // IOCTL_DISK_UPDATE_DRIVE_SIZE: function 0x0032.
    0x0007_c0c8,
    // IOCTL_VOLUME_UPDATE_PROPERTIES: function 21 of IOCTL_VOLUME_BASE.
    0x0056_c054,
];

/// How a request is handled while a session runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict<'a> {
    /// It does not change the volume: pass down.
    Pass,
    /// It clears ranges: held and recorded like a write.
    Clear(CheckedClearing<'a>),
    /// It changes content in a way that no record describes.
    Refuse,
    /// It clears ranges, but its input is invalid.
    RefuseMalformed,
    /// The volume may have another length when it has succeeded.
    Resizes,
    /// Its reply is the volume's length.
    ReportsLength,
}

/// True for codes that [`judge`] decides about; all others pass. Called for every request.
pub fn is_of_concern(code: u32) -> bool {
    code == IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES
        || code == IOCTL_DISK_GET_LENGTH_INFO
        || UNRECORDABLE.contains(&code)
        || RESIZING.contains(&code)
}

/// Decides about a request with this code and input, on a volume with sectors of `sector_size`
/// bytes.
pub fn judge(code: u32, input: &[u8], sector_size: u32) -> Verdict<'_> {
    match code {
        IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES => match dataset::judge(input, sector_size) {
            Judgement::Harmless => Verdict::Pass,
            Judgement::Unrecordable => Verdict::Refuse,
            Judgement::Malformed => Verdict::RefuseMalformed,
            Judgement::Clearing(clearing) => Verdict::Clear(clearing),
        },
        IOCTL_DISK_GET_LENGTH_INFO => Verdict::ReportsLength,
        code if UNRECORDABLE.contains(&code) => Verdict::Refuse,
        code if RESIZING.contains(&code) => Verdict::Resizes,
        _ => Verdict::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Range, piece_request};
    use snapless_types::Clearing;

    /// `CTL_CODE`, buffered.
    fn ctl_code(device: u32, function: u32, access: u32) -> u32 {
        (device << 16) | (access << 14) | (function << 2)
    }

    #[test]
    fn codes_match_their_definitions() {
        let (disk, scsi, storage, volume) = (7, 4, 0x2d, 0x56);
        let unrecordable = [
            (disk, 0x19, 3),
            (scsi, 0x401, 3),
            (scsi, 0x405, 3),
            (scsi, 0x411, 3),
            (scsi, 0x412, 3),
            (scsi, 0x40b, 3),
            (scsi, 0x40c, 3),
            (storage, 0x4f0, 3),
            (storage, 0x590, 2),
            (disk, 6, 3),
            (disk, 0xb, 3),
            (disk, 7, 3),
            (disk, 0x29, 3),
            (disk, 0xf3, 3),
        ];
        assert_eq!(
            UNRECORDABLE,
            unrecordable.map(|(device, function, access)| ctl_code(device, function, access))
        );
        let resizing = [(disk, 0x34, 3), (disk, 0x32, 3), (volume, 21, 3)];
        assert_eq!(
            RESIZING,
            resizing.map(|(device, function, access)| ctl_code(device, function, access))
        );
        assert_eq!(IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES, ctl_code(storage, 0x501, 2));
        assert_eq!(IOCTL_DISK_GET_LENGTH_INFO, ctl_code(disk, 0x17, 1));
    }

    #[test]
    fn a_request_is_judged_by_its_code_and_action() {
        let trim = piece_request(Clearing::Trim, 0, Range { offset: 512, len: 512 });
        let manage = IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES;
        assert!(matches!(judge(manage, &trim, 512), Verdict::Clear(_)));
        assert_eq!(judge(manage, &trim, 4096), Verdict::RefuseMalformed);
        assert_eq!(judge(manage, &[], 512), Verdict::Pass);
        assert_eq!(judge(IOCTL_DISK_GET_LENGTH_INFO, &[], 512), Verdict::ReportsLength);
        for code in UNRECORDABLE {
            assert_eq!(judge(code, &trim, 512), Verdict::Refuse);
        }
        for code in RESIZING {
            assert_eq!(judge(code, &[], 512), Verdict::Resizes);
        }
    }

    #[test]
    fn requests_that_are_not_listed_pass() {
        // Geometry, verification, properties, flush-and-hold of shadow copies, online.
        for code in [0x0007_0000, 0x0007_0014, 0x002d_1400, 0x0053_c000, 0x0056_c008, 0, u32::MAX] {
            assert!(!is_of_concern(code));
            assert_eq!(judge(code, &[0xff; 64], 512), Verdict::Pass);
        }
        assert!(UNRECORDABLE.into_iter().chain(RESIZING).all(is_of_concern));
    }
}
