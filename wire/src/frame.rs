//! The frames between service and server, and the entries of a repository segment.
//!
//! A frame is a [`FRAME_HEADER_LEN`]-byte header and a payload. The checksum covers both, so that a
//! torn or damaged frame is never accepted.
//!
//! ```text
//! service                                server
//!   Hello ──────────────────────────────▶  checks the version, opens or creates the session
//!   ◀──────────────────────────── Welcome  the last durable epoch and record, the latest point
//!   Records … Packed … Records ─────────▶  appends; a Packed frame is a Records frame, compressed
//!   ◀──────────────────────── Acknowledge  after each EpochEnd record, once it is durable
//!   Watermark ──────────────────────────▶  notes that nothing newer was captured up to an instant
//!   ◀──────────────────────── Acknowledge  the same epoch again, with the later latest point
//!   Report ─────────────────────────────▶  how the session stands, for the server's console
//!   Compare ────────────────────────────▶  asks whether the stream gives extents this content
//!   ◀─────────────────────────── Compared  where it does
//!   ◀─────────────────────────── Verified  what came of comparing checks with the copy
//!   ◀──────────────────────────── Meeting  volumes of several machines are to end at one instant
//!   ◀────────────────────────── KeepAlive  every few seconds while storage keeps it waiting
//!   ◀────────────────────────────── Error  why the server closes the connection, as text
//! ```
//!
//! On a connection of its own a service asks something else:
//!
//! ```text
//!   Question ───────────────────────────▶  in the place of Hello, as JSON
//!   ◀────────────────────────── KeepAlive  every few seconds while the server looks
//!   ◀────────────────────────────── Reply  as JSON
//!   Fetch ──────────────────────────────▶  after the reply that a point is open: its content
//!   ◀──────────────────── Fetched, Packed  what the machine's disk lacks of it
//! ```

use snapless_types::{EpochId, Geometry, GeometryError, Made, Seq};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::id::{EpochIdLe, FileTime, MadeLe, SeqLe, SessionId, VolumeGuid};
use crate::record::{RECORD_HEADER_LEN, RECORD_PAYLOAD_MAX};

/// The first bytes of every frame: `SLFR`.
pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"SLFR");
/// Version of the frames; both ends must have the same.
pub const FRAME_VERSION: u16 = 1;
/// Bytes of a header.
pub const FRAME_HEADER_LEN: usize = 16;
/// The longest payload, in bytes: one record with the longest payload, or several short ones.
pub const FRAME_PAYLOAD_MAX: usize = RECORD_PAYLOAD_MAX + RECORD_HEADER_LEN;

snapless_types::numbered_enum! {
    /// The content of a frame.
    pub enum FrameKind: u16 {
        /// [`Hello`].
        Hello = 1 => "Hello",
        /// [`Welcome`].
        Welcome = 2 => "Welcome",
        /// Whole records, packed. An `EpochEnd` is the last record of its frame.
        Records = 3 => "Records",
        /// [`Acknowledge`].
        Acknowledge = 4 => "Acknowledge",
        /// UTF-8 text, to be printed.
        Error = 5 => "Error",
        /// [`Watermark`].
        Watermark = 6 => "Watermark",
        /// [`KeepAlive`].
        KeepAlive = 7 => "KeepAlive",
        /// [`Compare`](crate::compare::Compare).
        Compare = 8 => "Compare",
        /// [`Compared`](crate::compare::Compared).
        Compared = 9 => "Compared",
        /// [`Verified`](crate::verified::Verified).
        Verified = 10 => "Verified",
        /// JSON: what a service asks in the place of sending.
        Question = 11 => "Question",
        /// JSON: the answer.
        Reply = 12 => "Reply",
        /// A Records or a Fetched frame, compressed.
        Packed = 13 => "Packed",
        /// [`Fetch`](crate::fetch::Fetch).
        Fetch = 14 => "Fetch",
        /// [`Fetched`](crate::fetch::Fetched).
        Fetched = 15 => "Fetched",
        /// JSON: how the session stands on its machine.
        Report = 16 => "Report",
        /// JSON: the server calls the volume's service to a meeting.
        Meeting = 17 => "Meeting",
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFrameHeader {
    magic: U32,
    version: U16,
    kind: U16,
    payload_len: U32,
    /// CRC-32C of the 12 bytes before it and of the payload.
    crc: U32,
}

const _: () = assert!(size_of::<RawFrameHeader>() == FRAME_HEADER_LEN);

/// A header with valid magic, version, kind and length. [`FrameHeader::verify`] checks the
/// payload's checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    kind: FrameKind,
    payload_len: u32,
    crc: u32,
}

impl FrameHeader {
    /// The header of a frame with this payload.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] past [`FRAME_PAYLOAD_MAX`].
    pub fn new(kind: FrameKind, payload: &[u8]) -> Result<Self, FrameError> {
        let payload_len = u32::try_from(payload.len())
            .ok()
            .filter(|_| payload.len() <= FRAME_PAYLOAD_MAX)
            .ok_or(FrameError::TooLong(payload.len() as u64))?;
        let mut header = Self { kind, payload_len, crc: 0 };
        header.crc = header.checksum(payload);
        Ok(header)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// Any [`FrameError`] but [`FrameError::Checksum`].
    pub fn read(bytes: &[u8; FRAME_HEADER_LEN]) -> Result<Self, FrameError> {
        let raw: RawFrameHeader = zerocopy::transmute!(*bytes);
        if raw.magic.get() != FRAME_MAGIC {
            return Err(FrameError::Magic(raw.magic.get()));
        }
        if raw.version.get() != FRAME_VERSION {
            return Err(FrameError::Version(raw.version.get()));
        }
        let kind = FrameKind::from_wire(raw.kind.get()).ok_or(FrameError::Kind(raw.kind.get()))?;
        let payload_len = raw.payload_len.get();
        if payload_len as usize > FRAME_PAYLOAD_MAX {
            return Err(FrameError::TooLong(u64::from(payload_len)));
        }
        Ok(Self { kind, payload_len, crc: raw.crc.get() })
    }

    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; FRAME_HEADER_LEN] {
        zerocopy::transmute!(self.raw())
    }

    /// The frame's content.
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// Length of the payload, in bytes.
    pub fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    /// Checks the payload that follows this header.
    ///
    /// # Errors
    /// [`FrameError::Checksum`] if the header or the payload was damaged.
    pub fn verify(&self, payload: &[u8]) -> Result<(), FrameError> {
        let matches = payload.len() == self.payload_len() && self.checksum(payload) == self.crc;
        if matches { Ok(()) } else { Err(FrameError::Checksum) }
    }

    fn raw(&self) -> RawFrameHeader {
        RawFrameHeader {
            magic: U32::new(FRAME_MAGIC),
            version: U16::new(FRAME_VERSION),
            kind: U16::new(self.kind.to_wire()),
            payload_len: U32::new(self.payload_len),
            crc: U32::new(self.crc),
        }
    }

    fn checksum(&self, payload: &[u8]) -> u32 {
        let bytes = self.to_bytes();
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..FRAME_HEADER_LEN - 4]), payload)
    }
}

/// The service's first frame.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Hello {
    /// The protected volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// Bytes of the volume.
    pub length: U64,
    /// Bytes of a sector.
    pub sector_size: U32,
    /// Bytes of a block.
    pub block_size: U32,
}

impl Hello {
    /// Names a session and its volume.
    pub fn new(volume: VolumeGuid, session: SessionId, geometry: &Geometry) -> Self {
        Self {
            volume,
            session,
            length: U64::new(geometry.length()),
            sector_size: U32::new(geometry.sector_size()),
            block_size: U32::new(geometry.block_size()),
        }
    }

    /// Reads and checks a payload.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for a wrong size, a nil identity, or an impossible geometry.
    pub fn read(payload: &[u8]) -> Result<Self, FrameError> {
        let hello = Self::read_from_bytes(payload).map_err(|_| FrameError::Payload("Hello"))?;
        let valid = !hello.volume.is_nil() && !hello.session.is_nil() && hello.geometry().is_ok();
        if valid { Ok(hello) } else { Err(FrameError::Payload("Hello")) }
    }

    /// The volume's geometry.
    ///
    /// # Errors
    /// Never for a [`Hello`] that [`Hello::read`] accepted.
    pub fn geometry(&self) -> Result<Geometry, GeometryError> {
        Geometry::new(self.length.get(), self.sector_size.get(), self.block_size.get())
    }
}

/// The server's answer to [`Hello`].
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Welcome {
    durable_epoch: EpochIdLe,
    durable_seq: SeqLe,
    latest: FileTime,
    durable_made: MadeLe,
    /// [`HAS_SEED`], [`IS_PUT_ASIDE`], [`TAKES_PACKED`], [`TAKES_REPORTS`].
    flags: U64,
}

/// The server has content of the volume from before the session.
const HAS_SEED: u64 = 1;
/// What the server had of the session is damaged, and it takes nothing more of it.
const IS_PUT_ASIDE: u64 = 2;
/// The server takes Records frames that are compressed.
const TAKES_PACKED: u64 = 4;
/// The server takes Report frames.
const TAKES_REPORTS: u64 = 8;

impl Welcome {
    /// The session's last durable epoch, 0 for a new session, and that epoch's last record.
    pub fn new(durable_epoch: EpochId, durable_seq: Seq) -> Self {
        let (durable_epoch, durable_seq) = (durable_epoch.into(), durable_seq.into());
        let durable_made = Made::default().into();
        let flags = U64::ZERO;
        Self { durable_epoch, durable_seq, latest: NO_POINT, durable_made, flags }
    }

    /// The same; the server has content of the volume from before the session.
    #[must_use]
    pub fn with_seed(self, has_seed: bool) -> Self {
        self.with_flag(HAS_SEED, has_seed)
    }

    /// The same; the server takes Records frames that are compressed.
    #[must_use]
    pub fn taking_packed(self) -> Self {
        self.with_flag(TAKES_PACKED, true)
    }

    /// True if the server takes Records frames that are compressed.
    pub fn takes_packed(&self) -> bool {
        self.flags.get() & TAKES_PACKED != 0
    }

    /// The same; the server takes Report frames.
    #[must_use]
    pub fn taking_reports(self) -> Self {
        self.with_flag(TAKES_REPORTS, true)
    }

    /// True if the server takes Report frames.
    pub fn takes_reports(&self) -> bool {
        self.flags.get() & TAKES_REPORTS != 0
    }

    fn with_flag(self, flag: u64, is_set: bool) -> Self {
        let others = self.flags.get() & !flag;
        Self { flags: U64::new(others | if is_set { flag } else { 0 }), ..self }
    }

    /// Nothing of the session is durable any more, nor will be: what there was is damaged.
    pub fn put_aside() -> Self {
        let flags = U64::new(IS_PUT_ASIDE);
        Self { flags, ..Self::new(EpochId::new(0), Seq::new(0)) }
    }

    /// True if the server takes nothing of the session: another one must begin.
    pub fn is_put_aside(&self) -> bool {
        self.flags.get() & IS_PUT_ASIDE != 0
    }

    /// True if the server has content of the volume from before the session, and may be asked about
    /// what is captured for the first time.
    pub fn has_seed(&self) -> bool {
        self.flags.get() & HAS_SEED != 0
    }

    /// The same with when the last durable record was made.
    #[must_use]
    pub fn with_made(self, made: Made) -> Self {
        Self { durable_made: made.into(), ..self }
    }

    /// The same with the latest instant that can be restored.
    #[must_use]
    pub fn with_latest(self, latest: Option<FileTime>) -> Self {
        Self { latest: latest.unwrap_or(NO_POINT), ..self }
    }

    /// The session's last durable epoch; 0 for a session that is new to the server.
    pub fn durable_epoch(&self) -> EpochId {
        self.durable_epoch.get()
    }

    /// The last durable record.
    pub fn durable_seq(&self) -> Seq {
        self.durable_seq.get()
    }

    /// When that was made; zeros if there is none.
    pub fn durable_made(&self) -> Made {
        self.durable_made.get()
    }

    /// The latest instant that can be restored, on the protected machine's wall clock; `None` if
    /// there is none yet.
    pub fn latest(&self) -> Option<FileTime> {
        Some(self.latest).filter(|latest| *latest != NO_POINT)
    }
}

/// An epoch is durable.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Acknowledge {
    epoch: EpochIdLe,
    seq: SeqLe,
    latest: FileTime,
}

impl Acknowledge {
    /// Acknowledges `epoch`, which ends with record `seq`, and all epochs before it.
    pub fn new(epoch: EpochId, seq: Seq) -> Self {
        Self { epoch: epoch.into(), seq: seq.into(), latest: NO_POINT }
    }

    /// The same with the latest instant that can be restored.
    #[must_use]
    pub fn with_latest(self, latest: Option<FileTime>) -> Self {
        Self { latest: latest.unwrap_or(NO_POINT), ..self }
    }

    /// This epoch and all before it are durable.
    pub fn epoch(&self) -> EpochId {
        self.epoch.get()
    }

    /// The epoch's last record.
    pub fn seq(&self) -> Seq {
        self.seq.get()
    }

    /// The latest instant that can be restored, on the protected machine's wall clock; `None` if
    /// there is none yet.
    pub fn latest(&self) -> Option<FileTime> {
        Some(self.latest).filter(|latest| *latest != NO_POINT)
    }

    /// True if both are of the same epoch.
    pub fn is_of_same_epoch(&self, other: &Self) -> bool {
        (self.epoch(), self.seq()) == (other.epoch(), other.seq())
    }
}

/// At this instant the driver had captured no record after this one, which is durable. No record
/// that follows carries an earlier monotonic time.
///
/// It stands between Records frames of a connection, and in a repository's segments before the
/// first Records frame that came after it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Watermark {
    seq: SeqLe,
    time: FileTime,
    monotonic: U64,
}

impl Watermark {
    /// `seq` is the last record; the times are those of the clocks that records carry.
    pub fn new(seq: Seq, time: FileTime, monotonic: u64) -> Self {
        Self { seq: seq.into(), time, monotonic: U64::new(monotonic) }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for a wrong size.
    pub fn read(payload: &[u8]) -> Result<Self, FrameError> {
        Self::read_from_bytes(payload).map_err(|_| FrameError::Payload("Watermark"))
    }

    /// The last record that the driver had captured.
    pub fn seq(&self) -> Seq {
        self.seq.get()
    }

    /// What the wall clock showed.
    pub fn time(&self) -> FileTime {
        self.time
    }

    /// The time of the clock that is never set, in ticks of 100 ns.
    pub fn monotonic(&self) -> u64 {
        self.monotonic.get()
    }
}

/// In the place of the latest point, if there is none.
const NO_POINT: FileTime = FileTime::new(0);

/// The server lives, and waits for its storage. Without a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepAlive;

impl KeepAlive {
    /// Checks a payload.
    ///
    /// # Errors
    /// [`FrameError::Payload`] if there is one.
    pub fn read(payload: &[u8]) -> Result<Self, FrameError> {
        if payload.is_empty() { Ok(Self) } else { Err(FrameError::Payload("KeepAlive")) }
    }
}

const _: () = {
    assert!(size_of::<Hello>() == 48);
    assert!(size_of::<Welcome>() == 48);
    assert!(size_of::<Acknowledge>() == 24);
    assert!(size_of::<Watermark>() == 24);
};

/// Why bytes are not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The frame does not begin with [`FRAME_MAGIC`].
    Magic(u32),
    /// The other end has another version.
    Version(u16),
    /// The kind is unknown.
    Kind(u16),
    /// The payload is longer than [`FRAME_PAYLOAD_MAX`].
    TooLong(u64),
    /// The checksum does not match header and payload.
    Checksum,
    /// The payload is invalid for its kind, which is named.
    Payload(&'static str),
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "a frame begins with {found:#010x}, not SLFR"),
            Self::Version(version) => write!(
                f,
                "the other end speaks version {version}, this one {FRAME_VERSION}: \
                 bring service and server to the same release"
            ),
            Self::Kind(kind) => write!(f, "frame kind {kind} is unknown"),
            Self::TooLong(len) => write!(f, "a frame of {len} bytes is past the limit"),
            Self::Checksum => f.write_str("a frame was damaged: its checksum does not match"),
            Self::Payload(kind) => write!(f, "the payload of a {kind} frame is invalid"),
        }
    }
}

impl core::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::Tick;

    fn hello() -> Hello {
        let geometry = Geometry::new(1 << 30, 512, 65_536).unwrap();
        Hello::new(VolumeGuid([1; 16]), SessionId([2; 16]), &geometry)
    }

    #[test]
    fn a_frame_header_is_pinned_byte_for_byte() {
        let header = FrameHeader::new(FrameKind::Records, b"123456789").unwrap();
        assert_eq!(header.to_bytes()[..12], *b"SLFR\x01\0\x03\0\x09\0\0\0");
        assert_eq!(FrameHeader::read(&header.to_bytes()), Ok(header));
        assert_eq!(header.verify(b"123456789"), Ok(()));
        let alive = FrameHeader::new(FrameKind::KeepAlive, &[]).unwrap().to_bytes();
        assert_eq!(alive, *b"SLFR\x01\0\x07\0\0\0\0\0\x3a\x15\xfc\x87");
        assert!(KeepAlive::read(&[]).is_ok() && KeepAlive::read(&[0]).is_err());
    }

    #[test]
    fn a_frame_of_an_older_or_a_newer_release_is_refused_with_both_versions_and_what_to_do() {
        for version in [FRAME_VERSION - 1, FRAME_VERSION + 1] {
            let mut bytes = FrameHeader::new(FrameKind::Hello, &[]).unwrap().to_bytes();
            bytes[4..6].copy_from_slice(&version.to_le_bytes());
            let refused = FrameHeader::read(&bytes).unwrap_err();
            assert_eq!(refused, FrameError::Version(version));
            let text = std::format!("{refused}");
            assert!(text.contains(&std::format!("version {version}, this one {FRAME_VERSION}")));
            assert!(text.contains("bring service and server to the same release"), "{text}");
        }
    }

    #[test]
    fn the_frames_of_an_acknowledged_end_are_pinned_byte_for_byte() {
        let [epoch, seq, time, monotonic] = [0x11_u64, 0x22, 0x33, 0x44];
        let bytes = |fields: [u64; 3]| fields.map(u64::to_le_bytes).concat();
        let at = Some(FileTime::new(time));
        let welcome = Welcome::new(EpochId::new(epoch), Seq::new(seq));
        let none = [0; 24].as_slice();
        assert_eq!(welcome.as_bytes(), [&bytes([epoch, seq, 0]), none].concat());
        assert_eq!((welcome.latest(), welcome.with_latest(at).latest()), (None, at));
        let made = Made { time, monotonic: Tick(monotonic) };
        let welcome = welcome.with_made(made);
        let clocks = [time, monotonic].map(u64::to_le_bytes).concat();
        assert_eq!(welcome.as_bytes(), [bytes([epoch, seq, 0]), clocks, vec![0; 8]].concat());
        assert_eq!(welcome.with_seed(true).as_bytes()[40..], [1, 0, 0, 0, 0, 0, 0, 0]);
        let aside = Welcome::put_aside();
        assert_eq!(aside.as_bytes(), [vec![0; 40], vec![2, 0, 0, 0, 0, 0, 0, 0]].concat());
        let packed = welcome.with_seed(true).taking_packed();
        assert_eq!(packed.as_bytes()[40..], [5, 0, 0, 0, 0, 0, 0, 0]);
        assert!(packed.takes_packed() && packed.has_seed() && !welcome.takes_packed());
        assert!(aside.is_put_aside() && !aside.has_seed() && !welcome.is_put_aside());
        assert_eq!(welcome.durable_made(), made);
        let acknowledge = Acknowledge::new(EpochId::new(epoch), Seq::new(seq));
        let later = acknowledge.with_latest(at);
        assert_eq!(later.as_bytes(), bytes([epoch, seq, time]));
        assert!(later.is_of_same_epoch(&acknowledge) && later != acknowledge);
        let watermark = Watermark::new(Seq::new(seq), FileTime::new(time), monotonic);
        assert_eq!(watermark.as_bytes(), bytes([seq, time, monotonic]));
        assert_eq!(Watermark::read(watermark.as_bytes()), Ok(watermark));
        assert!(Watermark::read(&watermark.as_bytes()[1..]).is_err());
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let payload = b"payload".to_vec();
        let whole = FrameHeader::new(FrameKind::Records, &payload).unwrap().to_bytes();
        for bit in 0..FRAME_HEADER_LEN * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verdict = FrameHeader::read(&bytes).and_then(|header| header.verify(&payload));
            assert!(verdict.is_err(), "header bit {bit}");
        }
        for bit in 0..payload.len() * 8 {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                FrameHeader::read(&whole).unwrap().verify(&damaged),
                Err(FrameError::Checksum)
            );
        }
    }

    #[test]
    fn lengths_past_the_limit_are_refused() {
        let long = vec![0; FRAME_PAYLOAD_MAX + 1];
        assert!(FrameHeader::new(FrameKind::Records, &long).is_err());
        assert!(FrameHeader::new(FrameKind::Records, &long[1..]).is_ok());
    }

    #[test]
    fn an_impossible_hello_is_refused() {
        assert_eq!(Hello::read(hello().as_bytes()), Ok(hello()));
        let refused = |change: fn(&mut Hello)| {
            let mut hello = hello();
            change(&mut hello);
            Hello::read(hello.as_bytes()).is_err()
        };
        assert!(refused(|h| h.volume = VolumeGuid::NIL));
        assert!(refused(|h| h.session = SessionId::NIL));
        assert!(refused(|h| h.length = U64::new(0)));
        assert!(refused(|h| h.length = U64::new(1000)));
        assert!(refused(|h| h.length = U64::new(1 << 63)));
        assert!(refused(|h| h.sector_size = U32::new(100)));
        assert!(refused(|h| h.block_size = U32::new(3)));
        assert!(Hello::read(&hello().as_bytes()[1..]).is_err());
    }
}
