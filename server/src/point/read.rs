//! Reads the bytes of a point.
//!
//! Each record is known by a checksum for each tile of [`TILE_BYTES`] of its content. A tile is
//! read as a whole and checked each time, so that no byte is given that is not the one received,
//! whatever becomes of the file meanwhile, and little else is read. A sealed entry is read and
//! opened as a whole.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameError};

use super::PointMap;
use super::opened::Opened;
use super::runs::{Entry, Records, Runs, Source};
use crate::error::{Damage, Error, Result};
use crate::format::index::TILE_BYTES;
use crate::format::sealed::{SEALED_HEADER_LEN, SealedHeader};
use crate::format::segment::SegmentNumber;
use crate::reader::SessionReader;
use crate::storage::StoredFile;

/// Bytes that are read at once, and the rest of a tile.
const READ_BYTES: usize = 4 << 20;
/// Bytes between two tiles that are read rather than skipped.
const SLACK_BYTES: usize = 4 << 10;
/// Segments that are kept open.
const FILES_MAX: usize = 64;

/// Reads the bytes of a point, from any number of threads.
#[derive(Debug)]
pub struct PointReader {
    reader: SessionReader,
    map: PointMap,
    /// Protects the open segments.
    files: Mutex<HashMap<SegmentNumber, Arc<StoredFile>>>,
    opened: Opened,
}

/// A stretch of bytes of one tile that is wanted.
#[derive(Clone, Copy, Debug)]
struct Piece {
    entry: Entry,
    /// Where in the entry's payload the tile is.
    from: usize,
    /// Bytes of the tile.
    len: usize,
    /// The tile's checksum.
    sum: u32,
    /// Bytes of the tile before those that are wanted.
    skip: usize,
    /// Bytes that are wanted.
    wanted: usize,
    /// Where in the buffer.
    to: usize,
}

impl PointReader {
    pub(crate) fn new(reader: SessionReader, map: PointMap) -> Self {
        Self { reader, map, files: Mutex::default(), opened: Opened::default() }
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
        self.map.visit(offset..end, &mut |runs, part, source| {
            plan.add(runs, part, source, to_index(part.start - offset));
        })?;
        buffer.fill(0);
        self.carry_out(plan, buffer)
    }

    /// Reads parts of the image, all of them stored, one behind the other into the buffer.
    pub(crate) fn read_stored(&self, parts: &[Range<u64>], buffer: &mut [u8]) -> Result<()> {
        let mut plan = Plan::default();
        let mut to = 0;
        for wanted in parts {
            self.map.visit(wanted.clone(), &mut |runs, part, source| {
                plan.add(runs, part, source, to);
                to += to_index(part.end - part.start);
            })?;
        }
        self.carry_out(plan, buffer)
    }

    /// Reads the pieces in the order of the stream.
    fn carry_out(&self, mut plan: Plan, buffer: &mut [u8]) -> Result<()> {
        let place = |it: &Piece| (it.entry.segment, it.entry.offset, it.from);
        plan.pieces.sort_unstable_by_key(place);
        let mut scratch = Vec::new();
        let mut rest = &plan.pieces[..];
        while let Some(first) = rest.first() {
            let mut end = first.from + first.len;
            let is_near = |piece: &&Piece| {
                let is_near = piece.entry == first.entry
                    && piece.from <= end + SLACK_BYTES
                    && piece.from < first.from + READ_BYTES;
                end = end.max(piece.from + piece.len);
                is_near
            };
            let count = rest.iter().take_while(is_near).count();
            let (pieces, later) = rest.split_at(count);
            rest = later;
            self.read_tiles(pieces, buffer, &mut scratch)?;
        }
        Ok(())
    }

    /// Reads and checks the tiles of an entry that hold the pieces, which are in order and not far
    /// apart.
    fn read_tiles(&self, pieces: &[Piece], buffer: &mut [u8], scratch: &mut Vec<u8>) -> Result<()> {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        let entry = &first.entry;
        scratch.resize(last.from + last.len - first.from, 0);
        self.fill(entry, first.from, scratch)?;
        let mut checked = None;
        for piece in pieces {
            let tile = &scratch[piece.from - first.from..][..piece.len];
            if checked != Some(piece.from) && crc32c::crc32c(tile) != piece.sum {
                return Err(self.damage(entry, FrameError::Checksum));
            }
            checked = Some(piece.from);
            buffer[piece.to..][..piece.wanted].copy_from_slice(&tile[piece.skip..][..piece.wanted]);
        }
        Ok(())
    }

    /// Reads bytes of an entry's payload.
    fn fill(&self, entry: &Entry, from: usize, bytes: &mut [u8]) -> Result<()> {
        if !self.reader.seal().is_sealed() {
            let at = entry.offset.saturating_add((FRAME_HEADER_LEN + from) as u64);
            return self.fill_stored(entry, at, bytes);
        }
        let payload = self.opened.payload(entry, || self.open(entry))?;
        let part = payload.get(from..).and_then(|rest| rest.get(..bytes.len()));
        let part = part.ok_or_else(|| self.damage(entry, FrameError::Checksum))?;
        bytes.copy_from_slice(part);
        Ok(())
    }

    /// Opens a sealed entry; returns its payload.
    fn open(&self, entry: &Entry) -> Result<Vec<u8>> {
        let seal = self.reader.seal().entries(entry.segment)?;
        let damage = |why: Damage| self.damage(entry, why);
        let mut head = [0; SEALED_HEADER_LEN];
        self.fill_stored(entry, entry.offset, &mut head)?;
        let header = SealedHeader::read(&head).map_err(|why| damage(why.into()))?;
        let mut body = vec![0; header.stored_len];
        let at = entry.offset.saturating_add(SEALED_HEADER_LEN as u64);
        self.fill_stored(entry, at, &mut body)?;
        let seal = seal.ok_or_else(|| damage(Damage::Kind))?;
        let mut frame = seal.open(&header, entry.offset, &mut body).map_err(damage)?;
        frame.drain(..FRAME_HEADER_LEN.min(frame.len()));
        Ok(frame)
    }

    /// Reads stored bytes of an entry.
    fn fill_stored(&self, entry: &Entry, at: u64, bytes: &mut [u8]) -> Result<()> {
        let file = self.file(entry.segment)?;
        match file.read_exact_at(at, bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let end = at.saturating_add(bytes.len() as u64);
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
    /// Adds a part of a run, tile by tile.
    fn add(&mut self, runs: &Runs, part: &Range<u64>, source: Source, mut to: usize) {
        let Source::Stored { entry, records } = source else { return };
        let mut at = part.start;
        while at < part.end {
            let (tile, end) = tile_of(&records, at);
            let next = end.min(part.end);
            let wanted = to_index(next - at);
            self.pieces.push(Piece {
                entry: runs.entries[entry as usize],
                from: to_index(records.place(tile)),
                len: to_index(end - tile),
                sum: runs.tiles[records.tile(at) as usize],
                skip: to_index(at - tile),
                wanted,
                to,
            });
            to += wanted;
            at = next;
        }
    }
}

/// Where in the volume the tile of a byte begins and ends.
fn tile_of(records: &Records, byte: u64) -> (u64, u64) {
    let start = records.start(byte);
    let tile = byte - (byte - start) % TILE_BYTES as u64;
    (tile, (tile + TILE_BYTES as u64).min(start + records.len()))
}

/// Lengths and places inside a buffer or an entry, which are in memory.
fn to_index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
