//! Which volumes are connected now, how much has come of them, which of their blocks, and what
//! their machines tell. For the console; without one it costs an addition a frame.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snapless_link::report::SessionReport;
use snapless_trust::identity::MachineId;
use snapless_wire::id::{FileTime, VolumeGuid};

use crate::stream::{Part, StreamState};
use crate::time;

/// Between two maps of a volume.
const MAP_EVERY: Duration = Duration::from_secs(1);
/// Parts of the volume in a map.
const MAP_PARTS: u64 = 1024;
/// What a machine tells counts for so long: five of its intervals.
const TOLD_LIMIT: Duration = Duration::from_secs(10);

/// The connections that serve sessions.
#[derive(Clone, Default, Debug)]
pub struct Connected(Arc<Shared>);

#[derive(Default, Debug)]
struct Shared {
    volumes: Mutex<HashMap<VolumeGuid, Vec<Arc<Counts>>>>,
    /// What is still of use of a volume's last report once its connection has ended.
    known: Mutex<HashMap<VolumeGuid, Known>>,
    /// A console shows maps.
    is_watched: AtomicBool,
}

/// The blocks of a volume that the server has, part by part.
#[derive(Clone, Debug)]
pub struct Map {
    /// When it was so.
    pub time: FileTime,
    /// In the order of the volume.
    pub parts: Vec<Part>,
    made: Instant,
}

/// What a machine has told of a session.
#[derive(Clone, Debug)]
pub struct Told {
    /// The newest report.
    pub report: SessionReport,
    /// When it came.
    pub time: FileTime,
    /// Bytes that the driver captured a second, between the last two reports.
    pub drained: Option<u64>,
    /// Bytes that went over the link.
    pub sent: Option<u64>,
    at: Instant,
}

/// What is known of a volume whose machine has told of it since the server began.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Known {
    /// What its machine calls it.
    pub name: String,
    /// Its consistency group.
    pub group: Option<String>,
    /// An administrator has paused it.
    pub is_paused: bool,
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Counts {
    /// The machine; `None` without TLS.
    pub machine: Option<MachineId>,
    received: AtomicU64,
    /// The newest map.
    map: Mutex<Option<Arc<Map>>>,
    /// The newest report.
    told: Mutex<Option<Arc<Told>>>,
}

/// A connection that serves a session; dropping it takes it out.
#[derive(Debug)]
pub struct Connection {
    connected: Connected,
    volume: VolumeGuid,
    counts: Arc<Counts>,
}

impl Connected {
    /// From now on connections make maps.
    pub fn watch(&self) {
        // Relaxed: a flag alone; a connection sees it with the next frame.
        self.0.is_watched.store(true, Ordering::Relaxed);
    }

    /// Notes a connection.
    pub fn enter(&self, volume: VolumeGuid, machine: Option<MachineId>) -> Connection {
        let (received, map, told) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        let counts = Arc::new(Counts { machine, received, map, told });
        self.lock().entry(volume).or_default().push(Arc::clone(&counts));
        Connection { connected: self.clone(), volume, counts }
    }

    /// The newest connection of a volume.
    pub fn of(&self, volume: VolumeGuid) -> Option<Arc<Counts>> {
        self.lock().get(&volume)?.last().cloned()
    }

    /// What is known of a volume, connected or not.
    pub fn known(&self, volume: VolumeGuid) -> Option<Known> {
        self.known_volumes().get(&volume).cloned()
    }

    fn known_volumes(&self) -> MutexGuard<'_, HashMap<VolumeGuid, Known>> {
        // As above.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_watched(&self) -> bool {
        // Relaxed: see `watch`.
        self.0.is_watched.load(Ordering::Relaxed)
    }

    /// The machines that are connected.
    pub fn machines(&self) -> HashSet<MachineId> {
        self.lock().values().flatten().filter_map(|counts| counts.machine).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VolumeGuid, Vec<Arc<Counts>>>> {
        // Every change is one call: a panic leaves no half-made one.
        self.0.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Bytes that came since the connection began.
    pub fn received(&self) -> u64 {
        // Relaxed: a number alone.
        self.received.load(Ordering::Relaxed)
    }

    /// The newest map of the volume.
    pub fn map(&self) -> Option<Arc<Map>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the machine has told last, if that is not long ago.
    pub fn told(&self) -> Option<Arc<Told>> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.filter(|told| told.at.elapsed() < TOLD_LIMIT)
    }
}

impl Told {
    fn new(report: SessionReport, before: Option<&Self>) -> Self {
        let age_ms = before.and_then(|it| report.age_ms.checked_sub(it.report.age_ms));
        let rate = |now: u64, before: u64| {
            let new = u128::from(now.checked_sub(before)?) * 1000;
            u64::try_from(new / u128::from(age_ms.filter(|it| *it > 0)?)).ok()
        };
        let rate_of = |of: fn(&SessionReport) -> u64| {
            before.and_then(|before| rate(of(&report), of(&before.report)))
        };
        let (drained, sent) = (rate_of(|it| it.bytes_drained), rate_of(|it| it.bytes_sent));
        Self { time: time::now(), at: Instant::now(), drained, sent, report }
    }
}

impl Connection {
    /// So many bytes have come.
    pub fn note(&self, bytes: usize) {
        // Relaxed: see `received`.
        self.counts.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Takes a report, if a console shows it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn tell(&self, payload: &[u8]) -> Result<(), String> {
        if !self.connected.is_watched() {
            return Ok(());
        }
        let report = SessionReport::read(payload)?;
        let SessionReport { name, group, is_paused, .. } = &report;
        let known = Known { name: name.clone(), group: group.clone(), is_paused: *is_paused };
        self.connected.known_volumes().insert(self.volume, known);
        let mut newest = self.counts.told.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(Arc::new(Told::new(report, newest.as_deref())));
        Ok(())
    }

    /// Makes a map now and then, if a console shows it.
    pub fn note_blocks(&self, state: &StreamState) {
        if !self.connected.is_watched() {
            return;
        }
        let is_fresh = |map: Arc<Map>| map.made.elapsed() < MAP_EVERY;
        if self.counts.map().is_some_and(is_fresh) {
            return;
        }
        let parts = state.parts(MAP_PARTS).collect();
        let map = Map { time: time::now(), parts, made: Instant::now() };
        let mut newest = self.counts.map.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(Arc::new(map));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut connected = self.connected.lock();
        if let Some(counts) = connected.get_mut(&self.volume) {
            counts.retain(|it| !Arc::ptr_eq(it, &self.counts));
            if counts.is_empty() {
                connected.remove(&self.volume);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_connected_as_long_as_a_connection_serves_it() {
        let connected = Connected::default();
        let volume = VolumeGuid([1; 16]);
        let machine = MachineId([3; 16]);
        let first = connected.enter(volume, Some(machine));
        let second = connected.enter(volume, Some(machine));
        second.note(7);
        drop(first);
        assert_eq!(connected.of(volume).unwrap().received(), 7);
        assert!(connected.machines().contains(&machine));
        drop(second);
        assert!(connected.of(volume).is_none() && connected.machines().is_empty());
    }

    #[test]
    fn what_a_machine_tells_is_kept_for_a_console_and_its_name_past_the_connection() {
        let report = |age_ms, bytes| SessionReport {
            name: "D:".to_owned(),
            is_paused: bytes > 500,
            age_ms,
            bytes_drained: bytes,
            ..SessionReport::default()
        };
        let connected = Connected::default();
        let volume = VolumeGuid([1; 16]);
        let connection = connected.enter(volume, None);
        let tell = |report: SessionReport| connection.tell(&report.to_bytes().unwrap());
        let told = || connected.of(volume).unwrap().told();
        tell(report(0, 0)).unwrap();
        assert!(told().is_none(), "nobody watches");
        connected.watch();
        tell(report(1000, 500)).unwrap();
        assert_eq!(told().unwrap().drained, None);
        tell(report(3000, 700)).unwrap();
        assert_eq!(told().unwrap().drained, Some(100));
        // Of a service that has begun anew.
        tell(report(100, 9)).unwrap();
        assert_eq!(told().unwrap().drained, None);
        assert!(connection.tell(b"not JSON").is_err());
        assert_eq!(told().unwrap().report, report(100, 9));
        tell(report(200, 900)).unwrap();
        drop(connection);
        let known = Known { name: "D:".to_owned(), group: None, is_paused: true };
        assert_eq!(connected.known(volume), Some(known));
    }
}
