//! The commands of the rig's control device. All are buffered; a command's number is its function
//! code.
//!
//! The rule: a command that takes or gives data has one fixed structure for it, and is refused with
//! any other length.

use zerocopy::{FromBytes, Immutable, IntoBytes};

const fn code(function: u32) -> u32 {
    const FILE_DEVICE_UNKNOWN: u32 = 0x22;
    (FILE_DEVICE_UNKNOWN << 16) | (function << 2)
}

/// Gives the volume's [`Counters`].
pub const QUERY: u32 = code(0x900);
/// Makes the image and the journal durable, and readable by the host.
pub const FLUSH: u32 = code(0x901);
/// Holds requests: the volume takes them but does not work on them.
pub const PAUSE: u32 = code(0x904);
/// Works on requests again.
pub const RESUME: u32 = code(0x905);
/// Takes a length in bytes as 64 bits and gives it to the volume; new bytes are zeros.
pub const RESIZE: u32 = code(0x906);
/// Takes 32 bits: if not 0, the volume reports that it is write-protected.
pub const WRITE_PROTECT: u32 = code(0x907);
/// Takes 32 bits: how many usage notifications fail at the bottom of the stack.
pub const REFUSE_USAGE: u32 = code(0x908);
/// Takes an [`AllocationFailure`] for the driver under test.
pub const FAIL_ALLOCATIONS: u32 = code(0x909);
/// Gives the driver's [`Memory`].
pub const MEMORY: u32 = code(0x90A);
/// Takes [`DeviceFlags`].
pub const SET_DEVICE_FLAGS: u32 = code(0x90B);
/// Takes 32 bits, of [`REPORTS_NO_TRIM`] and [`REFUSES_DATA_SET`].
pub const SET_TRIM_SUPPORT: u32 = code(0x90C);
/// Takes a [`TopWrite`], sends it and gives a [`TopWriteResult`].
pub const TOP_WRITE: u32 = code(0x90D);
/// Takes 32 bits: how many per cent of the driver's own reads fail for reasons that pass.
pub const FAIL_READS: u32 = code(0x90E);
/// Takes [`LostSectors`]: the medium cannot read them until they are written.
pub const LOSE_SECTORS: u32 = code(0x90F);
/// Gives the [`FailedReads`].
pub const FAILED_READS: u32 = code(0x91A);
/// Takes a [`PagingFile`], which the volume's file system is then said to have.
pub const SET_PAGING_FILE: u32 = code(0x91B);
/// Takes a [`ClusterMap`], by which the volume says from then on which clusters are free.
pub const SET_CLUSTER_MAP: u32 = code(0x91E);
/// Gives how often it has said so of all of them, as a `u64`.
pub const CLUSTERS_TOLD: u32 = code(0x91F);

/// Plug and play: adds the filters of the volume class to the volume's stack and starts it.
pub const ATTACH: u32 = code(0x910);
/// Plug and play: query-remove, then remove; after a surprise removal, remove as soon as all
/// handles are closed. The volume itself stays and can be attached again.
pub const REMOVE: u32 = code(0x911);
/// Plug and play: surprise removal. The volume completes its requests and fails new ones until it
/// is attached again.
pub const SURPRISE_REMOVE: u32 = code(0x912);
/// Plug and play: takes a [`Usage`] and sends it down the stack.
pub const USAGE: u32 = code(0x913);
/// The system shuts down: sends the notification to the devices that registered for it.
pub const SHUTDOWN: u32 = code(0x914);
/// Power: takes 32 bits: tells the drivers that registered for it that the system is about to
/// sleep, 0, or that it is awake again, 1.
pub const SLEEP: u32 = code(0x91C);
/// Power: takes a device power state (1 is D0, 4 is D3) as 32 bits and sets the stack to it.
pub const SET_POWER: u32 = code(0x915);
/// Plug and play: takes a minor function code as 32 bits and sends its packet down the stack.
pub const PNP: u32 = code(0x916);

/// Takes 32 bits, [`HANG_READS`] or [`HANG_ALL`]: the second volume hangs: it keeps these requests,
/// cancelled or not, until this is sent again with 0.
pub const HANG: u32 = code(0x917);
/// For [`HANG`]: reads.
pub const HANG_READS: u32 = 1;
/// For [`HANG`]: reads, writes and device controls.
pub const HANG_ALL: u32 = 2;
/// Plug and play, as [`ATTACH`], for the second volume.
pub const ATTACH_SECOND: u32 = code(0x918);
/// Plug and play, as [`REMOVE`], for the second volume.
pub const REMOVE_SECOND: u32 = code(0x919);

/// For [`SET_TRIM_SUPPORT`]: the volume reports that it does not trim.
pub const REPORTS_NO_TRIM: u32 = 1;
/// For [`SET_TRIM_SUPPORT`]: the volume refuses data set requests (trim, zeros).
pub const REFUSES_DATA_SET: u32 = 2;

/// Counters of the volume since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Counters {
    /// Writes that the image took: the journal's number of entries.
    pub applied: u64,
    /// Writes that arrived and are not completed.
    pub in_flight: u64,
}

/// Sectors that the medium loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct LostSectors {
    /// Where the first one begins, in bytes.
    pub offset: u64,
    /// Bytes of all.
    pub length: u32,
    /// How long the disk tries to read one, in milliseconds.
    pub delay_ms: u32,
}

/// How many of the driver's own reads have failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct FailedReads {
    /// For reasons that pass.
    pub passing: u64,
    /// Over lost sectors.
    pub lost: u64,
}

/// Where the paging file is, in whole clusters of 4096 bytes; of no length while there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct PagingFile {
    /// Where it begins, in bytes of the volume.
    pub offset: u64,
    /// How long it is, in bytes.
    pub len: u64,
}

/// Where on the volume its file system keeps which clusters are in use: a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct ClusterMap {
    /// Where the bits begin, in bytes of the volume.
    pub offset: u64,
    /// How many clusters there are.
    pub clusters: u64,
}

/// A usage notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Usage {
    /// 1 paging, 2 hibernation, 3 dump (`DEVICE_USAGE_NOTIFICATION_TYPE`).
    pub kind: u32,
    /// 1 if the device comes into the file's path, 0 if it leaves it.
    pub in_path: u32,
}

/// Allocations of the driver under test that fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct AllocationFailure {
    /// The kinds, of the constants below; 0 ends all failures.
    pub kinds: u32,
    /// The number of the one allocation that fails, counted from 1 from now on; 0 is each.
    pub nth: u32,
}

impl AllocationFailure {
    /// Pool, packets, memory descriptor lists, threads.
    pub const KERNEL: u32 = 1;
    /// System addresses of applications' buffers.
    pub const MAPPINGS: u32 = 2;
    /// Objects that the framework makes for requests and open files.
    pub const FRAMEWORK: u32 = 4;
}

/// Allocations of the driver under test since the last [`AllocationFailure`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Memory {
    /// Allocations of the failing kinds.
    pub asked: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Pool blocks, packets, memory descriptor lists and threads, of all kinds, that are not freed.
    pub outstanding: u64,
}

/// Properties of the volume's device object. Requests are handled as before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct DeviceFlags {
    /// `FILE_DEVICE_…`; 0 is the volume's own.
    pub device_type: u32,
    /// `FILE_…` characteristics that are added.
    pub characteristics: u32,
    /// `DO_…` flags that are set.
    pub flags: u32,
    /// `DO_…` flags that are cleared.
    pub flags_cleared: u32,
    /// Attributes in the partition table that the volume reports.
    pub gpt_attributes: u64,
}

/// A write from the top of the volume's stack, as a file system makes it in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TopWrite {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u32,
    /// Every byte of it.
    pub fill: u16,
    /// Every byte of its buffer once the write is at the bottom of the stack, as an application may
    /// change it; 0: it stays as it is.
    pub changed_fill: u16,
    /// How many chained memory descriptor lists describe its data: 1 to `length`.
    pub parts: u32,
    /// `SL_…` flags of its stack location.
    pub location_flags: u32,
    /// `IRP_…` flags, with the priority hint.
    pub irp_flags: u32,
    /// One of the constants below.
    pub sender: u32,
}

impl TopWrite {
    /// A driver sends it, without a file.
    pub const DRIVER: u32 = 0;
    /// A file system sends it on for a paging file: it has a stack location of its own with the
    /// file object, and gives none to the device below.
    pub const PAGING_FILE: u32 = 1;
    /// The same for a part of a paging file in several pieces: a packet associated with the memory
    /// manager's, which has the file object and the flags of paging I/O.
    pub const PAGING_FILE_PIECE: u32 = 2;
    /// As [`Self::PAGING_FILE`], for a mapped file.
    pub const MAPPED_FILE: u32 = 3;
}

/// The address of the paging file's object, as usage notifications and writes have it. No memory is
/// there: an access ends the device process.
pub const PAGING_FILE_OBJECT: usize = 0xDEAD_0000_0001_0000;
/// The same of a mapped file.
pub const MAPPED_FILE_OBJECT: usize = 0xDEAD_0000_0002_0000;

/// How such a write ended, and its flags at the bottom of the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TopWriteResult {
    /// Its `NTSTATUS`.
    pub status: i32,
    /// How many bytes it reported.
    pub length: u32,
    /// `SL_…` flags as they arrived.
    pub location_flags: u32,
    /// `IRP_…` flags as they arrived.
    pub irp_flags: u32,
}
