//! Reads a session's stored stream up to its acknowledged end.
//!
//! Readers need no lock: the writer changes only what lies past the acknowledged end.
//! [`SessionReader::survey`] reads the record headers since the state that the writer has kept, and
//! skips the content, to find out what can be restored. [`SessionReader::replay`] reads everything
//! and checks every checksum.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use snapless_types::RecordKind;
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader};
use snapless_wire::record::{Record, Records};

use crate::error::{Damage, Error, Result};
use crate::format::acknowledged::{ACKNOWLEDGED_FILE, ACKNOWLEDGED_LEN, Acknowledged};
use crate::format::repository::session_dir;
use crate::format::segment::SegmentNumber;
use crate::format::session::SessionHeader;
use crate::format::state::{Checkpoint, Entry, STATE_FILE, STATE_LEN_MAX};
use crate::stop::StopFlag;
use crate::storage::{OpenMode, Store, StoredFile};
use crate::stream::{Accepted, StreamState};

mod segment;

pub(crate) use segment::SegmentReader;

/// Bytes read ahead while content is skipped: a few headers and little of the content between them.
const SURVEY_BUFFER_BYTES: usize = 4 << 10;
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
        let mut bytes = 0;
        for number in self.segments() {
            bytes += if number == self.acknowledged.segment {
                self.acknowledged.offset
            } else {
                self.open_segment(number)?.len()?
            };
        }
        Ok(bytes)
    }

    /// The state of the stream at its acknowledged end. Reads the headers of the records after the
    /// state that the writer has kept, of all if there is none of use, and checks the stream's
    /// rules; reads no content.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a header or the stream is not sound.
    pub fn survey(&self, stop: &StopFlag) -> Result<StreamState> {
        self.find_end(stop).map(|end| end.state)
    }

    /// [`Self::survey`], and what a new checkpoint needs.
    pub(crate) fn find_end(&self, stop: &StopFlag) -> Result<End> {
        self.check_segments()?;
        if let Some((checkpoint, state)) = self.kept_state() {
            match self.survey_from(Some(checkpoint), state, stop) {
                Ok(end) => return Ok(end),
                Err(Error::Stopped) => return Err(Error::Stopped),
                // The state may be of another history; the segments alone decide.
                Err(error) => log::warn!("{STATE_FILE} is not used: {error}"),
            }
        }
        self.survey_from(None, StreamState::new(self.header.geometry), stop)
    }

    fn survey_from(
        &self,
        from: Option<Checkpoint>,
        mut state: StreamState,
        stop: &StopFlag,
    ) -> Result<End> {
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
                segment.skim(frame, |record| state.accept(record).map(|_| ()))?;
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

    /// Reads the state that the writer has kept; `None` if there is none.
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
        let found = Checkpoint::read(&bytes, &self.header);
        found.map(Some).map_err(|why| self.state_damage(why))
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
