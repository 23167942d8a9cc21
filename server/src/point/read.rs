//! Reads the bytes of a point.
//!
//! Each record is known by a checksum for each tile of [`TILE_BYTES`] of its content. A tile is
//! read as a whole and checked each time, so that no byte is given that is not the one received,
//! whatever becomes of the file meanwhile, and little else is read. A sealed entry is read and
//! opened as a whole.
//!
//! What is asked for is read in the order of the stream, whatever its order in the volume. For a
//! restore several threads do so, each a stretch of the stream: a disk has their reads before it at
//! the same time.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{mem, panic, thread};

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameError};

use super::PointMap;
use super::opened::Opened;
use super::runs::{Entry, Records, Runs, Source};
use crate::bytes::{append, to_index};
use crate::error::{Damage, Error, Result};
use crate::format::index::TILE_BYTES;
use crate::format::sealed::{SEALED_HEADER_LEN, SealedHeader};
use crate::format::segment::SegmentNumber;
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::storage::StoredFile;

/// Bytes that are read at once, and the rest of a tile.
const READ_BYTES: usize = 256 << 10;
/// Bytes between two tiles that are read rather than skipped: what a solid-state disk reads in the
/// time that one more read takes.
const SLACK_BYTES: usize = 32 << 10;
/// Segments that are kept open.
const FILES_MAX: usize = 64;
/// Threads that read a window: a disk with a queue does several reads at once.
const READERS: usize = 8;
/// Pieces that a thread takes at a time, and the rest of their entry.
const TAKEN: usize = 64;

/// Reads the bytes of a point, from any number of threads.
#[derive(Debug)]
pub struct PointReader {
    map: PointMap,
    content: Tiles,
}

/// Reads content of a session's segments, from any number of threads.
#[derive(Debug)]
pub(crate) struct Tiles {
    reader: SessionReader,
    /// Protects the open segments.
    files: Mutex<HashMap<SegmentNumber, Arc<StoredFile>>>,
    opened: Opened,
    /// Protects the buffers of reads that have ended, each of [`READ_BYTES`] and a tile at most:
    /// there are no more than there were reads at the same time.
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// A stretch of bytes of one tile that is wanted.
#[derive(Debug)]
struct Piece<'a> {
    entry: Entry,
    /// Where in the entry's payload the tile is.
    from: usize,
    /// Bytes of the tile.
    len: usize,
    /// The tile's checksum.
    sum: u32,
    /// Bytes of the tile before those that are wanted.
    skip: usize,
    /// Where those go that are wanted.
    into: &'a mut [u8],
}

impl Piece<'_> {
    /// Where in the stream it is.
    fn place(&self) -> (SegmentNumber, u64, usize) {
        (self.entry.segment, self.entry.offset, self.from)
    }
}

impl PointReader {
    pub(crate) fn new(reader: SessionReader, map: PointMap) -> Self {
        Self { map, content: Tiles::new(reader) }
    }

    /// The map.
    pub fn map(&self) -> &PointMap {
        &self.map
    }

    /// True if parts of an entry cannot be read.
    pub(crate) fn reads_whole_entries(&self) -> bool {
        self.content.reader.seal().is_sealed()
    }

    /// Reads a part of the image. What is past its end is zeros.
    ///
    /// # Errors
    /// [`Error::Damaged`] if an entry that holds some of it is damaged; then the buffer's content
    /// is of no use.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(0);
        let end = offset.saturating_add(buffer.len() as u64);
        let mut plan = Plan::into(buffer, offset);
        self.map.visit(offset..end, &mut |runs, part, source| plan.add(runs, part, source))?;
        self.content.carry_out(plan, 1, &StopFlag::default())
    }

    /// Says to the storage that a window of the image will be read soon. Of sealed entries it says
    /// nothing: how long they are stands in the entries themselves.
    ///
    /// # Errors
    /// What keeps the map from being read.
    pub(crate) fn will_read(&self, window: Range<u64>) -> Result<()> {
        if self.reads_whole_entries() {
            return Ok(());
        }
        let mut ahead = Vec::new();
        self.map.visit(window, &mut |runs, part, source| {
            let Source::Stored { entry, records } = source else { return };
            ahead.extend(tiles(&records, part).map(|tile| {
                let entry = runs.entries[entry as usize];
                let start = entry.offset + FRAME_HEADER_LEN as u64 + records.place(tile.start);
                (entry.segment, start..start.saturating_add(tile.end - tile.start))
            }));
        })?;
        ahead.sort_unstable_by_key(|(segment, bytes)| (*segment, bytes.start));
        ahead.dedup_by(|(segment, bytes), (of, before)| {
            let is_near = segment == of && bytes.start <= before.end + SLACK_BYTES as u64;
            before.end = if is_near { before.end.max(bytes.end) } else { before.end };
            is_near
        });
        for (segment, bytes) in ahead {
            // What cannot be opened is an error when it is read.
            let Ok(file) = self.content.file(segment) else { continue };
            file.will_read(bytes.start, bytes.end - bytes.start);
        }
        Ok(())
    }

    /// Reads what is stored of a window of the image, which is as long as the buffer, with several
    /// threads; returns which parts of the window that is, in order. The rest are zeros, and of no
    /// use in the buffer.
    ///
    /// # Errors
    /// As for [`Self::read`]: of damage that which comes first in the stream. [`Error::Stopped`].
    pub(crate) fn read_stored(
        &self,
        start: u64,
        buffer: &mut [u8],
        stop: &StopFlag,
    ) -> Result<Vec<Range<u64>>> {
        let end = start.saturating_add(buffer.len() as u64);
        let mut plan = Plan::into(buffer, start);
        let mut stored = Vec::new();
        self.map.visit(start..end, &mut |runs, part, source| {
            if matches!(source, Source::Stored { .. }) {
                append(&mut stored, part.clone());
            }
            plan.add(runs, part, source);
        })?;
        let readers = READERS.min(1 + plan.pieces.len() / TAKEN);
        self.content.carry_out(plan, readers, stop)?;
        Ok(stored)
    }
}

impl Tiles {
    /// Of this session.
    pub(crate) fn new(reader: SessionReader) -> Self {
        let (files, buffers) = (Mutex::default(), Mutex::default());
        Self { reader, files, opened: Opened::default(), buffers }
    }

    /// Reads the pieces in the order of the stream, with at most so many threads.
    ///
    /// # Errors
    /// [`Error::Damaged`] if an entry that holds some of it is damaged: of all damage that which
    /// comes first in the stream. [`Error::Stopped`].
    pub(crate) fn carry_out(&self, plan: Plan<'_>, readers: usize, stop: &StopFlag) -> Result<()> {
        let mut pieces = plan.pieces;
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        if pieces.is_empty() {
            return Ok(());
        }
        pieces.sort_unstable_by_key(Piece::place);
        let is_sealed = self.reader.seal().is_sealed();
        let groups = pieces.chunk_by_mut(|one, next| {
            one.entry == next.entry && (is_sealed || next.from <= one.from + one.len + SLACK_BYTES)
        });
        if readers == 1 {
            let mut buffer = self.buffers().pop().unwrap_or_default();
            let read = groups.into_iter().try_for_each(|group| self.read_near(group, &mut buffer));
            self.buffers().push(buffer);
            return read;
        }
        // A panic ends the read.
        let groups = Mutex::new(groups);
        // Takes the next pieces, all of an entry's if it is opened as a whole.
        let take = || {
            let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
            let mut count = 0;
            let next = std::iter::from_fn(|| {
                let group = if count < TAKEN { groups.next()? } else { return None };
                count += group.len();
                Some(group)
            });
            next.collect::<Vec<_>>()
        };
        let work = || {
            let mut buffer = self.buffers().pop().unwrap_or_default();
            let mut worked = Ok(());
            // What comes before a piece that another thread has taken is read all the same: of all
            // damage the first is found.
            while worked.is_ok() {
                let taken = take();
                if taken.is_empty() {
                    break;
                }
                worked = taken.into_iter().try_for_each(|group| {
                    let place = group.first().map(Piece::place);
                    let read = if stop.is_set() {
                        Err(Error::Stopped)
                    } else {
                        self.read_near(group, &mut buffer)
                    };
                    read.map_err(|error| (place, error))
                });
            }
            self.buffers().push(buffer);
            worked
        };
        let mut failed = thread::scope(|scope| {
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            // Without more threads this one does all.
            let others: Vec<_> = (1..readers).filter_map(spawn).collect();
            let mut failed: Vec<_> = work().err().into_iter().collect();
            for other in others {
                let worked = other.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
                failed.extend(worked.err());
            }
            failed
        });
        failed.sort_by_key(|(place, _)| *place);
        failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Reads pieces of one entry that are in order and near each other.
    fn read_near(&self, mut pieces: &mut [Piece<'_>], buffer: &mut Vec<u8>) -> Result<()> {
        while let Some(first) = pieces.first() {
            let limit = first.from + READ_BYTES;
            let count = pieces.partition_point(|piece| piece.from < limit);
            let (now, later) = mem::take(&mut pieces).split_at_mut(count);
            pieces = later;
            self.read_tiles(now, buffer)?;
        }
        Ok(())
    }

    /// Reads and checks the tiles of an entry that hold the pieces.
    fn read_tiles(&self, pieces: &mut [Piece<'_>], buffer: &mut Vec<u8>) -> Result<()> {
        if let [piece] = pieces
            && piece.into.len() == piece.len
        {
            self.fill(&piece.entry, piece.from, piece.into)?;
            return self.check(&piece.entry, piece.into, piece.sum);
        }
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        let (entry, start) = (first.entry, first.from);
        let len = last.from + last.len - start;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let bytes = &mut buffer[..len];
        self.fill(&entry, start, bytes)?;
        let mut checked = None;
        for piece in pieces {
            let tile = &bytes[piece.from - start..][..piece.len];
            if checked != Some(piece.from) {
                self.check(&entry, tile, piece.sum)?;
            }
            checked = Some(piece.from);
            piece.into.copy_from_slice(&tile[piece.skip..][..piece.into.len()]);
        }
        Ok(())
    }

    fn check(&self, entry: &Entry, tile: &[u8], sum: u32) -> Result<()> {
        let is_sound = crc32c::crc32c(tile) == sum;
        if is_sound { Ok(()) } else { Err(self.damage(entry, FrameError::Checksum)) }
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // Each change is one call.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What is to be read, in the order of the volume.
pub(crate) struct Plan<'a> {
    pieces: Vec<Piece<'a>>,
    /// What no piece goes into yet.
    rest: &'a mut [u8],
    /// Where in the volume that begins.
    at: u64,
}

impl<'a> Plan<'a> {
    /// For a buffer that begins at this byte of the volume.
    pub(crate) fn into(buffer: &'a mut [u8], start: u64) -> Self {
        Self { pieces: Vec::new(), rest: buffer, at: start }
    }

    /// Adds a part of a run, tile by tile, behind those before it.
    pub(crate) fn add(&mut self, runs: &Runs, part: &Range<u64>, source: Source) {
        let Source::Stored { entry, records } = source else { return };
        self.take_to(part.start);
        let mut at = part.start;
        for tile in tiles(&records, part) {
            let next = tile.end.min(part.end);
            let into = self.take_to(next);
            self.pieces.push(Piece {
                entry: runs.entries[entry as usize],
                from: to_index(records.place(tile.start)),
                len: to_index(tile.end - tile.start),
                sum: runs.tiles[records.tile(at) as usize],
                skip: to_index(at - tile.start),
                into,
            });
            at = next;
        }
    }

    /// The buffer's bytes up to a byte of the volume.
    fn take_to(&mut self, end: u64) -> &'a mut [u8] {
        let len = to_index(end - self.at);
        let (taken, rest) = mem::take(&mut self.rest).split_at_mut(len);
        (self.rest, self.at) = (rest, end);
        taken
    }
}

/// Where in the volume the tiles of a part of a run are, the first and the last of which may reach
/// beyond it.
fn tiles(records: &Records, part: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (mut at, end) = (part.start, part.end);
    let records = *records;
    std::iter::from_fn(move || {
        let tile = (at < end).then(|| tile_of(&records, at))?;
        at = tile.end;
        Some(tile)
    })
}

/// Where in the volume the tile of a byte is.
fn tile_of(records: &Records, byte: u64) -> Range<u64> {
    let start = records.start(byte);
    let tile = byte - (byte - start) % TILE_BYTES as u64;
    tile..(tile + TILE_BYTES as u64).min(start + records.len())
}
