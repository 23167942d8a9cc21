//! Counts the records and the files of sessions.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use snapless_types::RecordKind;
use snapless_wire::frame::{FRAME_HEADER_LEN, Watermark};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{RECORD_HEADER_LEN, RecordHeader};

use super::{Causes, Day, Growth, Overhead, Usage};
use crate::error::{Error, Result};
use crate::fold;
use crate::format::acknowledged::ACKNOWLEDGED_FILE;
use crate::format::history::HistoryNumber;
use crate::format::repository::session_dir;
use crate::format::segment::SegmentNumber;
use crate::format::session::SESSION_FILE;
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::storage::Store;
use crate::time;
use crate::walk::{Met, walk};

/// Most days that are told apart; past that, the earliest count as one.
const DAYS_MAX: usize = 10_000;
/// Ticks in a day.
const DAY: u64 = 24 * 3_600 * FileTime::TICKS_PER_SECOND;
/// Growth in a day is not concluded from less.
const GROWTH_SECONDS_MIN: u64 = 3_600;

/// Counts records and files.
#[derive(Clone, Default)]
pub(super) struct Count {
    sessions: u64,
    files: u64,
    segments: u64,
    entries: u64,
    epochs: u64,
    causes: Causes,
    overhead: Overhead,
    saved: u64,
    retained: u64,
    garbage: u64,
    stored: u64,
    changes: u64,
    /// Changes of each day since 1601.
    days: BTreeMap<u64, u64>,
    /// Ticks from the first record to the last record or watermark of each session.
    ticks: u64,
    /// The times of those of this session.
    first_and_last: Option<(FileTime, FileTime)>,
}

impl Count {
    /// Of one session, of which nothing is counted yet.
    pub(super) fn of_session() -> Self {
        Self { sessions: 1, ..Self::default() }
    }

    /// Counts a session; returns the damage that ended it.
    pub(super) fn session(
        &mut self,
        store: &Store,
        volume: VolumeGuid,
        session: SessionId,
        reader: &Result<SessionReader>,
        stop: &StopFlag,
        progress: impl FnMut(u64),
    ) -> Result<Option<String>> {
        let walked = match reader {
            Ok(reader) => {
                let (count, walked) = walk(reader, self, stop, progress, Self::meet);
                *self = count;
                walked
            }
            Err(_) => Ok(()),
        };
        if let Some((first, last)) = self.first_and_last {
            self.ticks = last.get().saturating_sub(first.get());
        }
        self.files(store, &session_dir(volume, session), reader.as_ref().ok())?;
        match (&walked, reader) {
            (Err(Error::Stopped), _) => Err(Error::Stopped),
            (Err(damage), _) | (Ok(()), Err(damage)) => Ok(Some(damage.to_string())),
            (Ok(()), Ok(_)) => Ok(None),
        }
    }

    fn meet(&mut self, met: Met<'_>) {
        match met {
            Met::Segment { header_bytes } => {
                self.segments += 1;
                self.overhead.segment_header_bytes += header_bytes;
            }
            Met::Stored { bytes, frame } => {
                self.overhead.seal_bytes += bytes.saturating_sub(frame);
                self.saved += frame.saturating_sub(bytes);
            }
            Met::Entry => {
                self.entries += 1;
                self.overhead.entry_header_bytes += FRAME_HEADER_LEN as u64;
            }
            Met::Watermark(watermark) => {
                let len = FRAME_HEADER_LEN + size_of::<Watermark>();
                self.overhead.watermark_bytes += len as u64;
                self.reach(watermark.time());
            }
            Met::Record(record) => self.record(record),
        }
    }

    fn record(&mut self, record: &RecordHeader) {
        let (extent, payload) = (record.extent_len(), record.payload_len() as u64);
        self.overhead.record_header_bytes += RECORD_HEADER_LEN as u64;
        let cause = self.causes.of(record.kind());
        cause.records += 1;
        // Records without a payload may describe more than there is.
        cause.volume_bytes = cause.volume_bytes.saturating_add(extent);
        cause.stored_bytes += payload;
        if record.is_zero() {
            cause.elided_bytes = cause.elided_bytes.saturating_add(extent);
        }
        self.epochs += u64::from(record.kind() == RecordKind::EpochEnd);
        self.reach(record.time());
        if !is_of_base(record.kind()) {
            let bytes = payload + RECORD_HEADER_LEN as u64;
            self.changes += bytes;
            self.add_to_day(record.time().get() / DAY, bytes);
        }
    }

    fn reach(&mut self, time: FileTime) {
        let (first, last) = self.first_and_last.unwrap_or((time, time));
        self.first_and_last = Some((first, last.max(time)));
    }

    fn add_to_day(&mut self, day: u64, bytes: u64) {
        *self.days.entry(day).or_default() += bytes;
        if self.days.len() > DAYS_MAX
            && let Some((_, earliest)) = self.days.pop_first()
            && let Some(mut next) = self.days.first_entry()
        {
            *next.get_mut() += earliest;
        }
    }

    /// Adds the lengths of a session's files.
    fn files(&mut self, store: &Store, dir: &Path, reader: Option<&SessionReader>) -> Result<()> {
        let mut in_segments = 0;
        // Where that is not known, all files count as in use.
        let garbage = reader.map_or(Ok(Vec::new()), fold::garbage).unwrap_or_default();
        let garbage: HashSet<String> = garbage.into_iter().map(|it| it.name).collect();
        let begin = reader.map_or((SegmentNumber::FIRST, 0), SessionReader::begin_place);
        let listed = match store.list_with_lengths(dir) {
            // The session is damaged, and told as such.
            Err(error) if error.is_no_directory() => return Ok(()),
            listed => listed?,
        };
        for (name, len) in listed {
            self.stored += len;
            self.files += 1;
            if garbage.contains(&name) {
                self.garbage += len;
            } else if is_retained(&name, begin.0) {
                self.retained += len;
            } else if let Some(number) = SegmentNumber::from_file_name(&name) {
                let before = if number == begin.0 { begin.1.min(len) } else { 0 };
                self.retained += before;
                in_segments += len - before;
            } else if [SESSION_FILE, ACKNOWLEDGED_FILE].contains(&name.as_str()) {
                self.overhead.session_file_bytes += len;
            } else {
                self.overhead.derived_bytes += len;
            }
        }
        let Overhead {
            record_header_bytes,
            entry_header_bytes,
            seal_bytes,
            segment_header_bytes,
            watermark_bytes,
            ..
        } = self.overhead;
        let headers = record_header_bytes + entry_header_bytes + seal_bytes + segment_header_bytes;
        let counted = headers + watermark_bytes + self.causes.sum(|cause| cause.stored_bytes);
        self.overhead.other_bytes = (in_segments + self.saved).saturating_sub(counted);
        Ok(())
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.files += other.files;
        self.epochs += other.epochs;
        self.segments += other.segments;
        self.entries += other.entries;
        self.causes.add(&other.causes);
        self.overhead.add(&other.overhead);
        self.saved += other.saved;
        self.retained += other.retained;
        self.garbage += other.garbage;
        self.stored += other.stored;
        self.changes += other.changes;
        self.ticks = self.ticks.saturating_add(other.ticks);
        for (day, bytes) in &other.days {
            self.add_to_day(*day, *bytes);
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let content = self.causes.content();
        Usage {
            sessions: self.sessions,
            files: self.files,
            segments: self.segments,
            entries: self.entries,
            epochs: self.epochs,
            records: self.causes.sum(|cause| cause.records),
            causes: self.causes.clone(),
            overhead: self.overhead.clone(),
            compression_saved_bytes: self.saved,
            retained_bytes: self.retained,
            garbage_bytes: self.garbage,
            stored_bytes: self.stored,
            content_bytes: content,
            write_amplification: ratio(
                self.stored.saturating_sub(self.retained + self.garbage),
                content,
            ),
            growth: self.growth(),
        }
    }

    fn growth(&self) -> Growth {
        let seconds = self.ticks / FileTime::TICKS_PER_SECOND;
        let per_day = || u128::from(self.changes) * 86_400 / u128::from(seconds);
        let per_day = (seconds >= GROWTH_SECONDS_MIN).then(per_day);
        let date = |day: u64| {
            let text = time::to_text(FileTime::new(day.saturating_mul(DAY)));
            text.split_once('T').map_or(text.clone(), |(date, _)| date.to_owned())
        };
        let days = self.days.iter().map(|(&day, &bytes)| Day { date: date(day), bytes });
        Growth {
            bytes: self.changes,
            seconds,
            bytes_per_day: per_day.map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX)),
            days: days.collect(),
        }
    }
}

/// True for a file of what a fold has kept of the time before the first segment of the log.
fn is_retained(name: &str, first: SegmentNumber) -> bool {
    SegmentNumber::from_compacted_name(name).is_some()
        || SegmentNumber::from_file_name(name).is_some_and(|number| number < first)
        || HistoryNumber::from_file_name(name).is_some()
        || HistoryNumber::from_pages_name(name).is_some()
}

/// True for records of the base image. Unreadable ones may be of it or not, and are small.
fn is_of_base(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::Block | RecordKind::Unallocated | RecordKind::Excluded)
}

/// The quotient, to three places.
#[expect(clippy::cast_precision_loss, reason = "three places are told")]
fn ratio(bytes: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| (bytes as f64 / of as f64 * 1000.0).round() / 1000.0)
}
