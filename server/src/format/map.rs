//! `map-NNNNNNNNNNNNNNNN.slmap`: where the bytes of a volume are at an acknowledged end of its
//! stream, in pages of [`PAGE_BLOCKS`] blocks.
//!
//! The number in the name is that of the last record. The file has the pages that changed since the
//! map before it, and a root, which names all pages: those of older maps stay where they are. The
//! map says nothing that the stream does not say: where it is missing or damaged, an older one or
//! the whole stream is read.
//!
//! ```text
//! pages      each with the checksum that the root has of it
//! root       the state of the stream there (as in state.rs), the table of the pages
//! trailer    where the root is, the root's checksum; sealed
//! ```
//!
//! In an encrypted repository each page and the root are encrypted, and the checksums are of that.

use std::ops::Range;

use snapless_types::{Extent, Geometry, Seq};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codec::{Input, Stored};
use super::history::HistoryNumber;
use super::session::SessionHeader;
use super::state::{Checkpoint, STATE_LEN_MAX};
use super::{FormatError, Head, check, seal};
use crate::stream::StreamState;

/// What the names of all maps begin with.
pub const MAPS_BEGINNING: &str = "map-";
/// Blocks of a page.
pub const PAGE_BLOCKS: u64 = 4096;
/// Bytes of the trailer.
pub const TRAILER_LEN: usize = 48;
/// The longest page, in bytes: runs of one sector in a page of the longest blocks.
pub const PAGE_LEN_MAX: u32 = 1 << 30;
/// The longest root, in bytes.
pub const ROOT_LEN_MAX: u64 = STATE_LEN_MAX + (1 << 30);

/// The number of the root, where that of a page tells the parts of a map apart.
pub const ROOT_PART: u64 = u64::MAX;

const MAGIC: [u8; 8] = *b"SLMAPTR\0";
const VERSION: u32 = 1;

/// The number of a map: that of the last record that is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MapNumber(pub u64);

impl MapNumber {
    /// The map that ends with this record.
    pub fn of(seq: Seq) -> Self {
        Self(seq.get())
    }

    /// The number that stands for the file of the pages of a fold.
    pub const PAGES: Self = Self(0);

    /// The name of the map's file in a session that was never folded.
    pub fn file_name(self) -> String {
        format!("{MAPS_BEGINNING}{:016}.slmap", self.0)
    }

    /// The name of its file in a session of this history.
    pub fn file_name_in(self, history: Option<HistoryNumber>) -> String {
        match history {
            None => self.file_name(),
            Some(history) if self == Self::PAGES => history.pages_name(),
            Some(history) => format!("{MAPS_BEGINNING}{:016}-{:08}.slmap", self.0, history.0),
        }
    }

    /// The number in a file name; `None` for any other file.
    pub fn from_file_name(name: &str) -> Option<Self> {
        Self::parse(name).filter(|(_, history)| history.is_none()).map(|(number, _)| number)
    }

    /// The number in a file name, and the history that it is of; `None` for any other file.
    pub fn parse(name: &str) -> Option<(Self, Option<HistoryNumber>)> {
        let digits = name.strip_prefix(MAPS_BEGINNING)?.strip_suffix(".slmap")?;
        let (number, history) = match digits.split_once('-') {
            None => (digits, None),
            Some((number, history)) => (number, Some(HistoryNumber(history.parse().ok()?))),
        };
        let number = Self(number.parse().ok()?);
        (number.file_name_in(history) == name).then_some((number, history))
    }
}

/// Where a page is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PageRef {
    /// The map in whose file it is.
    pub map: MapNumber,
    /// Where in that file it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub len: u32,
    /// See [`page_sum`].
    pub sum: u32,
}

/// The root of a map.
#[derive(Debug)]
pub struct Root {
    /// Where in the stream the map was made.
    pub checkpoint: Checkpoint,
    /// The state of the stream there.
    pub state: StreamState,
    /// The image there.
    pub image: Image,
}

/// What an image is made of: the root of a retained point, and the rest of that of any other map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Bytes of the volume.
    pub length: u64,
    /// Records of which it is made.
    pub records: u64,
    /// The extents that the volume's disk could not read, in order.
    pub unreadable: Vec<Extent>,
    /// All pages of the volume, in order.
    pub pages: Vec<PageRef>,
}

/// Where the root is in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
    sum: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTrailer {
    head: Head,
    offset: U64,
    len: U64,
    sum: U32,
    reserved: [u8; 8],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<RawTrailer>() == TRAILER_LEN);

/// The checksum of a page: CRC-32C of its session, its place in the volume and its bytes.
pub fn page_sum(session: &SessionHeader, page: u64, bytes: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&session.session.0);
    let sum = crc32c::crc32c_append(sum, &page.to_le_bytes());
    crc32c::crc32c_append(sum, bytes)
}

/// Bytes of the volume that a page covers; the last page's may end earlier.
pub fn page_bytes(geometry: &Geometry) -> u64 {
    PAGE_BLOCKS.saturating_mul(geometry.block_size().into())
}

/// How many pages a volume of `length` bytes has.
pub fn page_count(geometry: &Geometry, length: u64) -> u64 {
    length.div_ceil(page_bytes(geometry))
}

/// The part of a volume of `length` bytes that a page covers; empty past its end.
pub fn page_extent(geometry: &Geometry, page: u64, length: u64) -> Range<u64> {
    let start = page.saturating_mul(page_bytes(geometry)).min(length);
    start..start.saturating_add(page_bytes(geometry)).min(length)
}

impl Root {
    /// The root's bytes.
    pub fn to_bytes(&self, session: &SessionHeader) -> Vec<u8> {
        let state = self.checkpoint.to_bytes(session, &self.state);
        let mut out = Vec::new();
        (state.len() as u64).put(&mut out);
        out.extend(state);
        self.image.put(&mut out, session);
        out
    }

    /// The volume's shape at t0 in a root whose checksum is right, whatever its session.
    pub fn geometry(bytes: &[u8]) -> Option<Geometry> {
        let mut input = Input::new(bytes);
        let len = usize::try_from(u64::take(&mut input)?).ok()?;
        Checkpoint::geometry(input.bytes(len)?)
    }

    /// Reads a root whose checksum is right.
    ///
    /// # Errors
    /// [`FormatError`] of the state in it, one for a root of another session, or one that no map of
    /// this number can have.
    pub fn read(
        bytes: &[u8],
        number: MapNumber,
        session: &SessionHeader,
    ) -> Result<Self, FormatError> {
        let mut input = Input::new(bytes);
        let state = u64::take(&mut input).and_then(|len| usize::try_from(len).ok());
        let state = state.and_then(|len| input.bytes(len)).ok_or(FormatError::Short)?;
        let (checkpoint, state) = Checkpoint::read(state, session)?;
        let image = Image::take(&mut input, session).ok_or(FormatError::Short)?;
        let is_whole = input.is_empty()
            && image.is_possible(session, number)
            && image.length == state.geometry().length();
        if !is_whole || MapNumber::of(checkpoint.seq) != number {
            return Err(FormatError::Content("root"));
        }
        Ok(Self { checkpoint, state, image })
    }
}

impl Image {
    /// The bytes of the root of a retained point.
    pub fn to_bytes(&self, session: &SessionHeader) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out, session);
        out
    }

    /// Reads the root of a retained point, whose checksum is right.
    ///
    /// # Errors
    /// [`FormatError`] for a root that no retained point of this session can have.
    pub fn read(bytes: &[u8], session: &SessionHeader) -> Result<Self, FormatError> {
        let mut input = Input::new(bytes);
        let image = Self::take(&mut input, session).ok_or(FormatError::Short)?;
        let is_whole = input.is_empty() && image.is_possible(session, MapNumber::PAGES);
        if is_whole { Ok(image) } else { Err(FormatError::Content("root")) }
    }

    /// True if it has all pages, and none of a map after `number`.
    fn is_possible(&self, session: &SessionHeader, number: MapNumber) -> bool {
        let is_there = |page: &PageRef| page.map <= number && page.len <= PAGE_LEN_MAX;
        self.pages.len() as u64 == page_count(&session.geometry, self.length)
            && self.pages.iter().all(is_there)
    }
}

impl Image {
    /// Appends it. The length comes last, and only if it is not that at t0.
    fn put(&self, out: &mut Vec<u8>, session: &SessionHeader) {
        self.records.put(out);
        self.unreadable.put(out);
        self.pages.put(out);
        if self.length != session.geometry.length() {
            self.length.put(out);
        }
    }

    /// Reads it from the end of the input.
    fn take(input: &mut Input<'_>, session: &SessionHeader) -> Option<Self> {
        let (records, unreadable) = (Stored::take(input)?, Stored::take(input)?);
        let pages = Stored::take(input)?;
        let at_t0 = session.geometry.length();
        let length = if input.is_empty() { at_t0 } else { Stored::take(input)? };
        Some(Self { length, records, unreadable, pages })
    }
}

impl Trailer {
    /// The trailer of a file whose root begins at `offset`.
    pub fn new(offset: u64, root: &[u8]) -> Self {
        Self { offset, len: root.len() as u64, sum: crc32c::crc32c(root) }
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; TRAILER_LEN] {
        let raw = RawTrailer {
            head: Head::new(MAGIC, VERSION),
            offset: U64::new(self.offset),
            len: U64::new(self.len),
            sum: U32::new(self.sum),
            reserved: [0; 8],
            crc: [0; 4],
        };
        let mut bytes: [u8; TRAILER_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// Reads a trailer.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read(bytes: &[u8; TRAILER_LEN]) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let raw: RawTrailer = zerocopy::transmute!(*bytes);
        let (offset, len) = (raw.offset.get(), raw.len.get());
        if len > ROOT_LEN_MAX || offset.checked_add(len).is_none() {
            return Err(FormatError::Content("root"));
        }
        Ok(Self { offset, len, sum: raw.sum.get() })
    }

    /// Checks the root.
    ///
    /// # Errors
    /// [`FormatError::Checksum`] if it was damaged.
    pub fn verify(&self, root: &[u8]) -> Result<(), FormatError> {
        let is_sound = root.len() as u64 == self.len && crc32c::crc32c(root) == self.sum;
        if is_sound { Ok(()) } else { Err(FormatError::Checksum) }
    }
}

impl Stored for Extent {
    fn put(&self, out: &mut Vec<u8>) {
        self.offset().put(out);
        self.len().put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Self::new(u64::take(input)?, u64::take(input)?)
    }
}

impl Stored for PageRef {
    fn put(&self, out: &mut Vec<u8>) {
        self.map.0.put(out);
        self.offset.put(out);
        self.len.put(out);
        self.sum.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Some(Self {
            map: MapNumber(u64::take(input)?),
            offset: u64::take(input)?,
            len: u32::take(input)?,
            sum: u32::take(input)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_carry_the_number() {
        let parse = MapNumber::from_file_name;
        assert_eq!(MapNumber(12).file_name(), "map-0000000000000012.slmap");
        assert_eq!(parse("map-0000000000000012.slmap"), Some(MapNumber(12)));
        assert_eq!(parse(&MapNumber(u64::MAX).file_name()), Some(MapNumber(u64::MAX)));
        let folded = MapNumber(12).file_name_in(Some(HistoryNumber(3)));
        assert_eq!(folded, "map-0000000000000012-00000003.slmap");
        assert_eq!(parse(&folded), None);
        let found = (MapNumber(12), Some(HistoryNumber(3)));
        assert_eq!(MapNumber::parse(&folded), Some(found));
        for other in ["map-12.slmap", "map-000000000000001a.slmap", "map-0000000000000012.new"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_trailer_comes_back_and_every_flipped_bit_is_found() {
        let trailer = Trailer::new(77, b"root");
        let bytes = trailer.to_bytes();
        assert_eq!(Trailer::read(&bytes), Ok(trailer));
        assert_eq!(trailer.verify(b"root"), Ok(()));
        assert_eq!(trailer.verify(b"rood"), Err(FormatError::Checksum));
        for bit in 0..TRAILER_LEN * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Trailer::read(&damaged).is_err(), "bit {bit}");
        }
        let too_long = Trailer { len: ROOT_LEN_MAX + 1, ..trailer }.to_bytes();
        assert_eq!(Trailer::read(&too_long), Err(FormatError::Content("root")));
    }
}
