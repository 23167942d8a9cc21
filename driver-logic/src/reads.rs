//! Which failed reads say that a sector cannot be read, and which may succeed later.
//!
//! A bad sector leaves a hole in the replica, so only the statuses that name the medium count:
//! storage class drivers map the sense keys to them (medium error, illegal block address), and
//! storage that checks its content reports a checksum. All others say something of the device, the
//! path to it or the system: no memory, offline, not ready, locked by `BitLocker`, timed out,
//! reset, cancelled. An unknown status is one of those: a block that is read again costs time, a
//! hole costs data.

/// `STATUS_NONEXISTENT_SECTOR`: the device has no such sector.
const NONEXISTENT_SECTOR: u32 = 0xC000_0015;
/// `STATUS_DATA_ERROR`: a parity error in the data.
const DATA_ERROR: u32 = 0xC000_003E;
/// `STATUS_CRC_ERROR`: a checksum of the data is wrong.
const CRC_ERROR: u32 = 0xC000_003F;
/// `STATUS_DEVICE_DATA_ERROR`: the medium has an error there.
const DEVICE_DATA_ERROR: u32 = 0xC000_009C;

/// True if a read that failed with this status would fail again, because of a sector.
pub fn is_bad_sector(status: i32) -> bool {
    matches!(
        status.cast_unsigned(),
        NONEXISTENT_SECTOR | DATA_ERROR | CRC_ERROR | DEVICE_DATA_ERROR
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_the_medium_is_a_bad_sector() {
        let table = [
            (0xC000_009C, true, "STATUS_DEVICE_DATA_ERROR"),
            (0xC000_003F, true, "STATUS_CRC_ERROR"),
            (0xC000_003E, true, "STATUS_DATA_ERROR"),
            (0xC000_0015, true, "STATUS_NONEXISTENT_SECTOR"),
            (0xC000_0185, false, "STATUS_IO_DEVICE_ERROR: a hardware error of the device"),
            (0xC000_009A, false, "STATUS_INSUFFICIENT_RESOURCES"),
            (0x8000_0010, false, "STATUS_DEVICE_OFF_LINE"),
            (0xC000_00A3, false, "STATUS_DEVICE_NOT_READY"),
            (0x8000_0011, false, "STATUS_DEVICE_BUSY"),
            (0xC000_009D, false, "STATUS_DEVICE_NOT_CONNECTED"),
            (0xC000_000E, false, "STATUS_NO_SUCH_DEVICE"),
            (0xC000_0013, false, "STATUS_NO_MEDIA_IN_DEVICE"),
            (0x8000_0016, false, "STATUS_VERIFY_REQUIRED"),
            (0xC000_0056, false, "STATUS_DELETE_PENDING"),
            (0xC000_00B5, false, "STATUS_IO_TIMEOUT"),
            (0xC000_0120, false, "STATUS_CANCELLED"),
            (0xC000_000D, false, "STATUS_INVALID_PARAMETER"),
            (0xC000_0010, false, "STATUS_INVALID_DEVICE_REQUEST"),
            (0xC000_0022, false, "STATUS_ACCESS_DENIED"),
            (0xC021_0000, false, "STATUS_FVE_LOCKED_VOLUME"),
            (0xC000_0001, false, "STATUS_UNSUCCESSFUL"),
            (0xC0DE_0001, false, "a status of a driver's own"),
        ];
        for (status, is_bad, name) in table {
            assert_eq!(is_bad_sector(u32::cast_signed(status)), is_bad, "{name}");
        }
    }
}
