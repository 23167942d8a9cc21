//! Appends to a session's stream, durably: in a directory here, to objects in `objects`.
//!
//! Rule LOSS (rules.md#loss), order on disk: entries, sync; the acknowledged end, sync; then the
//! acknowledgement leaves. What lies past the acknowledged end was never acknowledged, and
//! [`FileWriter::open`] cuts it off, whole epochs too: after a failed sync the system may have
//! dropped the data and report success the next time, so what can be read there proves nothing. The
//! acknowledged end itself may be such data, and is written and synced again.
//!
//! Before each acknowledgement the names are checked: what is written into a file that was removed
//! or moved away would be acknowledged and lost.
//!
//! Only if a slot of the acknowledged end is damaged are whole epochs kept: the slot may have held
//! an end that was acknowledged. Slot and epochs were read from the disk then, after a power loss.

use std::path::{Path, PathBuf};

use snapless_types::{EpochId, Made, Seq};
use snapless_wire::frame::{FrameHeader, Watermark};

use crate::error::{Damage, Error, Result};
use crate::format::acknowledged::{ACKNOWLEDGED_FILE, Acknowledged};
use crate::format::repository::session_dir;
use crate::format::segment::{
    RecordSet, SEGMENT_HEADER_LEN, SegmentForm, SegmentHeader, SegmentNumber,
};
use crate::format::session::{SESSION_FILE, SessionHeader};
use crate::format::state::Entry;
use crate::reader::{self, End, SessionReader};
use crate::repository::{Place, Presence, WritableRepository};
use crate::seal::{EntrySeal, Packer, SessionSeal};
use crate::stop::StopFlag;
use crate::storage::{OpenMode, Store, StoredFile};
use crate::stream::StreamState;

mod entry;
mod index;
mod kept;
mod marks;
mod objects;
mod session;

use entry::Unplaced;
use index::IndexWriter;
use kept::{KEEP_AFTER_RECORDS, Kept};
use marks::Marks;
pub use session::SessionWriter;

/// So many names of segments are looked for at each commit, or as many in some commits.
const NAMES_EACH_COMMIT: u64 = 64;
/// Short entries are gathered up to this many bytes before they are written.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// The one writer of a session's stream in a directory.
#[derive(Debug)]
pub struct FileWriter {
    store: Store,
    dir: PathBuf,
    header: SessionHeader,
    seal: SessionSeal,
    /// `None` if entries are plain frames.
    packer: Option<Packer>,
    segment_limit: u64,
    acknowledged: Acknowledged,
    acknowledged_file: StoredFile,
    segment: Option<OpenSegment>,
    place: Place,
    /// The header that a restart needs to find the session.
    session_file: StoredFile,
    /// The first segment of the log; a fold moves it.
    first: SegmentNumber,
    /// The finished segment that the last commit has looked for.
    looks_for: SegmentNumber,
    /// Commits so far.
    commits: u64,
    /// The entry that was appended last.
    last_entry: Option<Entry>,
    /// When the last record was made that was acknowledged before.
    began_behind: Made,
    kept: Kept,
    marks: Marks,
}

#[derive(Debug)]
struct OpenSegment {
    number: SegmentNumber,
    /// What records its form may have.
    records: RecordSet,
    file: StoredFile,
    /// Its length, with what has not been written yet.
    len: u64,
    /// What has not been written yet, at the segment's end. It is dropped with the segment: another
    /// server may write there by then.
    unwritten: Vec<u8>,
    place: Place,
    /// `None` if the entries are plain frames.
    seal: Option<EntrySeal>,
    index: IndexWriter,
}

impl FileWriter {
    /// Opens the session, or makes a new one, and cuts its stream back to its acknowledged end.
    /// Also returns the state of the stream there, ready for a connection. The caller ensures that
    /// a session has one writer at a time.
    ///
    /// # Errors
    /// [`Error::OtherGeometry`], or damage of the stored stream.
    pub fn open(
        writable: &WritableRepository,
        header: &SessionHeader,
        segment_limit: u64,
        stop: &StopFlag,
    ) -> Result<(Self, StreamState)> {
        // Before anything is made: the disk may no longer be mounted.
        writable.place().check()?;
        let repository = writable.repository();
        let store = repository.store().clone();
        let dir = session_dir(header.volume, header.session);
        if repository.is_going(header.volume, header.session)? {
            return Err(Error::Going(header.session));
        }
        let present = repository.session(header.volume, header.session)?;
        // Also for one that is there: a sync of its names may have failed before.
        store.create_dirs(&dir)?;
        let stored = match present {
            Presence::Header(stored) => stored,
            Presence::Nothing => create(&store, &dir, header)?,
        };
        if !stored.is_continued_by(header) {
            return Err(Error::OtherGeometry(header.session));
        }
        writable.know(&stored)?;
        let reader = SessionReader::open(&store, stored)?;
        let a_slot_is_damaged = reader.check_acknowledgement().is_err();
        let reader = if a_slot_is_damaged { reader.with_whole_epochs() } else { reader };
        let mut acknowledged = *reader.acknowledged();
        // The slot of the next generation is the damaged one.
        acknowledged.generation += u64::from(a_slot_is_damaged);
        reader.check_age()?;
        let End { mut state, entry, made, surveyed } = reader.find_end(stop)?;
        let index = match acknowledged.segment.0 {
            0 => None,
            _ => Some(IndexWriter::reopen(&store, &dir, &reader, stop)?),
        };
        cut_back(&store, &dir, &acknowledged)?;
        let acknowledged_file = store.open(&dir.join(ACKNOWLEDGED_FILE), OpenMode::Write)?;
        write_end(&acknowledged_file, acknowledged)?;
        let segment = match index {
            None => None,
            Some(index) => {
                let place = writable.place();
                Some(OpenSegment::reopen(&store, &dir, place, acknowledged, reader.seal(), index)?)
            }
        };
        let session_file = store.open(&dir.join(SESSION_FILE), OpenMode::Read)?;
        let mut writer = Self {
            header: stored,
            packer: reader.seal().packer()?,
            seal: reader.seal().clone(),
            segment_limit,
            acknowledged,
            acknowledged_file,
            segment,
            place: writable.place().clone(),
            session_file,
            first: reader.begin_place().0,
            looks_for: SegmentNumber(0),
            commits: 0,
            last_entry: entry,
            began_behind: made,
            kept: Kept::new(state.timeline().records() - surveyed),
            marks: Marks::new(state.watermark()),
            store,
            dir,
        };
        if surveyed >= KEEP_AFTER_RECORDS {
            writer.keep_state(&state);
        }
        state.begin_connection();
        state.announce(header.geometry.length());
        Ok((writer, state))
    }

    /// The acknowledged end.
    pub fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// When the last record was made that was acknowledged when the session was opened; zeros if
    /// there was none.
    pub fn began_behind(&self) -> Made {
        self.began_behind
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        &self.header
    }

    /// Appends one entry of records, behind the watermarks before it. It is durable after the next
    /// [`Self::commit`].
    pub fn append(&mut self, frame: &FrameHeader, payload: &[u8]) -> Result<()> {
        let marks = self.marks.take_entries()?;
        let entries = Unplaced::all(&marks, (frame, payload), self.packer.as_mut());
        let len = entries.iter().map(Unplaced::len).sum();
        let records = Unplaced::record_set(&entries);
        // Together, so that a segment does not end with a watermark.
        let segment = self.segment_for(len, records)?;
        let mut last = None;
        for entry in entries {
            last = Some(Entry { offset: segment.len, header: entry.frame.to_bytes() });
            segment.append(entry)?;
        }
        self.last_entry = last;
        self.kept.appended(len);
        Ok(())
    }

    /// Keeps the watermark after the last record, which is committed. A restart of the server finds
    /// it; after a power loss there may be an older one.
    ///
    /// # Errors
    /// [`Error::Moved`] as for an acknowledgement.
    pub fn mark(&mut self, watermark: &Watermark) -> Result<()> {
        self.check_names()?;
        self.marks.keep(&self.store, &self.dir, watermark)
    }

    /// Takes a watermark that another entry will follow: it goes in front of that one, and nowhere
    /// else.
    pub(crate) fn carry(&mut self, watermark: &Watermark) {
        self.marks.note(watermark);
    }

    /// Makes all appended entries durable; then the epoch may be acknowledged.
    pub fn commit(&mut self, epoch: EpochId, seq: Seq) -> Result<()> {
        let Some(segment) = &mut self.segment else {
            // Nothing was appended yet, so no epoch can have ended.
            return Ok(());
        };
        segment.sync()?;
        let acknowledged = Acknowledged {
            generation: self.acknowledged.generation + 1,
            epoch,
            seq,
            segment: segment.number,
            offset: segment.len,
        };
        self.place.check()?;
        write_end(&self.acknowledged_file, acknowledged)?;
        // Last, so that as little as possible can happen until the acknowledgement leaves.
        self.check_names()?;
        self.acknowledged = acknowledged;
        Ok(())
    }

    /// Keeps the state of the stream's rules if so much was appended since the last one that a
    /// Hello would take long. Call it after an acknowledgement has left, with the state at the
    /// epoch's end; any other state is not kept.
    ///
    /// The state only saves time. A failure is logged and changes nothing.
    pub fn keep_state_if_due(&mut self, state: &StreamState) {
        if self.kept.is_due(state) {
            self.keep_state(state);
        }
    }

    /// Keeps the state at the acknowledged end, whatever was kept before; any other state is not
    /// kept.
    pub(crate) fn keep_state_now(&mut self, state: &StreamState) {
        self.keep_state(state);
    }

    /// [`Self::keep_state_if_due`] at the end of a connection: due if anything was appended.
    pub fn keep_state_at_end(&mut self, state: &StreamState) {
        if self.kept.has_appended() {
            self.keep_state(state);
        }
    }

    fn keep_state(&mut self, state: &StreamState) {
        if let Some(segment) = &mut self.segment {
            segment.index.flush();
        }
        let Self { store, dir, seal, acknowledged, .. } = self;
        let session = (&self.header, &*seal);
        self.kept.keep((store, dir), session, acknowledged, self.last_entry, state);
    }

    /// Checks that a restart would find what was written: the files in use by their names, and the
    /// finished segments.
    fn check_names(&mut self) -> Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        segment.file.check_name()?;
        self.acknowledged_file.check_name()?;
        self.session_file.check_name()?;
        self.place.check()?;
        self.check_finished()
    }

    /// Checks that the finished segments are there: all names, each commit if they are few, and the
    /// header of one of them, each commit of another.
    fn check_finished(&mut self) -> Result<()> {
        let Some(open) = &self.segment else { return Ok(()) };
        let path_of = |number: SegmentNumber| self.dir.join(number.file_name());
        let located = |number: SegmentNumber| self.store.locate(&path_of(number));
        self.commits += 1;
        if self.commits.is_multiple_of(1 + open.number.0 / NAMES_EACH_COMMIT) {
            let present = self.store.list(&self.dir, SegmentNumber::from_file_name)?;
            let is_gone = |number: &SegmentNumber| present.binary_search(number).is_err();
            let finished = |first: SegmentNumber| (first.0..open.number.0).map(SegmentNumber);
            if finished(self.first).any(|number| is_gone(&number)) {
                // A fold may have ended the need for it.
                self.first = first_segment(&self.store, &self.header)?;
                if let Some(gone) = finished(self.first).find(is_gone) {
                    return Err(Error::Moved(located(gone)));
                }
            }
        }
        // From the newest to the first, and again: the count of segments may grow meanwhile.
        if self.looks_for <= self.first {
            self.looks_for = open.number;
        }
        self.looks_for.0 -= 1;
        let number = self.looks_for;
        if number < self.first {
            return Ok(());
        }
        let bytes = match self.store.read_head(&path_of(number), SEGMENT_HEADER_LEN) {
            Err(error) if error.is_not_found() => {
                self.first = first_segment(&self.store, &self.header)?;
                return if number < self.first { Ok(()) } else { Err(error) };
            }
            read => read?,
        };
        let SessionHeader { volume, session, .. } = self.header;
        let want = SegmentHeader { volume, session, number };
        let is_sealed = self.seal.is_sealed();
        let found = bytes.first_chunk().map(|bytes| SegmentHeader::read_of(is_sealed, bytes));
        let is_ours = found == Some(Ok(want));
        if is_ours { Ok(()) } else { Err(Error::Moved(located(number))) }
    }

    /// The segment of the next entry: a new one if the present one would grow past the limit, or is
    /// of a form without such records. Those that follow then are of the form with them.
    fn segment_for(&mut self, entry_len: u64, records: RecordSet) -> Result<&mut OpenSegment> {
        let before = self.segment.as_ref().map(|it| it.records);
        let form = SegmentForm {
            records: records.max(before.unwrap_or_default()),
            ..SegmentForm::sealed_if(self.seal.is_sealed())
        };
        let next = match &mut self.segment {
            None => Some(SegmentNumber::FIRST),
            Some(open) => {
                let holds_something = open.len > SEGMENT_HEADER_LEN as u64;
                let full = holds_something && open.len + entry_len > self.segment_limit;
                let ends = full || records > open.records;
                if ends {
                    open.sync()?;
                    open.index.finish();
                }
                ends.then(|| open.number.next())
            }
        };
        match (next, &mut self.segment) {
            (None, Some(open)) => Ok(open),
            (next, slot) => {
                let number = next.unwrap_or(SegmentNumber::FIRST);
                let Self { store, dir, place, header, seal, .. } = self;
                let made = OpenSegment::create(store, dir, place, header, seal, (number, form))?;
                Ok(slot.insert(made))
            }
        }
    }
}

impl OpenSegment {
    fn create(
        store: &Store,
        dir: &Path,
        place: &Place,
        session: &SessionHeader,
        seals: &SessionSeal,
        (number, form): (SegmentNumber, SegmentForm),
    ) -> Result<Self> {
        place.check()?;
        let seal = seals.entries(number)?;
        let file = store.open(&dir.join(number.file_name()), OpenMode::CreateNew)?;
        let header = SegmentHeader { volume: session.volume, session: session.session, number };
        file.write_at(0, &header.to_bytes_of(form))?;
        file.sync()?;
        let index = IndexWriter::create(store, dir, session, number, seals.index(number)?);
        store.sync_dir(dir)?;
        let at = (number, SEGMENT_HEADER_LEN as u64);
        Ok(Self::at(file, at, form.records, place, seal, index))
    }

    fn reopen(
        store: &Store,
        dir: &Path,
        place: &Place,
        acknowledged: Acknowledged,
        seals: &SessionSeal,
        index: IndexWriter,
    ) -> Result<Self> {
        let number = acknowledged.segment;
        let path = dir.join(number.file_name());
        let head = store.read_head(&path, SEGMENT_HEADER_LEN)?;
        let form = head.first_chunk().and_then(|head| SegmentHeader::read_any(head).ok());
        // If it cannot be told, the next one is made.
        let records = form.map_or(RecordSet::First, |(_, form)| form.records);
        let file = store.open(&path, OpenMode::Write)?;
        let seal = seals.entries(number)?;
        let at = (number, acknowledged.offset);
        Ok(Self::at(file, at, records, place, seal, index))
    }

    fn at(
        file: StoredFile,
        (number, len): (SegmentNumber, u64),
        records: RecordSet,
        place: &Place,
        seal: Option<EntrySeal>,
        index: IndexWriter,
    ) -> Self {
        let place = place.clone();
        Self { number, records, file, len, unwritten: Vec::new(), place, seal, index }
    }

    /// Appends an entry.
    fn append(&mut self, entry: Unplaced<'_>) -> Result<()> {
        let (frame, payload, len) = (entry.frame, entry.payload, entry.len());
        let offset = self.len;
        match (&self.seal, entry.packed) {
            (Some(seal), Some(packed)) => {
                let sealed = seal.seal(packed, offset)?;
                self.put(&sealed)?;
            }
            _ => [&frame.to_bytes()[..], payload].into_iter().try_for_each(|it| self.put(it))?,
        }
        self.index.add(offset, len, frame, payload);
        Ok(())
    }

    /// Adds bytes at the end; short ones are written later.
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.unwritten.len() + bytes.len() > WRITE_BUFFER_BYTES {
            self.write_out()?;
        }
        if bytes.len() > WRITE_BUFFER_BYTES {
            self.file.write_at(self.len, bytes)?;
        } else {
            self.unwritten.extend_from_slice(bytes);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes what has not been written yet, unless another server has taken over.
    fn write_out(&mut self) -> Result<()> {
        self.place.check()?;
        if !self.unwritten.is_empty() {
            self.file.write_at(self.len - self.unwritten.len() as u64, &self.unwritten)?;
            self.unwritten.clear();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.write_out()?;
        self.file.sync()
    }
}

/// The first segment of the log, after the newest fold.
fn first_segment(store: &Store, header: &SessionHeader) -> Result<SegmentNumber> {
    let history = reader::history::newest(store, header)?;
    Ok(history.map_or(SegmentNumber::FIRST, |history| history.boundary.segment))
}

/// Writes the acknowledged end into its slot, durably.
fn write_end(file: &StoredFile, acknowledged: Acknowledged) -> Result<()> {
    file.write_at(acknowledged.slot_offset() as u64, &acknowledged.to_slot())?;
    file.sync()
}

/// Makes a session's files; `session.snapless` last, since it marks the session as finished.
fn create(store: &Store, dir: &Path, header: &SessionHeader) -> Result<SessionHeader> {
    store.create_durably(&dir.join(ACKNOWLEDGED_FILE), &Acknowledged::new_file())?;
    store.create_durably(&dir.join(SESSION_FILE), &header.to_bytes())?;
    Ok(*header)
}

/// Removes everything past the acknowledged end. An index goes before its segment.
fn cut_back(store: &Store, dir: &Path, acknowledged: &Acknowledged) -> Result<()> {
    let beyond = store.list(dir, |name| {
        SegmentNumber::from_index_name(name).filter(|number| *number > acknowledged.segment)
    })?;
    for number in beyond.iter().rev() {
        store.remove(&dir.join(number.index_name()))?;
    }
    let beyond = store.list(dir, |name| {
        SegmentNumber::from_file_name(name).filter(|number| *number > acknowledged.segment)
    })?;
    for number in beyond.iter().rev() {
        store.remove(&dir.join(number.file_name()))?;
    }
    if acknowledged.segment.0 > 0 {
        let path = dir.join(acknowledged.segment.file_name());
        let file = store.open(&path, OpenMode::Write)?;
        let len = file.len()?;
        if len < acknowledged.offset {
            return Err(Error::damaged(file.path(), len, Damage::Truncated(acknowledged.offset)));
        }
        // Also if it ends there already: the sync of an earlier cut may have failed.
        file.set_len(acknowledged.offset)?;
        file.sync()?;
    }
    store.sync_dir(dir)
}
