//! What the driver says of a session: its phase, its counters, its flags.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::id::{FileTime, SeqLe};

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum SessionPhase {
    /// There is no session.
    None = 0,
    /// Waiting for the writes that were under way when it began.
    Starting = 1,
    /// The first sync runs.
    FirstSync = 2,
    /// Every block is synced; writes are captured as they come.
    Live = 3,
    /// Writes go through uncaptured.
    Gap = 4,
    /// Capturing again; dirty blocks are being re-read.
    Resync = 5,
    /// Writes go through uncaptured: nobody has claimed the session.
    Detached = 6,
    /// The session could not begin; stop it.
    Failed = 7,
}

impl SessionPhase {
    /// The phase with this number on the wire.
    pub fn from_wire(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Starting,
            2 => Self::FirstSync,
            3 => Self::Live,
            4 => Self::Gap,
            5 => Self::Resync,
            6 => Self::Detached,
            7 => Self::Failed,
            _ => return None,
        })
    }
}

/// Buckets of [`StatusReply::hold_histogram`].
pub const HOLD_BUCKETS: usize = 32;

/// Output of [`IOCTL_STATUS`]: a session's state and its counters since t0.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StatusReply {
    /// [`SessionPhase`] as a number.
    pub phase: U32,
    /// Bytes of a block.
    pub block_size: U32,
    /// Bytes of the volume.
    pub length: U64,
    /// The session's t0; 0 while starting.
    pub t0: FileTime,
    /// Blocks of the volume.
    pub blocks_total: U64,
    /// Blocks in state `Synced`.
    pub blocks_synced: U64,
    /// Blocks in state `Dirty`.
    pub blocks_dirty: U64,
    /// Blocks that the sweep captured.
    pub blocks_by_sweep: U64,
    /// Blocks that were captured because a write was waiting for them.
    pub blocks_by_hold: U64,
    /// Blocks that the disk could not read.
    pub blocks_unreadable: U64,
    /// Writes that were issued on their caller's thread.
    pub writes_passed: U64,
    /// Writes that were held and then issued.
    pub writes_held: U64,
    /// Writes that are held now.
    pub writes_holding: U64,
    /// Writes that went through uncaptured.
    pub writes_uncaptured: U64,
    /// Longest hold so far, in microseconds.
    pub hold_longest_us: U64,
    /// Payload bytes captured.
    pub bytes_captured: U64,
    /// Bytes handed to the service, with headers.
    pub bytes_drained: U64,
    /// Payload bytes in the queue now.
    pub queue_used: U64,
    /// Bytes of the queue.
    pub queue_bytes: U64,
    /// Gaps so far.
    pub gaps: U64,
    /// Last record that the driver numbered.
    pub last_seq: SeqLe,
    /// Last record at the time of the last acknowledged epoch.
    pub acknowledged_seq: SeqLe,
    /// Bucket `i` counts holds of 2^i to 2^(i+1) microseconds; the first also shorter ones, the last also
    /// longer ones.
    pub hold_histogram: [U64; HOLD_BUCKETS],
    // Since version 2:
    /// [`StatusFlags`] as bits.
    pub flags: U32,
    /// [`Protection`](super::Protection) of the volume as a number.
    pub protection: U32,
    /// Blocks that held no data and were never read.
    pub blocks_unallocated: U64,
    /// Trims and writes of zeros that went down.
    pub clearings: U64,
    /// Requests that were refused because they change the volume in a way that no stream can tell.
    pub requests_refused: U64,
    /// Held writes that their application cancelled.
    pub writes_cancelled: U64,
    /// Writes, trims and writes of zeros that failed or were cancelled below.
    pub writes_failed: U64,
    /// Writes that must not wait: to a paging file.
    pub writes_urgent: U64,
    /// Writes whose data could not be reached.
    pub writes_unreachable: U64,
    /// Reads that failed.
    pub reads_failed: U64,
    /// Where the last one of them began on the volume, in bytes.
    pub read_failed_offset: U64,
    /// The `NTSTATUS` that it ended with; 0 if none has failed.
    pub read_failed_status: U32,
    /// Which special files are on the volume: [`SPECIAL_FILE_PAGING`](super::SPECIAL_FILE_PAGING) and others.
    pub special_files: U32,
}

/// Bytes of a [`StatusReply`] of version 1.
const STATUS_REPLY_LEN_V1: usize = 168 + 8 * HOLD_BUCKETS;

impl StatusReply {
    /// How many bytes of it a version has.
    pub fn len_in(version: u32) -> usize {
        if version < 2 { STATUS_REPLY_LEN_V1 } else { size_of::<Self>() }
    }
}

/// What else is true of a session: bits of [`StatusReply::flags`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
// Each is of its own.
#[allow(clippy::struct_excessive_bools)]
pub struct StatusFlags {
    /// The sweep is paused.
    pub paused: bool,
    /// The volume has grown past what the session describes: a new one is needed to follow it.
    pub outgrown: bool,
    /// The volume has become shorter than what the session describes: a new one is needed.
    pub shrunk: bool,
    /// The base image is complete in the stream.
    pub base_complete: bool,
    /// The stream describes the volume: this is no gap.
    pub consistent: bool,
}

impl StatusFlags {
    const PAUSED: u32 = 1 << 0;
    const OUTGROWN: u32 = 1 << 1;
    const SHRUNK: u32 = 1 << 2;
    const BASE_COMPLETE: u32 = 1 << 3;
    const CONSISTENT: u32 = 1 << 4;

    /// The flags as bits.
    pub fn to_wire(self) -> u32 {
        [
            (self.paused, Self::PAUSED),
            (self.outgrown, Self::OUTGROWN),
            (self.shrunk, Self::SHRUNK),
            (self.base_complete, Self::BASE_COMPLETE),
            (self.consistent, Self::CONSISTENT),
        ]
        .into_iter()
        .fold(0, |bits, (is_set, bit)| if is_set { bits | bit } else { bits })
    }

    /// The flags of these bits; bits of a newer driver are left out.
    pub fn from_wire(bits: u32) -> Self {
        let has = |bit| bits & bit != 0;
        Self {
            paused: has(Self::PAUSED),
            outgrown: has(Self::OUTGROWN),
            shrunk: has(Self::SHRUNK),
            base_complete: has(Self::BASE_COMPLETE),
            consistent: has(Self::CONSISTENT),
        }
    }
}

const _: () = assert!(size_of::<StatusReply>() == STATUS_REPLY_LEN_V1 + 88);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn an_older_version_gets_what_it_knows() {
        assert_eq!(StatusReply::len_in(1), 424);
        assert_eq!(StatusReply::len_in(1), offset_of!(StatusReply, flags));
        assert_eq!(StatusReply::len_in(2), size_of::<StatusReply>());
    }

    #[test]
    fn each_flag_has_a_bit_of_its_own() {
        assert_eq!(StatusFlags::default().to_wire(), 0);
        for bit in 0..5 {
            let flags = StatusFlags::from_wire(1 << bit);
            assert_eq!(flags.to_wire(), 1 << bit);
        }
        assert_eq!(StatusFlags::from_wire(u32::MAX).to_wire(), 0b1_1111);
    }
}
