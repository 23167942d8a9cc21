//! The chunks of an index: a header with the checksum of both, and a body of whole entries.

use snapless_wire::frame::{FRAME_HEADER_LEN, FRAME_PAYLOAD_MAX};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{EntryIndex, INDEX_HEADER_LEN, IndexIdentity, Last};
use crate::crypto::{BlobSeal, CipherError};
use crate::format::FormatError;
use crate::format::codec::Input;
use crate::format::sealed::SEAL_LEN;

/// Bytes of a chunk's header.
pub const CHUNK_HEADER_LEN: usize = 32;
/// A chunk ends with the entry with which its body is so long, in bytes.
pub const CHUNK_BYTES: usize = 64 << 10;
/// The longest body: no entry takes more bytes here than its frame, and a length; there may be a
/// seal.
const CHUNK_LEN_MAX: usize = CHUNK_BYTES + FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX + 10 + SEAL_LEN;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawChunk {
    len: U32,
    /// 1 where the segment's entries are sealed.
    is_sealed: U32,
    start: U64,
    end: U64,
    /// CRC-32C of the file's header but its checksum, of this header without it, and of the body.
    crc: U32,
    reserved_too: U32,
}

const _: () = assert!(size_of::<RawChunk>() == CHUNK_HEADER_LEN);

/// The head of a chunk. [`Self::verify`] checks it together with the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkHeader {
    /// Bytes of the body.
    pub len: usize,
    /// Where in the segment its first entry begins.
    pub start: u64,
    /// Where in the segment its last entry ends.
    pub end: u64,
    /// It is of a segment whose entries are sealed.
    pub is_sealed: bool,
    crc: u32,
}

/// Makes the chunks of an index.
#[derive(Debug)]
pub struct ChunkBuilder {
    identity: IndexIdentity,
    /// `None` if the segment's entries are plain frames.
    seal: Option<BlobSeal>,
    start: u64,
    end: u64,
    last: Last,
    body: Vec<u8>,
}

/// The entries of a chunk, in order.
#[derive(Debug)]
pub struct Entries<'a> {
    input: Input<'a>,
    at: u64,
    end: u64,
    has_lens: bool,
    last: Last,
}

impl ChunkHeader {
    /// Reads a head.
    ///
    /// # Errors
    /// [`FormatError::Content`] if no chunk has such a head.
    pub fn read(bytes: &[u8; CHUNK_HEADER_LEN]) -> Result<Self, FormatError> {
        let raw: RawChunk = zerocopy::transmute!(*bytes);
        let (len, start, end) = (raw.len.get() as usize, raw.start.get(), raw.end.get());
        if len > CHUNK_LEN_MAX || start >= end {
            return Err(FormatError::Content("chunk"));
        }
        if raw.is_sealed.get() > 1 || raw.reserved_too.get() != 0 {
            return Err(FormatError::Content("chunk"));
        }
        Ok(Self { len, start, end, is_sealed: raw.is_sealed.get() == 1, crc: raw.crc.get() })
    }

    /// Checks the head and the body that follows it.
    ///
    /// # Errors
    /// [`FormatError::Checksum`] if one of them was damaged, or is of another index.
    pub fn verify(&self, identity: &IndexIdentity, body: &[u8]) -> Result<(), FormatError> {
        let is_sound = body.len() == self.len && self.checksum(identity, body) == self.crc;
        if is_sound { Ok(()) } else { Err(FormatError::Checksum) }
    }

    /// The entries of its body, which was verified, and opened if it was encrypted.
    pub fn entries<'a>(&self, body: &'a [u8]) -> Entries<'a> {
        Entries {
            input: Input::new(body),
            at: self.start,
            end: self.end,
            has_lens: self.is_sealed,
            last: Last::default(),
        }
    }

    fn to_bytes(self) -> [u8; CHUNK_HEADER_LEN] {
        let raw = RawChunk {
            // The builder ends a chunk long before.
            len: U32::new(u32::try_from(self.len).unwrap_or(u32::MAX)),
            is_sealed: U32::new(self.is_sealed.into()),
            start: U64::new(self.start),
            end: U64::new(self.end),
            crc: U32::new(self.crc),
            reserved_too: U32::ZERO,
        };
        zerocopy::transmute!(raw)
    }

    fn checksum(&self, identity: &IndexIdentity, body: &[u8]) -> u32 {
        // Without its own checksum, with which all sound headers would have the same one.
        let (identity, _) = identity.0.split_at(INDEX_HEADER_LEN - 4);
        let bytes = Self { crc: 0, ..*self }.to_bytes();
        let sum = crc32c::crc32c_append(crc32c::crc32c(identity), &bytes);
        crc32c::crc32c_append(sum, body)
    }
}

impl ChunkBuilder {
    /// Begins with the entry at `start` of the segment.
    pub fn new(identity: IndexIdentity, start: u64) -> Self {
        Self { identity, seal: None, start, end: start, last: Last::default(), body: Vec::new() }
    }

    /// The same for a segment whose entries are sealed; the chunks are sealed in this way.
    #[must_use]
    pub fn sealed(self, seal: Option<BlobSeal>) -> Self {
        Self { seal, ..self }
    }

    /// Where in the segment the next entry must begin.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds the next entry; true if the chunk is long enough to be taken.
    pub fn add(&mut self, entry: &EntryIndex) -> bool {
        debug_assert_eq!(entry.offset, self.end, "entries follow each other");
        entry.put(self.seal.is_some(), &mut self.last, &mut self.body);
        self.end = entry.end();
        self.body.len() >= CHUNK_BYTES
    }

    /// The bytes of the chunk, and begins the next one; `None` if it has no entry.
    ///
    /// # Errors
    /// [`CipherError`]; the chunk is lost then, and so the index is of no use.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, CipherError> {
        if self.body.is_empty() {
            return Ok(None);
        }
        let next = Self::new(self.identity, self.end).sealed(self.seal.clone());
        let chunk = std::mem::replace(self, next);
        let Self { identity, seal, start, end, mut body, .. } = chunk;
        if let Some(seal) = &seal {
            seal.seal(start, &mut body, 0)?;
        }
        let is_sealed = seal.is_some();
        let mut header = ChunkHeader { len: body.len(), start, end, is_sealed, crc: 0 };
        header.crc = header.checksum(&identity, &body);
        Ok(Some([&header.to_bytes()[..], &body].concat()))
    }
}

impl Entries<'_> {
    /// No entries.
    pub(crate) fn none() -> Self {
        Self { input: Input::new(&[]), at: 0, end: 0, has_lens: false, last: Last::default() }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<EntryIndex, FormatError>;

    /// The next entry. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.end && self.input.is_empty() {
            return None;
        }
        let entry = EntryIndex::take(&mut self.input, self.has_lens, &mut self.last, self.at);
        let entry = entry.filter(|entry| entry.end() <= self.end && entry.end() > self.at);
        self.at = entry.as_ref().map_or(self.end, EntryIndex::end);
        if entry.is_none() {
            self.input = Input::new(&[]);
        }
        Some(entry.ok_or(FormatError::Content("entry")))
    }
}
