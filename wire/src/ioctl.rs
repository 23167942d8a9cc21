//! The driver's control codes and the structures that go with them.
//!
//! A handle to [`CONTROL_DEVICE_PATH`] may claim one session: by [`IOCTL_START`], or by
//! [`IOCTL_RESUME`] where the session's last claimant is gone; after that it says by
//! [`IOCTL_DRAIN_FROM`] what the server has. [`IOCTL_DRAIN`] and [`IOCTL_ACKNOWLEDGE`] act on the
//! claimed session. Closing the handle gives the claim up: the driver keeps what was not
//! acknowledged for the next claimant, and captures until its queue is full.
//!
//! All structures are parsed with `zerocopy`; enumerations and limits are checked by the `parse`
//! functions here, so that both sides refuse the same things.

use snapless_types::{EpochId, GapReason, Geometry, GeometryError};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::id::{EpochIdLe, SessionId};

mod cut;
mod drain_from;
mod excluded;
mod keep_state;
mod map;
mod protection;
mod settings;
mod status;
mod sweep;
mod unused;
mod verify;
mod version;

pub use cut::{CUT_LEN_MAX, CutRequest, CutTime};
pub use drain_from::{DrainFrom, DrainFromReply, DrainFromRequest, ORIGIN_SKIP, origin_behind};
pub use excluded::{EXCLUDED_MAX, ExcludedExtents, ReviewRequest};
pub use keep_state::{ALWAYS_MAX, KeepStateRequest};
pub use map::{MAP_CELLS, MAP_SAMPLES, MapCell, MapReply};
pub use protection::Protection;
pub use settings::{SettingsLe, StartSettings};
pub use status::{LogPhase, SessionPhase, StatusFlags, StatusReply};
pub use sweep::{SweepLimits, SweepRequest};
pub use unused::{NoteRequest, UNUSED_BYTES, UNUSED_MAX, UnusedReply, UnusedRequest};
pub use verify::{Verify, VerifyRequest};
pub use version::{ABI_OLDEST, ABI_VERSION, VersionReply, is_spoken, negotiate};

/// What user mode opens.
pub const CONTROL_DEVICE_PATH: &str = r"\\.\Snapless";

/// Device type of the control codes: the range from 0x8000 is for vendors (docs: "Specifying Device
/// Types").
const FILE_DEVICE_SNAPLESS: u32 = 0x8053;
const METHOD_BUFFERED: u32 = 0;
const METHOD_OUT_DIRECT: u32 = 2;
/// `FILE_READ_DATA | FILE_WRITE_DATA`.
const ACCESS: u32 = 3;

/// `CTL_CODE` (docs: "Defining I/O Control Codes").
const fn ctl_code(function: u32, method: u32) -> u32 {
    (FILE_DEVICE_SNAPLESS << 16) | (ACCESS << 14) | (function << 2) | method
}

/// No input; output [`VersionReply`].
pub const IOCTL_VERSION: u32 = ctl_code(0x800, METHOD_BUFFERED);
/// Input [`ListRequest`]; output a [`VolumeEntry`] for each volume, or `STATUS_BUFFER_TOO_SMALL`.
pub const IOCTL_LIST_VOLUMES: u32 = ctl_code(0x801, METHOD_BUFFERED);
/// Input [`StartRequest`]; output [`SessionReply`]. The t0 follows in the stream as a marker.
pub const IOCTL_START: u32 = ctl_code(0x802, METHOD_BUFFERED);
/// Input [`SessionRequest`]; output [`SessionReply`]. Claims a session whose claimant is gone.
/// Nothing is drained before [`IOCTL_DRAIN_FROM`].
pub const IOCTL_RESUME: u32 = ctl_code(0x803, METHOD_BUFFERED);
/// Output: whole records. Pends until there is at least one, the session ends
/// (`STATUS_DEVICE_NOT_CONNECTED`) or the caller cancels. The buffer takes at least
/// [`DRAIN_BUFFER_MIN`] bytes.
pub const IOCTL_DRAIN: u32 = ctl_code(0x804, METHOD_OUT_DIRECT);
/// Input [`AcknowledgeRequest`]; no output.
pub const IOCTL_ACKNOWLEDGE: u32 = ctl_code(0x805, METHOD_BUFFERED);
/// Input [`SessionRequest`]; output [`StatusReply`]. Needs no claim.
pub const IOCTL_STATUS: u32 = ctl_code(0x806, METHOD_BUFFERED);
/// Input [`SessionRequest`]; no output. Ends the session: held writes go through, nothing more is
/// captured. Needs no claim.
pub const IOCTL_STOP: u32 = ctl_code(0x807, METHOD_BUFFERED);
/// Input [`ReviewRequest`]; no output. Says of the claimed session's excluded extents, after t0,
/// whether the files have them still; `STATUS_DEVICE_NOT_READY` before t0.
pub const IOCTL_REVIEW: u32 = ctl_code(0x808, METHOD_BUFFERED);
/// Input [`DrainFromRequest`]; output [`DrainFromReply`]. Says up to which record the server has
/// the claimed session's stream: what follows is drained next, again if it was drained before.
/// `STATUS_INVALID_PARAMETER` for a record that the server cannot have.
pub const IOCTL_DRAIN_FROM: u32 = ctl_code(0x809, METHOD_BUFFERED);
/// Input [`VerifyRequest`]; no output. Begins or ends a verification of the copy: while nothing
/// else is to be read, the driver reads blocks that the stream describes and appends them as Check
/// records. Or has an extent that was found to differ read again: `STATUS_DEVICE_NOT_READY` before
/// the base image is complete, and while writes go uncaptured. Needs no claim.
pub const IOCTL_VERIFY: u32 = ctl_code(0x80a, METHOD_BUFFERED);

/// Input [`KeepStateRequest`]; no output. Says where the driver keeps the claimed session's state
/// while the machine is off. `STATUS_DATA_ERROR` if the area is not there.
pub const IOCTL_KEEP_STATE: u32 = ctl_code(0x80b, METHOD_BUFFERED);

/// Input [`SessionRequest`]; output [`MapReply`]. Needs no claim. An older driver does not know it:
/// `STATUS_INVALID_DEVICE_REQUEST`.
pub const IOCTL_MAP: u32 = ctl_code(0x80c, METHOD_BUFFERED);

/// Input [`NoteRequest`]; no output. From now on changes of a volume without a session are noted,
/// for the session that this handle starts on it next, or until the handle is closed. The file
/// system is asked after it which clusters are free. `STATUS_DEVICE_NOT_READY` if it cannot be now:
/// all is read then. An older driver does not know it: `STATUS_INVALID_DEVICE_REQUEST`.
pub const IOCTL_NOTE: u32 = ctl_code(0x80d, METHOD_BUFFERED);
/// Input [`UnusedRequest`]; output [`UnusedReply`]. Says which blocks no file has, after t0 of a
/// session for which changes were noted. `STATUS_NOT_SUPPORTED` if they were not, or all was said.
pub const IOCTL_UNUSED: u32 = ctl_code(0x80e, METHOD_BUFFERED);

/// Input [`SweepRequest`]; no output. Sets how hard the driver may read the disk of its own accord
/// for the claimed session: at once, and when it begins that again as the machine comes up. An
/// older driver does not know it: `STATUS_INVALID_DEVICE_REQUEST`.
pub const IOCTL_LIMIT_SWEEP: u32 = ctl_code(0x80f, METHOD_BUFFERED);

/// Input [`CutRequest`]; no output. Writes that arrive in a time to come wait until its end.
/// `STATUS_DEVICE_NOT_READY` if it has begun, is too far ahead, or another one has not ended. Needs
/// no claim. An older driver does not know it: `STATUS_INVALID_DEVICE_REQUEST`.
pub const IOCTL_CUT: u32 = ctl_code(0x810, METHOD_BUFFERED);

/// The least output buffer of a drain, in bytes: one record of the longest payload with its header.
pub const DRAIN_BUFFER_MIN: usize =
    crate::record::RECORD_PAYLOAD_MAX + crate::record::RECORD_HEADER_LEN;

/// UTF-16 units in [`DeviceName`].
pub const DEVICE_NAME_MAX: usize = 128;

/// Smallest capture queue, in bytes: room for a few of the longest records.
pub const QUEUE_BYTES_MIN: u64 = 64 << 20;
/// Largest capture queue, in bytes: one MDL describes it, and takes less than 4 GiB (docs:
/// `IoAllocateMdl`).
pub const QUEUE_BYTES_MAX: u64 = 2 << 30;
/// Longest `hold_limit`, in milliseconds: file systems and clusters give up on a disk after about
/// a minute (docs: `TimeoutValue` of class Disk, 60 s).
pub const HOLD_LIMIT_MAX_MS: u32 = 50_000;

/// Lowest cap of the sweep, in bytes per second: below it a first sync would take weeks, and pin
/// the disk's changes in the stream for as long.
pub const SWEEP_RATE_MIN: u64 = 1 << 20;
/// Longest wait for one of the sweep's reads that may be asked for, in milliseconds.
pub const SWEEP_LATENCY_MAX_MS: u32 = 10_000;

/// A device object's name, such as `\Device\HarddiskVolume3`: UTF-16 with its length in units.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DeviceName {
    len: U16,
    units: [U16; DEVICE_NAME_MAX],
}

impl DeviceName {
    /// Takes a name of 1 to [`DEVICE_NAME_MAX`] units; `None` if it is empty or longer.
    pub fn new(units: impl IntoIterator<Item = u16>) -> Option<Self> {
        let mut name = Self { len: U16::ZERO, units: [U16::ZERO; DEVICE_NAME_MAX] };
        let mut len = 0;
        for unit in units {
            *name.units.get_mut(usize::from(len))? = U16::new(unit);
            len += 1;
        }
        name.len = U16::new(len);
        (len > 0).then_some(name)
    }

    /// The name's UTF-16 units; `None` if the length that came with it is impossible.
    pub fn units(&self) -> Option<impl Iterator<Item = u16> + '_> {
        let units = self.units.get(..usize::from(self.len.get()))?;
        (!units.is_empty()).then(|| units.iter().map(|unit| unit.get()))
    }

    /// True if both names have the same units; case counts not, in the ASCII range (the object
    /// manager compares device names so).
    pub fn matches(&self, other: &Self) -> bool {
        match (self.units(), other.units()) {
            (Some(a), Some(b)) => a.map(fold).eq(b.map(fold)),
            _ => false,
        }
    }
}

/// Lower case for ASCII letters.
fn fold(unit: u16) -> u16 {
    if (u16::from(b'A')..=u16::from(b'Z')).contains(&unit) { unit + 32 } else { unit }
}

/// One volume that the driver sits on.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VolumeEntry {
    /// Its device name.
    pub device: DeviceName,
    /// Bytes; 0 if the volume does not answer.
    pub length: U64,
    /// Bytes; 0 if the volume does not answer.
    pub sector_size: U32,
    /// [`SessionPhase`] as a number.
    pub phase: U32,
    /// The session on it, or nil.
    pub session: SessionId,
    /// [`Protection`] as a number.
    pub protection: U32,
    /// Which special files are on it: [`SPECIAL_FILE_PAGING`] and others.
    pub special_files: U32,
}

/// The volume holds a paging file.
pub const SPECIAL_FILE_PAGING: u32 = 1 << 0;
/// The volume holds the hibernation file.
pub const SPECIAL_FILE_HIBERNATION: u32 = 1 << 1;
/// The volume holds a crash dump file.
pub const SPECIAL_FILE_DUMP: u32 = 1 << 2;

/// Input of [`IOCTL_LIST_VOLUMES`].
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ListRequest {
    /// The version that the caller speaks.
    pub version: U32,
    /// Must be 0.
    pub reserved: U32,
}

impl ListRequest {
    /// A request of this version.
    pub fn new(version: u32) -> Self {
        Self { version: U32::new(version), reserved: U32::ZERO }
    }

    /// The version that the caller speaks.
    ///
    /// # Errors
    /// [`BadRequest::Version`] if this code does not.
    pub fn parse(&self) -> Result<u32, BadRequest> {
        let version = self.version.get();
        let sound = is_spoken(version) && self.reserved.get() == 0;
        if sound { Ok(version) } else { Err(BadRequest::Version) }
    }
}

/// Input of [`IOCTL_START`].
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StartRequest {
    /// The version that the caller speaks.
    pub version: U32,
    /// Bytes of a block: a power of two from [`Geometry::BLOCK_SIZE_MIN`] to
    /// [`Geometry::BLOCK_SIZE_MAX`].
    pub block_size: U32,
    /// The session's identity; not nil.
    pub session: SessionId,
    /// Which volume to protect.
    pub device: DeviceName,
    /// Its other settings.
    pub settings: SettingsLe,
    /// 0 for a new session. Otherwise the session continues one of an earlier start, of which the
    /// driver has nothing: the [`GapReason`] as a number, one that
    /// [`continues`](GapReason::continues_session).
    pub continues: U32,
    /// The extents of the volume's paging, swap and hibernation files.
    pub excluded: ExcludedExtents,
}

impl StartRequest {
    /// The request in these bytes. In place, because a request is long for a kernel's stack.
    ///
    /// # Errors
    /// [`BadRequest::Short`] and [`BadRequest::Long`] if they are not as many as a request has.
    pub fn read(bytes: &[u8]) -> Result<&Self, BadRequest> {
        let is_short = bytes.len() < size_of::<Self>();
        let bad = if is_short { BadRequest::Short } else { BadRequest::Long };
        Self::ref_from_bytes(bytes).map_err(|_| bad)
    }

    /// Checks every field but the device name.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn settings(&self) -> Result<StartSettings, BadRequest> {
        if !is_spoken(self.version.get()) {
            return Err(BadRequest::Version);
        }
        if self.session.is_nil() {
            return Err(BadRequest::Session);
        }
        let block_size = block_size(self.block_size.get())?;
        let continues = self.continues()?;
        self.excluded.check()?;
        self.settings.settings(self.session, continues, block_size)
    }

    fn continues(&self) -> Result<Option<GapReason>, BadRequest> {
        let number = self.continues.get();
        let reason = u16::try_from(number).ok().and_then(GapReason::from_wire);
        match reason.filter(|reason| reason.continues_session()) {
            None if number != 0 => Err(BadRequest::Continues),
            reason => Ok(reason),
        }
    }
}

/// Bytes of a block that a session can have.
fn block_size(bytes: u32) -> Result<u32, BadRequest> {
    let sane = (Geometry::BLOCK_SIZE_MIN..=Geometry::BLOCK_SIZE_MAX).contains(&bytes);
    let is_it = sane && bytes.is_power_of_two();
    is_it.then_some(bytes).ok_or(BadRequest::BlockSize)
}

/// Which field of a request was refused, or its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRequest {
    /// Fewer bytes than a request has.
    Short,
    /// More bytes than a request has.
    Long,
    /// The caller's version is not spoken here.
    Version,
    /// The session identity is nil.
    Session,
    /// Not a power of two in range.
    BlockSize,
    /// Out of range.
    QueueBytes,
    /// Out of range.
    HoldLimit,
    /// Unknown number.
    Overflow,
    /// Too low.
    SweepRate,
    /// Too long.
    SweepLatency,
    /// Limits of the sweep with a value that they do not have.
    Sweep,
    /// Empty, or too long.
    Cut,
    /// No reason for which a session continues.
    Continues,
    /// Too many, not in order, or impossible.
    Excluded,
    /// Too many blocks, or ones that no volume has, or neither the last one nor not.
    Unused,
    /// Neither yes nor no.
    Review,
    /// No record has such a number.
    Seq,
    /// Neither yes nor no.
    Lose,
    /// No volume can have such a state area.
    StateArea,
    /// Neither a begin nor an end nor a repair, or one with values that it does not have.
    Verify,
    /// The rate of a verification is too low.
    VerifyRate,
    /// No volume has the extent that is to be repaired.
    VerifyExtent,
}

/// Input of [`IOCTL_RESUME`], [`IOCTL_STATUS`], [`IOCTL_STOP`].
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SessionRequest {
    /// The version that the caller speaks.
    pub version: U32,
    /// Must be 0.
    pub reserved: U32,
    /// Which session.
    pub session: SessionId,
}

impl SessionRequest {
    /// A request for `session`, in this version.
    pub fn new(version: u32, session: SessionId) -> Self {
        Self { version: U32::new(version), reserved: U32::ZERO, session }
    }

    /// The session asked for.
    ///
    /// # Errors
    /// [`BadRequest::Version`] or [`BadRequest::Session`].
    pub fn parse(&self) -> Result<SessionId, BadRequest> {
        if !is_spoken(self.version.get()) || self.reserved.get() != 0 {
            return Err(BadRequest::Version);
        }
        if self.session.is_nil() { Err(BadRequest::Session) } else { Ok(self.session) }
    }
}

/// Input of [`IOCTL_ACKNOWLEDGE`].
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AcknowledgeRequest {
    epoch: EpochIdLe,
}

impl AcknowledgeRequest {
    /// Says that `epoch` and all before it are durable at the server.
    pub fn new(epoch: EpochId) -> Self {
        Self { epoch: epoch.into() }
    }

    /// The newest durable epoch.
    pub fn epoch(&self) -> EpochId {
        self.epoch.get()
    }
}

/// Output of [`IOCTL_START`] and [`IOCTL_RESUME`].
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SessionReply {
    /// Bytes of the volume.
    pub length: U64,
    /// Bytes of a sector.
    pub sector_size: U32,
    /// Bytes of a block.
    pub block_size: U32,
}

impl SessionReply {
    /// A reply with the volume's geometry.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            length: U64::new(geometry.length()),
            sector_size: U32::new(geometry.sector_size()),
            block_size: U32::new(geometry.block_size()),
        }
    }

    /// The volume's geometry.
    ///
    /// # Errors
    /// A [`GeometryError`] if the reply describes no possible volume.
    pub fn geometry(&self) -> Result<Geometry, GeometryError> {
        Geometry::new(self.length.get(), self.sector_size.get(), self.block_size.get())
    }
}

const _: () = {
    assert!(size_of::<DeviceName>() == 258);
    assert!(size_of::<VolumeEntry>() == 298);
    assert!(size_of::<ListRequest>() == 8);
    assert!(size_of::<StartRequest>() == 1342);
    assert!(size_of::<SessionRequest>() == 24);
    assert!(size_of::<SessionReply>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::Overflow;

    fn request() -> StartRequest {
        StartRequest {
            version: U32::new(ABI_VERSION),
            block_size: U32::new(64 << 10),
            session: SessionId([1; 16]),
            device: DeviceName::new(r"\Device\HarddiskVolume3".encode_utf16()).unwrap(),
            settings: SettingsLe {
                queue_bytes: U64::new(QUEUE_BYTES_MIN),
                hold_limit_ms: U32::new(200),
                overflow: U32::new(0),
                sweep_bytes_per_second: U64::new(SWEEP_RATE_MIN),
                sweep_latency_ms: U32::new(SWEEP_LATENCY_MAX_MS),
            },
            continues: U32::ZERO,
            excluded: ExcludedExtents::NONE,
        }
    }

    #[test]
    fn control_codes_are_pinned() {
        assert_eq!(IOCTL_VERSION, 0x8053_e000);
        assert_eq!(IOCTL_DRAIN, 0x8053_e012);
        assert_eq!(IOCTL_STOP, 0x8053_e01c);
        assert_eq!(IOCTL_REVIEW, 0x8053_e020);
        assert_eq!(IOCTL_DRAIN_FROM, 0x8053_e024);
        assert_eq!(IOCTL_KEEP_STATE, 0x8053_e02c);
        assert_eq!(IOCTL_VERIFY, 0x8053_e028);
        assert_eq!(IOCTL_LIMIT_SWEEP, 0x8053_e03c);
    }

    #[test]
    fn a_sound_start_request_gives_its_settings() {
        let settings = request().settings().unwrap();
        assert_eq!(settings.block_size, 64 << 10);
        assert_eq!(settings.overflow, Overflow::Gap);
        let sweep = SweepLimits { bytes_per_second: 1 << 20, latency_ms: 10_000 };
        assert_eq!(settings.sweep, sweep);
        assert_eq!(settings.continues, None);
        for reason in [GapReason::Restarted, GapReason::Diverged] {
            let continues = U32::new(reason.to_wire().into());
            let settings = StartRequest { continues, ..request() }.settings().unwrap();
            assert_eq!(settings.continues, Some(reason));
        }
    }

    #[test]
    fn a_start_request_has_its_length() {
        let sound = request();
        let bytes = sound.as_bytes();
        let read = StartRequest::read(bytes).unwrap();
        assert!(read.settings().is_ok());
        assert_eq!((read.session, read.settings.hold_limit_ms.get()), (sound.session, 200));
        let refused = |bytes: &[u8]| StartRequest::read(bytes).err();
        assert_eq!(refused(&bytes[..1341]), Some(BadRequest::Short));
        assert_eq!(refused(&[bytes, &[0]].concat()), Some(BadRequest::Long));
        assert_eq!(refused(&[]), Some(BadRequest::Short));
    }

    #[test]
    fn each_field_out_of_range_is_named() {
        let with = |change: fn(&mut StartRequest)| {
            let mut request = request();
            change(&mut request);
            request.settings().unwrap_err()
        };
        assert_eq!(with(|r| r.version = U32::new(99)), BadRequest::Version);
        assert_eq!(with(|r| r.session = SessionId::NIL), BadRequest::Session);
        assert_eq!(with(|r| r.block_size = U32::new(65_537)), BadRequest::BlockSize);
        assert_eq!(with(|r| r.block_size = U32::new(8 << 10)), BadRequest::BlockSize);
        assert_eq!(with(|r| r.block_size = U32::new(8 << 20)), BadRequest::BlockSize);
        assert_eq!(with(|r| r.settings.queue_bytes = U64::new(0)), BadRequest::QueueBytes);
        assert_eq!(with(|r| r.settings.queue_bytes = U64::new(u64::MAX)), BadRequest::QueueBytes);
        assert_eq!(with(|r| r.settings.hold_limit_ms = U32::new(0)), BadRequest::HoldLimit);
        assert_eq!(with(|r| r.settings.hold_limit_ms = U32::new(u32::MAX)), BadRequest::HoldLimit);
        assert_eq!(with(|r| r.settings.overflow = U32::new(2)), BadRequest::Overflow);
        assert_eq!(
            with(|r| r.settings.sweep_bytes_per_second = U64::new(1)),
            BadRequest::SweepRate
        );
        assert_eq!(with(|r| r.continues = U32::new(1)), BadRequest::Continues, "queue full");
        assert_eq!(with(|r| r.continues = U32::new(0x1_0009)), BadRequest::Continues);
        let low =
            |r: &mut StartRequest| r.settings.sweep_bytes_per_second = U64::new(SWEEP_RATE_MIN - 1);
        assert_eq!(with(low), BadRequest::SweepRate);
        assert_eq!(
            with(|r| r.settings.sweep_latency_ms = U32::new(10_001)),
            BadRequest::SweepLatency
        );
        let odd = |r: &mut StartRequest| r.excluded.as_mut_bytes().fill(0xff);
        assert_eq!(with(odd), BadRequest::Excluded);
    }

    #[test]
    fn device_names_are_bounded_and_compare_without_case() {
        let name = |text: &str| DeviceName::new(text.encode_utf16());
        assert!(name("").is_none());
        assert!(name(&"x".repeat(DEVICE_NAME_MAX)).is_some());
        assert!(name(&"x".repeat(DEVICE_NAME_MAX + 1)).is_none());
        assert!(name(r"\Device\X").unwrap().matches(&name(r"\DEVICE\x").unwrap()));
        assert!(!name(r"\Device\X").unwrap().matches(&name(r"\Device\XY").unwrap()));
        let mut bytes = [0xff; size_of::<DeviceName>()];
        assert!(DeviceName::read_from_bytes(&bytes).unwrap().units().is_none());
        bytes.fill(0);
        assert!(DeviceName::read_from_bytes(&bytes).unwrap().units().is_none());
    }
}
