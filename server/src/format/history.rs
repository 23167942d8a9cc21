//! `history-NNNNNNNN.slhist`: what a fold has kept of the time before a boundary.
//!
//! From the boundary on a session's stream is whole, and before it are only *retained points*, each
//! with a map of its own. The file is made once and never changed; the newest sound one counts. It
//! publishes a fold: what it does not name, and no newer one does, is garbage.
//!
//! ```text
//! head       magic, version
//! fields     volume, session, the history's number
//! boundary   the last record, where its epoch ends in the log
//! points     of each what belongs to its image, its instant, where its root is
//! segments   the compacted ones and the older ones of the log that stay; of each its length
//! pages      bytes of the file of the pages
//! checksum
//! ```
//!
//! The pages of all maps that a fold makes are in one file, `pages-NNNNNNNN.slmap`, and behind them
//! the roots of the retained points.

use snapless_types::Seq;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codec::{Input, Stored};
use super::segment::SegmentNumber;
use super::session::SessionHeader;
use super::{FormatError, Head, check, number_in, seal};
use crate::clock::Instant;
use crate::timeline::{Cut, Place};

/// The longest file that is written or read, in bytes: some million retained points.
pub const HISTORY_LEN_MAX: u64 = 64 << 20;

/// Among objects, more than the numbers of compacted segments of one history.
const COMPACTED_MAX: u64 = 1 << 24;
/// And of histories that have any.
const HISTORIES_MAX: u64 = 1 << 37;

const MAGIC: [u8; 8] = *b"SLHIST\0\0";
const VERSION: u32 = 1;

const CUT_BASE: u32 = 0;
const CUT_THROUGH: u32 = 1;
const CUT_UNTIL: u32 = 2;

/// What the names of all histories begin with.
pub const HISTORIES_BEGINNING: &str = "history-";

/// The number of a history within its session, from 1. One that was used never comes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HistoryNumber(pub u64);

impl HistoryNumber {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The compacted segment of this number, from 1, of the fold that publishes this history: among
    /// objects, where numbers must not meet those of another fold. `None` past the last one.
    #[must_use]
    pub fn compacted(self, number: u64) -> Option<SegmentNumber> {
        let is_possible = self.0 < HISTORIES_MAX && number < COMPACTED_MAX;
        is_possible.then(|| SegmentNumber::compacted(self.0 * COMPACTED_MAX + number))
    }

    /// The history whose fold made a compacted segment among objects.
    #[must_use]
    pub fn of_compacted(segment: SegmentNumber) -> Self {
        Self(segment.compacted_index() / COMPACTED_MAX)
    }

    /// The name of the history's file.
    pub fn file_name(self) -> String {
        format!("history-{:08}.slhist", self.0)
    }

    /// The name of the file of its maps' pages.
    pub fn pages_name(self) -> String {
        format!("pages-{:08}.slmap", self.0)
    }

    /// The name of a part of it, where that is several objects of one length, but for the last one.
    /// The first part has the name of the whole.
    pub fn pages_part_name(self, part: u64) -> String {
        match part {
            0 => self.pages_name(),
            part => format!("pages-{:08}-{part:08}.slmap", self.0),
        }
    }

    /// The number in the name of a history's file; `None` for any other file.
    pub fn from_file_name(name: &str) -> Option<Self> {
        number_in(name, "history-", ".slhist").map(Self)
    }

    /// The number in the name of a file of pages, or of a part of one; `None` for any other file.
    pub fn from_pages_name(name: &str) -> Option<Self> {
        if let Some(number) = number_in(name, "pages-", ".slmap") {
            return Some(Self(number));
        }
        let (whole, part) = name.strip_suffix(".slmap")?.rsplit_once('-')?;
        let number = Self(number_in(whole, "pages-", "")?);
        (number.pages_part_name(part.parse().ok()?) == name).then_some(number)
    }
}

/// A session's history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    /// Its number.
    pub number: HistoryNumber,
    /// Where the stream is whole from.
    pub boundary: Boundary,
    /// What can be restored of the time before the boundary, in order.
    pub points: Vec<Retained>,
    /// The compacted segments, and the segments of the log before the boundary that stay, in the
    /// order of their numbers.
    pub segments: Vec<KeptSegment>,
    /// Bytes of the file of the pages.
    pub pages_len: u64,
}

/// The end of an epoch from which on every instant stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boundary {
    /// The epoch's last record.
    pub place: Place,
    /// The segment in which the epoch ends: the first one of the log.
    pub segment: SegmentNumber,
    /// Where in that segment it ends, in bytes from the file's start.
    pub offset: u64,
}

/// A retained point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retained {
    /// What belongs to its image.
    pub cut: Cut,
    /// Its instant.
    pub at: Instant,
    /// Where its root is.
    pub root: RootRef,
}

impl Retained {
    /// What the wall clock showed.
    pub fn time(&self) -> FileTime {
        self.at.time
    }
}

/// A root in the file of the pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootRef {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
    /// CRC-32C of the session, the place and the bytes, as of a page.
    pub sum: u32,
}

/// A segment that the retained points need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptSegment {
    /// Its number.
    pub number: SegmentNumber,
    /// Bytes of its file.
    pub len: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    volume: VolumeGuid,
    session: SessionId,
    number: U64,
}

/// Bytes before the variable part.
const RAW_LEN: usize = 56;
const _: () = assert!(size_of::<Raw>() == RAW_LEN);

impl History {
    /// The retained point of this cut.
    pub fn point(&self, cut: Cut) -> Option<&Retained> {
        self.points.iter().find(|point| point.cut == cut)
    }

    /// Bytes of the segments that it names.
    pub fn segment_bytes(&self) -> u64 {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.len))
    }

    /// The file's bytes.
    pub fn to_bytes(&self, session: &SessionHeader) -> Vec<u8> {
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            volume: session.volume,
            session: session.session,
            number: U64::new(self.number.0),
        };
        let mut bytes = raw.as_bytes().to_vec();
        self.boundary.put(&mut bytes);
        self.points.put(&mut bytes);
        self.segments.put(&mut bytes);
        self.pages_len.put(&mut bytes);
        bytes.extend([0; 4]);
        seal(&mut bytes);
        bytes
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Any [`FormatError`]; one for a history of another session, or one that no session can have.
    pub fn read(
        bytes: &[u8],
        number: HistoryNumber,
        session: &SessionHeader,
    ) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let (raw, body) = Raw::read_from_prefix(bytes).map_err(|_| FormatError::Short)?;
        let is_ours = (raw.volume, raw.session) == (session.volume, session.session);
        if !is_ours || raw.number.get() != number.0 {
            return Err(FormatError::Content("identity"));
        }
        let (body, _) = body.split_last_chunk::<4>().ok_or(FormatError::Short)?;
        let history = Self::take(&mut Input::new(body), number);
        history.filter(Self::is_possible).ok_or(FormatError::Content("history"))
    }

    fn take(input: &mut Input<'_>, number: HistoryNumber) -> Option<Self> {
        let (boundary, points) = (Stored::take(input)?, Stored::take(input)?);
        let (segments, pages_len) = (Stored::take(input)?, Stored::take(input)?);
        let history = Self { number, boundary, points, segments, pages_len };
        input.is_empty().then_some(history)
    }

    /// True if the points follow each other before the boundary, their roots are in the file of the
    /// pages, and the segments are of the time before.
    fn is_possible(&self) -> bool {
        let Self { boundary: Boundary { place, segment, .. }, points, segments, .. } = self;
        let is_before = |point: &Retained| {
            let root_end = point.root.offset.checked_add(point.root.len);
            let is_before = match point.cut {
                Cut::Base => point.at <= place.at,
                Cut::Through(seq) => seq < place.seq && point.at <= place.at,
                Cut::Until(instant) => instant == point.at && point.at < place.at,
            };
            is_before && root_end.is_some_and(|end| end <= self.pages_len)
        };
        let are_old = segments.iter().all(|it| it.number.is_compacted() || it.number < *segment);
        !segment.is_compacted()
            && segment.0 > 0
            && are_old
            && points.iter().all(is_before)
            && points.windows(2).all(|two| two[0].at <= two[1].at)
            && segments.windows(2).all(|two| two[0].number < two[1].number)
    }
}

impl Stored for Boundary {
    fn put(&self, out: &mut Vec<u8>) {
        self.place.put(out);
        self.segment.0.put(out);
        self.offset.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let (place, segment) = (Stored::take(input)?, SegmentNumber(u64::take(input)?));
        Some(Self { place, segment, offset: u64::take(input)? })
    }
}

impl Stored for Retained {
    fn put(&self, out: &mut Vec<u8>) {
        let (kind, seq) = match self.cut {
            Cut::Base => (CUT_BASE, Seq::new(0)),
            Cut::Through(seq) => (CUT_THROUGH, seq),
            Cut::Until(_) => (CUT_UNTIL, Seq::new(0)),
        };
        kind.put(out);
        seq.put(out);
        self.at.put(out);
        self.root.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let (kind, seq) = (u32::take(input)?, u64::take(input)?);
        let (at, root) = (Instant::take(input)?, Stored::take(input)?);
        let cut = match kind {
            CUT_BASE if seq == 0 => Cut::Base,
            CUT_THROUGH => Cut::Through(Seq::new(seq)),
            CUT_UNTIL if seq == 0 => Cut::Until(at),
            _ => return None,
        };
        Some(Self { cut, at, root })
    }
}

impl Stored for RootRef {
    fn put(&self, out: &mut Vec<u8>) {
        self.offset.put(out);
        self.len.put(out);
        self.sum.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let (offset, len) = (u64::take(input)?, u64::take(input)?);
        Some(Self { offset, len, sum: u32::take(input)? })
    }
}

impl Stored for KeptSegment {
    fn put(&self, out: &mut Vec<u8>) {
        self.number.0.put(out);
        self.len.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Some(Self { number: SegmentNumber(u64::take(input)?), len: u64::take(input)? })
    }
}

#[cfg(test)]
mod tests {
    use snapless_types::{EpochId, Geometry};

    use super::*;

    fn session(byte: u8) -> SessionHeader {
        SessionHeader {
            volume: VolumeGuid([1; 16]),
            session: SessionId([byte; 16]),
            geometry: Geometry::new(1 << 20, 512, 65_536).unwrap(),
            created: FileTime::new(5),
        }
    }

    fn history() -> History {
        let at = |time| Instant::new(0, FileTime::new(time));
        let root = RootRef { offset: 10, len: 90, sum: 7 };
        let place = Place { seq: Seq::new(9), at: at(50), epoch: EpochId::new(3) };
        History {
            number: HistoryNumber(4),
            boundary: Boundary { place, segment: SegmentNumber(5), offset: 700 },
            points: vec![
                Retained { cut: Cut::Base, at: at(1), root },
                Retained { cut: Cut::Until(at(7)), at: at(7), root },
                Retained { cut: Cut::Through(Seq::new(8)), at: at(50), root },
            ],
            segments: vec![
                KeptSegment { number: SegmentNumber(2), len: 3000 },
                KeptSegment { number: SegmentNumber::compacted(1), len: 4000 },
            ],
            pages_len: 100,
        }
    }

    #[test]
    fn a_history_comes_back_and_every_flipped_bit_is_found() {
        let history = history();
        let bytes = history.to_bytes(&session(2));
        let read = |bytes: &[u8]| History::read(bytes, HistoryNumber(4), &session(2));
        assert_eq!(read(&bytes), Ok(history.clone()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{len} bytes");
        }
        let identity = Err(FormatError::Content("identity"));
        assert_eq!(History::read(&bytes, HistoryNumber(5), &session(2)), identity);
        assert_eq!(History::read(&bytes, HistoryNumber(4), &session(3)), identity);
        assert_eq!(history.segment_bytes(), 7000);
    }

    #[test]
    fn what_no_fold_writes_is_refused() {
        let changes: [fn(&mut History); 8] = [
            |it| it.points.swap(0, 2),
            |it| it.points[2].cut = Cut::Through(Seq::new(9)),
            |it| it.points[1].at = it.boundary.place.at,
            |it| it.points[0].root.len = 91,
            |it| it.points[0].root.offset = u64::MAX,
            |it| it.segments[0].number = SegmentNumber(5),
            |it| it.segments.swap(0, 1),
            |it| it.boundary.segment = SegmentNumber::compacted(1),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut wrong = history();
            change(&mut wrong);
            let read = History::read(&wrong.to_bytes(&session(2)), wrong.number, &session(2));
            assert_eq!(read, Err(FormatError::Content("history")), "change {index}");
        }
    }

    #[test]
    fn file_names_carry_the_number() {
        let number = HistoryNumber(12);
        assert_eq!(number.file_name(), "history-00000012.slhist");
        assert_eq!(number.pages_name(), "pages-00000012.slmap");
        assert_eq!(HistoryNumber::from_file_name(&number.file_name()), Some(number));
        assert_eq!(HistoryNumber::from_pages_name(&number.pages_name()), Some(number));
        for other in ["history-12.slhist", "history-00000000.slhist", "pages-00000012.slhist"] {
            assert_eq!(HistoryNumber::from_file_name(other), None, "{other}");
        }
    }
}
