//! Looks at the estate once a second, and tells what changed: to streams of events, to the history
//! of rates, to alarms.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::clock::now_ms;
use crate::model::{
    Event, History, Level, Live, MachineLine, Overview, OverviewChange, Sample, State, VolumeId,
    VolumeLine,
};

/// Messages that a slow stream may be behind.
const BEHIND_MAX: usize = 256;
/// Events that are kept of all volumes.
const EVENTS_MAX: usize = 5000;
/// Events that are kept of a volume.
const EVENTS_OF_VOLUME_MAX: usize = 200;
/// Samples that are kept of a volume.
const SAMPLES_MAX: usize = 300;
/// Between two samples.
const SAMPLE_EVERY_MS: u64 = 2000;
/// Numbers alone of a line are told every so many looks.
const NUMBERS_EVERY: u64 = 5;

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// The event's name.
    pub name: &'static str,
    /// One line of JSON.
    pub data: Arc<str>,
}

impl Message {
    /// A message with this content; `None` if it cannot be one.
    pub(crate) fn of(name: &'static str, content: &impl Serialize) -> Option<Self> {
        let text = serde_json::to_string(content);
        let text = text.inspect_err(|error| log::error!("an event is no JSON: {error}")).ok()?;
        Some(Self { name, data: text.into() })
    }
}

/// What was seen.
#[derive(Debug)]
pub struct Watch {
    told: broadcast::Sender<Message>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    overview: Arc<Overview>,
    /// The lines that streams have.
    volumes: HashMap<VolumeId, VolumeLine>,
    machines: HashMap<String, MachineLine>,
    events: VecDeque<Event>,
    samples: HashMap<VolumeId, Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    kept: VecDeque<Sample>,
    /// Holds of the last sample, for the difference.
    held: u64,
    buckets: Vec<u64>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { told: broadcast::channel(BEHIND_MAX).0, seen: Mutex::default() }
    }
}

impl Watch {
    /// A stream of all messages from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Message> {
        self.told.subscribe()
    }

    /// Sends a message to all streams.
    pub(crate) fn tell(&self, name: &'static str, content: &impl Serialize) {
        if let Some(message) = Message::of(name, content) {
            // Without a stream nobody hears it.
            let _ = self.told.send(message);
        }
    }

    /// What was seen last.
    pub fn overview(&self) -> Arc<Overview> {
        Arc::clone(&self.lock().overview)
    }

    /// A line as it was seen last.
    pub fn line(&self, volume: &VolumeId) -> Option<VolumeLine> {
        self.lock().overview.volumes.iter().find(|line| line.volume == *volume).cloned()
    }

    /// Notes an event.
    pub fn note(&self, event: Event) {
        self.tell("event", &event);
        let mut seen = self.lock();
        seen.events.push_front(event);
        seen.events.truncate(EVENTS_MAX);
    }

    /// The events of a volume, the newest first.
    pub fn events(&self, volume: &VolumeId, limit: usize) -> Vec<Event> {
        let seen = self.lock();
        let of_it = seen.events.iter().filter(|event| event.volume.as_ref() == Some(volume));
        of_it.take(limit.min(EVENTS_OF_VOLUME_MAX)).cloned().collect()
    }

    /// The samples of a volume.
    pub fn history(&self, volume: &VolumeId) -> History {
        let seen = self.lock();
        let samples = seen.samples.get(volume).map(|it| it.kept.iter().copied().collect());
        History { volume: volume.clone(), samples: samples.unwrap_or_default() }
    }

    /// Takes what the estate is now, and what its machines report.
    pub fn look(&self, overview: Overview, live: impl Fn(&VolumeId) -> Option<Live>) {
        let overview = Arc::new(overview);
        let (change, events) = {
            let mut seen = self.lock();
            seen.looks += 1;
            let events = events(&seen.volumes, &overview);
            let change = seen.change(&overview);
            seen.overview = Arc::clone(&overview);
            (change, events)
        };
        if !(change.volumes.is_empty() && change.machines.is_empty() && change.gone.is_empty()) {
            self.tell("overview", &change);
        }
        for event in events {
            self.note(event);
        }
        for line in overview.volumes.iter().filter(|line| line.connected) {
            let is_due = {
                let seen = self.lock();
                let last = seen.samples.get(&line.volume).and_then(|it| it.kept.back());
                last.is_none_or(|last| overview.now_ms >= last.time_ms + SAMPLE_EVERY_MS)
            };
            if let Some(live) = Some(()).filter(|()| is_due).and_then(|()| live(&line.volume)) {
                let latest = line.latest_ms.map(|latest| overview.now_ms.saturating_sub(latest));
                let mut seen = self.lock();
                let samples = seen.samples.entry(line.volume.clone()).or_default();
                samples.add(overview.now_ms, &live, latest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // What is seen is replaced part by part; each look mends what one before has left.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The lines that streams do not have yet.
    fn change(&mut self, overview: &Overview) -> OverviewChange {
        let now_ms = overview.now_ms;
        let mut change = OverviewChange { now_ms, ..OverviewChange::default() };
        for line in &overview.volumes {
            let is_told = self.volumes.get(&line.volume).is_some_and(|told| {
                // `rpo_seconds` follows from the others.
                let like_told = |line: &VolumeLine| VolumeLine {
                    rpo_seconds: told.rpo_seconds,
                    ..line.clone()
                };
                let is_turn = (self.looks + spread(&line.volume)).is_multiple_of(NUMBERS_EVERY);
                like_told(line) == *told
                    || (!is_turn && without_numbers(line) == without_numbers(told))
            });
            if !is_told {
                self.volumes.insert(line.volume.clone(), line.clone());
                change.volumes.push(line.clone());
            }
        }
        for machine in &overview.machines {
            let id = machine.machine.to_string();
            if self.machines.get(&id) != Some(machine) {
                self.machines.insert(id, machine.clone());
                change.machines.push(machine.clone());
            }
        }
        let volumes: HashSet<_> = overview.volumes.iter().map(|line| &line.volume).collect();
        let machines: HashSet<_> = overview.machines.iter().map(|it| it.machine.as_str()).collect();
        let gone = self.volumes.extract_if(|id, _| !volumes.contains(id));
        change.gone.extend(gone.map(|(id, _)| id.to_string()));
        self.samples.retain(|id, _| volumes.contains(id));
        let gone = self.machines.extract_if(|id, _| !machines.contains(id.as_str()));
        change.gone.extend(gone.map(|(id, _)| id));
        change
    }
}

/// A line without what changes all the time.
fn without_numbers(line: &VolumeLine) -> VolumeLine {
    VolumeLine {
        rpo_seconds: None,
        latest_ms: None,
        first_sync: line.first_sync.as_ref().map(|_| crate::model::Progress::default()),
        receive_rate: None,
        stored_bytes: None,
        ..line.clone()
    }
}

/// So that not all volumes are told at once.
fn spread(volume: &VolumeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    volume.hash(&mut hasher);
    hasher.finish() % NUMBERS_EVERY
}

impl Samples {
    fn add(&mut self, time_ms: u64, live: &Live, latest_age_ms: Option<u64>) {
        let (mut holds, mut hold_p99_us) = (None, None);
        if let Some(now) = &live.holds {
            let is_same_session = now.held >= self.held && self.buckets.len() == now.buckets.len();
            if is_same_session {
                holds = Some(now.held - self.held);
                let new = now.buckets.iter().zip(&self.buckets);
                let new: Vec<u64> = new.map(|(now, then)| now.saturating_sub(*then)).collect();
                hold_p99_us = quantile_us(&new);
            }
            self.held = now.held;
            self.buckets.clone_from(&now.buckets);
        }
        let rates = live.rates;
        self.kept.push_back(Sample {
            time_ms,
            received: rates.received,
            drained: rates.drained,
            sent: rates.sent,
            queue_used: live.queue.map(|queue| queue.used),
            holds,
            hold_p99_us,
            latest_age_ms,
        });
        if self.kept.len() > SAMPLES_MAX {
            self.kept.pop_front();
        }
    }
}

/// The end of the bucket below which 99 % are; `None` if there are none.
fn quantile_us(buckets: &[u64]) -> Option<u64> {
    let total: u64 = buckets.iter().sum();
    let wanted = total.saturating_sub(total / 100);
    let mut below = 0;
    let index = buckets.iter().position(|count| {
        below += count;
        below >= wanted && below > 0
    })?;
    1u64.checked_shl(u32::try_from(index).ok()? + 1)
}

/// What happened between two looks. With the first look nothing has.
fn events(told: &HashMap<VolumeId, VolumeLine>, overview: &Overview) -> Vec<Event> {
    let mut events = Vec::new();
    if told.is_empty() {
        return events;
    }
    for line in &overview.volumes {
        let mut add = |kind: &str, level, text: String| {
            events.push(Event {
                time_ms: now_ms(),
                level,
                kind: kind.to_owned(),
                volume: Some(line.volume.clone()),
                machine: line.machine.clone(),
                text,
            });
        };
        let Some(before) = told.get(&line.volume) else {
            // Others were there before the console was.
            if matches!(line.state, State::Waiting | State::FirstSync) {
                add("session-began", Level::Notice, "a first sync began".to_owned());
            }
            continue;
        };
        match (before.connected, line.connected) {
            (false, true) => add("connected", Level::Ok, "its machine is connected".to_owned()),
            (true, false) => {
                add("disconnected", Level::Warning, "its machine is not connected".to_owned());
            }
            _ => {}
        }
        match (&before.gap, &line.gap) {
            (None, Some(gap)) => add("gap-began", Level::Warning, gap.reason_text.clone()),
            (Some(_), None) => add("gap-ended", Level::Ok, "every write is captured".to_owned()),
            _ => {}
        }
        if before.state != line.state {
            match (before.state, line.state) {
                (State::FirstSync, State::Protected) => {
                    add("first-sync-done", Level::Ok, "the first sync is complete".to_owned());
                }
                (_, State::FirstSync) => {
                    add("session-began", Level::Notice, "a first sync began".to_owned());
                }
                (_, State::Damaged) => {
                    add("damaged", Level::Critical, line.state_text.clone());
                }
                (_, State::Paused | State::Ended) => {
                    add("state", Level::Notice, line.state_text.clone());
                }
                _ => {}
            }
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        assert_eq!(quantile_us(&[0, 0]), None);
        assert_eq!(quantile_us(&[5]), Some(2));
        assert_eq!(quantile_us(&[98, 1, 1]), Some(4));
        assert_eq!(quantile_us(&[9800, 101, 99]), Some(4));
        assert_eq!(quantile_us(&[0, 0, 0, 1]), Some(16));
    }
}
