//! `segment-NNNNNNNN.slseg`: a part of a session's stream.
//!
//! A header of [`SEGMENT_HEADER_LEN`] bytes, then entries. An entry is a wire frame of kind
//! Records, byte for byte as the service sent it. An `EpochEnd` ends its frame, so that the stream
//! can be cut after any epoch. A segment that is an object has a claim behind its header
//! ([`super::claim`]). Segments are numbered from 1 without holes. An entry never crosses
//! segments; an epoch may.
//!
//! A *compacted* segment, `compact-NNNNNNNN.slseg`, has the same form. A fold makes it out of what
//! retained points need of older segments; only maps say what its records are.
//!
//! The header's version tells what follows it ([`SegmentForm`]). In a repository that is compressed
//! or encrypted an entry is such a frame, sealed (`sealed.rs`).

use snapless_types::RecordKind;
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::record::RecordHeader;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, Head, check, number_in, seal};

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_LEN: usize = 64;
/// Bytes past which a segment does not grow: a new one begins.
pub const SEGMENT_LIMIT_BYTES: u64 = 256 << 20;

/// The same of a segment that is an object: it is held in memory until then.
pub const OBJECT_LIMIT_BYTES: u64 = 64 << 20;

/// The last number of an object: names of more digits are not in the order of their numbers.
pub const OBJECT_NUMBER_MAX: SegmentNumber = SegmentNumber(99_999_999);

const MAGIC: [u8; 8] = *b"SLSEGMT\0";
/// Of a segment of frames; the other forms add to it.
const VERSION: u32 = 1;
/// Of a segment of sealed entries with a claim and all records that there are.
const VERSION_MAX: u32 = 12;

/// The numbers of compacted segments have this bit; those of the log never grow so far.
const COMPACTED: u64 = 1 << 62;

/// A segment's number within its session, from 1. Compacted segments have numbers of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The first segment.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The compacted segment of this number, from 1.
    #[must_use]
    pub fn compacted(number: u64) -> Self {
        Self(COMPACTED | number)
    }

    /// The number of a compacted segment among those.
    #[must_use]
    pub fn compacted_index(self) -> u64 {
        self.0 & !COMPACTED
    }

    /// True for a segment that a fold has made, false for one of the log.
    pub fn is_compacted(self) -> bool {
        self.0 & COMPACTED != 0
    }

    /// The name of the segment's file.
    pub fn file_name(self) -> String {
        if self.is_compacted() {
            return format!("compact-{:08}.slseg", self.compacted_index());
        }
        format!("segment-{:08}.slseg", self.0)
    }

    /// The name of the file of the segment's index.
    pub fn index_name(self) -> String {
        format!("segment-{:08}.slidx", self.0)
    }

    /// The number in the file name of a segment of the log; `None` for any other file.
    pub fn from_file_name(name: &str) -> Option<Self> {
        Self::parse(name, "segment-", ".slseg")
    }

    /// The number in the file name of a compacted segment; `None` for any other file.
    pub fn from_compacted_name(name: &str) -> Option<Self> {
        Self::parse(name, "compact-", ".slseg").map(|number| Self::compacted(number.0))
    }

    /// The number in the file name of an index; `None` for any other file.
    pub fn from_index_name(name: &str) -> Option<Self> {
        Self::parse(name, "segment-", ".slidx")
    }

    fn parse(name: &str, prefix: &str, suffix: &str) -> Option<Self> {
        number_in(name, prefix, suffix).filter(|number| number & COMPACTED == 0).map(Self)
    }
}

/// The head of a segment: its stream and its place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The protected volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// The segment's number.
    pub number: SegmentNumber,
}

/// What is behind the header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentForm {
    /// The entries are sealed, not plain frames.
    pub is_sealed: bool,
    /// A [`super::claim::Claim`] comes first.
    pub has_claim: bool,
    /// What records there may be.
    pub records: RecordSet,
}

/// What records a segment may have. A release takes those that it does not know for damage: the
/// version of a segment keeps it from that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum RecordSet {
    /// Those of the first release.
    #[default]
    First,
    /// Of all kinds.
    AllKinds,
    /// Also markers that say how long the volume is.
    WithLengths,
}

impl SegmentForm {
    /// Of a segment without a claim and without records of later kinds.
    pub fn sealed_if(is_sealed: bool) -> Self {
        Self { is_sealed, ..Self::default() }
    }

    fn version(self) -> u32 {
        let Self { is_sealed, has_claim, records } = self;
        VERSION + u32::from(is_sealed) + 2 * u32::from(has_claim) + 4 * (records as u32)
    }

    fn of_version(version: u32) -> Self {
        let form = version.wrapping_sub(VERSION);
        let records = match form >> 2 {
            0 => RecordSet::First,
            1 => RecordSet::AllKinds,
            _ => RecordSet::WithLengths,
        };
        Self { is_sealed: form & 1 != 0, has_claim: form & 2 != 0, records }
    }
}

impl RecordSet {
    /// The smallest set that has this record.
    pub fn of(record: &RecordHeader) -> Self {
        match record.kind() {
            RecordKind::Unchanged | RecordKind::Check => Self::AllKinds,
            _ if record.volume_length().is_some() => Self::WithLengths,
            _ => Self::First,
        }
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    volume: VolumeGuid,
    session: SessionId,
    number: U64,
    reserved: [u8; 4],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == SEGMENT_HEADER_LEN);

impl SegmentHeader {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; SEGMENT_HEADER_LEN] {
        self.to_bytes_as(MAGIC, VERSION)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read(bytes: &[u8; SEGMENT_HEADER_LEN]) -> Result<Self, FormatError> {
        Self::read_as(bytes, MAGIC, VERSION)
    }

    /// The bytes of the header of a segment of this form.
    pub fn to_bytes_of(self, form: SegmentForm) -> [u8; SEGMENT_HEADER_LEN] {
        self.to_bytes_as(MAGIC, form.version())
    }

    /// Reads the header of a segment, and its form.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read_any(bytes: &[u8; SEGMENT_HEADER_LEN]) -> Result<(Self, SegmentForm), FormatError> {
        let mut refused = FormatError::Magic;
        for version in VERSION..=VERSION_MAX {
            match Self::read_as(bytes, MAGIC, version) {
                Ok(header) => return Ok((header, SegmentForm::of_version(version))),
                // Of another version, which may be known too.
                Err(why @ FormatError::Version { .. }) => refused = why,
                Err(why) => return Err(why),
            }
        }
        Err(refused)
    }

    /// Reads the header of a segment whose entries are sealed, or plain frames.
    ///
    /// # Errors
    /// Any [`FormatError`]; one for a segment of the other kind.
    pub fn read_of(is_sealed: bool, bytes: &[u8; SEGMENT_HEADER_LEN]) -> Result<Self, FormatError> {
        let (header, form) = Self::read_any(bytes)?;
        if form.is_sealed == is_sealed {
            Ok(header)
        } else {
            Err(FormatError::Content("kind of entries"))
        }
    }

    /// True if a claim follows these bytes of a header, which [`Self::read_of`] has accepted.
    pub fn has_claim(bytes: &[u8; SEGMENT_HEADER_LEN]) -> bool {
        Self::read_any(bytes).is_ok_and(|(_, form)| form.has_claim)
    }

    /// The bytes of the same header in another kind of file.
    pub(super) fn to_bytes_as(self, magic: [u8; 8], version: u32) -> [u8; SEGMENT_HEADER_LEN] {
        let raw = Raw {
            head: Head::new(magic, version),
            volume: self.volume,
            session: self.session,
            number: U64::new(self.number.0),
            reserved: [0; 4],
            crc: [0; 4],
        };
        let mut bytes: [u8; SEGMENT_HEADER_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// Reads the same header in another kind of file.
    pub(super) fn read_as(
        bytes: &[u8; SEGMENT_HEADER_LEN],
        magic: [u8; 8],
        version: u32,
    ) -> Result<Self, FormatError> {
        check(bytes, magic, version)?;
        let raw: Raw = zerocopy::transmute!(*bytes);
        Ok(Self {
            volume: raw.volume,
            session: raw.session,
            number: SegmentNumber(raw.number.get()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_comes_back() {
        let header = SegmentHeader {
            volume: VolumeGuid([1; 16]),
            session: SessionId([2; 16]),
            number: SegmentNumber(3),
        };
        assert_eq!(SegmentHeader::read(&header.to_bytes()), Ok(header));
    }

    #[test]
    fn the_version_tells_the_form() {
        let header = SegmentHeader {
            volume: VolumeGuid([1; 16]),
            session: SessionId([2; 16]),
            number: SegmentNumber(3),
        };
        for version in VERSION..=VERSION_MAX {
            let form = SegmentForm::of_version(version);
            assert_eq!(form.version(), version);
            let mut bytes = header.to_bytes_of(form);
            assert_eq!(bytes[8], u8::try_from(version).unwrap());
            assert_eq!(SegmentHeader::read_any(&bytes), Ok((header, form)));
            assert_eq!(SegmentHeader::has_claim(&bytes), form.has_claim);
            assert_eq!(SegmentHeader::read_of(form.is_sealed, &bytes), Ok(header));
            let other = SegmentHeader::read_of(!form.is_sealed, &bytes);
            assert_eq!(other, Err(FormatError::Content("kind of entries")));
            // A version that is damaged is none of those, nor a newer one.
            for flipped in 0..8 {
                bytes[8] ^= 1 << flipped;
                assert_eq!(SegmentHeader::read_any(&bytes), Err(FormatError::Checksum));
                bytes[8] ^= 1 << flipped;
            }
        }
        // Also a release that knows fewer says so of a newer one: see `super::check`.
        let newer = header.to_bytes_as(MAGIC, VERSION_MAX + 1);
        let known = VERSION_MAX;
        let refused = Err(FormatError::Version { found: VERSION_MAX + 1, known });
        assert_eq!(SegmentHeader::read_any(&newer), refused);
    }

    #[test]
    fn file_names_carry_the_number() {
        assert_eq!(SegmentNumber(12).file_name(), "segment-00000012.slseg");
        let parse = SegmentNumber::from_file_name;
        assert_eq!(parse("segment-00000012.slseg"), Some(SegmentNumber(12)));
        assert_eq!(parse("segment-123456789.slseg"), Some(SegmentNumber(123_456_789)));
        let index = SegmentNumber(12).index_name();
        assert_eq!(
            (SegmentNumber::from_index_name(&index), parse(&index)),
            (Some(SegmentNumber(12)), None)
        );
        let compacted = SegmentNumber::compacted(12);
        assert_eq!(compacted.file_name(), "compact-00000012.slseg");
        assert_eq!(parse(&compacted.file_name()), None);
        assert_eq!(SegmentNumber::from_compacted_name(&compacted.file_name()), Some(compacted));
        assert!(compacted.is_compacted() && !SegmentNumber(12).is_compacted());
        for other in ["segment-12.slseg", "segment-00000000.slseg", "x", "segment-0000000a.slseg"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
