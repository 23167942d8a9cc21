//! What takes the space of a repository: bytes by cause, what each byte of content costs, growth.
//!
//! It is told from the headers of all records and the lengths of the files ([`crate::walk`]). The
//! parts of [`Usage`] add up to `stored_bytes`, the lengths of all files of the sessions, and what
//! compression saved.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process;

use serde::Serialize;
use snapless_types::RecordKind;
use snapless_wire::frame::{FRAME_HEADER_LEN, Watermark};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{RECORD_HEADER_LEN, RecordHeader};

use crate::bill::{Bill, Counted, Load, Prices};
use crate::dedup::{self, Dedup};
use crate::error::{Error, Result};
use crate::floor::Shortage;
use crate::fold;
use crate::format::acknowledged::ACKNOWLEDGED_FILE;
use crate::format::history::HistoryNumber;
use crate::format::pin::Holder;
use crate::format::repository::session_dir;
use crate::format::segment::SegmentNumber;
use crate::format::session::{SESSION_FILE, SessionHeader};
use crate::pin;
use crate::reader::SessionReader;
use crate::repository::{Presence, Repository};
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

/// What a repository holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Each volume.
    pub volumes: Vec<Volume>,
    /// All of them.
    pub total: Usage,
    /// What it costs in an object store, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
    /// The prices of the bills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// Other commands that read sessions, whose garbage stays meanwhile.
    pub pins: Vec<pin::Shown>,
    /// The server takes nothing more, for want of space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortage: Option<Shortage>,
}

/// What a volume holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Volume {
    /// Its GUID.
    pub volume: String,
    /// Each session, oldest first.
    pub sessions: Vec<Session>,
    /// All of them.
    pub total: Usage,
    /// What is wrong with the volume's directory as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What deduplication would save, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Dedup>,
    /// What it costs in an object store, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
}

/// What a session holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Session {
    /// Its identity.
    pub session: String,
    /// Where its bytes went, as far as it could be read.
    #[serde(flatten)]
    pub usage: Usage,
    /// The damage that ended the count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where bytes went.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Usage {
    /// Sessions.
    pub sessions: u64,
    /// Files, or objects.
    pub files: u64,
    /// Segments.
    pub segments: u64,
    /// Entries of records.
    pub entries: u64,
    /// Epochs that ended.
    pub epochs: u64,
    /// Records.
    pub records: u64,
    /// The records by what they are for.
    pub causes: Causes,
    /// What is stored besides the content of records.
    pub overhead: Overhead,
    /// Bytes by which entries are shorter than their frames.
    pub compression_saved_bytes: u64,
    /// Bytes of what a fold has kept of the time before its boundary: compacted and older segments,
    /// maps. The other counts are of what came after it.
    pub retained_bytes: u64,
    /// Bytes of files that nothing refers to, which are removed when no reader needs them.
    pub garbage_bytes: u64,
    /// Bytes of all files of the sessions.
    pub stored_bytes: u64,
    /// Bytes of content that records brought, runs of zeros without a payload included.
    pub content_bytes: u64,
    /// Bytes of all files, but for retained ones and garbage, for each byte of content; `None`
    /// without content.
    pub write_amplification: Option<f64>,
    /// What changes added.
    pub growth: Growth,
}

/// Records by what they are for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Causes {
    /// Content of the base image.
    pub first_sync: Cause,
    /// Blocks of the base image that held no data.
    pub unallocated: Cause,
    /// Blocks of the base image of paging, swap and hibernation files.
    pub excluded: Cause,
    /// Writes of applications.
    pub writes: Cause,
    /// Trims.
    pub trims: Cause,
    /// Writes of zeros.
    pub zero_writes: Cause,
    /// Content that was read again after a gap.
    pub resync: Cause,
    /// Blocks that were read again after a gap and had the content that was here already: that was
    /// not sent.
    pub unchanged: Cause,
    /// What the volume's disk could not read.
    pub unreadable: Cause,
    /// Records without an extent: starts, ends, gaps.
    pub markers: Cause,
}

/// Records of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Cause {
    /// How many.
    pub records: u64,
    /// Bytes of the volume that they describe.
    pub volume_bytes: u64,
    /// Bytes of content that are stored, before compression.
    pub stored_bytes: u64,
    /// Bytes of zeros that are not stored.
    pub elided_bytes: u64,
}

/// What is stored besides the content of records, in bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Overhead {
    /// Headers of records.
    pub record_header_bytes: u64,
    /// Headers of entries.
    pub entry_header_bytes: u64,
    /// Bytes by which sealed entries are longer than their frames.
    pub seal_bytes: u64,
    /// Headers of segments.
    pub segment_header_bytes: u64,
    /// Watermarks in segments.
    pub watermark_bytes: u64,
    /// The session's header and its acknowledged end.
    pub session_file_bytes: u64,
    /// Files beside those, which are made again from the segments, and the last watermark.
    pub derived_bytes: u64,
    /// The end of the last segment, which is not acknowledged yet, and what could not be counted.
    pub other_bytes: u64,
}

/// What changes added: all records but those of the base image.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Growth {
    /// Bytes of content and headers, before compression.
    pub bytes: u64,
    /// From the first record to the last, in seconds.
    pub seconds: u64,
    /// Bytes in 24 hours on the average; `None` for less than an hour.
    pub bytes_per_day: Option<u64>,
    /// The days on which there were changes, in UTC by the machine's clock.
    pub days: Vec<Day>,
}

/// The changes of a day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Day {
    /// The date.
    pub date: String,
    /// Bytes of content and headers, before compression.
    pub bytes: u64,
}

/// Counts what a repository, or one volume, holds. A damaged session is counted up to the damage.
///
/// # Errors
/// [`Error::NoVolume`], a directory that cannot be listed, or [`Error::Stopped`].
pub fn stat(
    repository: &Repository,
    volume: Option<VolumeGuid>,
    stop: &StopFlag,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report> {
    let known = repository.volumes()?;
    if let Some(volume) = volume.filter(|volume| !known.contains(volume)) {
        return Err(Error::NoVolume { volume, known });
    }
    let is_other = |it: &Holder| it.process != process::id();
    let pins = pin::holders(repository.store(), is_other).unwrap_or_else(|error| {
        log::warn!("who reads sessions is not known: {error}");
        Vec::new()
    });
    let pins = pins.iter().map(pin::Shown::of).collect();
    let mut found = Vec::new();
    for volume in known.into_iter().filter(|known| volume.is_none_or(|volume| volume == *known)) {
        found.push((volume, sessions(repository, volume)?));
    }
    let all_sessions = found.iter().flat_map(|(_, sessions)| sessions);
    let (total, mut before) = (all_sessions.map(|opened| opened.stored_bytes).sum(), 0);
    let shortage = Shortage::find(repository)?;
    let (volumes, total_usage) = (Vec::new(), Usage::default());
    let mut report =
        Report { volumes, total: total_usage, bill: None, prices: None, pins, shortage };
    let mut all = Count::default();
    for (volume, sessions) in found {
        let (mut told, mut of_volume) = (Vec::new(), Count::default());
        for Opened { session, reader, stored_bytes } in sessions {
            let mut count = Count { sessions: 1, ..Count::default() };
            let tell = |done| progress(before + done, total);
            let error = count.session(repository.store(), volume, session, &reader, stop, tell)?;
            before += stored_bytes;
            told.push(Session { session: session.to_string(), usage: count.usage(), error });
            of_volume.add(&count);
        }
        all.add(&of_volume);
        let error = repository.volume_damage(volume).map(|error| error.to_string());
        let (volume, total) = (volume.to_string(), of_volume.usage());
        report.volumes.push(Volume {
            volume,
            sessions: told,
            total,
            error,
            dedup: None,
            bill: None,
        });
    }
    report.total = all.usage();
    // Volumes grow side by side, sessions of a volume one after the other.
    let each = report.volumes.iter().filter_map(|volume| volume.total.growth.bytes_per_day);
    report.total.growth.bytes_per_day = each.reduce(u64::saturating_add);
    Ok(report)
}

impl Report {
    /// Adds what the repository and its volumes cost at these prices.
    pub fn add_bills(&mut self, repository: &Repository, prices: Prices) {
        let is_of_objects = repository.store().objects().is_some();
        let bill = |usage: &Usage| prices.bill(&usage.counted(is_of_objects));
        for volume in &mut self.volumes {
            volume.bill = Some(bill(&volume.total));
        }
        let mut of_all = self.total.counted(is_of_objects);
        // Volumes store side by side: the rates add up.
        of_all.seconds = 0;
        let mut of_all = prices.bill(&of_all);
        let bills = self.volumes.iter().filter_map(|volume| volume.bill.as_ref());
        of_all.puts_per_day =
            bills.filter_map(|bill| bill.puts_per_day).reduce(u64::saturating_add);
        of_all.month = prices.month(Load {
            puts_per_day: of_all.puts_per_day.map_or(0.0, as_rate),
            stored_bytes: self.total.stored_bytes,
        });
        (self.bill, self.prices) = (Some(of_all), Some(prices));
    }

    /// Adds what deduplication would save: reads all content. Tells `progress` how many bytes of it
    /// are done, and how many there are.
    ///
    /// # Errors
    /// As for [`dedup::measure`].
    pub fn add_dedup(
        &mut self,
        repository: &Repository,
        stop: &StopFlag,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        let content = |usage: &Usage| usage.causes.sum(|cause| cause.stored_bytes);
        let (total, mut before) = (content(&self.total), 0);
        for volume in &mut self.volumes {
            let Some(guid) = VolumeGuid::parse(&volume.volume) else { continue };
            let tell = |done| progress(before + done, total);
            volume.dedup = Some(dedup::measure(repository, guid, stop, tell)?);
            before += content(&volume.total);
        }
        Ok(())
    }

    /// True if damage was found.
    pub fn has_damage(&self) -> bool {
        self.volumes.iter().any(|volume| {
            volume.error.is_some()
                || volume.sessions.iter().any(|session| session.error.is_some())
                || volume.dedup.as_ref().is_some_and(|pass| pass.error.is_some())
        })
    }
}

impl Usage {
    fn counted(&self, is_of_objects: bool) -> Counted {
        Counted {
            is_of_objects,
            objects: self.files,
            segments: self.segments,
            epochs: self.epochs,
            stored_bytes: self.stored_bytes,
            seconds: self.growth.seconds,
        }
    }
}

/// A session.
struct Opened {
    session: SessionId,
    /// Or what is wrong with it.
    reader: Result<SessionReader>,
    /// Bytes of its stream, for the progress; 0 if they cannot be counted.
    stored_bytes: u64,
}

/// The sessions of a volume, oldest first; those whose header is damaged come first of all.
fn sessions(repository: &Repository, volume: VolumeGuid) -> Result<Vec<Opened>> {
    let mut found: Vec<(Option<FileTime>, Opened)> = Vec::new();
    for session in repository.session_ids(volume)? {
        let header: Result<SessionHeader> = match repository.session(volume, session) {
            Ok(Presence::Header(header)) => Ok(header),
            Ok(Presence::Nothing) => continue,
            Err(error) => Err(error),
        };
        let created = header.as_ref().ok().map(|header| header.created);
        let reader = header.and_then(|header| repository.open_session(header));
        let stored_bytes = reader.as_ref().map_or(0, |reader| reader.stream_bytes().unwrap_or(0));
        found.push((created, Opened { session, reader, stored_bytes }));
    }
    found.sort_by_key(|(created, opened)| (*created, opened.session));
    Ok(found.into_iter().map(|(_, opened)| opened).collect())
}

/// Counts records and files.
#[derive(Clone, Default)]
struct Count {
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
    /// Counts a session; returns the damage that ended it.
    fn session(
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

    fn add(&mut self, other: &Self) {
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

    fn usage(&self) -> Usage {
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

impl Causes {
    /// Those of a kind of records.
    fn of(&mut self, kind: RecordKind) -> &mut Cause {
        match kind {
            RecordKind::Block => &mut self.first_sync,
            RecordKind::Unallocated => &mut self.unallocated,
            RecordKind::Excluded => &mut self.excluded,
            RecordKind::Write => &mut self.writes,
            RecordKind::Trim => &mut self.trims,
            RecordKind::Zero => &mut self.zero_writes,
            RecordKind::Resync => &mut self.resync,
            RecordKind::Unchanged => &mut self.unchanged,
            RecordKind::Unreadable => &mut self.unreadable,
            RecordKind::SessionStart
            | RecordKind::EpochEnd
            | RecordKind::BaseComplete
            | RecordKind::GapBegin
            | RecordKind::Consistent => &mut self.markers,
        }
    }

    /// Each with its name in words.
    pub fn each(&self) -> [(&'static str, &Cause); 10] {
        [
            ("first sync", &self.first_sync),
            ("unallocated", &self.unallocated),
            ("excluded", &self.excluded),
            ("writes", &self.writes),
            ("trims", &self.trims),
            ("zero writes", &self.zero_writes),
            ("resync", &self.resync),
            ("unchanged", &self.unchanged),
            ("unreadable", &self.unreadable),
            ("markers", &self.markers),
        ]
    }

    fn sum(&self, of: impl Fn(&Cause) -> u64) -> u64 {
        self.each().iter().fold(0, |sum, (_, cause)| sum.saturating_add(of(cause)))
    }

    /// Bytes of content, stored or elided.
    fn content(&self) -> u64 {
        self.sum(|cause| cause.stored_bytes.saturating_add(cause.elided_bytes))
    }

    fn add(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.first_sync, &other.first_sync),
            (&mut self.unallocated, &other.unallocated),
            (&mut self.excluded, &other.excluded),
            (&mut self.writes, &other.writes),
            (&mut self.trims, &other.trims),
            (&mut self.zero_writes, &other.zero_writes),
            (&mut self.resync, &other.resync),
            (&mut self.unchanged, &other.unchanged),
            (&mut self.unreadable, &other.unreadable),
            (&mut self.markers, &other.markers),
        ] {
            to.records += from.records;
            to.volume_bytes = to.volume_bytes.saturating_add(from.volume_bytes);
            to.stored_bytes += from.stored_bytes;
            to.elided_bytes = to.elided_bytes.saturating_add(from.elided_bytes);
        }
    }
}

impl Overhead {
    fn add(&mut self, other: &Self) {
        self.record_header_bytes += other.record_header_bytes;
        self.entry_header_bytes += other.entry_header_bytes;
        self.seal_bytes += other.seal_bytes;
        self.segment_header_bytes += other.segment_header_bytes;
        self.watermark_bytes += other.watermark_bytes;
        self.session_file_bytes += other.session_file_bytes;
        self.derived_bytes += other.derived_bytes;
        self.other_bytes += other.other_bytes;
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.record_header_bytes
            + self.entry_header_bytes
            + self.seal_bytes
            + self.segment_header_bytes
            + self.watermark_bytes
            + self.session_file_bytes
            + self.derived_bytes
            + self.other_bytes
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

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn as_rate(per_day: u64) -> f64 {
    per_day as f64
}

/// The quotient, to three places.
#[expect(clippy::cast_precision_loss, reason = "three places are told")]
fn ratio(bytes: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| (bytes as f64 / of as f64 * 1000.0).round() / 1000.0)
}
