//! Reads a session's stored stream up to its acknowledged end.
//!
//! Readers need no lock: the writer changes only what lies past the acknowledged end.
//! [`SessionReader::survey`] reads the record headers since the state that the writer has kept, and
//! skips the content, to find out what can be restored. [`SessionReader::headers`] reads them from
//! the begin, to find out what a point is made of. [`SessionReader::replay`] reads everything and
//! checks every checksum.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use snapless_types::RecordKind;
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, Watermark};
use snapless_wire::record::{Record, RecordHeader, Records};

use crate::error::{Damage, Error, Result};
use crate::format::FormatError;
use crate::format::acknowledged::{ACKNOWLEDGED_FILE, ACKNOWLEDGED_LEN, Acknowledged};
use crate::format::repository::session_dir;
use crate::format::segment::SegmentNumber;
use crate::format::session::SessionHeader;
use crate::format::state::{Checkpoint, Entry, STATE_FILE, STATE_LEN_MAX};
use crate::format::watermark::{self, WATERMARK_FILE, WATERMARK_LEN};
use crate::stop::StopFlag;
use crate::storage::{OpenMode, Store, StoredFile};
use crate::stream::{Accepted, StreamState, Violation};

mod segment;

pub(crate) use segment::SegmentReader;

/// Bytes read ahead while content is skipped: a few headers and little of the content between them.
const SURVEY_BUFFER_BYTES: usize = 4 << 10;
/// The writer checks so many bytes after the state that it has kept, and no more: a Hello waits.
const CHECKED_BYTES_MAX: u64 = 256 << 20;
/// Bytes read ahead while everything is read.
const REPLAY_BUFFER_BYTES: usize = 256 << 10;

/// A session's stored stream.
#[derive(Clone, Debug)]
pub struct SessionReader {
    store: Store,
    dir: PathBuf,
    header: SessionHeader,
    acknowledged: Acknowledged,
}

impl SessionReader {
    /// Opens a session's stream as it has been acknowledged at this moment.
    pub fn open(store: &Store, header: SessionHeader) -> Result<Self> {
        let dir = session_dir(header.volume, header.session);
        let path = dir.join(ACKNOWLEDGED_FILE);
        let bytes = store.read_head(&path, ACKNOWLEDGED_LEN).map_err(Error::or_gone)?;
        let damaged = |why| Error::damaged(&store.locate(&path), 0, why);
        let acknowledged = Acknowledged::read(&bytes).map_err(damaged)?;
        Ok(Self { store: store.clone(), dir, header, acknowledged })
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        &self.header
    }

    /// The acknowledged end.
    pub fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// Bytes of the stored stream.
    pub fn stored_bytes(&self) -> Result<u64> {
        self.bytes_after(None)
    }

    /// The state of the stream at its acknowledged end, with the watermark after that. Reads the
    /// headers of the records after the state that the writer has kept, of all if there is none of
    /// use, and checks the stream's rules; reads no content.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a header or the stream is not sound.
    pub fn survey(&self, stop: &StopFlag) -> Result<StreamState> {
        self.find(Depth::Headers, stop).map(|end| end.state)
    }

    /// [`Self::survey`] for the writer: what a new checkpoint needs, and unless that would take
    /// long the entries' checksums are checked, so that the state vouches for the headers.
    pub(crate) fn find_end(&self, stop: &StopFlag) -> Result<End> {
        self.find(Depth::Entries, stop)
    }

    fn find(&self, depth: Depth, stop: &StopFlag) -> Result<End> {
        let mut end = self.find_last_record(depth, stop)?;
        // One after an earlier record is in the segments, if it matters.
        let watermark = self.watermark().filter(|it| it.seq() == self.acknowledged.seq);
        if let Some(watermark) = watermark
            && let Err(why) = end.state.mark(&watermark)
        {
            log::warn!("{WATERMARK_FILE} is not used: {why}");
        }
        Ok(end)
    }

    fn find_last_record(&self, depth: Depth, stop: &StopFlag) -> Result<End> {
        self.check_segments()?;
        if let Some((checkpoint, state)) = self.kept_state() {
            match self.survey_at(depth, Some(checkpoint), state, stop) {
                Ok(end) => return Ok(end),
                Err(Error::Stopped) => return Err(Error::Stopped),
                // The state may be of another history; the segments alone decide.
                Err(error) => log::warn!("{STATE_FILE} is not used: {error}"),
            }
        }
        self.survey_at(depth, None, StreamState::new(self.header.geometry), stop)
    }

    /// Surveys as deep as is wanted. Damage of content, or too much of it, makes it less deep.
    fn survey_at(
        &self,
        depth: Depth,
        from: Option<Checkpoint>,
        state: StreamState,
        stop: &StopFlag,
    ) -> Result<End> {
        if depth == Depth::Entries && self.bytes_after(from)? <= CHECKED_BYTES_MAX {
            match self.survey_from(Depth::Entries, from, state.clone(), stop) {
                Err(error) if error.is_damage() => log::warn!("only headers are read: {error}"),
                other => return other,
            }
        }
        self.survey_from(Depth::Headers, from, state, stop)
    }

    /// Stored bytes after a checkpoint.
    fn bytes_after(&self, from: Option<Checkpoint>) -> Result<u64> {
        let before = from.map_or(0, |from| from.offset);
        let first = from.map_or(SegmentNumber::FIRST, |from| from.segment);
        let mut bytes = 0;
        for number in self.segments().filter(|number| *number >= first) {
            bytes += self.bytes_of(number)?;
        }
        Ok(bytes.saturating_sub(before))
    }

    fn bytes_of(&self, number: SegmentNumber) -> Result<u64> {
        if number == self.acknowledged.segment {
            return Ok(self.acknowledged.offset);
        }
        self.open_segment(number)?.len()
    }

    /// The last watermark, whatever record it comes after. Without one, the latest point is the
    /// last record's.
    fn watermark(&self) -> Option<Watermark> {
        match self.store.read_head(&self.dir.join(WATERMARK_FILE), WATERMARK_LEN) {
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
        depth: Depth,
        from: Option<Checkpoint>,
        mut state: StreamState,
        stop: &StopFlag,
    ) -> Result<End> {
        let mut payload = Vec::new();
        let known = state.timeline().records();
        let mut entry = from.map(|from| from.entry);
        let first = from.map_or(SegmentNumber::FIRST, |from| from.segment);
        for number in self.segments().filter(|number| *number >= first) {
            let mut segment = self.segment(number, SURVEY_BUFFER_BYTES)?;
            if let Some(from) = from.filter(|from| from.segment == number) {
                segment.go_to(from.offset)?;
            }
            while let Some(frame) = segment.next_entry()? {
                if stop.is_set() {
                    return Err(Error::Stopped);
                }
                if let Some(watermark) = segment.watermark(frame)? {
                    state.mark(&watermark).map_err(|why| segment.damage(why))?;
                    continue;
                }
                if depth == Depth::Headers {
                    state.distrust();
                }
                let accept = |record: &RecordHeader, _| state.accept(record).map(|_| ());
                match depth {
                    Depth::Headers => segment.skim(frame, accept)?,
                    Depth::Entries => segment.read(frame, &mut payload, accept)?,
                }
                entry = Some(Entry { offset: segment.entry_start(), header: frame.to_bytes() });
            }
        }
        self.check_end(&state)?;
        Ok(End { surveyed: state.timeline().records() - known, state, entry })
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
        let is_of_this_stream = checkpoint.is_within(&self.acknowledged)
            && self.has_entry(&checkpoint).unwrap_or(false);
        is_of_this_stream.then_some((checkpoint, state))
    }

    /// True if the checkpoint's entry is where it was, and ends at the checkpoint.
    fn has_entry(&self, checkpoint: &Checkpoint) -> Result<bool> {
        let mut file = self.open_segment(checkpoint.segment)?;
        let mut header = [0; FRAME_HEADER_LEN];
        let read = file
            .seek(SeekFrom::Start(checkpoint.entry.offset))
            .and_then(|_| file.read_exact(&mut header));
        read.map_err(Error::file("read", file.path()))?;
        let Ok(frame) = FrameHeader::read(&header) else { return Ok(false) };
        let len = (FRAME_HEADER_LEN + frame.payload_len()) as u64;
        let ends_there = checkpoint.entry.offset.checked_add(len) == Some(checkpoint.offset);
        Ok(ends_there && header == checkpoint.entry.header)
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
        match Checkpoint::read(&bytes, &self.header) {
            Ok(found) => Ok(Some(found)),
            Err(FormatError::Version { found, known }) if found < known => Ok(None),
            Err(why) => Err(self.state_damage(why)),
        }
    }

    /// Damage of the state that the writer has kept.
    pub(crate) fn state_damage(&self, why: impl Into<Damage>) -> Error {
        Error::damaged(&self.store.locate(&self.dir.join(STATE_FILE)), 0, why)
    }

    /// Reads the whole stream, checks every checksum and rule, and calls `visit` with every record
    /// until that wants no more.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the stream is not sound, [`Error::Stopped`], or the error of `visit`.
    pub fn replay(
        &self,
        stop: &StopFlag,
        mut visit: impl FnMut(&Record<'_>, &Accepted) -> Result<Wanted>,
    ) -> Result<()> {
        let mut state = StreamState::new(self.header.geometry);
        let mut payload = Vec::new();
        for number in self.segments() {
            let mut segment = self.segment(number, REPLAY_BUFFER_BYTES)?;
            while let Some(frame) = segment.next_entry()? {
                if stop.is_set() {
                    return Err(Error::Stopped);
                }
                if let Some(watermark) = segment.watermark(frame)? {
                    state.mark(&watermark).map_err(|why| segment.damage(why))?;
                    continue;
                }
                segment.load(frame, &mut payload)?;
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

    /// What vouches for the headers of this stream, and the stream as far as that: the state that
    /// the writer has kept, unless headers came into it unchecked. `None` if there is nothing.
    pub(crate) fn vouched(&self) -> Result<Option<(Self, Voucher)>> {
        // A server may have acknowledged and kept more since this reader was opened.
        for reader in [self.clone(), Self::open(&self.store, self.header)?] {
            if let Some((checkpoint, state)) = reader.kept_state() {
                let end = (checkpoint.segment, checkpoint.offset);
                return Ok(state.headers().map(|headers| (reader, Voucher { end, headers })));
            }
        }
        Ok(None)
    }

    /// Reads the headers of all records in order, and calls `visit` with each until that wants no
    /// more. Content is read, and its checksum checked, only of the entries for which the voucher
    /// does not vouch.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the stream is not sound; what was visited until then must be dropped.
    /// Damage of content for which the voucher vouches is not noticed.
    pub(crate) fn headers(
        &self,
        voucher: Option<&Voucher>,
        stop: &StopFlag,
        mut visit: impl FnMut(&Located<'_>) -> Wanted,
    ) -> Result<()> {
        let mut state = StreamState::new(self.header.geometry);
        let mut payload = Vec::new();
        let mut wanted = Wanted::More;
        let mut voucher = voucher;
        for number in self.segments() {
            let buffer = if voucher.is_some() { SURVEY_BUFFER_BYTES } else { REPLAY_BUFFER_BYTES };
            let mut segment = self.segment(number, buffer)?;
            while let Some(frame) = segment.next_entry()? {
                if stop.is_set() {
                    return Err(Error::Stopped);
                }
                if let Some(watermark) = segment.watermark(frame)? {
                    state.mark(&watermark).map_err(|why| segment.damage(why))?;
                    continue;
                }
                let entry = EntryPlace { segment: number, offset: segment.entry_start(), frame };
                let accept = |record: &RecordHeader, content: usize| -> Result<(), Violation> {
                    let accepted = state.accept(record)?;
                    if wanted == Wanted::More {
                        wanted = visit(&Located { record, accepted: &accepted, entry, content });
                    }
                    Ok(())
                };
                if voucher.is_some() {
                    segment.skim(frame, accept)?;
                } else {
                    segment.read(frame, &mut payload, accept)?;
                }
                if let Some(Voucher { end, headers }) = voucher
                    && (number, segment.entry_end()) >= *end
                {
                    if (number, segment.entry_end()) != *end || state.headers() != Some(*headers) {
                        return Err(self.state_damage(Damage::State));
                    }
                    voucher = None;
                }
                if voucher.is_none() && wanted == Wanted::Enough {
                    return Ok(());
                }
            }
        }
        if voucher.is_some() {
            return Err(self.state_damage(Damage::State));
        }
        self.check_end(&state)
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
        let path = self.dir.join(ACKNOWLEDGED_FILE);
        let bytes = self.store.read_head(&path, ACKNOWLEDGED_LEN)?;
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
        let mut segment =
            SegmentReader::open(file, &self.header, number, end, REPLAY_BUFFER_BYTES)?;
        if offset > 0 {
            segment.go_to(offset)?;
        }
        let mut payload = Vec::new();
        while let Some(frame) = segment.next_entry()? {
            if segment.watermark(frame)?.is_some() {
                continue;
            }
            segment.load(frame, &mut payload)?;
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

    /// The numbers of all segments that hold acknowledged records.
    pub fn segments(&self) -> impl Iterator<Item = SegmentNumber> + use<> {
        (1..=self.acknowledged.segment.0).map(SegmentNumber)
    }

    /// Opens one segment at its first entry.
    pub(crate) fn segment(&self, number: SegmentNumber, buffer: usize) -> Result<SegmentReader> {
        let file = self.open_segment(number)?;
        let end = self.end_of(number, &file)?;
        SegmentReader::open(file, &self.header, number, end, buffer)
    }

    fn open_segment(&self, number: SegmentNumber) -> Result<StoredFile> {
        let path = self.dir.join(number.file_name());
        self.store.open(&path, OpenMode::Read).map_err(Error::or_gone)
    }

    /// Checks that no segment is missing, without a look into them.
    fn check_segments(&self) -> Result<()> {
        let present = self.store.list(&self.dir, SegmentNumber::from_file_name)?;
        let missing = self.segments().find(|number| present.binary_search(number).is_err());
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
        let path = self.store.locate(&self.dir.join(ACKNOWLEDGED_FILE));
        let (acknowledged, kept) = (self.acknowledged.seq, checkpoint.seq);
        Err(Error::damaged(&path, 0, Damage::Older { acknowledged, kept }))
    }

    /// Checks that the stream ends with the acknowledged record.
    pub(crate) fn check_end(&self, state: &StreamState) -> Result<()> {
        let last = state.last().map_or(0, |last| last.seq.get());
        if last == self.acknowledged.seq.get() {
            return Ok(());
        }
        let path = self.store.locate(&self.dir.join(ACKNOWLEDGED_FILE));
        Err(Error::damaged(&path, 0, Damage::Acknowledgement(last)))
    }

    /// Where the acknowledged part of a segment ends.
    fn end_of(&self, number: SegmentNumber, file: &StoredFile) -> Result<u64> {
        if number == self.acknowledged.segment {
            return Ok(self.acknowledged.offset);
        }
        file.len()
    }
}

/// How much of the entries a survey reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Depth {
    /// The headers of their records; no checksum is checked.
    Headers,
    /// Everything, with the checksums.
    Entries,
}

/// What the headers of a stream were, up to a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Voucher {
    /// The place: a segment and the byte in it at which an entry ends.
    end: (SegmentNumber, u64),
    /// CRC-32C of all headers up to there.
    headers: u32,
}

/// Where an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryPlace {
    /// The segment.
    pub(crate) segment: SegmentNumber,
    /// Where in it the entry begins, in bytes from the file's start.
    pub(crate) offset: u64,
    /// The entry's header.
    pub(crate) frame: FrameHeader,
}

impl EntryPlace {
    /// Bytes of the entry.
    pub(crate) fn len(&self) -> u64 {
        (FRAME_HEADER_LEN + self.frame.payload_len()) as u64
    }
}

/// A record's header, and where its content is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<'a> {
    pub(crate) record: &'a RecordHeader,
    pub(crate) accepted: &'a Accepted,
    pub(crate) entry: EntryPlace,
    /// Where in the entry's payload the record's own begins, in bytes.
    pub(crate) content: usize,
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
