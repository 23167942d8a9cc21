//! Reads the bytes of a point.
//!
//! An entry's checksum covers all of its records. The first time that one of its bytes is needed,
//! the whole entry is read and checked; its bytes are then known by a checksum for each tile of
//! [`TILE_BYTES`], which is checked each time that a tile is read again. So no byte is given that
//! is not the one received, whatever becomes of the file meanwhile. The tiles' checksums take 4
//! bytes for each 64 KiB of the entries that have been read: 64 MiB for 1 TiB.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use snapless_wire::frame::FRAME_HEADER_LEN;

use super::{Entry, PointMap, Source, next_record, place_of};
use crate::error::{Damage, Error, Result};
use crate::format::segment::SegmentNumber;
use crate::reader::SessionReader;
use crate::storage::StoredFile;

/// Bytes of an entry's payload that are checked together.
const TILE_BYTES: usize = 64 << 10;
/// Segments that are kept open.
const FILES_MAX: usize = 64;

/// Reads the bytes of a point, from any number of threads.
#[derive(Debug)]
pub struct PointReader {
    reader: SessionReader,
    map: PointMap,
    /// Of each entry, the tiles' checksums, once the entry was checked.
    tiles: Vec<OnceLock<Box<[u32]>>>,
    /// Protects the open segments.
    files: Mutex<HashMap<SegmentNumber, Arc<StoredFile>>>,
}

/// A stretch of bytes of one record that is wanted.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// The index of the entry.
    entry: u32,
    /// Where in the entry's payload.
    from: usize,
    len: usize,
    /// Where in the buffer.
    to: usize,
}

impl PointReader {
    pub(crate) fn new(reader: SessionReader, map: PointMap) -> Self {
        let tiles = map.entries.iter().map(|_| OnceLock::new()).collect();
        Self { reader, map, tiles, files: Mutex::default() }
    }

    /// The map.
    pub fn map(&self) -> &PointMap {
        &self.map
    }

    /// Reads a part of the image. What is past its end is zeros.
    ///
    /// # Errors
    /// [`Error::Damaged`] if an entry that holds some of it is damaged; then the buffer's content
    /// is of no use.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut plan = Plan::default();
        let end = offset.saturating_add(buffer.len() as u64);
        for (part, source) in self.map.parts(offset..end) {
            plan.add(&part, source, to_index(part.start - offset));
        }
        buffer.fill(0);
        self.carry_out(plan, buffer)
    }

    /// Reads parts of the image, all of them stored, one behind the other into the buffer. Their
    /// entries are not needed again: no tile's checksum is kept.
    pub(crate) fn read_once(&self, parts: &[Range<u64>], buffer: &mut [u8]) -> Result<()> {
        let mut plan = Plan::default();
        let mut to = 0;
        for wanted in parts {
            for (part, source) in self.map.parts(wanted.clone()) {
                plan.add(&part, source, to);
                to += to_index(part.end - part.start);
            }
        }
        let mut scratch = Vec::new();
        for pieces in plan.by_entry() {
            self.read_whole(&self.map.entries[pieces[0].entry as usize], &mut scratch)?;
            copy(pieces, &scratch, 0, buffer);
        }
        Ok(())
    }

    /// Reads the pieces in the order of the stream.
    fn carry_out(&self, mut plan: Plan, buffer: &mut [u8]) -> Result<()> {
        let mut scratch = Vec::new();
        for pieces in plan.by_entry() {
            let index = pieces[0].entry as usize;
            let entry = &self.map.entries[index];
            if let Some(tiles) = self.tiles[index].get() {
                self.read_tiles(entry, tiles, pieces, buffer, &mut scratch)?;
            } else {
                self.read_whole(entry, &mut scratch)?;
                copy(pieces, &scratch, 0, buffer);
                let tiles = scratch.chunks(TILE_BYTES).map(crc32c::crc32c).collect();
                // Another thread may have been faster, with the same checksums.
                drop(self.tiles[index].set(tiles));
            }
        }
        Ok(())
    }

    /// Reads and checks a whole entry.
    fn read_whole(&self, entry: &Entry, scratch: &mut Vec<u8>) -> Result<()> {
        scratch.resize(entry.frame.payload_len(), 0);
        self.fill(entry, 0, scratch)?;
        entry.frame.verify(scratch).map_err(|why| self.damage(entry, why))
    }

    /// Reads and checks the tiles of an entry that hold the pieces, which are in order.
    fn read_tiles(
        &self,
        entry: &Entry,
        tiles: &[u32],
        mut pieces: &[Piece],
        buffer: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        while let Some(first) = pieces.first() {
            let start = first.from / TILE_BYTES;
            let (mut end, mut count) = (start, 0);
            for piece in pieces {
                if piece.from / TILE_BYTES > end {
                    break;
                }
                end = end.max((piece.from + piece.len).div_ceil(TILE_BYTES));
                count += 1;
            }
            let (now, later) = pieces.split_at(count);
            pieces = later;
            let from = start * TILE_BYTES;
            let to = (end * TILE_BYTES).min(entry.frame.payload_len());
            scratch.resize(to - from, 0);
            self.fill(entry, from, scratch)?;
            let found = scratch.chunks(TILE_BYTES).map(crc32c::crc32c);
            if !found.eq(tiles[start..end].iter().copied()) {
                return Err(self.damage(entry, Damage::Changed));
            }
            copy(now, scratch, from, buffer);
        }
        Ok(())
    }

    /// Reads bytes of an entry's payload.
    fn fill(&self, entry: &Entry, from: usize, bytes: &mut [u8]) -> Result<()> {
        let file = self.file(entry.segment)?;
        let at = entry.offset + (FRAME_HEADER_LEN + from) as u64;
        match file.read_exact_at(at, bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let end = entry.offset + (FRAME_HEADER_LEN + entry.frame.payload_len()) as u64;
                Err(Error::damaged(file.path(), entry.offset, Damage::Truncated(end)))
            }
            Err(error) => Err(Error::file("read", file.path())(error)),
        }
    }

    fn file(&self, number: SegmentNumber) -> Result<Arc<StoredFile>> {
        // Every change of the map is one call: a panic leaves no half-made change.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&number) {
            return Ok(Arc::clone(file));
        }
        if files.len() >= FILES_MAX {
            files.clear();
        }
        let file = Arc::new(self.reader.content(number)?);
        files.insert(number, Arc::clone(&file));
        Ok(file)
    }

    fn damage(&self, entry: &Entry, why: impl Into<Damage>) -> Error {
        match self.file(entry.segment) {
            Ok(file) => Error::damaged(file.path(), entry.offset, why),
            Err(error) => error,
        }
    }
}

/// What is to be read.
#[derive(Default)]
struct Plan {
    pieces: Vec<Piece>,
}

impl Plan {
    /// Adds a part of a run, record by record.
    fn add(&mut self, part: &Range<u64>, source: Source, mut to: usize) {
        let Source::Stored { pitch, entry, shift } = source else { return };
        let mut at = part.start;
        while at < part.end {
            let end = next_record(pitch, at).min(part.end);
            let (from, len) = (to_index(place_of(pitch, shift, at)), to_index(end - at));
            self.pieces.push(Piece { entry, from, len, to });
            to += len;
            at = end;
        }
    }
}

impl Plan {
    /// The pieces of each entry together, in the order of the stream.
    fn by_entry(&mut self) -> impl Iterator<Item = &[Piece]> {
        self.pieces.sort_unstable_by_key(|piece| (piece.entry, piece.from));
        self.pieces.chunk_by(|one, next| one.entry == next.entry)
    }
}

/// Copies pieces out of bytes that begin at `base` of the entry's payload.
fn copy(pieces: &[Piece], bytes: &[u8], base: usize, buffer: &mut [u8]) {
    for piece in pieces {
        let from = &bytes[piece.from - base..][..piece.len];
        buffer[piece.to..][..piece.len].copy_from_slice(from);
    }
}

/// Lengths and places inside a buffer or an entry, which are in memory.
fn to_index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
