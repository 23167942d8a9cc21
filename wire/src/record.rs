//! The stream's items: a fixed header and, for most kinds, the volume's bytes.
//!
//! The driver writes them into the service's drain buffer, the service forwards them unread, the
//! server stores and replays them. A payload is a whole number of sectors, so headers stay
//! 8-aligned in a packed buffer without padding.

use snapless_types::{EpochId, Extent, GapReason, Made, RecordKind, Seq, Tick};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::check;
use crate::id::{EpochIdLe, FileTime, SeqLe};

/// The first bytes of every record: `SLRC`.
pub const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"SLRC");
/// Bytes of a header.
pub const RECORD_HEADER_LEN: usize = 64;
/// The longest payload of one record, in bytes.
pub const RECORD_PAYLOAD_MAX: usize = 16 << 20;
/// Payloads and extents are multiples of this, in bytes: the smallest sector.
pub const RECORD_GRANULE: u64 = 512;

/// Bytes of the hash that stands for the content of a record ([`RecordHeader::seeded`]).
pub const SEED_HASH_LEN: usize = 32;

/// The extent is all zeros and carries no payload.
pub const RECORD_FLAG_ZERO: u16 = 1 << 0;
/// The payload is the hashes of the extent's bytes in their place ([`crate::check`]); of blocks,
/// their BLAKE3-256 ([`RecordHeader::seeded`]).
pub const RECORD_FLAG_HASHED: u16 = 1 << 1;

/// A record's header as it stands in a buffer. Use [`RecordHeader`] to make or read one.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecordHeader {
    magic: U32,
    kind: U16,
    flags: U16,
    seq: SeqLe,
    time: FileTime,
    epoch: EpochIdLe,
    extent_offset: U64,
    /// Of a [`RecordKind::GapBegin`] that continues a session the volume's length, or 0.
    extent_len: U64,
    payload_len: U32,
    /// [`GapReason`] of a [`RecordKind::GapBegin`]; 0 for the other kinds.
    gap_reason: U16,
    reserved: [u8; 2],
    monotonic: U64,
}

const _: () = assert!(size_of::<RawRecordHeader>() == RECORD_HEADER_LEN);

/// A header that has been checked: its extent, payload length and kind agree with each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    kind: RecordKind,
    zero: bool,
    hashed: bool,
    seq: Seq,
    time: FileTime,
    monotonic: u64,
    epoch: EpochId,
    extent_offset: u64,
    extent_len: u64,
    gap_reason: Option<GapReason>,
    /// Bytes of the volume from here on; 0 where the record does not say it.
    volume_length: u64,
}

impl RecordHeader {
    /// A record that describes `extent_len` bytes at `extent_offset` of the volume.
    ///
    /// # Errors
    /// [`RecordError::Extent`] if the extent is empty, unaligned, too long for one record's payload
    /// or past the end of 64-bit space; [`RecordError::Kind`] if `kind` is a marker.
    pub fn extent(
        kind: RecordKind,
        position: Position,
        extent_offset: u64,
        extent_len: u64,
    ) -> Result<Self, RecordError> {
        if !kind.has_extent() {
            return Err(RecordError::Kind(kind.to_wire()));
        }
        let header = Self { extent_offset, extent_len, ..Self::bare(kind, position) };
        header.check()?;
        Ok(header)
    }

    /// A marker: a record without extent. [`RecordHeader::gap_begin`] makes that of a gap.
    ///
    /// # Errors
    /// [`RecordError::Kind`] if `kind` describes an extent; [`RecordError::GapReason`] for
    /// [`RecordKind::GapBegin`], which has a reason.
    pub fn marker(kind: RecordKind, position: Position) -> Result<Self, RecordError> {
        if kind.has_extent() {
            return Err(RecordError::Kind(kind.to_wire()));
        }
        let header = Self::bare(kind, position);
        header.check()?;
        Ok(header)
    }

    /// The marker of a gap that began for `reason`.
    pub fn gap_begin(position: Position, reason: GapReason) -> Self {
        Self { gap_reason: Some(reason), ..Self::bare(RecordKind::GapBegin, position) }
    }

    /// The same marker, of a session that continues on a volume of `length` bytes.
    ///
    /// # Errors
    /// [`RecordError::Extent`] for a length that no volume has, or a record that cannot say it.
    pub fn of_volume(self, length: u64) -> Result<Self, RecordError> {
        let header = Self { volume_length: length, ..self };
        header.check()?;
        Ok(header)
    }

    /// The header of any record, from what the driver's engine says of it: the bytes it describes,
    /// or for a marker of a gap why the gap began, and the whole volume if the session continues.
    ///
    /// # Errors
    /// As for [`RecordHeader::extent`] and [`RecordHeader::marker`].
    pub fn new(
        kind: RecordKind,
        position: Position,
        extent: Option<Extent>,
        gap_reason: Option<GapReason>,
    ) -> Result<Self, RecordError> {
        match (extent, gap_reason) {
            (Some(volume), Some(reason)) => {
                Self::gap_begin(position, reason).of_volume(volume.end())
            }
            (Some(extent), None) => Self::extent(kind, position, extent.offset(), extent.len()),
            (None, Some(reason)) => Ok(Self::gap_begin(position, reason)),
            (None, None) => Self::marker(kind, position),
        }
    }

    fn bare(kind: RecordKind, position: Position) -> Self {
        let Position { seq, time, monotonic, epoch } = position;
        Self {
            kind,
            zero: false,
            hashed: false,
            seq,
            time,
            monotonic,
            epoch,
            extent_offset: 0,
            extent_len: 0,
            gap_reason: None,
            volume_length: 0,
        }
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// Any [`RecordError`] but [`RecordError::Truncated`] for the payload, which this does not look
    /// at.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let (raw, _) =
            RawRecordHeader::read_from_prefix(bytes).map_err(|_| RecordError::Truncated)?;
        if raw.magic.get() != RECORD_MAGIC {
            return Err(RecordError::Magic(raw.magic.get()));
        }
        let kind =
            RecordKind::from_wire(raw.kind.get()).ok_or(RecordError::Kind(raw.kind.get()))?;
        let flags = raw.flags.get();
        if flags & !(RECORD_FLAG_ZERO | RECORD_FLAG_HASHED) != 0 {
            return Err(RecordError::Flags(flags));
        }
        let reason = raw.gap_reason.get();
        let gap_reason = match reason {
            0 => None,
            _ => Some(GapReason::from_wire(reason).ok_or(RecordError::GapReason(reason))?),
        };
        let (len, is_gap) = (raw.extent_len.get(), kind == RecordKind::GapBegin);
        let header = Self {
            kind,
            zero: flags & RECORD_FLAG_ZERO != 0,
            hashed: flags & RECORD_FLAG_HASHED != 0,
            seq: raw.seq.get(),
            time: raw.time,
            monotonic: raw.monotonic.get(),
            epoch: raw.epoch.get(),
            extent_offset: raw.extent_offset.get(),
            extent_len: if is_gap { 0 } else { len },
            gap_reason,
            volume_length: if is_gap { len } else { 0 },
        };
        header.check()?;
        if header.payload_len() as u64 != u64::from(raw.payload_len.get()) {
            return Err(RecordError::PayloadLen(raw.payload_len.get()));
        }
        Ok(header)
    }

    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; RECORD_HEADER_LEN] {
        let zero = if self.zero { RECORD_FLAG_ZERO } else { 0 };
        let hashed = if self.hashed { RECORD_FLAG_HASHED } else { 0 };
        let raw = RawRecordHeader {
            magic: U32::new(RECORD_MAGIC),
            kind: U16::new(self.kind.to_wire()),
            flags: U16::new(zero | hashed),
            seq: self.seq.into(),
            time: self.time,
            epoch: self.epoch.into(),
            extent_offset: U64::new(self.extent_offset),
            // One of them is 0.
            extent_len: U64::new(self.extent_len | self.volume_length),
            // Fits: `check` bounds it by RECORD_PAYLOAD_MAX.
            payload_len: U32::new(u32::try_from(self.payload_len()).unwrap_or(u32::MAX)),
            gap_reason: U16::new(self.gap_reason.map_or(0, GapReason::to_wire)),
            reserved: [0; 2],
            monotonic: U64::new(self.monotonic),
        };
        let mut bytes = [0; RECORD_HEADER_LEN];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// The same record without payload: its extent holds zeros only.
    ///
    /// # Errors
    /// [`RecordError::Kind`] for a record that carries no content anyway.
    pub fn zeroed(mut self) -> Result<Self, RecordError> {
        if !self.kind.has_content() {
            return Err(RecordError::Kind(self.kind.to_wire()));
        }
        self.zero = true;
        Ok(self)
    }

    /// The same blocks without their payload: the stream gives them this content already.
    ///
    /// # Errors
    /// [`RecordError::Kind`] for a record that is no [`RecordKind::Resync`], or of zeros.
    pub fn unchanged(self) -> Result<Self, RecordError> {
        if self.kind != RecordKind::Resync || self.zero {
            return Err(RecordError::Kind(self.kind.to_wire()));
        }
        Ok(Self { kind: RecordKind::Unchanged, ..self })
    }

    /// The same record with hashes in the place of the extent's bytes.
    ///
    /// # Errors
    /// [`RecordError::Kind`] for a record that is no [`RecordKind::Check`].
    pub fn hashed(mut self) -> Result<Self, RecordError> {
        if self.kind != RecordKind::Check {
            return Err(RecordError::Kind(self.kind.to_wire()));
        }
        self.hashed = true;
        Ok(self)
    }

    /// The same record with BLAKE3-256 of the extent's bytes in their place: the server has them in
    /// what it has of the volume from before, and stores the record with them.
    ///
    /// # Errors
    /// [`RecordError::Kind`] for a record that is neither [`RecordKind::Block`] nor
    /// [`RecordKind::Resync`], or of zeros.
    pub fn seeded(mut self) -> Result<Self, RecordError> {
        if !can_be_seeded(self.kind) || self.zero {
            return Err(RecordError::Kind(self.kind.to_wire()));
        }
        self.hashed = true;
        Ok(self)
    }

    /// The record that [`RecordHeader::seeded`] was made of.
    #[must_use]
    pub fn unseeded(self) -> Self {
        Self { hashed: self.hashed && !self.is_seeded(), ..self }
    }

    /// What the record says.
    pub fn kind(&self) -> RecordKind {
        self.kind
    }

    /// True if the extent is all zeros and no payload follows.
    pub fn is_zero(&self) -> bool {
        self.zero
    }

    /// True if the payload is hashes, not the extent's bytes.
    pub fn is_hashed(&self) -> bool {
        self.hashed
    }

    /// True if the payload is one hash of the extent's bytes: no such record is stored.
    pub fn is_seeded(&self) -> bool {
        self.hashed && can_be_seeded(self.kind)
    }

    /// The record's place in the stream.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// What the wall clock showed when the record was captured.
    pub fn time(&self) -> FileTime {
        self.time
    }

    /// What the clock that is never set showed then, in ticks of 100 ns ([`Position::monotonic`]).
    pub fn monotonic(&self) -> u64 {
        self.monotonic
    }

    /// Both times: they tell the record from one of another past with its number.
    pub fn made(&self) -> Made {
        Made { time: self.time.get(), monotonic: Tick(self.monotonic) }
    }

    /// The epoch that the record belongs to.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// First byte of the volume that the record speaks of.
    pub fn extent_offset(&self) -> u64 {
        self.extent_offset
    }

    /// Bytes of the volume that the record speaks of; 0 for a marker.
    pub fn extent_len(&self) -> u64 {
        self.extent_len
    }

    /// Bytes that follow the header.
    pub fn payload_len(&self) -> usize {
        if self.zero || !self.kind.has_payload() {
            return 0;
        }
        if self.is_seeded() {
            return SEED_HASH_LEN;
        }
        if self.hashed {
            return check::hashes_len(self.extent_len);
        }
        // `check` bounds the extent of a record with a payload by RECORD_PAYLOAD_MAX.
        usize::try_from(self.extent_len).unwrap_or(usize::MAX)
    }

    /// Why the gap began that this record marks; `None` for every kind but
    /// [`RecordKind::GapBegin`].
    pub fn gap_reason(&self) -> Option<GapReason> {
        self.gap_reason
    }

    /// Bytes of the volume from this record on, if it says it: only the marker of a gap does in
    /// which the session continues.
    pub fn volume_length(&self) -> Option<u64> {
        (self.volume_length != 0).then_some(self.volume_length)
    }

    fn check(&self) -> Result<(), RecordError> {
        if self.gap_reason.is_some() != (self.kind == RecordKind::GapBegin) {
            return Err(RecordError::GapReason(self.gap_reason.map_or(0, GapReason::to_wire)));
        }
        let bad = RecordError::Extent { offset: self.extent_offset, len: self.extent_len };
        let length = self.volume_length;
        let may_say = self.gap_reason.is_some_and(GapReason::continues_session);
        if (length != 0 && !may_say) || !length.is_multiple_of(RECORD_GRANULE) {
            return Err(RecordError::Extent { offset: self.extent_offset, len: length });
        }
        if !self.kind.has_extent() {
            let empty = self.extent_offset == 0 && self.extent_len == 0;
            let empty = empty && !self.zero && !self.hashed;
            return if empty { Ok(()) } else { Err(bad) };
        }
        let aligned = self.extent_offset.is_multiple_of(RECORD_GRANULE)
            && self.extent_len.is_multiple_of(RECORD_GRANULE)
            && self.extent_len != 0;
        let inside = self.extent_offset.checked_add(self.extent_len).is_some();
        // An extent that is described and not carried may be as long as the volume.
        let short = !self.kind.has_payload() || self.extent_len <= RECORD_PAYLOAD_MAX as u64;
        let consistent = (!self.zero || self.kind.has_content())
            && (!self.hashed || self.kind == RecordKind::Check || self.is_seeded())
            && !(self.zero && self.is_seeded());
        if aligned && inside && short && consistent { Ok(()) } else { Err(bad) }
    }
}

fn can_be_seeded(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::Block | RecordKind::Resync)
}

/// Where and when a record stands in its session's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Its number.
    pub seq: Seq,
    /// What the wall clock showed.
    pub time: FileTime,
    /// What a clock showed that is never set, in ticks of 100 ns from any origin; it may start anew
    /// when the machine does.
    pub monotonic: u64,
    /// Its epoch.
    pub epoch: EpochId,
}

/// A checked header together with its payload.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What the record says.
    pub header: RecordHeader,
    /// The volume's bytes; empty for markers, zeros and unreadable blocks.
    pub payload: &'a [u8],
}

/// The records in a packed buffer, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Iterates over the records that fill `buffer` exactly.
    pub fn new(buffer: &'a [u8]) -> Self {
        Self { rest: buffer }
    }

    fn parse(&self) -> Result<(Record<'a>, &'a [u8]), RecordError> {
        let header = RecordHeader::read(self.rest)?;
        let body = self.rest.get(RECORD_HEADER_LEN..).ok_or(RecordError::Truncated)?;
        let (payload, rest) =
            body.split_at_checked(header.payload_len()).ok_or(RecordError::Truncated)?;
        Ok((Record { header, payload }, rest))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(match self.parse() {
            Ok((record, rest)) => {
                self.rest = rest;
                Ok(record)
            }
            Err(error) => {
                self.rest = &[];
                Err(error)
            }
        })
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordError {
    /// The buffer ends inside a record.
    Truncated,
    /// The record does not begin with [`RECORD_MAGIC`].
    Magic(u32),
    /// The kind is unknown, or does not fit what was asked.
    Kind(u16),
    /// An unknown flag is set: a newer writer.
    Flags(u16),
    /// The extent is empty, unaligned, too long, or belongs to a marker.
    Extent {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The payload's length does not follow from the kind and the extent.
    PayloadLen(u32),
    /// The reason of a gap is unknown, absent from a gap's marker, or on another record.
    GapReason(u16),
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the data ends inside a record"),
            Self::Magic(found) => write!(f, "a record begins with {found:#010x}, not SLRC"),
            Self::Kind(kind) => write!(f, "record kind {kind} is unknown or out of place"),
            Self::Flags(flags) => write!(f, "record flags {flags:#06x} are unknown"),
            Self::Extent { offset, len } => {
                write!(f, "a record speaks of {len} bytes at {offset}: not an extent")
            }
            Self::GapReason(reason) => {
                write!(f, "a record has reason {reason} of a gap: unknown, or out of place")
            }
            Self::PayloadLen(len) => write!(f, "a payload of {len} bytes does not fit its record"),
        }
    }
}

impl core::error::Error for RecordError {}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position =
        Position { seq: Seq::new(7), time: FileTime::new(9), monotonic: 8, epoch: EpochId::new(3) };

    fn write(len: u64) -> RecordHeader {
        RecordHeader::extent(RecordKind::Write, AT, 4096, len).unwrap()
    }

    #[test]
    fn a_seeded_record_has_a_hash_in_the_place_of_its_content() {
        let position = Position {
            seq: Seq::new(3),
            time: FileTime::new(4),
            monotonic: 5,
            epoch: EpochId::new(6),
        };
        for kind in [RecordKind::Block, RecordKind::Resync] {
            let full = RecordHeader::extent(kind, position, 65_536, 131_072).unwrap();
            let seeded = full.seeded().unwrap();
            assert!(seeded.is_seeded() && seeded.is_hashed() && !full.is_seeded());
            assert_eq!((seeded.payload_len(), seeded.extent_len()), (SEED_HASH_LEN, 131_072));
            assert_eq!(RecordHeader::read(&seeded.to_bytes()), Ok(seeded));
            assert_eq!(seeded.unseeded(), full);
            assert!(full.zeroed().unwrap().seeded().is_err());
            // Zeros have no content that could be named.
            let mut both = full.zeroed().unwrap().to_bytes();
            both[6] |= 2;
            assert!(RecordHeader::read(&both).is_err());
        }
        let write = RecordHeader::extent(RecordKind::Write, position, 0, 512).unwrap();
        assert!(write.seeded().is_err());
        let mut hashed = write.to_bytes();
        hashed[6] |= 2;
        assert!(RecordHeader::read(&hashed).is_err());
        let check = RecordHeader::extent(RecordKind::Check, position, 0, 512).unwrap();
        assert_eq!(check.hashed().unwrap().unseeded(), check.hashed().unwrap());
    }

    #[test]
    fn the_header_is_pinned_byte_for_byte() {
        let mut want = [0_u8; 64];
        want[..4].copy_from_slice(b"SLRC");
        want[4] = 2;
        want[8] = 7;
        want[16] = 9;
        want[24] = 3;
        want[33] = 0x10;
        want[41] = 2;
        want[49] = 2;
        want[56] = 8;
        assert_eq!(write(512).to_bytes(), want);
    }

    #[test]
    fn records_in_a_buffer_come_back_in_order() {
        let mut buffer = write(512).to_bytes().to_vec();
        buffer.extend([0xab; 512]);
        buffer.extend(write(1024).zeroed().unwrap().to_bytes());
        buffer.extend(RecordHeader::marker(RecordKind::EpochEnd, AT).unwrap().to_bytes());
        let records: Vec<_> = Records::new(&buffer).map(Result::unwrap).collect();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0].payload, [0xab; 512]);
        assert!(records[1].header.is_zero() && records[1].payload.is_empty());
        assert_eq!(records[1].header.extent_len(), 1024);
        assert_eq!(records[2].header.kind(), RecordKind::EpochEnd);
    }

    #[test]
    fn records_without_payload_may_be_long() {
        for kind in [
            RecordKind::Unreadable,
            RecordKind::Unallocated,
            RecordKind::Trim,
            RecordKind::Zero,
            RecordKind::Excluded,
            RecordKind::Unchanged,
        ] {
            let header = RecordHeader::extent(kind, AT, 4096, 1 << 40).unwrap();
            assert_eq!((header.payload_len(), header.extent_len()), (0, 1 << 40));
            assert_eq!(RecordHeader::read(&header.to_bytes()), Ok(header));
            assert_eq!(RecordKind::from_wire(kind.to_wire()), Some(kind));
            assert!(header.zeroed().is_err(), "there is nothing to leave out");
            assert!(RecordHeader::extent(kind, AT, u64::MAX - 511, 512).is_err());
        }
        let long = RECORD_PAYLOAD_MAX as u64 + 512;
        for kind in [RecordKind::Block, RecordKind::Write, RecordKind::Resync, RecordKind::Check] {
            assert!(RecordHeader::extent(kind, AT, 0, long).is_err());
        }
    }

    #[test]
    fn only_a_resync_with_content_may_be_unchanged() {
        let resync = RecordHeader::extent(RecordKind::Resync, AT, 4096, 1024).unwrap();
        let unchanged = resync.unchanged().unwrap();
        assert_eq!((unchanged.kind(), unchanged.payload_len()), (RecordKind::Unchanged, 0));
        let mut want = resync.to_bytes();
        want[4] = 9;
        want[48..52].fill(0);
        assert_eq!(unchanged.to_bytes(), want);
        assert_eq!(RecordHeader::read(&want), Ok(unchanged));
        for other in [resync.zeroed().unwrap(), unchanged, write(512)] {
            assert!(other.unchanged().is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_check_has_its_bytes_or_their_hashes_and_no_other_record_has_hashes() {
        let check = RecordHeader::extent(RecordKind::Check, AT, 4096, 3 << 15).unwrap();
        assert_eq!(check.payload_len(), 3 << 15);
        assert!(check.zeroed().is_err(), "zeros have a hash as well");
        let hashed = check.hashed().unwrap();
        assert_eq!((hashed.payload_len(), hashed.extent_len()), (2 * 16, 3 << 15));
        let mut want = check.to_bytes();
        (want[6], want[48], want[50]) = (2, 32, 0);
        want[49] = 0;
        assert_eq!(hashed.to_bytes(), want);
        assert_eq!(RecordHeader::read(&want), Ok(hashed));
        for other in [write(512), write(512).zeroed().unwrap()] {
            assert!(other.hashed().is_err());
        }
        let mut marker = RecordHeader::marker(RecordKind::EpochEnd, AT).unwrap().to_bytes();
        marker[6] = 2;
        assert!(RecordHeader::read(&marker).is_err());
    }

    #[test]
    fn a_gap_has_a_reason_and_nothing_else_has_one() {
        for &reason in GapReason::ALL {
            let header = RecordHeader::gap_begin(AT, reason);
            assert_eq!(header.to_bytes()[52..54], reason.to_wire().to_le_bytes());
            assert_eq!(RecordHeader::read(&header.to_bytes()), Ok(header));
            assert_eq!(header.gap_reason(), Some(reason));
        }
        let missing = RecordHeader::marker(RecordKind::GapBegin, AT);
        assert_eq!(missing, Err(RecordError::GapReason(0)));
        let mut bytes = RecordHeader::gap_begin(AT, GapReason::QueueFull).to_bytes();
        for unknown in [0, 99] {
            bytes[52] = unknown;
            assert_eq!(RecordHeader::read(&bytes), Err(RecordError::GapReason(unknown.into())));
        }
        let mut bytes = write(512).to_bytes();
        bytes[52] = 1;
        assert_eq!(RecordHeader::read(&bytes), Err(RecordError::GapReason(1)));
    }

    #[test]
    fn the_marker_of_a_session_that_continues_says_how_long_the_volume_is() {
        for &reason in GapReason::ALL {
            let marker = RecordHeader::gap_begin(AT, reason);
            assert_eq!(marker.volume_length(), None);
            let Ok(said) = marker.of_volume(1 << 30) else {
                assert!(!reason.continues_session());
                continue;
            };
            assert!(reason.continues_session());
            assert_eq!((said.volume_length(), said.extent_len()), (Some(1 << 30), 0));
            assert_eq!(said.to_bytes()[40..48], (1_u64 << 30).to_le_bytes());
            assert_eq!(RecordHeader::read(&said.to_bytes()), Ok(said));
            let volume = Extent::new(0, 1 << 30);
            assert_eq!(RecordHeader::new(said.kind(), AT, volume, Some(reason)), Ok(said));
            assert!(marker.of_volume(513).is_err());
            let mut elsewhere = said.to_bytes();
            elsewhere[33] = 2;
            assert!(RecordHeader::read(&elsewhere).is_err());
        }
        assert!(write(512).of_volume(512).is_err());
        let mut other = RecordHeader::gap_begin(AT, GapReason::QueueFull).to_bytes();
        other[41] = 2;
        assert!(RecordHeader::read(&other).is_err());
    }

    #[test]
    fn every_truncation_is_an_error_and_ends_the_iteration() {
        let mut buffer = write(512).to_bytes().to_vec();
        buffer.extend([1; 512]);
        for len in 1..buffer.len() {
            let mut records = Records::new(&buffer[..len]);
            assert_eq!(records.next().unwrap().unwrap_err(), RecordError::Truncated);
            assert!(records.next().is_none());
        }
    }

    #[test]
    fn contradictory_headers_are_refused() {
        let good = write(512).to_bytes();
        // Each: a byte to overwrite, its value, and why the header is then wrong.
        for (index, value) in
            [(0, b'X'), (4, 99), (6, 2), (32, 1), (40, 1), (41, 4), (47, 1), (49, 0)]
        {
            let mut bytes = good;
            bytes[index] = value;
            assert!(RecordHeader::read(&bytes).is_err(), "byte {index} = {value}");
        }
        assert!(RecordHeader::read(&good).is_ok());
        assert!(RecordHeader::extent(RecordKind::Write, AT, 0, 0).is_err());
        assert!(RecordHeader::extent(RecordKind::Write, AT, u64::MAX - 511, 512).is_err());
        assert!(RecordHeader::extent(RecordKind::EpochEnd, AT, 0, 512).is_err());
        assert!(RecordHeader::marker(RecordKind::Block, AT).is_err());
    }
}
