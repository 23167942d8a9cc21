//! Keeps maps: where the bytes of a volume are at an acknowledged end of its stream, so that a
//! point costs what came after the map before it, and not the history.
//!
//! A map is made of the one before it and the headers since. It has the pages that changed; those
//! that did not are where they were.

use snapless_types::Seq;

use super::base::{self, Base};
use super::build::Builder;
use super::page::PageBuilder;
use super::{Origin, PointMap};
use crate::error::Result;
use crate::format::map::{
    Image, MapNumber, PageRef, ROOT_PART, Root, Trailer, page_count, page_sum,
};
use crate::format::state::{Checkpoint, Entry};
use crate::reader::{Indices, Located, SessionReader, Wanted, with_indices};
use crate::stop::StopFlag;
use crate::storage::StoredFile;
use crate::stream::StreamState;
use crate::timeline::Cut;

/// Keeps the next map if it is due: when the stream has gone on, since the last one, by `least`
/// bytes and by as many as the file of the last one has. So all maps but the last take no more
/// bytes than the stream, whatever is written where.
///
/// # Errors
/// Damage of the stream, a failure to write, or [`crate::error::Error::Stopped`].
pub fn keep_due(reader: &SessionReader, least: u64, stop: &StopFlag) -> Result<bool> {
    let newest = base::newest(reader, |_| true)?;
    let number = newest.as_ref().and_then(Base::checkpoint).map(|it| MapNumber::of(it.seq));
    let len = number.map_or(Ok(0), |number| reader.map_len(number))?;
    keep_next(reader, least.max(len), stop)
}

/// Keeps a map each time that the stream has gone on by `after` bytes; returns how many.
///
/// # Errors
/// As for [`keep_due`].
pub fn keep(reader: &SessionReader, after: u64, stop: &StopFlag) -> Result<u64> {
    let mut kept = 0;
    while keep_next(reader, after, stop)? {
        kept += 1;
    }
    Ok(kept)
}

/// Checks a kept map: its root and the pages in its file.
///
/// # Errors
/// [`crate::error::Error::Damaged`], or what keeps it from being read.
pub(crate) fn check(reader: &SessionReader, number: MapNumber) -> Result<()> {
    // Of a later end than this reader's: a server is writing.
    let Some(root) = reader.root(number)? else { return Ok(()) };
    let base = Base::new(reader.clone(), root);
    let own = (0..).zip(&base.image().pages).filter(|(_, at)| at.map == number);
    own.map(|(page, _)| page).try_for_each(|page| base.page(page).map(|_| ()))
}

/// Keeps the map of the first end of an epoch that is at least `after` bytes past the last map;
/// false if there is none.
fn keep_next(reader: &SessionReader, after: u64, stop: &StopFlag) -> Result<bool> {
    let last = base::newest(reader, |_| true)?;
    let begin = last.as_ref().and_then(Base::checkpoint).copied();
    if reader.bytes_since(begin.as_ref().map(Checkpoint::place))? < after {
        return Ok(false);
    }
    drop(last);
    let made = with_indices(|indices| {
        let base = base::newest(reader, |_| true)?;
        gather(reader, base, |_, bytes| bytes >= after, indices, stop)
    })?;
    let Some((map, checkpoint, state)) = made else { return Ok(false) };
    let number = MapNumber::of(checkpoint.seq);
    reader.keep_map(number, |file| write(file, reader, &map, checkpoint, state))?;
    // The next one is made on it.
    reader.root(number)?;
    log::info!("session {}: the map up to record {} is kept", reader.header().session, number.0);
    Ok(true)
}

/// A map of an end of an epoch that is not kept yet, and the stream there.
pub(crate) type Gathered = (PointMap, Checkpoint, StreamState);

/// The map of the end of the epoch that ends with this record; `None` if none does.
///
/// # Errors
/// Damage of the stream, or [`crate::error::Error::Stopped`].
pub(crate) fn gather_at(
    reader: &SessionReader,
    seq: Seq,
    stop: &StopFlag,
) -> Result<Option<Gathered>> {
    let found = with_indices(|indices| {
        let base = base::newest(reader, |root| root.checkpoint.seq < seq)?;
        gather(reader, base, |last, _| last >= seq, indices, stop)
    })?;
    Ok(found.filter(|(_, checkpoint, _)| checkpoint.seq == seq))
}

/// The map at the first end of an epoch that `is_wanted`, given its last record and the bytes past
/// the base.
fn gather(
    reader: &SessionReader,
    base: Option<Base>,
    mut is_wanted: impl FnMut(Seq, u64) -> bool,
    indices: Indices,
    stop: &StopFlag,
) -> Result<Option<(PointMap, Checkpoint, StreamState)>> {
    let mut builder = Builder::new(base, reader, Cut::Through(Seq::new(u64::MAX)));
    let (begin, mut bytes, mut end) = (builder.begin(), 0, None);
    let record = |found: &Located<'_>| {
        builder.apply(found);
        Wanted::More
    };
    reader.headers(begin, indices, stop, record, |state, segment, entry| {
        bytes += entry.end() - entry.offset;
        if entry.watermark().is_some() {
            // It belongs to the records behind it.
            return Wanted::More;
        }
        let Some(last) = state.last().filter(|last| last.epoch == state.ended_epoch()) else {
            return Wanted::More;
        };
        if !is_wanted(last.seq, bytes) {
            return Wanted::More;
        }
        let checkpoint = Checkpoint {
            epoch: last.epoch,
            seq: last.seq,
            segment,
            offset: entry.end(),
            entry: Entry { offset: entry.offset, header: entry.frame.to_bytes() },
        };
        end = Some((checkpoint, state.clone()));
        Wanted::Enough
    })?;
    let Some((checkpoint, state)) = end else { return Ok(None) };
    let cut = Cut::Through(checkpoint.seq);
    let origin = Origin { reader: reader.clone(), cut, last_base: Seq::new(0) };
    Ok(Some((builder.finish(origin)?, checkpoint, state)))
}

impl PointMap {
    /// The bytes of a page.
    pub(crate) fn page(&self, page: u64) -> Result<Vec<u8>> {
        let mut builder = PageBuilder::default();
        self.visit(self.window(page), &mut |runs, part, source| builder.add(runs, part, source))?;
        Ok(builder.finish())
    }
}

/// Writes the map's changed pages, its root and its trailer.
fn write(
    file: &StoredFile,
    reader: &SessionReader,
    map: &PointMap,
    checkpoint: Checkpoint,
    state: StreamState,
) -> Result<()> {
    let session = reader.header();
    let number = MapNumber::of(checkpoint.seq);
    let present = reader.maps()?;
    let seal = reader.seal().map(number)?;
    let mut pages = Vec::new();
    let mut offset = 0;
    for page in 0..page_count(&session.geometry, map.length()) {
        // One whose file is missing is written again.
        let is_there = |same: &PageRef| {
            same.map == MapNumber::PAGES || present.binary_search(&same.map).is_ok()
        };
        if let Some(same) = map.same_page(page).filter(is_there) {
            pages.push(same);
            continue;
        }
        let mut bytes = map.page(page)?;
        seal.seal(page, &mut bytes, 0)?;
        file.write_at(offset, &bytes)?;
        // A page is bounded by the volume's blocks in it.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let sum = page_sum(session, page, &bytes);
        pages.push(PageRef { map: number, offset, len, sum });
        offset += u64::from(len);
    }
    let (records, unreadable) = (map.records(), map.unreadable());
    let image = Image { length: map.length(), records, unreadable, pages };
    write_root(file, offset, reader, &Root { checkpoint, state, image })
}

/// Writes a map's root and its trailer behind its pages.
pub(crate) fn write_root(
    file: &StoredFile,
    offset: u64,
    reader: &SessionReader,
    root: &Root,
) -> Result<()> {
    let mut bytes = root.to_bytes(reader.header());
    let seal = reader.seal().map(MapNumber::of(root.checkpoint.seq))?;
    seal.seal(ROOT_PART, &mut bytes, 0)?;
    file.write_at(offset, &bytes)?;
    file.write_at(offset + bytes.len() as u64, &Trailer::new(offset, &bytes).to_bytes())
}
