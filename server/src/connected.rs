//! Which volumes are connected now, how much has come of them, and which of their blocks. For the
//! console; without one it costs an addition a frame.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snapless_trust::identity::MachineId;
use snapless_wire::id::{FileTime, VolumeGuid};

use crate::stream::{Part, StreamState};
use crate::time;

/// Between two maps of a volume.
const MAP_EVERY: Duration = Duration::from_secs(1);
/// Parts of the volume in a map.
const MAP_PARTS: u64 = 1024;

/// The connections that serve sessions.
#[derive(Clone, Default, Debug)]
pub struct Connected(Arc<Shared>);

#[derive(Default, Debug)]
struct Shared {
    volumes: Mutex<HashMap<VolumeGuid, Vec<Arc<Counts>>>>,
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

/// What is known of a connection.
#[derive(Debug)]
pub struct Counts {
    /// The machine; `None` without TLS.
    pub machine: Option<MachineId>,
    received: AtomicU64,
    /// The newest map.
    map: Mutex<Option<Arc<Map>>>,
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
        let counts =
            Arc::new(Counts { machine, received: AtomicU64::new(0), map: Mutex::default() });
        self.lock().entry(volume).or_default().push(Arc::clone(&counts));
        Connection { connected: self.clone(), volume, counts }
    }

    /// The newest connection of a volume.
    pub fn of(&self, volume: VolumeGuid) -> Option<Arc<Counts>> {
        self.lock().get(&volume)?.last().cloned()
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
}

impl Connection {
    /// So many bytes have come.
    pub fn note(&self, bytes: usize) {
        // Relaxed: see `received`.
        self.counts.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Makes a map now and then, if a console shows it.
    pub fn note_blocks(&self, state: &StreamState) {
        // Relaxed: see `watch`.
        if !self.connected.0.is_watched.load(Ordering::Relaxed) {
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
}
