//! Copies what the target lacks of one session.

use std::time::{Duration, Instant};

use log::warn;
use snapless_types::Seq;
use snapless_wire::frame::{Acknowledge, FRAME_HEADER_LEN, Watermark};
use snapless_wire::record::Records;

use super::how::How;
use super::pace::Pace;
use super::plan::Source;
use super::report::Copied;
use crate::copy_error::CopyError;
use crate::error::{Error, Result};
use crate::ingest::{Action, Ingest};
use crate::point::keep::keep_due;
use crate::reader::{SessionReader, StoredFrame};
use crate::repository::WritableRepository;
use crate::stop::StopFlag;
use crate::stream::StreamState;
use crate::writer::SessionWriter;

/// An epoch is committed after so much time at the latest, if one has ended.
const COMMIT_AFTER: Duration = Duration::from_secs(1);

/// Why a copy of a session ends early.
enum Failure {
    /// Of the source: other sessions can be copied.
    Source(Error),
    /// Of the target, or a stop: nothing more can be copied.
    Target(Error),
}

/// What is read fails with the source, unless it is said to be the target's.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

/// Which epochs are committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Commits {
    /// One now and then.
    Some,
    /// Each.
    Each,
}

/// Copies what the target lacks of a session; tells `advance` how many more bytes of the source are
/// done. The inner error is about the source; what could be read is in the target then.
///
/// # Errors
/// What is wrong with the target, or [`Error::Stopped`].
pub(super) fn copy_session(
    source: &Source,
    to: &WritableRepository,
    how: &How,
    pace: &mut Pace,
    stop: &StopFlag,
    mut advance: impl FnMut(u64),
) -> Result<Result<Copied>> {
    if source.is_up_to_date() && !has_newer_mark(source, to)? {
        let last = source.reader.acknowledged().seq;
        return Ok(Ok(Copied { records: 0, bytes: 0, last }));
    }
    let mut copy =
        |source: &Source, commits| copy_from(source, to, (how, commits), pace, stop, &mut advance);
    let error = match copy(source, Commits::Some) {
        Ok(copied) => return Ok(Ok(copied)),
        Err(Failure::Target(error)) => return Err(error),
        Err(Failure::Source(error)) => error,
    };
    // What lies between the last commit and the damage, up to the last epoch that is whole.
    let header = source.reader.header();
    let target = SessionReader::open(to.repository().store(), *header)?;
    let begin = match target.acknowledged().seq {
        seq if seq.get() == 0 => Ok(None),
        seq => source.reader.entry_end(seq, stop),
    };
    if let Ok(begin) = begin {
        let rest = Source { reader: source.reader.clone(), begin, bytes: 0 };
        if let Err(Failure::Target(error)) = copy(&rest, Commits::Each) {
            return Err(error);
        }
    }
    Ok(Err(error))
}

fn copy_from(
    source: &Source,
    to: &WritableRepository,
    (how, commits): (&How, Commits),
    pace: &mut Pace,
    stop: &StopFlag,
    advance: &mut impl FnMut(u64),
) -> Result<Copied, Failure> {
    let (reader, session) = (&source.reader, source.reader.header().session);
    let opened = SessionWriter::open(to, reader.header(), how.segment_bytes, stop);
    let (writer, mut state) = opened.map_err(Failure::Target)?;
    let begin = source.begin.map_or(Seq::new(0), |begin| begin.record.seq());
    if writer.acknowledged().seq != begin {
        let at = writer.acknowledged().seq;
        return Err(Failure::Source(CopyError::Diverged { session, at }.into()));
    }
    state.begin_stored();
    let mut ingest = Ingest::AwaitingHello;
    ingest.begin(state);
    let mut copier = Copier {
        to,
        how,
        commits,
        writer,
        ingest,
        ended: None,
        uncommitted: 0,
        committed: Instant::now(),
        unmapped: how.map_bytes,
        copied: Copied { records: 0, bytes: 0, last: begin },
        stop,
    };
    let read: Result<(), Failure> = reader.frames(source.begin.as_ref(), |frame| {
        let len = frame.stored_len;
        pace.take(len, stop).map_err(Failure::Target)?;
        copier.take(frame)?;
        advance(len);
        Ok(())
    });
    read?;
    copier.finish(reader)
}

/// A session of which a part has been copied.
struct Copier<'a> {
    to: &'a WritableRepository,
    how: &'a How,
    commits: Commits,
    writer: SessionWriter,
    ingest: Ingest,
    /// The epoch with which what was appended ends, if that has not been committed.
    ended: Option<Acknowledge>,
    /// Bytes since the last commit.
    uncommitted: u64,
    committed: Instant,
    /// Bytes since it was looked whether a map is due.
    unmapped: u64,
    copied: Copied,
    stop: &'a StopFlag,
}

impl Copier<'_> {
    /// Takes the next frame of the source.
    fn take(&mut self, frame: StoredFrame<'_>) -> Result<(), Failure> {
        if self.stop.is_set() {
            // What has been appended since the last commit is copied again, if it is no whole
            // epoch.
            self.commit().map_err(Failure::Target)?;
            return Err(Failure::Target(Error::Stopped));
        }
        let action =
            self.ingest.frame(frame.header, frame.payload).map_err(|error| match error {
                Error::Violation(why) => frame.damage(why),
                Error::Record(why) => frame.damage(why),
                Error::Frame(why) => frame.damage(why),
                other => other,
            })?;
        let ends = match action {
            Action::Mark { watermark, .. } => {
                self.writer.carry(&watermark);
                return Ok(());
            }
            Action::Store { ends } => ends,
            // `Ingest` opens only before `begin`.
            Action::Open(_) => return Ok(()),
        };
        self.writer.append(&frame.header, frame.payload).map_err(Failure::Target)?;
        if let Some(ends) = ends {
            self.writer.end_epoch(ends.epoch(), ends.seq());
        }
        self.copied.records += Records::new(frame.payload).count() as u64;
        self.copied.bytes += frame.stored_len;
        self.uncommitted += (FRAME_HEADER_LEN + frame.payload.len()) as u64;
        self.ended = ends;
        let is_due = self.commits == Commits::Each
            || self.uncommitted >= self.how.commit_bytes
            || self.committed.elapsed() >= COMMIT_AFTER;
        if is_due { self.commit().map_err(Failure::Target) } else { Ok(()) }
    }

    /// Commits what was appended, if it ends with an epoch.
    fn commit(&mut self) -> Result<()> {
        let Some(ends) = self.ended.take() else { return Ok(()) };
        self.writer.commit(ends.epoch(), ends.seq())?;
        self.copied.last = ends.seq();
        self.unmapped += std::mem::take(&mut self.uncommitted);
        self.committed = Instant::now();
        if let Some(state) = self.ingest.state() {
            self.writer.keep_state_if_due(state);
        }
        if self.unmapped >= self.how.map_bytes {
            self.keep_maps()?;
        }
        Ok(())
    }

    /// Keeps the maps that are due. They only save time: a failure is logged.
    fn keep_maps(&mut self) -> Result<()> {
        self.unmapped = 0;
        let store = self.to.repository().store();
        let kept = SessionReader::open(store, *self.writer.header()).and_then(|reader| {
            while keep_due(&reader, self.how.map_bytes, self.stop)? {}
            Ok(())
        });
        match kept {
            Err(Error::Stopped) => Err(Error::Stopped),
            Err(error) => {
                warn!("session {}: no map is kept: {error}", self.writer.header().session);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Ends with what the source has acknowledged.
    fn finish(mut self, source: &SessionReader) -> Result<Copied, Failure> {
        self.commit().map_err(Failure::Target)?;
        let Ingest::Streaming(state) = &mut self.ingest else { return Ok(self.copied) };
        source.check_end(state)?;
        mark(source, &mut self.writer, state).map_err(Failure::Target)?;
        self.writer.keep_state_at_end(state);
        Ok(self.copied)
    }
}

/// True if the source has a watermark after the last record that the target has not.
fn has_newer_mark(source: &Source, to: &WritableRepository) -> Result<bool> {
    let reader = &source.reader;
    let after_last = |it: &Watermark| it.seq() == reader.acknowledged().seq;
    let Some(mark) = reader.watermark().filter(after_last) else { return Ok(false) };
    let target = SessionReader::open(to.repository().store(), *reader.header())?;
    Ok(target.watermark() != Some(mark))
}

/// Copies the watermark after the last record. One that the stream contradicts is left out: the
/// latest point is then that of the last record.
fn mark(source: &SessionReader, writer: &mut SessionWriter, state: &mut StreamState) -> Result<()> {
    let last = state.last().map(|last| last.seq);
    let watermark = source.watermark().filter(|it| Some(it.seq()) == last);
    let Some(watermark) = watermark.filter(|it| state.watermark().as_ref() != Some(it)) else {
        return Ok(());
    };
    match state.mark(&watermark) {
        Ok(()) => writer.mark(&watermark),
        Err(why) => {
            warn!("session {}: its watermark is left out: {why}", source.header().session);
            Ok(())
        }
    }
}
