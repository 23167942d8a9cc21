//! How many bytes were written, when and where: counted from the headers of a volume's history,
//! by a thread, once for many questions.
//!
//! Exact to the minute in time, and to a 256th of the volume by the hour. Only the stream counts:
//! of what is folded only the points are left, and nothing tells what changed between them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use snapless_types::RecordKind;
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::record::RecordHeader;

use super::lines::{float, ms};
use crate::list;
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;
use crate::walk::{Met, walk};

/// Parts of the volume that are told apart.
const PARTS: usize = 256;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Minutes and hours that are kept of a volume; past that the oldest go.
const MINUTES_MAX: usize = 600_000;
const HOURS_MAX: usize = 20_000;
/// Volumes whose counts are kept.
const VOLUMES_MAX: usize = 16;
/// Volumes that are counted at once.
const COUNTING_MAX: usize = 2;
/// The shortest time between two counts of a volume; a long count is repeated less often.
const AGAIN_MIN: Duration = Duration::from_secs(20);
const AGAIN_FACTOR: u32 = 20;

/// The counts of volumes.
#[derive(Clone, Debug, Default)]
pub(super) struct AllChanges(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    volumes: HashMap<VolumeGuid, Entry>,
    counting: HashSet<VolumeGuid>,
}

#[derive(Debug, Default)]
struct Entry {
    counts: Arc<Counts>,
    /// What was counted: bytes of the sessions.
    stored_bytes: u64,
    counted_at: Option<Instant>,
    /// All of it could be read.
    is_whole: bool,
    took: Duration,
    used: Option<Instant>,
    /// Bytes that are counted, and in all.
    progress: (u64, u64),
}

/// What was counted of a volume.
#[derive(Clone, Debug, Default)]
struct Counts {
    minutes: BTreeMap<u64, u64>,
    hours: BTreeMap<u64, Box<[u64]>>,
}

/// The counts of a volume at this moment.
#[derive(Debug)]
pub(super) struct Counted {
    counts: Arc<Counts>,
    is_complete: bool,
    progress: (u64, u64),
}

impl AllChanges {
    /// The counts of a volume; begins to count if there are none, or others since.
    pub(super) fn of(
        &self,
        (repository, stop): (&Repository, &StopFlag),
        volume: VolumeGuid,
        listed: &list::Volume,
    ) -> Counted {
        let stored_bytes = listed.stored_bytes();
        let mut inner = self.lock();
        inner.make_room(volume);
        let is_counting = inner.counting.contains(&volume);
        let may_count = inner.counting.len() < COUNTING_MAX;
        let entry = inner.volumes.entry(volume).or_default();
        entry.used = Some(Instant::now());
        let again = AGAIN_MIN.max(entry.took * AGAIN_FACTOR);
        let is_same = entry.is_whole && entry.stored_bytes == stored_bytes;
        let is_due = entry.counted_at.is_none_or(|at| !is_same && at.elapsed() >= again);
        let counted = Counted {
            counts: Arc::clone(&entry.counts),
            is_complete: entry.is_whole,
            progress: entry.progress,
        };
        if is_due && !is_counting && may_count {
            inner.counting.insert(volume);
            drop(inner);
            self.count((repository, stop), volume, stored_bytes);
        }
        counted
    }

    fn count(
        &self,
        (repository, stop): (&Repository, &StopFlag),
        volume: VolumeGuid,
        stored_bytes: u64,
    ) {
        let (all, repository, stop) = (self.clone(), repository.clone(), stop.clone());
        let run = move || {
            let begun = Instant::now();
            let (counts, counted) =
                count(&repository.pinned_for("console"), volume, &stop, |done| {
                    if let Some(entry) = all.lock().volumes.get_mut(&volume) {
                        entry.progress = (done, stored_bytes);
                    }
                });
            let mut inner = all.lock();
            inner.counting.remove(&volume);
            let Some(entry) = inner.volumes.get_mut(&volume).filter(|_| !stop.is_set()) else {
                return;
            };
            *entry = Entry {
                counts: Arc::new(counts),
                stored_bytes,
                counted_at: Some(Instant::now()),
                is_whole: counted.is_none(),
                took: begun.elapsed(),
                used: entry.used,
                progress: (counted.unwrap_or(stored_bytes), stored_bytes),
            };
        };
        let spawned = thread::Builder::new().name("console changes".to_owned()).spawn(run);
        if let Err(error) = spawned {
            log::warn!("console: the changes of {volume} are not counted: {error}");
            self.lock().counting.remove(&volume);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is one call: a panic leaves no half-made one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Forgets the volume that was asked for longest ago.
    fn make_room(&mut self, volume: VolumeGuid) {
        if self.volumes.len() < VOLUMES_MAX || self.volumes.contains_key(&volume) {
            return;
        }
        let idle = self.volumes.iter().filter(|(it, _)| !self.counting.contains(it));
        if let Some(oldest) = idle.min_by_key(|(_, entry)| entry.used).map(|(volume, _)| *volume) {
            self.volumes.remove(&oldest);
        }
    }
}

/// Counts all sessions of a volume, as far as they can be read. If that is a part of them, also
/// tells how many bytes it is.
fn count(
    repository: &Repository,
    volume: VolumeGuid,
    stop: &StopFlag,
    mut progress: impl FnMut(u64),
) -> (Counts, Option<u64>) {
    let (mut counts, mut before, mut is_whole) = (Counts::default(), 0, true);
    let sessions = repository.session_ids(volume).unwrap_or_else(|error| {
        log::warn!("console: the changes of volume {volume} are not counted: {error}");
        is_whole = false;
        Vec::new()
    });
    for session in sessions {
        let mut done = 0;
        let counted = count_session(repository, (volume, session), &mut counts, stop, |bytes| {
            done = bytes;
            progress(before + done);
        });
        before += done;
        if let Err(error) = counted {
            is_whole = false;
            log::warn!("console: the changes of session {session} are counted in part: {error}");
        }
    }
    (counts, (!is_whole).then_some(before))
}

fn count_session(
    repository: &Repository,
    (volume, session): (VolumeGuid, SessionId),
    counts: &mut Counts,
    stop: &StopFlag,
    progress: impl FnMut(u64),
) -> crate::error::Result<()> {
    let Presence::Header(header) = repository.session(volume, session)? else { return Ok(()) };
    let length = header.geometry.length();
    let reader = repository.open_session(header)?;
    let (counted, walked) = walk(&reader, &*counts, stop, progress, |counts, met| {
        if let Met::Record(record) = met {
            counts.note(record, length);
        }
    });
    *counts = counted;
    walked
}

impl Counts {
    fn note(&mut self, record: &RecordHeader, length: u64) {
        let is_change =
            matches!(record.kind(), RecordKind::Write | RecordKind::Trim | RecordKind::Zero);
        let Some(at_ms) = ms(record.time()).filter(|_| is_change) else { return };
        let len = record.extent_len();
        *self.minutes.entry(at_ms / MINUTE_MS).or_default() += len;
        if self.minutes.len() > MINUTES_MAX {
            self.minutes.pop_first();
        }
        let hour = self.hours.entry(at_ms / HOUR_MS);
        let parts = hour.or_insert_with(|| vec![0; PARTS].into_boxed_slice());
        let part = u128::from(record.extent_offset()) * PARTS as u128 / u128::from(length.max(1));
        let part = usize::try_from(part).unwrap_or(PARTS).min(PARTS - 1);
        parts[part] += len;
        if self.hours.len() > HOURS_MAX {
            self.hours.pop_first();
        }
    }
}

impl Counted {
    /// The whole history is counted.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// How much of it is.
    pub(super) fn share(&self) -> f64 {
        let (done, total) = self.progress;
        if self.is_complete { 1.0 } else { (float(done) / float(total.max(1))).min(1.0) }
    }

    /// The first change.
    pub(super) fn begin_ms(&self) -> Option<u64> {
        Some(self.counts.minutes.first_key_value()?.0 * MINUTE_MS)
    }

    /// Bytes that changed in each of so many equal parts of a stretch of time.
    pub(super) fn over_time(&self, from_ms: u64, long_ms: u64, buckets: u32) -> Vec<u64> {
        let mut bytes = vec![0u64; buckets as usize];
        let last = from_ms.saturating_add(long_ms) / MINUTE_MS;
        for (minute, changed) in self.counts.minutes.range(from_ms / MINUTE_MS..=last) {
            let at = (minute * MINUTE_MS).saturating_sub(from_ms);
            let bucket = u128::from(at) * u128::from(buckets) / u128::from(long_ms);
            if let Some(it) = usize::try_from(bucket).ok().and_then(|it| bytes.get_mut(it)) {
                *it = it.saturating_add(*changed);
            }
        }
        bytes
    }

    /// Bytes that changed in each part of the volume in a stretch of time; in fewer parts than
    /// asked for if fewer are known, and in none if nothing is.
    pub(super) fn over_volume(&self, from_ms: u64, to_ms: u64, parts: u32) -> Vec<u64> {
        if self.counts.hours.is_empty() {
            return Vec::new();
        }
        let wanted = usize::try_from(parts).unwrap_or(PARTS).clamp(1, PARTS);
        let mut bytes = vec![0u64; wanted];
        for (_, hour) in self.counts.hours.range(from_ms / HOUR_MS..=to_ms / HOUR_MS) {
            for (part, changed) in hour.iter().enumerate() {
                bytes[part * wanted / PARTS] += changed;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(minutes: &[(u64, u64)]) -> Counted {
        let counts = Counts { minutes: minutes.iter().copied().collect(), ..Counts::default() };
        Counted { counts: Arc::new(counts), is_complete: true, progress: (1, 1) }
    }

    #[test]
    fn each_change_is_in_the_bucket_of_its_time() {
        let counted = counted(&[(0, 1), (9, 2), (10, 4), (19, 8), (20, 16)]);
        let over_time = |from, long, buckets| counted.over_time(from, long, buckets);
        assert_eq!(over_time(0, 20 * MINUTE_MS, 2), [3, 12]);
        assert_eq!(over_time(0, 21 * MINUTE_MS, 1), [31]);
        assert_eq!(over_time(10 * MINUTE_MS, 5 * MINUTE_MS, 1), [4]);
    }

    #[test]
    fn the_parts_of_the_volume_are_joined() {
        let mut counts = Counts::default();
        let mut hour = vec![0u64; PARTS].into_boxed_slice();
        (hour[0], hour[127], hour[128], hour[255]) = (1, 2, 4, 8);
        counts.hours.insert(5, hour);
        let counts = Arc::new(counts);
        let counted = Counted { counts, is_complete: true, progress: (1, 1) };
        assert_eq!(counted.over_volume(5 * HOUR_MS, 5 * HOUR_MS, 2), [3, 12]);
        assert_eq!(counted.over_volume(6 * HOUR_MS, 7 * HOUR_MS, 2), [0, 0]);
        assert_eq!(counted.over_volume(0, u64::MAX, 4096).len(), PARTS);
    }
}
