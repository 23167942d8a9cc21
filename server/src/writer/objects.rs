//! Stores a session's stream as objects: each commit creates the segment of the next number.
//!
//! Rule LOSS (rules.md#loss): an object is durable as soon as it is there, and the acknowledgement
//! of an epoch leaves after the segment with its end. A segment holds whole epochs up to its end,
//! or a part of one epoch that is longer than a segment may be.
//!
//! A writer begins with a *takeover*: it creates the next segment without an entry. No writer goes
//! on past a number that it did not create itself, so the one before stores nothing more: two of
//! them never store one stream, whatever each believes. What the one before had stored of an epoch
//! without its end becomes void (`format/claim.rs`).

use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use snapless_types::{EpochId, Made, Seq};
use snapless_wire::frame::{FrameHeader, Watermark};

use super::entry::{Unplaced, Waiting};
use super::kept::{KEEP_AFTER_RECORDS, Kept};
use super::marks::Marks;
use crate::error::{Damage, Error, Result};
use crate::format::acknowledged::Acknowledged;
use crate::format::claim::{CLAIMED_HEADER_LEN, Claim, WriterId};
use crate::format::repository::session_dir;
use crate::format::segment::{
    OBJECT_LIMIT_BYTES, OBJECT_NUMBER_MAX, SegmentForm, SegmentHeader, SegmentNumber,
};
use crate::format::session::{SESSION_FILE, SessionHeader};
use crate::format::state::Entry;
use crate::format::watermark::{self, WATERMARK_FILE};
use crate::reader::{End, SessionReader};
use crate::repository::{Presence, Repository, WritableRepository};
use crate::seal::{Packer, SessionSeal};
use crate::stop::StopFlag;
use crate::storage::Store;
use crate::stream::StreamState;

/// Time between two watermarks that are stored: each costs a request.
const WATERMARK_INTERVAL: Duration = Duration::from_mins(1);
/// Epochs are committed together up to so many bytes.
const TOGETHER_BYTES: usize = 16 << 20;
/// Attempts at a takeover, while another writer stores.
const TAKEOVERS_MAX: u32 = 100;

/// The writer of a session's stream of objects.
#[derive(Debug)]
pub struct ObjectWriter {
    store: Store,
    dir: PathBuf,
    header: SessionHeader,
    seal: SessionSeal,
    /// `None` if entries are plain frames.
    packer: Option<Packer>,
    /// Bytes past which a segment does not grow.
    limit: usize,
    acknowledged: Acknowledged,
    /// The newest segment of this writer, and its claim.
    newest: SegmentNumber,
    claim: Claim,
    /// Bytes of the stream.
    bytes: u64,
    /// The entries of the next segment.
    gathered: Vec<Waiting>,
    /// Its length in bytes.
    gathered_len: usize,
    /// The last epoch that ends in it.
    ends: Option<EpochPlace>,
    /// The outcome of a creation is not known: this writer is of no further use.
    is_in_doubt: bool,
    /// The entry that was appended last.
    last_entry: Option<Entry>,
    /// When the last record was made that was acknowledged before.
    began_behind: Made,
    kept: Kept,
    marks: Marks,
    stored_mark: StoredMark,
}

/// Where an epoch ends in the next segment.
#[derive(Clone, Copy, Debug)]
struct EpochPlace {
    epoch: EpochId,
    seq: Seq,
    /// Entries up to its end.
    at: usize,
}

/// The watermark that is stored.
#[derive(Debug, Default)]
struct StoredMark {
    /// When one was stored.
    at: Option<Instant>,
    /// A later one.
    next: Option<Watermark>,
}

impl ObjectWriter {
    /// Takes the session over, or makes a new one.
    ///
    /// # Errors
    /// [`Error::OtherGeometry`], or damage of the stored stream.
    pub(super) fn open(
        writable: &WritableRepository,
        header: &SessionHeader,
        segment_limit: u64,
        stop: &StopFlag,
    ) -> Result<(Self, StreamState)> {
        let repository = writable.repository();
        let stored = find_or_create(repository, header)?;
        if !stored.is_continued_by(header) {
            return Err(Error::OtherGeometry(header.session));
        }
        writable.know(&stored)?;
        let store = repository.store().clone();
        let dir = session_dir(header.volume, header.session);
        // First, so that nothing changes any more while the stream is read.
        let (reader, newest, claim) = take_over(&store, &dir, &stored)?;
        let found = match reader.find_end(stop) {
            // Another server may have folded it, and removed what was folded.
            Err(error) if error.is_damage() => match reader.after_fold()? {
                Some(folded) => folded.find_end(stop),
                None => Err(error),
            },
            found => found,
        };
        let End { mut state, entry, made, surveyed } = found?;
        let limit = segment_limit.min(OBJECT_LIMIT_BYTES);
        let mut writer = Self {
            store,
            dir,
            header: stored,
            packer: reader.seal().packer()?,
            seal: reader.seal().clone(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            acknowledged: *reader.acknowledged(),
            newest,
            // Later claims lead to this one if it makes segments void.
            claim: match claim.void_from.0 {
                0 => claim,
                _ => Claim { void_from: SegmentNumber(0), voids_before: newest, ..claim },
            },
            bytes: claim.bytes,
            gathered: Vec::new(),
            gathered_len: CLAIMED_HEADER_LEN,
            ends: None,
            is_in_doubt: false,
            last_entry: entry,
            began_behind: made,
            kept: Kept::new(state.timeline().records() - surveyed),
            marks: Marks::new(state.watermark()),
            stored_mark: StoredMark::default(),
        };
        if surveyed >= KEEP_AFTER_RECORDS {
            writer.keep_state(&state);
        }
        state.begin_connection();
        state.announce(header.geometry.length());
        Ok((writer, state))
    }

    pub(super) fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// When the last record was made that was acknowledged when the session was opened; zeros if
    /// there was none.
    pub fn began_behind(&self) -> Made {
        self.began_behind
    }

    pub(super) fn header(&self) -> &SessionHeader {
        &self.header
    }

    pub(super) fn append(&mut self, frame: &FrameHeader, payload: &[u8]) -> Result<()> {
        let marks = self.marks.take_entries()?;
        let entries = Unplaced::all(&marks, (frame, payload), self.packer.as_mut());
        let entries: Vec<_> = entries.into_iter().map(Unplaced::keep).collect();
        let len: usize = entries.iter().map(Waiting::len).sum();
        while !self.gathered.is_empty() && self.gathered_len + len > self.limit {
            match self.ends {
                Some(ends) => self.create_up_to(ends)?,
                None => self.create(self.gathered.len(), None)?,
            }
        }
        self.gathered_len += len;
        let offset = self.gathered_len - entries.last().map_or(0, Waiting::len);
        self.last_entry = Some(Entry { offset: offset as u64, header: frame.to_bytes() });
        self.gathered.extend(entries);
        self.kept.appended(len as u64);
        Ok(())
    }

    pub(super) fn end_epoch(&mut self, epoch: EpochId, seq: Seq) {
        self.ends = Some(EpochPlace { epoch, seq, at: self.gathered.len() });
    }

    pub(super) fn may_put_off(&self, state: &StreamState) -> bool {
        self.gathered_len < TOGETHER_BYTES.min(self.limit) && !self.kept.is_due(state)
    }

    pub(super) fn commit(&mut self, epoch: EpochId, seq: Seq) -> Result<()> {
        if epoch <= self.acknowledged.epoch {
            // Stored when the segment was full.
            return if self.is_in_doubt { Err(self.in_doubt()) } else { Ok(()) };
        }
        let at = self.gathered.len();
        let ends = self.ends.filter(|ends| ends.epoch == epoch);
        self.create_up_to(ends.unwrap_or(EpochPlace { epoch, seq, at }))
    }

    pub(super) fn mark(&mut self, watermark: &Watermark) -> Result<()> {
        self.marks.note(watermark);
        self.stored_mark.next = Some(*watermark);
        if self.stored_mark.at.is_some_and(|at| at.elapsed() < WATERMARK_INTERVAL) {
            return Ok(());
        }
        self.store_mark()
    }

    pub(super) fn carry(&mut self, watermark: &Watermark) {
        self.marks.note(watermark);
    }

    pub(super) fn keep_state_if_due(&mut self, state: &StreamState) {
        if self.kept.is_due(state) {
            self.keep_state(state);
        }
    }

    pub(super) fn keep_state_now(&mut self, state: &StreamState) {
        self.keep_state(state);
    }

    pub(super) fn keep_state_at_end(&mut self, state: &StreamState) {
        if let Err(error) = self.store_mark() {
            log::warn!("the latest point may be later: {error}");
        }
        if self.kept.has_appended() {
            self.keep_state(state);
        }
    }

    fn keep_state(&mut self, state: &StreamState) {
        let Self { store, dir, seal, acknowledged, .. } = self;
        let session = (&self.header, &*seal);
        self.kept.keep((store, dir), session, acknowledged, self.last_entry, state);
    }

    fn store_mark(&mut self) -> Result<()> {
        let Some(watermark) = self.stored_mark.next.take() else { return Ok(()) };
        self.stored_mark.at = Some(Instant::now());
        self.store.create_durably(&self.dir.join(WATERMARK_FILE), &watermark::to_slot(&watermark))
    }

    /// Creates the next segment, up to the end of an epoch.
    fn create_up_to(&mut self, ends: EpochPlace) -> Result<()> {
        self.ends = None;
        self.create(ends.at, Some((ends.epoch, ends.seq)))?;
        let Claim { epoch, seq, segment, offset, .. } = self.claim;
        self.acknowledged = Acknowledged { generation: self.newest.0, epoch, seq, segment, offset };
        Ok(())
    }

    /// Creates the next segment with the first `count` gathered entries, at whose end this epoch
    /// ends if it is one.
    fn create(&mut self, count: usize, ends: Option<(EpochId, Seq)>) -> Result<()> {
        if self.is_in_doubt {
            return Err(self.in_doubt());
        }
        let number = self.newest.next();
        if number > OBJECT_NUMBER_MAX {
            return Err(Error::damaged(&self.store.locate(&self.dir), 0, Damage::LastNumber));
        }
        // Until the segment is known to be there.
        self.is_in_doubt = true;
        let rest = self.gathered.split_off(count);
        let entries = mem::replace(&mut self.gathered, rest);
        let len: usize = entries.iter().map(Waiting::len).sum();
        self.gathered_len -= len;
        if !self.gathered.is_empty()
            && let Some(last) = &mut self.last_entry
        {
            last.offset -= len as u64;
        }
        let seal = self.seal.entries(number)?;
        let form = SegmentForm {
            records: entries.iter().map(|entry| entry.records).max().unwrap_or_default(),
            ..SegmentForm::sealed_if(seal.is_some())
        };
        let mut content = Vec::with_capacity(CLAIMED_HEADER_LEN + len);
        content.resize(CLAIMED_HEADER_LEN, 0);
        for entry in entries {
            entry.put(&mut content, seal.as_ref())?;
        }
        self.bytes += content.len() as u64;
        if let Some((epoch, seq)) = ends {
            let (offset, bytes) = (content.len() as u64, self.bytes);
            self.claim = Claim { epoch, seq, segment: number, offset, bytes, ..self.claim };
        }
        let header = self.claim.behind(segment_header(&self.header, number), form);
        content[..CLAIMED_HEADER_LEN].copy_from_slice(&header);
        match self.store.create_once(&self.dir.join(number.file_name()), content) {
            Err(error) if error.is_already_there() => Err(Error::TakenOver(self.header.session)),
            Err(error) => Err(error),
            Ok(()) => {
                (self.newest, self.is_in_doubt) = (number, false);
                Ok(())
            }
        }
    }

    fn in_doubt(&self) -> Error {
        Error::InDoubt(self.header.session)
    }
}

fn segment_header(session: &SessionHeader, number: SegmentNumber) -> SegmentHeader {
    SegmentHeader { volume: session.volume, session: session.session, number }
}

/// The header of the session that is there, or that is made now.
fn find_or_create(repository: &Repository, header: &SessionHeader) -> Result<SessionHeader> {
    let (volume, session) = (header.volume, header.session);
    if let Presence::Header(stored) = repository.session(volume, session)? {
        return Ok(stored);
    }
    let path = session_dir(volume, session).join(SESSION_FILE);
    match repository.store().create_once(&path, header.to_bytes().to_vec()) {
        Ok(()) => Ok(*header),
        // Another server was faster.
        Err(error) if error.is_already_there() => match repository.session(volume, session)? {
            Presence::Header(stored) => Ok(stored),
            Presence::Nothing => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Takes the session over: returns its stream as it was left, the number of the segment that was
/// created, and its claim.
fn take_over(
    store: &Store,
    dir: &Path,
    session: &SessionHeader,
) -> Result<(SessionReader, SegmentNumber, Claim)> {
    let writer = WriterId::random();
    for _ in 0..TAKEOVERS_MAX {
        let reader = SessionReader::open(store, *session)?;
        // Before anything is created: the number of a segment that is missing is not free.
        reader.check_age()?;
        let claims = reader.claims();
        let found = claims.and_then(|claims| Some((claims.newest?.0, claims.takeover()?)));
        let (number, claim) = match found {
            Some((newest, claim)) => (newest.next(), Claim { writer, ..claim }),
            None => (SegmentNumber::FIRST, Claim::first(writer)),
        };
        if number > OBJECT_NUMBER_MAX {
            // As for damage the service begins a new session.
            let newest = store.locate(&dir.join(OBJECT_NUMBER_MAX.file_name()));
            return Err(Error::damaged(&newest, 0, Damage::LastNumber));
        }
        let form = SegmentForm::sealed_if(reader.seal().is_sealed());
        let content = claim.behind(segment_header(session, number), form).to_vec();
        match store.create_once(&dir.join(number.file_name()), content) {
            Ok(()) => return Ok((reader, number, claim)),
            // The other writer has stored more meanwhile.
            Err(error) if error.is_already_there() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::TakenOver(session.session))
}
