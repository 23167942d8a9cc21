//! Compares a copy with its volume: by the checks in a stream, which say what the volume had at
//! their place ([`snapless_wire::check`]).
//!
//! Rule: a tile is compared with what the stream gives at the check's place, or not at all. The
//! content is read through the map of a point before the check, and counts only if no record since
//! is about it; of a tile that was changed since, the content is read later, through the map of a
//! point behind the check, and counts only if no record in between is about it. What is changed
//! both before and after, while one map is in use, is counted as overtaken.
//!
//! A verification goes through the volume from its begin to its end, so that a check of an earlier
//! place begins another one. The last one counts: it is of the volume and the copy as they are.
//!
//! Free space and trimmed bytes are zeros here, and on the disk they may be anything. So a tile
//! with zeros that has another hash is unclear; it is not called different.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;
use snapless_types::{Extent, Geometry, RecordKind, Seq};
use snapless_wire::check::{CHECK_TILE, CheckHash, tile_hash, tiles};
use snapless_wire::id::FileTime;
use snapless_wire::record::{Record, RecordHeader};

use crate::bitmap::BlockSet;
use crate::error::{Error, Result};
use crate::point::{Content, PointMap, PointReader};
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::timeline::Cut;

/// So many tiles wait for the next map at most: a gibibyte of the volume.
const WAITING_MAX: usize = 16 << 10;
/// Bytes that are read at a time, at most.
const READ_BYTES: u64 = 1 << 20;
/// Extents that differ and are listed; further ones are counted.
pub const DIFFERING_MAX: usize = 1000;

/// What came of comparing the checks of the last verification in a session's stream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Checks {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// Records that say what the volume had.
    pub checks: u64,
    /// Bytes that are the same.
    pub same_bytes: u64,
    /// Bytes that differ.
    pub differing_bytes: u64,
    /// Bytes that differ where the copy has free space or trimmed bytes: they may be anything.
    pub unclear_bytes: u64,
    /// Bytes that were changed before and after their check, too soon to be compared.
    pub overtaken_bytes: u64,
    /// Bytes of paging, swap and hibernation files, or that the volume's disk could not read.
    pub left_out_bytes: u64,
    /// Bytes that differed in the verifications before.
    pub earlier_differing_bytes: u64,
    /// What differs, in the order in which it was found, each extent with its check.
    pub differing: Vec<Differing>,
    /// Why the rest of the checks could not be compared; damage that is listed elsewhere, too.
    pub not_compared: Option<String>,
}

/// An extent that differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Differing {
    /// First byte of the volume.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// The last record that says so.
    pub seq: u64,
}

impl Checks {
    /// True if the copy is not what the volume had.
    pub fn differ(&self) -> bool {
        self.differing_bytes > 0
    }

    fn differ_at(&mut self, offset: u64, len: u64, seq: Seq) {
        self.differing_bytes += len;
        let (seq, has_room) = (seq.get(), self.differing.len() < DIFFERING_MAX);
        match self.differing.last_mut() {
            Some(last) if last.offset + last.len == offset => {
                (last.len, last.seq) = (last.len + len, seq);
            }
            _ if has_room => self.differing.push(Differing { offset, len, seq }),
            _ => {}
        }
    }
}

/// Compares the checks of a stream while its records come by in order.
pub(crate) struct Checker<'a> {
    reader: &'a SessionReader,
    stop: &'a StopFlag,
    found: Checks,
    window: Option<Window>,
    /// Tiles that were changed before their check, by their first byte: they wait for a map.
    waiting: BTreeMap<u64, Waiting>,
    last: Seq,
    /// Where in the volume the last check ends, and when that was read.
    reached: (u64, FileTime),
    /// The first check of the last verification, if it is among those taken.
    begun: Option<Seq>,
}

/// A map, and what has changed since.
struct Window {
    image: PointReader,
    /// The volume's shape.
    geometry: Geometry,
    touched: BlockSet,
}

#[derive(Clone, Copy)]
struct Waiting {
    len: u64,
    hash: CheckHash,
    seq: Seq,
}

impl<'a> Checker<'a> {
    /// Of a session's stream, from its begin on.
    pub(crate) fn new(reader: &'a SessionReader, stop: &'a StopFlag) -> Self {
        Self::going_on(reader, stop, (0, FileTime::default()))
    }

    /// Of the stream behind a check that ends there in the volume, and was read then.
    pub(crate) fn going_on(
        reader: &'a SessionReader,
        stop: &'a StopFlag,
        reached: (u64, FileTime),
    ) -> Self {
        let header = reader.header();
        let [volume, session] = [header.volume.to_string(), header.session.to_string()];
        let found = Checks { volume, session, ..Checks::default() };
        let (waiting, last) = (BTreeMap::new(), Seq::new(0));
        Self { reader, stop, found, window: None, waiting, last, reached, begun: None }
    }

    /// Takes the next record, which the stream's rules allow.
    ///
    /// # Errors
    /// Damage of what the record is compared with, or a stop. Nothing more is compared then.
    pub(crate) fn take(&mut self, record: &Record<'_>) -> Result<()> {
        let header = &record.header;
        match header.kind() {
            RecordKind::Check => self.check(header, record.payload)?,
            // The content stays the same.
            RecordKind::Unchanged => {}
            // The map is of the volume as it was.
            _ if header.volume_length().is_some() => {
                self.finish()?;
                self.window = None;
            }
            _ => self.touch(header),
        }
        self.last = header.seq();
        Ok(())
    }

    /// The stream ends: what waits is compared.
    ///
    /// # Errors
    /// As for [`Self::take`].
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.waiting.is_empty() { Ok(()) } else { self.renew() }
    }

    /// Where in the volume the last check ends, and when that was read.
    pub(crate) fn reached(&self) -> (u64, FileTime) {
        self.reached
    }

    /// The first check of the last verification, if that was taken.
    pub(crate) fn begun(&self) -> Option<Seq> {
        self.begun
    }

    /// What has come of it.
    pub(crate) fn found(&self) -> &Checks {
        &self.found
    }

    fn check(&mut self, header: &RecordHeader, hashes: &[u8]) -> Result<()> {
        let seq = header.seq();
        if self.reached.0 == 0 || header.extent_offset() < self.reached.0 {
            self.begin_anew(seq);
        }
        let end = header.extent_offset().saturating_add(header.extent_len());
        self.reached = (end, header.time());
        self.found.checks += 1;
        // A stream may begin here, behind the boundary of a fold.
        self.last = Seq::new(seq.get().saturating_sub(1));
        if self.window.is_none() {
            self.window = Some(self.open()?);
        }
        let mut now = Vec::new();
        for (offset, len, hash) in tiles(header.extent_offset(), header.extent_len(), hashes) {
            let tile = Waiting { len, hash, seq };
            // The newest one counts.
            if self.is_touched(offset, len) {
                self.waiting.insert(offset, tile);
            } else {
                self.waiting.remove(&offset);
                now.push((offset, tile));
            }
        }
        self.compare(&now)?;
        if self.waiting.len() >= WAITING_MAX {
            self.last = seq;
            self.renew()?;
        }
        Ok(())
    }

    /// Another verification begins with this record.
    fn begin_anew(&mut self, first: Seq) {
        self.begun = Some(first);
        self.waiting.clear();
        let Checks { volume, session, differing_bytes, earlier_differing_bytes, .. } =
            std::mem::take(&mut self.found);
        let earlier_differing_bytes = earlier_differing_bytes + differing_bytes;
        self.found = Checks { volume, session, earlier_differing_bytes, ..Checks::default() };
    }

    fn touch(&mut self, header: &RecordHeader) {
        let (start, len) = (header.extent_offset(), header.extent_len());
        let Some(window) = &mut self.window else { return };
        let run = Extent::new(start, len).and_then(|extent| window.geometry.blocks_of(&extent));
        let Some(run) = run else { return };
        window.touched.insert(&run);
        let first = start.saturating_sub(CHECK_TILE as u64);
        let near = self.waiting.range(first..start.saturating_add(len));
        let is_hit = |(offset, tile): &(&u64, &Waiting)| **offset + tile.len > start;
        let hit: Vec<u64> = near.filter(is_hit).map(|(offset, _)| *offset).collect();
        for offset in hit {
            let overtaken = self.waiting.remove(&offset).map_or(0, |tile| tile.len);
            self.found.overtaken_bytes += overtaken;
        }
    }

    fn is_touched(&self, offset: u64, len: u64) -> bool {
        let Some(window) = &self.window else { return true };
        let run = Extent::new(offset, len).and_then(|extent| window.geometry.blocks_of(&extent));
        run.is_none_or(|run| window.touched.first_in(&run).is_some())
    }

    /// The map of what the stream gives behind the last record.
    fn open(&self) -> Result<Window> {
        // No point, perhaps, but what the stream gives.
        let cut = Cut::Through(self.last);
        let map = PointMap::build(self.reader, cut, Seq::new(0), self.stop, |_, _| ())?;
        let geometry = map.geometry();
        let touched = BlockSet::new(geometry.block_count());
        Ok(Window { image: PointReader::new(self.reader.clone(), map), geometry, touched })
    }

    /// Compares what waits with what the stream gives now: nothing has changed it since its check.
    fn renew(&mut self) -> Result<()> {
        self.window = Some(self.open()?);
        let waiting: Vec<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        self.compare(&waiting)
    }

    /// Compares tiles, which are in the order of the volume.
    fn compare(&mut self, tiles: &[(u64, Waiting)]) -> Result<()> {
        let is_next = |one: &(u64, Waiting), next: &(u64, Waiting)| {
            one.0 + one.1.len == next.0 && !next.0.is_multiple_of(READ_BYTES)
        };
        tiles.chunk_by(is_next).try_for_each(|run| self.compare_run(run))
    }

    /// Compares tiles that lie one behind the other.
    fn compare_run(&mut self, run: &[(u64, Waiting)]) -> Result<()> {
        let (Some(window), Some((start, _))) = (&self.window, run.first()) else { return Ok(()) };
        if self.stop.is_set() {
            return Err(Error::Stopped);
        }
        let bytes: u64 = run.iter().map(|(_, tile)| tile.len).sum();
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(0)];
        window.image.read(*start, &mut content)?;
        let mut rest = content.as_slice();
        for &(offset, Waiting { len, hash, seq }) in run {
            let (tile, behind) = rest.split_at(usize::try_from(len).unwrap_or(0));
            rest = behind;
            let is_same = || tile_hash(blake3::hash(tile).as_bytes()) == hash;
            match kind_of(&window.image, offset..offset + len)? {
                Kind::LeftOut => self.found.left_out_bytes += len,
                _ if is_same() => self.found.same_bytes += len,
                Kind::HasZeros => self.found.unclear_bytes += len,
                Kind::Stored => self.found.differ_at(offset, len, seq),
            }
        }
        Ok(())
    }
}

/// What a tile of the copy is.
enum Kind {
    /// All of it is in the stream.
    Stored,
    /// Some of it is zeros that are not.
    HasZeros,
    /// Some of it is a paging file's, or the disk could not read it.
    LeftOut,
}

fn kind_of(image: &PointReader, tile: Range<u64>) -> Result<Kind> {
    let mut kind = Kind::Stored;
    for part in image.map().content(tile) {
        match part?.1 {
            Content::Stored(_) => {}
            Content::Zero => kind = Kind::HasZeros,
            Content::Excluded | Content::Unreadable => return Ok(Kind::LeftOut),
        }
    }
    Ok(kind)
}
