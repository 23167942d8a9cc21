//! What a driver of version 2 and later says of a session on top.

use serde::Serialize;
use snapless_wire::ioctl::{
    Protection, SPECIAL_FILE_DUMP, SPECIAL_FILE_HIBERNATION, SPECIAL_FILE_PAGING, StatusFlags,
    StatusReply,
};

use crate::protection::protection_name;

/// Flags and counters of [`StatusReply`] since version 2, checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
// Each is of its own.
#[allow(clippy::struct_excessive_bools)]
pub struct Details {
    /// The sweep is paused.
    pub paused: bool,
    /// The volume has grown past what the session describes.
    pub outgrown: bool,
    /// The volume has become shorter than what the session describes.
    pub shrunk: bool,
    /// The base image is complete in the stream.
    pub base_complete: bool,
    /// The stream describes the volume: this is no gap.
    pub consistent: bool,
    /// Whether the volume can be protected still; `None` for a reason of a newer driver.
    #[serde(serialize_with = "protection_or_unknown")]
    pub protection: Option<Protection>,
    /// Blocks that held no data and were never read.
    pub blocks_unallocated: u64,
    /// Trims and writes of zeros that went down.
    pub clearings: u64,
    /// Requests that were refused because no stream could tell what they change.
    pub requests_refused: u64,
    /// Held writes that their application cancelled.
    pub writes_cancelled: u64,
    /// Writes that failed or were cancelled below.
    pub writes_failed: u64,
    /// Writes to a paging file.
    pub writes_urgent: u64,
    /// Writes whose data could not be reached.
    pub writes_unreachable: u64,
    /// Reads that failed.
    pub reads_failed: u64,
    /// The last read that failed.
    pub read_failure: Option<ReadFailure>,
    /// Special files on the volume: `paging`, `hibernation`, `dump`.
    pub special_files: Vec<&'static str>,
}

/// A read that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ReadFailure {
    /// Where it began on the volume, in bytes.
    pub offset: u64,
    /// The `NTSTATUS` that it ended with.
    pub status: u32,
}

impl Details {
    /// Reads the driver's answer.
    pub fn of(reply: &StatusReply) -> Self {
        let flags = StatusFlags::from_wire(reply.flags.get());
        let failure = ReadFailure {
            offset: reply.read_failed_offset.get(),
            status: reply.read_failed_status.get(),
        };
        Self {
            paused: flags.paused,
            outgrown: flags.outgrown,
            shrunk: flags.shrunk,
            base_complete: flags.base_complete,
            consistent: flags.consistent,
            protection: Protection::from_wire(reply.protection.get()),
            blocks_unallocated: reply.blocks_unallocated.get(),
            clearings: reply.clearings.get(),
            requests_refused: reply.requests_refused.get(),
            writes_cancelled: reply.writes_cancelled.get(),
            writes_failed: reply.writes_failed.get(),
            writes_urgent: reply.writes_urgent.get(),
            writes_unreachable: reply.writes_unreachable.get(),
            reads_failed: reply.reads_failed.get(),
            read_failure: (failure.status != 0).then_some(failure),
            special_files: special_files(reply.special_files.get()),
        }
    }
}

/// The names of the special files of these bits.
pub fn special_files(bits: u32) -> Vec<&'static str> {
    [
        (SPECIAL_FILE_PAGING, "paging"),
        (SPECIAL_FILE_HIBERNATION, "hibernation"),
        (SPECIAL_FILE_DUMP, "dump"),
    ]
    .into_iter()
    .filter_map(|(bit, name)| (bits & bit != 0).then_some(name))
    .collect()
}

// serde hands every field over by reference.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
fn protection_or_unknown<S: serde::Serializer>(
    protection: &Option<Protection>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(protection.map_or("unknown", protection_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;
    use zerocopy::little_endian::{U32, U64};

    #[test]
    fn flags_counters_and_the_last_failure_are_read() {
        let mut reply = StatusReply::new_zeroed();
        assert_eq!(Details::of(&reply).read_failure, None);
        let flags = StatusFlags { paused: true, outgrown: true, ..StatusFlags::default() };
        reply.flags = U32::new(flags.to_wire());
        reply.protection = U32::new(Protection::Excluded as u32);
        reply.writes_cancelled = U64::new(3);
        reply.read_failed_offset = U64::new(512);
        reply.read_failed_status = U32::new(0xc000_009c);
        reply.special_files = U32::new(SPECIAL_FILE_PAGING | SPECIAL_FILE_DUMP);
        let details = Details::of(&reply);
        assert!(details.paused && details.outgrown && !details.base_complete);
        assert_eq!(details.protection, Some(Protection::Excluded));
        assert_eq!(details.read_failure, Some(ReadFailure { offset: 512, status: 0xc000_009c }));
        assert_eq!(details.special_files, ["paging", "dump"]);
        let json = serde_json::to_value(&details).unwrap();
        assert_eq!(
            (&json["protection"], &json["writes_cancelled"]),
            (&"excluded".into(), &3.into())
        );
        reply.protection = U32::new(99);
        assert_eq!(serde_json::to_value(Details::of(&reply)).unwrap()["protection"], "unknown");
    }
}
