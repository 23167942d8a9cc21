//! `state.snapless`: the state of a stream's rules at an acknowledged end, so that a Hello reads
//! only what was stored after it.
//!
//! It says nothing that the segments do not say. If it is missing, damaged or of another release,
//! all of them are read instead. It names the entry that it follows; a state of another history,
//! as after a restore of some of the files, is not used.

use snapless_types::{EpochId, Geometry, Seq};
use snapless_wire::frame::FRAME_HEADER_LEN;
use snapless_wire::id::{EpochIdLe, SeqLe, SessionId, VolumeGuid};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::acknowledged::Acknowledged;
use super::codec::Input;
use super::geometry::GeometryLe;
use super::segment::SegmentNumber;
use super::session::SessionHeader;
use super::{FormatError, Head, check, seal};
use crate::crypto::{BlobSeal, CipherError};
use crate::stream::StreamState;

/// The file's name.
pub const STATE_FILE: &str = "state.snapless";
/// The longest file that is written or read, in bytes: five sets of 2^32 blocks without any order.
pub const STATE_LEN_MAX: u64 = 3 << 30;
/// Bytes by which encryption makes the file longer, at most.
pub const STATE_SEAL_LEN_MAX: u64 = 64;

const MAGIC: [u8; 8] = *b"SLSTATE\0";
/// 1 had no sets of blocks with holes.
const VERSION: u32 = 2;
/// Of a volume whose length has changed since t0.
const VERSION_RESIZED: u32 = 3;
const MAGIC_SEALED: [u8; 8] = *b"SLSTASE\0";
const VERSION_SEALED: u32 = 1;

/// An entry of a segment: where it is, and its first bytes, whose checksum tells it from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where in its segment it begins, in bytes from the file's start.
    pub offset: u64,
    /// Its header.
    pub header: [u8; FRAME_HEADER_LEN],
}

/// Where in a stream a state was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The acknowledged epoch.
    pub epoch: EpochId,
    /// Its last record.
    pub seq: Seq,
    /// The segment in which the epoch ends.
    pub segment: SegmentNumber,
    /// Where in that segment it ends, in bytes from the file's start.
    pub offset: u64,
    /// The epoch's last entry.
    pub entry: Entry,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    volume: VolumeGuid,
    session: SessionId,
    geometry: GeometryLe,
    epoch: EpochIdLe,
    seq: SeqLe,
    segment: U64,
    offset: U64,
    entry: U64,
    entry_header: [u8; FRAME_HEADER_LEN],
}

/// Bytes before the state itself, which tell its place; the checksum is behind it.
pub const PLACE_LEN: usize = 120;
const _: () = assert!(size_of::<Raw>() == PLACE_LEN);

/// The file's bytes in an encrypted repository: a head, the state's file with its seal, a checksum.
/// In any other they stay as they are.
///
/// # Errors
/// [`CipherError`].
pub(crate) fn sealed(file: Vec<u8>, seal: &BlobSeal) -> Result<Vec<u8>, CipherError> {
    if seal.added() == 0 {
        return Ok(file);
    }
    let mut bytes = Head::new(MAGIC_SEALED, VERSION_SEALED).as_bytes().to_vec();
    bytes.reserve(file.len() + seal.added() + 4);
    bytes.extend(file);
    seal.seal(0, &mut bytes, size_of::<Head>())?;
    bytes.extend([0; 4]);
    super::seal(&mut bytes);
    Ok(bytes)
}

/// The state's file out of what [`sealed`] made.
///
/// # Errors
/// Any [`FormatError`].
pub(crate) fn open(mut bytes: Vec<u8>, seal: &BlobSeal) -> Result<Vec<u8>, FormatError> {
    if seal.added() == 0 {
        return Ok(bytes);
    }
    check_sealed(&bytes)?;
    let body = bytes.get_mut(size_of::<Head>()..).and_then(|rest| rest.split_last_chunk_mut::<4>());
    let (body, _) = body.ok_or(FormatError::Short)?;
    seal.open(0, body).map(|file| file.to_vec())
}

/// Checks the checksum of what [`sealed`] made, without the key.
///
/// # Errors
/// Any [`FormatError`] but [`FormatError::Sealed`].
pub(crate) fn check_sealed(bytes: &[u8]) -> Result<(), FormatError> {
    check(bytes, MAGIC_SEALED, VERSION_SEALED)
}

impl Checkpoint {
    /// The acknowledged end, after this entry.
    pub fn at(acknowledged: &Acknowledged, entry: Entry) -> Self {
        let Acknowledged { epoch, seq, segment, offset, .. } = *acknowledged;
        Self { epoch, seq, segment, offset, entry }
    }

    /// The segment, and where in it, in bytes from the file's start.
    pub fn place(&self) -> (SegmentNumber, u64) {
        (self.segment, self.offset)
    }

    /// True if the stream is acknowledged at least this far.
    pub fn is_within(&self, acknowledged: &Acknowledged) -> bool {
        (self.segment, self.offset) <= (acknowledged.segment, acknowledged.offset)
            && self.seq <= acknowledged.seq
    }

    /// The file's bytes, for the state of the session's stream at this place.
    pub fn to_bytes(&self, session: &SessionHeader, state: &StreamState) -> Vec<u8> {
        let version = if state.timeline().is_resized() { VERSION_RESIZED } else { VERSION };
        let raw = Raw {
            head: Head::new(MAGIC, version),
            volume: session.volume,
            session: session.session,
            geometry: GeometryLe::from(&session.geometry),
            epoch: self.epoch.into(),
            seq: self.seq.into(),
            segment: U64::new(self.segment.0),
            offset: U64::new(self.offset),
            entry: U64::new(self.entry.offset),
            entry_header: self.entry.header,
        };
        let mut bytes = raw.as_bytes().to_vec();
        state.put(&mut bytes);
        bytes.extend([0; 4]);
        seal(&mut bytes);
        bytes
    }

    /// The volume's shape at t0 in a sound file, whatever its session.
    pub fn geometry(bytes: &[u8]) -> Option<Geometry> {
        check_version(bytes).ok()?;
        let (raw, _) = Raw::read_from_prefix(bytes).ok()?;
        raw.geometry.get()
    }

    /// The segment in the first [`PLACE_LEN`] bytes of a file, which no checksum covers: a hint.
    pub fn segment_of(bytes: &[u8]) -> Option<SegmentNumber> {
        let (raw, _) = Raw::read_from_prefix(bytes).ok()?;
        let segment = SegmentNumber(raw.segment.get());
        (raw.head.magic == MAGIC && segment.0 > 0).then_some(segment)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Any [`FormatError`]. One for a state of another session, or that no stream can have.
    pub fn read(bytes: &[u8], session: &SessionHeader) -> Result<(Self, StreamState), FormatError> {
        let is_resized = check_version(bytes)? == VERSION_RESIZED;
        let (raw, body) = Raw::read_from_prefix(bytes).map_err(|_| FormatError::Short)?;
        if (raw.volume, raw.session) != (session.volume, session.session) {
            return Err(FormatError::Content("identity"));
        }
        if raw.geometry != GeometryLe::from(&session.geometry) {
            return Err(FormatError::Content("geometry"));
        }
        let (body, _) = body.split_last_chunk::<4>().ok_or(FormatError::Short)?;
        let mut input = Input::new(body);
        let state = StreamState::take(&mut input, session.geometry, is_resized);
        let state = state.filter(|_| input.is_empty()).ok_or(FormatError::Content("state"))?;
        let entry = Entry { offset: raw.entry.get(), header: raw.entry_header };
        let checkpoint = Self {
            epoch: raw.epoch.get(),
            seq: raw.seq.get(),
            segment: SegmentNumber(raw.segment.get()),
            offset: raw.offset.get(),
            entry,
        };
        let is_there = state
            .last()
            .is_some_and(|last| (last.seq, last.epoch) == (checkpoint.seq, checkpoint.epoch));
        if !is_there || checkpoint.segment.0 == 0 || state.ended_epoch() != checkpoint.epoch {
            return Err(FormatError::Content("place"));
        }
        Ok((checkpoint, state))
    }
}

/// Checks the head and the checksum; returns the version.
fn check_version(bytes: &[u8]) -> Result<u32, FormatError> {
    match check(bytes, MAGIC, VERSION) {
        Err(FormatError::Version { .. }) => {
            check(bytes, MAGIC, VERSION_RESIZED).map(|()| VERSION_RESIZED)
        }
        checked => checked.map(|()| VERSION),
    }
}
