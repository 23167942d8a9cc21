//! What is stored of each volume, looked at now and then by a thread of its own, and the rates of
//! connections. The console asks it once a second and waits for no disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use snapless_trust::identity::MachineId;
use snapless_trust::machines::Machine;
use snapless_trust::server::ServerTrust;
use snapless_wire::id::VolumeGuid;

use crate::connected::Connected;
use crate::error::{Error, Result};
use crate::list::{self, list_volume};
use crate::repository::Repository;
use crate::stop::StopFlag;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// The longest time between two looks at a volume that is connected, and at one that is not.
const CONNECTED_EVERY: Duration = Duration::from_secs(15);
const OTHERS_EVERY: Duration = Duration::from_mins(2);
/// So many volumes more, and each is looked at a second later.
const VOLUMES_A_SECOND: u32 = 20;
/// A round rests after so long: other work comes first.
const ROUND_LIMIT: Duration = Duration::from_millis(400);
/// Between two looks at machines and bindings.
const MACHINES_EVERY: Duration = Duration::from_secs(10);

/// The thread that looks, and what it has seen.
#[derive(Debug)]
pub(super) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    stop: StopFlag,
    thread: Option<JoinHandle<()>>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) volumes: BTreeMap<VolumeGuid, Looked>,
    pub(super) rates: HashMap<VolumeGuid, Rate>,
    pub(super) machines: Vec<(Machine, bool)>,
    pub(super) owners: HashMap<VolumeGuid, MachineId>,
}

/// A volume, and when it was looked at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) listed: list::Volume,
    at: Instant,
    was_connected: bool,
}

/// What a connection has brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    bytes: u64,
    at: Instant,
    /// Bytes a second.
    pub(super) per_second: u64,
}

struct Looking {
    repository: Repository,
    connected: Connected,
    trust: Arc<ServerTrust>,
    seen: Arc<Mutex<Seen>>,
    stop: StopFlag,
}

impl Watcher {
    /// Starts to look.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub(super) fn start(
        repository: Repository,
        connected: Connected,
        trust: Arc<ServerTrust>,
    ) -> Result<Self> {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), StopFlag::default());
        let looking =
            Looking { repository, connected, trust, seen: Arc::clone(&seen), stop: stop.clone() };
        let thread = thread::Builder::new().name("console watch".to_owned());
        let thread = thread.spawn(move || looking.run()).map_err(Error::Thread)?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // Parts are replaced one by one; the next round mends what a panic has left.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Looking {
    fn run(&self) {
        let mut machines_at: Option<Instant> = None;
        loop {
            if machines_at.is_none_or(|at| at.elapsed() >= MACHINES_EVERY) {
                machines_at = Some(Instant::now());
                self.look_at_machines();
            }
            if let Err(error) = self.round()
                && !matches!(error, Error::Stopped)
            {
                log::warn!("console: the volumes cannot be listed: {error}");
            }
            if self.stop.wait(ROUND) {
                return;
            }
        }
    }

    fn look_at_machines(&self) {
        match self.trust.machines() {
            Ok(machines) => lock(&self.seen).machines = machines,
            Err(error) => log::warn!("console: the machines are not known: {error}"),
        }
        match self.trust.volume_owners() {
            Ok(owners) => {
                let owners = owners.into_iter().map(|(name, owner)| (VolumeGuid(name), owner));
                lock(&self.seen).owners = owners.collect();
            }
            Err(error) => log::warn!("console: the volumes' machines are not known: {error}"),
        }
    }

    fn round(&self) -> Result<()> {
        let begun = Instant::now();
        let volumes = self.repository.volumes()?;
        let extra = u32::try_from(volumes.len()).unwrap_or(u32::MAX) / VOLUMES_A_SECOND;
        let extra = Duration::from_secs(extra.into());
        {
            let mut seen = lock(&self.seen);
            seen.volumes.retain(|volume, _| volumes.contains(volume));
            seen.note_rates(&volumes, &self.connected, begun);
        }
        let mut due: Vec<(Option<Instant>, VolumeGuid)> = Vec::new();
        {
            let seen = lock(&self.seen);
            for volume in volumes {
                let is_connected = self.connected.of(volume).is_some();
                let every = if is_connected {
                    (ROUND + extra).min(CONNECTED_EVERY)
                } else {
                    (10 * ROUND + extra).min(OTHERS_EVERY)
                };
                let looked = seen.volumes.get(&volume);
                let is_due = looked.is_none_or(|looked| {
                    looked.was_connected != is_connected || looked.at.elapsed() >= every
                });
                if is_due {
                    due.push((looked.map(|looked| looked.at), volume));
                }
            }
        }
        // Those that were never looked at first, then those that wait longest.
        due.sort_unstable();
        for (_, volume) in due {
            let was_connected = self.connected.of(volume).is_some();
            let at = Instant::now();
            match list_volume(&self.repository, volume, &self.stop) {
                Ok(listed) => {
                    let looked = Looked { listed, at, was_connected };
                    lock(&self.seen).volumes.insert(volume, looked);
                }
                Err(Error::Stopped) => return Err(Error::Stopped),
                Err(error) => log::warn!("console: volume {volume} cannot be listed: {error}"),
            }
            if begun.elapsed() >= ROUND_LIMIT {
                break;
            }
        }
        Ok(())
    }
}

impl Seen {
    fn note_rates(&mut self, volumes: &[VolumeGuid], connected: &Connected, now: Instant) {
        self.rates.retain(|volume, _| connected.of(*volume).is_some());
        for volume in volumes {
            let Some(counts) = connected.of(*volume) else { continue };
            let bytes = counts.received();
            let before = self.rates.get(volume).copied();
            let per_second = before.map_or(0, |before| {
                let millis = now.duration_since(before.at).as_millis().max(1);
                let new = u128::from(bytes.saturating_sub(before.bytes));
                u64::try_from(new * 1000 / millis).unwrap_or(u64::MAX)
            });
            self.rates.insert(*volume, Rate { bytes, at: now, per_second });
        }
    }
}
