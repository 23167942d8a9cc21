//! Copies what the maps need out of segments that are mostly dead, and writes the pages of the maps
//! with the new places.
//!
//! Two passes over the pages: the first one finds how much of each segment is live, the second one
//! copies and translates. Data of the boundary come first, in the order of the volume, then what
//! only other maps have: each in compacted segments of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use snapless_types::Extent;

use super::compact::{Compactor, Numbers};
use super::cover::{Cover, Stored};
use super::images::{Images, Of, PageAt};
use crate::bytes::to_index;
use crate::error::{Error, Result};
use crate::format::history::{HistoryNumber, KeptSegment};
use crate::format::index::TILE_BYTES;
use crate::format::map::{MapNumber, PageRef, page_sum};
use crate::format::segment::{OBJECT_LIMIT_BYTES, SegmentNumber};
use crate::point::page::PageBuilder;
use crate::point::runs::{Entry, Records, Runs, Source};
use crate::point::{Plan, Tiles};
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::storage::{Store, StoredFile};
use crate::timeline::Place;

/// A record of a compacted segment ends at the latest at a multiple of so many bytes of the volume,
/// so that long stretches have records of one length: one run of a map.
const RECORD_BYTES: u64 = 1 << 20;

/// What was written.
pub(super) struct Rewritten {
    /// The segments that the history names, in order of their numbers.
    pub(super) kept: Vec<KeptSegment>,
    pub(super) pages: PagesFile,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
}

/// The file of the pages of all maps; among objects several, of one length but for the last.
pub(super) struct PagesFile {
    pub(super) len: u64,
    pub(super) number: HistoryNumber,
    store: Store,
    dir: PathBuf,
    /// Bytes of a part; `None` in a directory.
    limit: Option<u64>,
    /// The last part, and its bytes.
    file: StoredFile,
    file_len: u64,
}

/// What becomes of the segments before the boundary.
struct Fate {
    /// The first segment that stays as a part of the log.
    first: SegmentNumber,
    /// Those whose live data are copied.
    copied: BTreeSet<SegmentNumber>,
    /// Those that stay.
    kept: Vec<KeptSegment>,
}

pub(super) fn rewrite(
    reader: &SessionReader,
    images: &mut Images,
    number: HistoryNumber,
    limit: u64,
    stop: &StopFlag,
    mut progress: impl FnMut(u64, u64),
) -> Result<Rewritten> {
    let (first, last) = match &images.maps[images.boundary].of {
        Of::Boundary { checkpoint, state } => (checkpoint.segment, state.last()),
        Of::Point { .. } | Of::Younger(_) => unreachable!("the boundary's map is the boundary's"),
    };
    let Some(boundary) = last else { unreachable!("a boundary follows a record") };
    let count = images.page_count();
    let fate = Fate::find(reader, images, first, stop, |page| progress(page, 2 * count))?;
    let limit = reader.store().objects().map_or(limit, |_| limit.min(OBJECT_LIMIT_BYTES));
    let pages = PagesFile::new(reader, number, limit)?;
    let mut rewriter = Rewriter::new(reader, boundary, limit, fate, pages)?;
    for page in 0..count {
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        rewriter.page(images, page)?;
        progress(count + page + 1, 2 * count);
    }
    rewriter.finish()
}

impl Fate {
    fn find(
        reader: &SessionReader,
        images: &Images,
        first: SegmentNumber,
        stop: &StopFlag,
        mut progress: impl FnMut(u64),
    ) -> Result<Self> {
        let mut fate = Self { first, copied: BTreeSet::new(), kept: Vec::new() };
        let mut live: BTreeMap<SegmentNumber, u64> = BTreeMap::new();
        for page in 0..images.page_count() {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            let mut cover = Cover::default();
            for at in images.pages(page).0 {
                let (extent, runs) = images.read(reader, page, &at)?;
                for (part, source) in runs.parts(extent) {
                    let Some(of) = Stored::of(&runs, source) else { continue };
                    if !fate.is_old(of.segment) {
                        continue;
                    }
                    for part in cover.missing(of, &part) {
                        cover.insert(of, &part, ());
                        *live.entry(of.segment).or_default() += part.end - part.start;
                    }
                }
            }
            progress(page);
        }
        for (number, live) in live {
            let len = reader.content(number)?.len()?;
            if live.saturating_mul(2) >= len {
                fate.kept.push(KeptSegment { number, len });
            } else {
                fate.copied.insert(number);
            }
        }
        Ok(fate)
    }

    /// True for a segment that lies wholly before the boundary.
    fn is_old(&self, number: SegmentNumber) -> bool {
        number.is_compacted() || number < self.first
    }
}

/// A part of the volume whose bytes are copied.
struct Piece {
    of: Stored,
    part: Range<u64>,
    /// Which of the runs of the page it is of.
    runs: usize,
    source: Source,
}

/// Where the pieces of a page are now.
#[derive(Default)]
struct Moved {
    /// Of each piece its source in the pool.
    places: Cover<Source>,
    /// The entries and checksums of the new records.
    pool: Runs,
}

struct Rewriter<'a> {
    reader: &'a SessionReader,
    fate: Fate,
    content: Tiles,
    /// Data of the boundary.
    newest: Compactor<'a>,
    /// What only other maps have.
    older: Compactor<'a>,
    numbers: Numbers,
    pages: PagesFile,
    bytes_read: u64,
}

impl<'a> Rewriter<'a> {
    fn new(
        reader: &'a SessionReader,
        boundary: Place,
        limit: u64,
        fate: Fate,
        pages: PagesFile,
    ) -> Result<Self> {
        Ok(Self {
            reader,
            fate,
            content: Tiles::new(reader.clone()),
            newest: Compactor::new(reader, boundary, limit)?,
            older: Compactor::new(reader, boundary, limit)?,
            numbers: Numbers::of(reader, pages.number)?,
            pages,
            bytes_read: 0,
        })
    }

    /// Copies what the maps need of a page, and writes the page of each map anew.
    fn page(&mut self, images: &mut Images, page: u64) -> Result<()> {
        let (places, of) = images.pages(page);
        let read = places.iter().map(|at| images.read(self.reader, page, at));
        let (extents, runs): (Vec<_>, Vec<Runs>) =
            read.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let mut moved = Moved::default();
        let mut met = Cover::default();
        let boundary = of[images.boundary];
        for is_newest in [true, false] {
            let mut pieces = Vec::new();
            for (index, runs) in runs.iter().enumerate() {
                if is_newest && Some(index) != boundary {
                    continue;
                }
                for (part, source) in runs.parts(extents[index].clone()) {
                    let Some(of) = self.copied(runs, source) else { continue };
                    for part in met.missing(of, &part) {
                        met.insert(of, &part, ());
                        pieces.push(Piece { of, part, runs: index, source });
                    }
                }
            }
            pieces.sort_by_key(|piece| (piece.part.start, piece.of));
            self.copy(&runs, &pieces, is_newest, &mut moved)?;
        }
        let mut written = Vec::new();
        for (runs, extent) in runs.iter().zip(&extents) {
            let bytes = self.translate(runs, extent, &moved);
            written.push(PageAt::New(self.pages.add(self.reader, page, bytes)?));
        }
        let index = usize::try_from(page).unwrap_or(usize::MAX);
        for (map, of) in images.maps.iter_mut().zip(of) {
            if let Some(of) = of {
                map.pages[index] = written[of];
            }
        }
        Ok(())
    }

    /// The records that a run refers to, if they are copied.
    fn copied(&self, runs: &Runs, source: Source) -> Option<Stored> {
        Stored::of(runs, source).filter(|of| self.fate.copied.contains(&of.segment))
    }

    /// Copies pieces, which are in the order of the volume: those that follow each other become one
    /// record.
    fn copy(
        &mut self,
        runs: &[Runs],
        pieces: &[Piece],
        is_newest: bool,
        moved: &mut Moved,
    ) -> Result<()> {
        let mut cut = Vec::new();
        for piece in pieces {
            let mut at = piece.part.start;
            while at < piece.part.end {
                let end = ((at / RECORD_BYTES + 1) * RECORD_BYTES).min(piece.part.end);
                cut.push((piece, at..end));
                at = end;
            }
        }
        let mut rest = &cut[..];
        while let Some((_, first)) = rest.first() {
            let limit = (first.start / RECORD_BYTES + 1) * RECORD_BYTES;
            let mut end = first.start;
            let follows = |(_, part): &&(&Piece, Range<u64>)| {
                let follows = part.start == end && part.end <= limit;
                end = part.end;
                follows
            };
            let count = rest.iter().take_while(follows).count();
            let (together, later) = rest.split_at(count);
            rest = later;
            self.copy_record(runs, together, is_newest, moved)?;
        }
        let compactor = if is_newest { &mut self.newest } else { &mut self.older };
        compactor.end_entry()
    }

    fn copy_record(
        &mut self,
        runs: &[Runs],
        pieces: &[(&Piece, Range<u64>)],
        is_newest: bool,
        moved: &mut Moved,
    ) -> Result<()> {
        let (Some((_, first)), Some((_, last))) = (pieces.first(), pieces.last()) else {
            return Ok(());
        };
        let (start, end) = (first.start, last.end);
        let Some(extent) = Extent::new(start, end - start) else { return Ok(()) };
        let mut content = vec![0; to_index(end - start)];
        let mut plan = Plan::into(&mut content, start);
        for (piece, part) in pieces {
            plan.add(&runs[piece.runs], part, piece.source);
        }
        self.content.carry_out(plan, 1, &StopFlag::default())?;
        self.bytes_read += content.len() as u64;
        let compactor = if is_newest { &mut self.newest } else { &mut self.older };
        let written = compactor.add(&mut self.numbers, &extent, &content)?;
        let source = moved.add(written.entry, &extent, written.content, &content);
        for (piece, part) in pieces {
            moved.places.insert(piece.of, part, source);
        }
        Ok(())
    }

    /// A page with the new places.
    fn translate(&self, runs: &Runs, extent: &Range<u64>, moved: &Moved) -> Vec<u8> {
        let mut builder = PageBuilder::default();
        // A run of copied records, which may go on.
        let mut open: Option<(Range<u64>, Source)> = None;
        for (part, source) in runs.parts(extent.clone()) {
            let Some(of) = self.copied(runs, source) else {
                if let Some((part, source)) = open.take() {
                    builder.add(&moved.pool, &part, source);
                }
                builder.add(runs, &part, source);
                continue;
            };
            let mut at = part.start;
            for (part, source) in moved.places.met(of, part.clone()) {
                assert_eq!(part.start, at, "what a map needs was copied");
                at = part.end;
                match &mut open {
                    Some((before, same)) if *same == source && before.end == part.start => {
                        before.end = part.end;
                    }
                    _ => {
                        if let Some((part, source)) = open.replace((part, source)) {
                            builder.add(&moved.pool, &part, source);
                        }
                    }
                }
            }
            assert_eq!(part.end, at, "what a map needs was copied");
        }
        if let Some((part, source)) = open {
            builder.add(&moved.pool, &part, source);
        }
        builder.finish()
    }

    fn finish(mut self) -> Result<Rewritten> {
        self.newest.end_segment()?;
        self.older.end_segment()?;
        let mut kept = self.fate.kept;
        let made = [self.newest.finished, self.older.finished].concat();
        let bytes_written = made.iter().map(|it| it.len).sum::<u64>() + self.pages.len;
        kept.extend(made);
        kept.sort_by_key(|segment| segment.number);
        let Self { pages, bytes_read, .. } = self;
        Ok(Rewritten { kept, pages, bytes_read, bytes_written })
    }
}

impl Moved {
    /// Adds a record; returns what a run of it refers to.
    fn add(&mut self, entry: Entry, extent: &Extent, at: u64, content: &[u8]) -> Source {
        if self.pool.entries.last() != Some(&entry) {
            self.pool.entries.push(entry);
        }
        let records = Records::one(extent, at, self.pool.tiles.len());
        self.pool.tiles.extend(content.chunks(TILE_BYTES).map(crc32c::crc32c));
        // A page has fewer runs than that.
        let entry = u32::try_from(self.pool.entries.len() - 1).unwrap_or(u32::MAX);
        Source::Stored { entry, records }
    }
}

impl PagesFile {
    fn new(reader: &SessionReader, number: HistoryNumber, limit: u64) -> Result<Self> {
        let (store, dir) = (reader.store().clone(), reader.dir().to_owned());
        let file = store.create_new(&dir.join(number.pages_name()))?;
        let limit = store.objects().map(|_| limit.max(1));
        Ok(Self { len: 0, number, store, dir, limit, file, file_len: 0 })
    }

    /// Makes it durable, but for its name.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync()
    }

    /// Adds a page.
    fn add(&mut self, reader: &SessionReader, page: u64, mut bytes: Vec<u8>) -> Result<PageRef> {
        reader.seal().map(MapNumber::PAGES)?.seal(page, &mut bytes, 0)?;
        let (offset, sum) = (self.append(&bytes)?, page_sum(reader.header(), page, &bytes));
        // A page is bounded by the volume's blocks in it.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Ok(PageRef { map: MapNumber::PAGES, offset, len, sum })
    }

    /// Adds bytes; returns where they begin.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.len;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.limit.map_or(u64::MAX, |limit| limit - self.file_len);
            if room == 0 {
                self.next_part()?;
                continue;
            }
            let (part, later) = rest.split_at(to_index(room).min(rest.len()));
            self.file.write_at(self.file_len, part)?;
            self.file_len += part.len() as u64;
            self.len += part.len() as u64;
            rest = later;
        }
        Ok(offset)
    }

    fn next_part(&mut self) -> Result<()> {
        self.file.sync()?;
        let part = self.len / self.limit.unwrap_or(u64::MAX);
        let path = self.dir.join(self.number.pages_part_name(part));
        (self.file, self.file_len) = (self.store.create_new(&path)?, 0);
        Ok(())
    }
}
