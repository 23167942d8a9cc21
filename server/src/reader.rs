//! Reads a session's stored stream up to its acknowledged end.
//!
//! Readers need no lock: the writer changes only what lies past the acknowledged end.
//! [`SessionReader::survey`] reads the record headers since the state that the writer has kept, to
//! find out what can be restored. [`SessionReader::headers`] reads them from the begin, to find out
//! what a point is made of. Both read the segments' indices as far as those go, and of the rest
//! all, with its checksums. [`SessionReader::replay`] reads everything and checks every checksum.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapless_types::{EpochId, RecordKind, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};
use snapless_wire::record::{Record, Records};

use crate::crypto::BlobSeal;
use crate::error::{Damage, Error, Result};
use crate::format::FormatError;
use crate::format::acknowledged::{ACKNOWLEDGED_FILE, Acknowledged};
use crate::format::claim::Claim;
use crate::format::history::{History, Retained, RootRef};
use crate::format::index::{EntryIndex, RecordIndex};
use crate::format::map::{
    Image, MAPS_BEGINNING, MapNumber, ROOT_PART, Root, TRAILER_LEN, Trailer, page_sum,
};
use crate::format::repository::session_dir;
use crate::format::segment::SegmentNumber;
use crate::format::session::SessionHeader;
use crate::format::slots::SLOTS_FILE_LEN;
use crate::format::state::{self, Checkpoint, Entry, STATE_FILE, STATE_LEN_MAX};
use crate::format::watermark::{self, WATERMARK_FILE};
use crate::pin::{Pin, Pins};
use crate::seal::{EntrySeal, SessionSeal};
use crate::stop::StopFlag;
use crate::storage::{OpenMode, Store, StoredFile};
use crate::stream::{Accepted, StreamState, Violation};

pub(crate) mod claims;
mod frames;
pub(crate) mod history;
mod index;
mod segment;
mod sound;

use claims::{Claims, read_claim};
pub(crate) use frames::{EntryEnd, StoredFrame};
pub(crate) use index::IndexReader;
pub(crate) use segment::SegmentReader;
pub use sound::Survey;

/// Bytes read ahead of a segment whose index is read: a few headers.
const SURVEY_BUFFER_BYTES: usize = 4 << 10;
/// Objects that are asked for ahead while segments are read in order.
const OBJECTS_AHEAD: usize = 8;
/// Bytes read ahead while everything is read.
const REPLAY_BUFFER_BYTES: usize = 256 << 10;

/// A session's stored stream.
#[derive(Clone, Debug)]
pub struct SessionReader {
    store: Store,
    dir: PathBuf,
    header: SessionHeader,
    seal: SessionSeal,
    acknowledged: Acknowledged,
    /// What tells the end of a stream of objects; `None` in a directory.
    claims: Option<Arc<Claims>>,
    /// `None` if the session was never folded.
    history: Option<Arc<History>>,
    /// Keeps what is read from being removed, as long as a clone lives.
    _pin: Option<Arc<Pin>>,
}

impl SessionReader {
    /// Opens a session's stream as it has been acknowledged at this moment.
    pub fn open(store: &Store, header: SessionHeader) -> Result<Self> {
        let dir = session_dir(header.volume, header.session);
        if let Some(objects) = store.objects() {
            let claims = Claims::read(store, objects, &dir, &header)?;
            let (store, seal) = (store.clone(), store.seal().of(&header));
            let (acknowledged, claims) = (claims.end(), Some(Arc::new(claims)));
            let history = None;
            return Ok(Self {
                store,
                dir,
                header,
                seal,
                acknowledged,
                claims,
                history,
                _pin: None,
            });
        }
        // First: its boundary is then within the acknowledged end that is read.
        let history = history::newest(store, &header)?.map(Arc::new);
        let path = dir.join(ACKNOWLEDGED_FILE);
        let bytes = store.read_head(&path, SLOTS_FILE_LEN).map_err(Error::or_gone)?;
        let damaged = |why| Error::damaged(&store.locate(&path), 0, why);
        let acknowledged = Acknowledged::read(&bytes).map_err(damaged)?;
        let seal = store.seal().of(&header);
        let (store, claims) = (store.clone(), None);
        Ok(Self { store, dir, header, seal, acknowledged, claims, history, _pin: None })
    }

    /// [`Self::open`], for a command that reads for long: nothing of what it reads is removed
    /// meanwhile.
    pub fn open_pinned(store: &Store, header: SessionHeader, command: &str) -> Result<Self> {
        // Before it is read what is the newest: see the rule in `crate::pin`.
        let pin = Pins::of(store, &header).hold(command);
        Ok(Self { _pin: Some(Arc::new(pin)), ..Self::open(store, header)? })
    }

    /// The pins of the session.
    pub fn pins(&self) -> Pins {
        Pins::of(&self.store, &self.header)
    }

    /// Opens a session whose acknowledged end is damaged, as if all up to this segment were
    /// acknowledged, to read what a fold has kept.
    pub(crate) fn to_salvage(
        store: &Store,
        header: SessionHeader,
        last: Option<SegmentNumber>,
    ) -> Result<Self> {
        let history = history::newest(store, &header)?.map(Arc::new);
        let acknowledged = Acknowledged {
            generation: 0,
            epoch: EpochId::new(u64::MAX),
            seq: Seq::new(u64::MAX),
            segment: last.unwrap_or(SegmentNumber(0)),
            offset: u64::MAX,
        };
        let dir = session_dir(header.volume, header.session);
        let seal = store.seal().of(&header);
        let (store, claims) = (store.clone(), None);
        Ok(Self { store, dir, header, seal, acknowledged, claims, history, _pin: None })
    }

    /// What a fold has kept of the time before its boundary; `None` if there was no fold.
    pub fn history(&self) -> Option<&History> {
        self.history.as_deref()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The session's folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        &self.header
    }

    /// How its content is kept.
    pub(crate) fn seal(&self) -> &SessionSeal {
        &self.seal
    }

    /// What the claims of a stream of objects tell; `None` in a directory.
    pub(crate) fn claims(&self) -> Option<&Claims> {
        self.claims.as_deref()
    }

    /// The acknowledged end.
    pub fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// Bytes of the stored stream, and of what a fold has kept of the time before it.
    pub fn stored_bytes(&self) -> Result<u64> {
        let kept = self.history().map_or(0, History::segment_bytes);
        Ok(self.stream_bytes()?.saturating_add(kept))
    }

    /// Bytes of the stored stream.
    pub(crate) fn stream_bytes(&self) -> Result<u64> {
        self.bytes_since(None)
    }

    /// Where the stream begins, and its state there: at the boundary of the history, or `None` for
    /// the begin of the session.
    ///
    /// # Errors
    /// Damage of the boundary's map, which nothing replaces.
    pub(crate) fn begin(&self) -> Result<Option<(Checkpoint, StreamState)>> {
        Ok(self.boundary_root()?.map(|root| (root.checkpoint, root.state)))
    }

    /// The root of the boundary's map; `None` if there was no fold.
    ///
    /// # Errors
    /// As for [`Self::begin`].
    pub(crate) fn boundary_root(&self) -> Result<Option<Root>> {
        let Some(history) = self.history() else { return Ok(None) };
        let number = MapNumber::of(history.boundary.place.seq);
        match self.root(number) {
            Ok(Some(root)) => Ok(Some(root)),
            Ok(None) => {
                let (acknowledged, kept) = (self.acknowledged.seq, history.boundary.place.seq);
                let path = self.store.locate(&self.dir.join(ACKNOWLEDGED_FILE));
                Err(Error::damaged(&path, 0, Damage::Older { acknowledged, kept }))
            }
            Err(error) => Err(error.or_gone()),
        }
    }

    /// Where in the log the stream begins.
    pub(crate) fn begin_place(&self) -> (SegmentNumber, u64) {
        let boundary = self.history().map(|history| history.boundary);
        boundary.map_or((SegmentNumber::FIRST, 0), |it| (it.segment, it.offset))
    }

    /// The root of a retained point.
    ///
    /// # Errors
    /// [`Error::Damaged`], or what keeps it from being read.
    pub(crate) fn retained_root(&self, index: usize, point: &Retained) -> Result<Image> {
        let RootRef { offset, len, .. } = point.root;
        let (path, mut bytes) = self.stored_retained_root(index, point)?;
        let damaged = |why| Error::damaged(&path, offset, why);
        debug_assert_eq!(bytes.len() as u64, len);
        let seal = self.seal.map(MapNumber::PAGES)?;
        let bytes = seal.open(history::root_part(index), &mut bytes).map_err(damaged)?;
        Image::read(bytes, &self.header).map_err(damaged)
    }

    /// The name of the file of the pages, and the root of a retained point as it is stored, whose
    /// checksum is right.
    ///
    /// # Errors
    /// As for [`Self::retained_root`].
    pub(crate) fn stored_retained_root(
        &self,
        index: usize,
        point: &Retained,
    ) -> Result<(PathBuf, Vec<u8>)> {
        let RootRef { offset, len, sum } = point.root;
        let found = self.map_bytes(MapNumber::PAGES, offset, len).map_err(Error::or_gone)?;
        if page_sum(&self.header, history::root_part(index), &found.1) != sum {
            return Err(Error::damaged(&found.0, offset, FormatError::Checksum));
        }
        Ok(found)
    }

    /// The state of the stream at its acknowledged end, with the watermark after that. Reads the
    /// headers of the records after the state that the writer has kept, of all if there is none of
    /// use, and checks the stream's rules. Reads the content of the entries that no index has.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a header or the stream is not sound.
    pub fn survey(&self, stop: &StopFlag) -> Result<StreamState> {
        self.find_end(stop).map(|end| end.state)
    }

    /// [`Self::survey`], and what a new checkpoint needs.
    pub(crate) fn find_end(&self, stop: &StopFlag) -> Result<End> {
        let mut end = self.find_last_record(stop)?;
        // One after an earlier record is in the segments, if it matters.
        let watermark = self.watermark().filter(|it| it.seq() == self.acknowledged.seq);
        if let Some(watermark) = watermark
            && let Err(why) = end.state.mark(&watermark)
        {
            log::warn!("{WATERMARK_FILE} is not used: {why}");
        }
        Ok(end)
    }

    fn find_last_record(&self, stop: &StopFlag) -> Result<End> {
        self.check_segments()?;
        if let Some((checkpoint, state)) = self.kept_state() {
            match self.survey_from(Some(checkpoint), &state, stop) {
                Ok(end) => return Ok(end),
                Err(Error::Stopped) => return Err(Error::Stopped),
                // The state may be of another history; the segments alone decide.
                Err(error) => log::warn!("{STATE_FILE} is not used: {error}"),
            }
        }
        match self.begin()? {
            Some((checkpoint, state)) => self.survey_from(Some(checkpoint), &state, stop),
            None => self.survey_from(None, &StreamState::new(self.header.geometry), stop),
        }
    }

    /// The last watermark, whatever record it comes after. Without one, the latest point is the
    /// last record's.
    pub(crate) fn watermark(&self) -> Option<Watermark> {
        match self.store.read_head(&self.dir.join(WATERMARK_FILE), SLOTS_FILE_LEN) {
            Ok(bytes) => watermark::read(&bytes),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                log::warn!("the latest point may be later: {error}");
                None
            }
        }
    }

    fn survey_from(
        &self,
        from: Option<Checkpoint>,
        before: &StreamState,
        stop: &StopFlag,
    ) -> Result<End> {
        let begin = from.map_or((SegmentNumber::FIRST, 0), |from| (from.segment, from.offset));
        let known = before.timeline().records();
        with_indices(|indices| {
            let mut state = before.clone();
            let mut entry = from.map(|from| from.entry);
            self.visit(begin, indices, stop, |_, found| {
                if let Some(watermark) = found.watermark() {
                    state.mark(watermark)?;
                    return Ok(Wanted::More);
                }
                found.records().try_for_each(|it| state.accept(it.header).map(|_| ()))?;
                entry = Some(Entry { offset: found.offset, header: found.frame.to_bytes() });
                Ok(Wanted::More)
            })?;
            self.check_end(&state)?;
            Ok(End { surveyed: state.timeline().records() - known, state, entry })
        })
    }

    /// Visits the entries from a place on, in order, until no more are wanted.
    ///
    /// # Errors
    /// [`Error::Damaged`]; if [`Error::is_of_index`] says so, what was visited must be dropped.
    pub(crate) fn visit(
        &self,
        (first, offset): (SegmentNumber, u64),
        indices: Indices,
        stop: &StopFlag,
        mut visit: impl FnMut(SegmentNumber, &EntryIndex) -> Result<Wanted, Violation>,
    ) -> Result<()> {
        for number in self.segments().filter(|number| *number >= first) {
            let offset = if number == first { offset } else { 0 };
            let visit = |found: &EntryIndex| visit(number, found);
            let how = How { indices, stop };
            if self.entries_of(number, offset, how, visit)? == Wanted::Enough {
                break;
            }
        }
        Ok(())
    }

    /// Visits the entries of a segment from `offset` on, or all: as far as its index goes the index
    /// is read, and then the segment.
    fn entries_of(
        &self,
        number: SegmentNumber,
        offset: u64,
        how: How<'_>,
        mut visit: impl FnMut(&EntryIndex) -> Result<Wanted, Violation>,
    ) -> Result<Wanted> {
        let index = match how.indices {
            Indices::Used => self.index(number),
            Indices::Ignored => None,
        };
        let buffer = if index.is_none() { REPLAY_BUFFER_BYTES } else { SURVEY_BUFFER_BYTES };
        let mut segment = self.segment(number, buffer)?;
        if offset > 0 {
            segment.go_to(offset)?;
        }
        if let Some(index) = index
            && Self::indexed(index, &mut segment, how.stop, &mut visit)? == Wanted::Enough
        {
            return Ok(Wanted::Enough);
        }
        let mut payload = Vec::new();
        while segment.next_entry()? {
            if how.stop.is_set() {
                return Err(Error::Stopped);
            }
            // Also where headers are all that is wanted: a damaged one that gives another time
            // would make other records part of an image.
            let found = segment.load_index(&mut payload)?;
            if visit(&found).map_err(|why| segment.damage(why))? == Wanted::Enough {
                return Ok(Wanted::Enough);
            }
        }
        Ok(Wanted::More)
    }

    /// Visits the entries that the index has, from the next one of the segment on, and leaves the
    /// segment behind them.
    ///
    /// # Errors
    /// [`Damage::Index`] if the index is not that of the segment; what was visited until then must
    /// be dropped.
    fn indexed(
        mut index: IndexReader,
        segment: &mut SegmentReader,
        stop: &StopFlag,
        mut visit: impl FnMut(&EntryIndex) -> Result<Wanted, Violation>,
    ) -> Result<Wanted> {
        let mut last = None;
        let mut wanted = Wanted::More;
        while wanted == Wanted::More {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            match index.next_chunk() {
                Ok(true) if index.segment_end() <= segment.entry_end() => continue,
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log::warn!("the segment is read instead: {error}");
                    break;
                }
            }
            for found in index.entries() {
                let found = found.map_err(|_| index.damage(Damage::Index))?;
                if found.offset < segment.entry_end() || found.end() > segment.end() {
                    continue;
                }
                if found.offset != segment.entry_end() {
                    return Err(index.damage(Damage::Index));
                }
                wanted = visit(&found).map_err(|_| index.damage(Damage::Index))?;
                segment.go_to(found.end())?;
                last = Some((found.offset, found.frame));
                if wanted == Wanted::Enough {
                    break;
                }
            }
        }
        // One entry stands for all before it: an index is never of another history up to there.
        match last {
            Some((offset, frame)) if !segment.has_entry(offset, &frame) => {
                Err(index.damage(Damage::Index))
            }
            _ => Ok(wanted),
        }
    }

    /// How far the index of a segment can be used by the writer: its whole chunks that end within
    /// the acknowledged stream. `None` if there is no use in it.
    pub(crate) fn sound_index(&self, number: SegmentNumber) -> Option<SoundIndex> {
        let mut index = self.index(number)?;
        let mut segment = self.segment(number, SURVEY_BUFFER_BYTES).ok()?;
        let mut sound = SoundIndex { len: index.file_end(), end: segment.entry_end() };
        let mut last = None;
        while let Ok(true) = index.next_chunk()
            && index.segment_end() <= segment.end()
            && let Some(Ok(entry)) = index.entries().last()
        {
            sound = SoundIndex { len: index.file_end(), end: index.segment_end() };
            last = Some(entry);
        }
        let is_of_this_stream =
            last.is_none_or(|entry| segment.has_entry(entry.offset, &entry.frame));
        is_of_this_stream.then_some(sound)
    }

    /// Reads and checks the entries of a segment from `offset` on.
    ///
    /// # Errors
    /// Damage of the segment, or [`Error::Stopped`].
    pub(crate) fn tail(
        &self,
        number: SegmentNumber,
        offset: u64,
        stop: &StopFlag,
        mut visit: impl FnMut(&EntryIndex),
    ) -> Result<()> {
        let how = How { indices: Indices::Ignored, stop };
        let visit = |entry: &EntryIndex| {
            visit(entry);
            Ok(Wanted::More)
        };
        self.entries_of(number, offset, how, visit).map(|_| ())
    }

    /// The index of a segment; `None` if there is none of use.
    fn index(&self, number: SegmentNumber) -> Option<IndexReader> {
        self.open_index(number).unwrap_or_else(|error| {
            log::warn!("the segment is read instead: {error}");
            None
        })
    }

    /// Stored bytes after a place, or all.
    pub(crate) fn bytes_since(&self, place: Option<&Checkpoint>) -> Result<u64> {
        if let Some((_, end)) = self.claims().and_then(|claims| claims.newest) {
            return self.bytes_between(place, &end);
        }
        let (first, before) =
            place.map_or((self.begin_place().0, 0), |place| (place.segment, place.offset));
        let mut bytes = 0;
        for number in self.segments().filter(|number| *number >= first) {
            bytes += self.bytes_of(number)?;
        }
        Ok(bytes.saturating_sub(before))
    }

    /// About [`Self::bytes_since`], as if each segment were as long as the first one of them: looks
    /// at no others.
    pub(crate) fn bytes_since_about(&self, place: Option<&Checkpoint>) -> Result<u64> {
        if self.claims.is_some() {
            return self.bytes_since(place);
        }
        let (first, before) =
            place.map_or((self.begin_place().0, 0), |place| (place.segment, place.offset));
        let last = self.acknowledged.segment;
        let finished = match last.0.saturating_sub(first.0) {
            0 => 0,
            count => self.bytes_of(first)?.saturating_mul(count),
        };
        Ok(finished.saturating_add(self.acknowledged.offset).saturating_sub(before))
    }

    /// [`Self::bytes_since`] in a stream of objects, by two claims.
    fn bytes_between(&self, place: Option<&Checkpoint>, end: &Claim) -> Result<u64> {
        let Some(place) = place else { return Ok(end.bytes) };
        let claim = read_claim(&self.store, &self.dir, &self.header, place.segment)?;
        Ok(end.bytes.saturating_sub(claim.bytes))
    }

    fn bytes_of(&self, number: SegmentNumber) -> Result<u64> {
        if number == self.acknowledged.segment {
            return Ok(self.acknowledged.offset);
        }
        self.open_segment(number)?.len()
    }

    /// The kept maps, in stream order, from the boundary on.
    pub(crate) fn maps(&self) -> Result<Vec<MapNumber>> {
        let history = self.history().map(|history| history.number);
        self.store.list_of(&self.dir, MAPS_BEGINNING, |name| {
            MapNumber::parse(name).filter(|(_, of)| *of == history).map(|(number, _)| number)
        })
    }

    /// Where a map is. [`MapNumber::PAGES`] stands for the file of the pages of the fold.
    fn map_path(&self, number: MapNumber) -> PathBuf {
        self.dir.join(number.file_name_in(self.history().map(|history| history.number)))
    }

    /// The root of a kept map; `None` if the map is later than this reader's acknowledged end.
    ///
    /// # Errors
    /// [`Error::Damaged`], also for a map of another history of the session, or what keeps the map
    /// from being read.
    pub(crate) fn root(&self, number: MapNumber) -> Result<Option<Root>> {
        let (path, mut bytes) = self.stored_root(number)?;
        let damaged = |why| Error::damaged(&path, 0, why);
        let bytes = self.seal.map(number)?.open(ROOT_PART, &mut bytes).map_err(damaged)?;
        let root = Root::read(bytes, number, &self.header).map_err(damaged)?;
        if root.checkpoint.seq > self.acknowledged.seq {
            return Ok(None);
        }
        if !root.checkpoint.is_within(&self.acknowledged) || !self.has_entry(&root.checkpoint)? {
            return Err(Error::damaged(&path, 0, Damage::Foreign("history")));
        }
        Ok(Some(root))
    }

    /// The name of a kept map, and its root as it is stored, whose checksum is right.
    ///
    /// # Errors
    /// [`Error::Damaged`], or what keeps the map from being read.
    pub(crate) fn stored_root(&self, number: MapNumber) -> Result<(PathBuf, Vec<u8>)> {
        let path = self.map_path(number);
        let file = self.store.open(&path, OpenMode::Read)?;
        let damaged = |why| Error::damaged(file.path(), 0, why);
        let end = file.len()?.checked_sub(TRAILER_LEN as u64);
        let end = end.ok_or_else(|| damaged(FormatError::Short))?;
        let mut bytes = [0; TRAILER_LEN];
        file.read_exact_at(end, &mut bytes).map_err(Error::file("read", file.path()))?;
        let trailer = Trailer::read(&bytes).map_err(damaged)?;
        if trailer.offset.checked_add(trailer.len) != Some(end) {
            return Err(damaged(FormatError::Content("root")));
        }
        let mut bytes = vec![0; usize::try_from(trailer.len).unwrap_or(usize::MAX)];
        file.read_exact_at(trailer.offset, &mut bytes).map_err(Error::file("read", file.path()))?;
        trailer.verify(&bytes).map_err(damaged)?;
        Ok((file.path().to_owned(), bytes))
    }

    /// Bytes of the file of a kept map.
    pub(crate) fn map_len(&self, number: MapNumber) -> Result<u64> {
        self.store.open(&self.map_path(number), OpenMode::Read)?.len()
    }

    /// Bytes of a kept map, and its name.
    pub(crate) fn map_bytes(
        &self,
        number: MapNumber,
        offset: u64,
        len: u64,
    ) -> Result<(PathBuf, Vec<u8>)> {
        let file = self.store.open(&self.map_path(number), OpenMode::Read)?;
        if offset.checked_add(len).is_none_or(|end| end > file.len().unwrap_or(0)) {
            return Err(Error::damaged(file.path(), offset, FormatError::Short));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_exact_at(offset, &mut bytes).map_err(Error::file("read", file.path()))?;
        Ok((file.path().to_owned(), bytes))
    }

    /// Keeps a map.
    pub(crate) fn keep_map(
        &self,
        number: MapNumber,
        write: impl FnOnce(&StoredFile) -> Result<()>,
    ) -> Result<()> {
        match self.store.create_once_with(&self.map_path(number), write) {
            // Another server has kept one, of which younger maps may have pages.
            Err(error) if error.is_already_there() => Ok(()),
            kept => kept,
        }
    }

    /// The finished segments that have no index, in order.
    pub(crate) fn unindexed(&self) -> Result<Vec<SegmentNumber>> {
        if self.claims.is_some() {
            // An object is short: its index would cost as much as it saves.
            return Ok(Vec::new());
        }
        let present = self.store.list(&self.dir, SegmentNumber::from_index_name)?;
        let finished = self.segments().filter(|number| *number < self.acknowledged.segment);
        Ok(finished.filter(|number| present.binary_search(number).is_err()).collect())
    }

    /// Keeps the index of a finished segment.
    pub(crate) fn keep_index(&self, number: SegmentNumber, bytes: &[u8]) -> Result<()> {
        self.store.create_durably(&self.dir.join(number.index_name()), bytes)
    }

    /// Opens the index of a segment; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a file that is not this index.
    pub(crate) fn open_index(&self, number: SegmentNumber) -> Result<Option<IndexReader>> {
        if self.claims.is_some() {
            return Ok(None);
        }
        let path = self.dir.join(number.index_name());
        let seal = self.seal.index(number)?;
        IndexReader::open(&self.store, &path, self.header.index_of(number), seal)
    }

    /// Opens the index of a segment of an encrypted repository, to check its stored checksums
    /// without the key; there is no use in its entries.
    ///
    /// # Errors
    /// As for [`Self::open_index`].
    pub(crate) fn stored_index(&self, number: SegmentNumber) -> Result<Option<IndexReader>> {
        if self.claims.is_some() {
            return Ok(None);
        }
        let path = self.dir.join(number.index_name());
        let seal = Some(BlobSeal::default());
        IndexReader::open(&self.store, &path, self.header.index_of(number), seal)
    }

    /// The state that the writer has kept, if it is sound and of this stream.
    fn kept_state(&self) -> Option<(Checkpoint, StreamState)> {
        let (checkpoint, state) = match self.read_state() {
            Ok(found) => found?,
            Err(error) => {
                log::warn!("the whole stream is read: {error}");
                return None;
            }
        };
        let begin = self.history().map_or(0, |history| history.boundary.place.seq.get());
        let is_of_this_stream = checkpoint.is_within(&self.acknowledged)
            && checkpoint.seq.get() >= begin
            && self.has_entry(&checkpoint).unwrap_or(false);
        is_of_this_stream.then_some((checkpoint, state))
    }

    /// True if the checkpoint's entry is where it was, and ends at the checkpoint.
    fn has_entry(&self, checkpoint: &Checkpoint) -> Result<bool> {
        let Ok(frame) = FrameHeader::read(&checkpoint.entry.header) else { return Ok(false) };
        let mut segment = self.segment(checkpoint.segment, SURVEY_BUFFER_BYTES)?;
        let is_there = segment.has_entry(checkpoint.entry.offset, &frame);
        Ok(is_there && segment.entry_end() == checkpoint.offset)
    }

    /// Reads the state that the writer has kept; `None` if there is none, or one of an older
    /// release, which the writer replaces.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not sound.
    pub(crate) fn read_state(&self) -> Result<Option<(Checkpoint, StreamState)>> {
        let path = self.dir.join(STATE_FILE);
        let len = match self.store.open(&path, OpenMode::Read) {
            Ok(file) => file.len()?.min(STATE_LEN_MAX),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = self.store.read_head(&path, usize::try_from(len).unwrap_or(usize::MAX))?;
        let seal = self.seal.state()?;
        match state::open(bytes, &seal).and_then(|it| Checkpoint::read(&it, &self.header)) {
            Ok(found) => Ok(Some(found)),
            Err(FormatError::Version { found, known }) if found < known => Ok(None),
            Err(why) => Err(self.state_damage(why)),
        }
    }

    /// Checks the stored checksum of the state that the writer has kept, without the key.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not sound.
    pub(crate) fn check_stored_state(&self) -> Result<()> {
        let path = self.dir.join(STATE_FILE);
        let len = match self.store.open(&path, OpenMode::Read) {
            Ok(file) => file.len()?.min(STATE_LEN_MAX),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let bytes = self.store.read_head(&path, usize::try_from(len).unwrap_or(usize::MAX))?;
        state::check_sealed(&bytes).map_err(|why| self.state_damage(why))
    }

    /// Damage of the state that the writer has kept.
    pub(crate) fn state_damage(&self, why: impl Into<Damage>) -> Error {
        Error::damaged(&self.store.locate(&self.dir.join(STATE_FILE)), 0, why)
    }

    /// Reads the whole stream from its begin on, checks every checksum and rule, and calls `visit`
    /// with every record until that wants no more.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the stream is not sound, [`Error::Stopped`], or the error of `visit`.
    pub fn replay(
        &self,
        stop: &StopFlag,
        mut visit: impl FnMut(&Record<'_>, &Accepted) -> Result<Wanted>,
    ) -> Result<()> {
        let begin = self.begin()?.map(|(_, state)| state);
        let mut state = begin.unwrap_or_else(|| StreamState::new(self.header.geometry));
        let mut payload = Vec::new();
        for number in self.segments() {
            let mut segment = self.stream_segment(number, REPLAY_BUFFER_BYTES)?;
            while segment.next_entry()? {
                if stop.is_set() {
                    return Err(Error::Stopped);
                }
                if segment.load(&mut payload)?.kind() == FrameKind::Watermark {
                    let watermark = Watermark::read(&payload).map_err(|why| segment.damage(why))?;
                    state.mark(&watermark).map_err(|why| segment.damage(why))?;
                    continue;
                }
                for record in Records::new(&payload) {
                    let record = record.map_err(|why| segment.damage(why))?;
                    let accepted = state.accept(&record.header);
                    let accepted = accepted.map_err(|why| segment.damage(why))?;
                    if visit(&record, &accepted)? == Wanted::Enough {
                        return Ok(());
                    }
                }
            }
        }
        self.check_end(&state)
    }

    /// Visits all records from a place on, or from the begin, and after those of each entry the
    /// entry, until no more are wanted. Reads the indices of the segments; of a segment or a part
    /// of it without one, all is read and checked.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the stream is not sound; what was visited until then must be dropped.
    pub(crate) fn headers(
        &self,
        from: Option<(Checkpoint, StreamState)>,
        indices: Indices,
        stop: &StopFlag,
        mut record: impl FnMut(&Located<'_>) -> Wanted,
        mut entry: impl FnMut(&StreamState, SegmentNumber, &EntryIndex) -> Wanted,
    ) -> Result<()> {
        let (begin, mut state) = match from.map_or_else(|| self.begin(), |from| Ok(Some(from)))? {
            Some((at, state)) => ((at.segment, at.offset), state),
            None => ((SegmentNumber::FIRST, 0), StreamState::new(self.header.geometry)),
        };
        let mut wanted = Wanted::More;
        self.visit(begin, indices, stop, |segment, found| {
            if let Some(watermark) = found.watermark() {
                state.mark(watermark)?;
            }
            for it in found.records() {
                let accepted = state.accept(it.header)?;
                let located = Located { record: it, accepted: &accepted, segment, entry: found };
                wanted = record(&located);
                if wanted == Wanted::Enough {
                    return Ok(wanted);
                }
            }
            wanted = entry(&state, segment, found);
            Ok(wanted)
        })?;
        if wanted == Wanted::Enough { Ok(()) } else { self.check_end(&state) }
    }

    /// Opens a segment, to read content out of it.
    pub(crate) fn content(&self, number: SegmentNumber) -> Result<StoredFile> {
        self.open_segment(number)
    }

    /// Checks the acknowledgement before the newest, which is kept in case the newest is torn.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not sound.
    pub fn check_acknowledgement(&self) -> Result<()> {
        if self.claims.is_some() {
            return Ok(());
        }
        let path = self.dir.join(ACKNOWLEDGED_FILE);
        let bytes = self.store.read_head(&path, SLOTS_FILE_LEN)?;
        let checked = Acknowledged::read(&bytes).and_then(|newest| newest.check_older(&bytes));
        checked.map_err(|why| Error::damaged(&self.store.locate(&path), 0, why))
    }

    /// The same stream up to the last whole epoch, which may lie past the acknowledged end. Content
    /// past that end is checked in full.
    pub(crate) fn with_whole_epochs(&self) -> Self {
        let mut longer = self.clone();
        let found = &mut longer.acknowledged;
        let mut number = found.segment;
        loop {
            // What cannot be read here was never acknowledged: it only ends the search.
            let offset = if number == found.segment { found.offset } else { 0 };
            match self.whole_epochs_of(number, offset, found) {
                Ok(true) => number = number.next(),
                Ok(false) | Err(_) => return longer,
            }
        }
    }

    /// Moves `found` to the last whole epoch of a segment, from `offset` on; true if the segment is
    /// sound up to its end.
    fn whole_epochs_of(
        &self,
        number: SegmentNumber,
        offset: u64,
        found: &mut Acknowledged,
    ) -> Result<bool> {
        if number.0 == 0 {
            return Ok(true);
        }
        let file = self.open_segment(number)?;
        let end = file.len()?;
        let seal = self.seal.entries(number)?;
        let buffer = REPLAY_BUFFER_BYTES;
        let mut segment = SegmentReader::open(file, &self.header, number, seal, end, buffer)?;
        if offset > 0 {
            segment.go_to(offset)?;
        }
        let mut payload = Vec::new();
        while segment.next_entry()? {
            if segment.load(&mut payload)?.kind() == FrameKind::Watermark {
                continue;
            }
            let mut last = None;
            for record in Records::new(&payload) {
                last = Some(record.map_err(|why| segment.damage(why))?.header);
            }
            // An EpochEnd ends its entry.
            if let Some(header) = last.filter(|last| last.kind() == RecordKind::EpochEnd) {
                found.epoch = header.epoch();
                found.seq = header.seq();
                found.segment = number;
                found.offset = segment.entry_end();
            }
        }
        Ok(true)
    }

    /// The numbers of all segments that hold acknowledged records, from the begin of the stream on.
    pub fn segments(&self) -> impl Iterator<Item = SegmentNumber> + use<> {
        let claims = self.claims.clone();
        let all = (self.begin_place().0.0..=self.acknowledged.segment.0).map(SegmentNumber);
        all.filter(move |number| claims.as_ref().is_none_or(|claims| !claims.is_void(*number)))
    }

    /// Opens one segment at the first entry of it that is of the stream.
    pub(crate) fn stream_segment(
        &self,
        number: SegmentNumber,
        buffer: usize,
    ) -> Result<SegmentReader> {
        let mut segment = self.segment(number, buffer)?;
        let (first, offset) = self.begin_place();
        if number == first && offset > 0 {
            segment.go_to(offset)?;
        }
        Ok(segment)
    }

    fn is_void(&self, number: SegmentNumber) -> bool {
        self.claims().is_some_and(|claims| claims.is_void(number))
    }

    /// Opens one segment at its first entry. The one after it is asked for soon, most likely.
    pub(crate) fn segment(&self, number: SegmentNumber, buffer: usize) -> Result<SegmentReader> {
        if let Some(objects) = self.store.objects() {
            let next = (number.next().0..=self.acknowledged.segment.0).map(SegmentNumber);
            let next = next.take(OBJECTS_AHEAD).filter(|number| !self.is_void(*number));
            objects.will_open(&mut next.map(|number| self.dir.join(number.file_name())));
        }
        let file = self.open_segment(number)?;
        let end = self.end_of(number, &file)?;
        SegmentReader::open(file, &self.header, number, self.seal.entries(number)?, end, buffer)
    }

    /// [`Self::segment`] of an encrypted repository, to check its stored checksums without the key;
    /// no entry can be opened.
    pub(crate) fn stored_segment(
        &self,
        number: SegmentNumber,
        buffer: usize,
    ) -> Result<SegmentReader> {
        let file = self.open_segment(number)?;
        let end = self.end_of(number, &file)?;
        let seal = Some(EntrySeal::without_key());
        SegmentReader::open(file, &self.header, number, seal, end, buffer)
    }

    fn open_segment(&self, number: SegmentNumber) -> Result<StoredFile> {
        let path = self.dir.join(number.file_name());
        self.store.open(&path, OpenMode::Read).map_err(Error::or_gone)
    }

    /// Checks that no segment is missing, without a look into them.
    fn check_segments(&self) -> Result<()> {
        let missing = if let Some(claims) = self.claims() {
            claims.missing(self.segments())
        } else {
            let present = self.store.list(&self.dir, SegmentNumber::from_file_name)?;
            self.segments().find(|number| present.binary_search(number).is_err())
        };
        let Some(missing) = missing else { return Ok(()) };
        let path = self.store.locate(&self.dir.join(missing.file_name()));
        Err(Error::damaged(&path, 0, Damage::Gone))
    }

    /// Checks that the acknowledged end is not older than the state that the writer has kept, which
    /// was acknowledged when it was kept.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is.
    pub(crate) fn check_age(&self) -> Result<()> {
        let Ok(Some((checkpoint, _))) = self.read_state() else { return Ok(()) };
        if checkpoint.is_within(&self.acknowledged) {
            return Ok(());
        }
        // A server may have acknowledged and kept more meanwhile: in this order.
        if checkpoint.is_within(&Self::open(&self.store, self.header)?.acknowledged) {
            return Ok(());
        }
        let path = self.end_path();
        let (acknowledged, kept) = (self.acknowledged.seq, checkpoint.seq);
        Err(Error::damaged(&path, 0, Damage::Older { acknowledged, kept }))
    }

    /// Checks that the stream ends with the acknowledged record.
    pub(crate) fn check_end(&self, state: &StreamState) -> Result<()> {
        let last = state.last().map_or(0, |last| last.seq.get());
        if last == self.acknowledged.seq.get() {
            return Ok(());
        }
        Err(Error::damaged(&self.end_path(), 0, Damage::Acknowledgement(last)))
    }

    /// The file that tells the acknowledged end.
    fn end_path(&self) -> PathBuf {
        let newest = self.claims().and_then(|claims| claims.newest);
        let name = newest.map_or(ACKNOWLEDGED_FILE.to_owned(), |(number, _)| number.file_name());
        self.store.locate(&self.dir.join(name))
    }

    /// Where the acknowledged part of a segment ends.
    fn end_of(&self, number: SegmentNumber, file: &StoredFile) -> Result<u64> {
        if number == self.acknowledged.segment {
            return Ok(self.acknowledged.offset);
        }
        file.len()
    }
}

/// How entries are read.
#[derive(Clone, Copy, Debug)]
struct How<'a> {
    indices: Indices,
    stop: &'a StopFlag,
}

/// Whether indices are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Indices {
    /// Where there are any.
    Used,
    /// No: one of them was not that of its segment.
    Ignored,
}

/// Reads with the indices, and once more without if one of them is not that of its segment.
pub(crate) fn with_indices<T>(mut read: impl FnMut(Indices) -> Result<T>) -> Result<T> {
    match read(Indices::Used) {
        Err(error) if error.is_of_index() => {
            log::warn!("no index is used: {error}");
            read(Indices::Ignored)
        }
        other => other,
    }
}

/// The part of an index that is sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SoundIndex {
    /// Bytes of the index.
    pub(crate) len: u64,
    /// Where in the segment its last entry ends.
    pub(crate) end: u64,
}

/// A record, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<'a> {
    pub(crate) record: RecordIndex<'a>,
    pub(crate) accepted: &'a Accepted,
    pub(crate) segment: SegmentNumber,
    pub(crate) entry: &'a EntryIndex,
}

/// The end of a stream.
#[derive(Debug)]
pub(crate) struct End {
    /// The state there.
    pub(crate) state: StreamState,
    /// The last entry; `None` for an empty stream.
    pub(crate) entry: Option<Entry>,
    /// Records that were read to find it.
    pub(crate) surveyed: u64,
}

/// Whether a visitor wants more records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The next record.
    More,
    /// Nothing more: stop here.
    Enough,
}
