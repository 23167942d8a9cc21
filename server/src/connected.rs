//! Which volumes are connected now, how much has come of them, which of their blocks, and what
//! their machines tell: for the console, and to call volumes to a meeting. Without a console no map
//! is made, and of what a machine tells only its names are kept.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snapless_link::meeting::Invitation;
use snapless_link::report::SessionReport;
use snapless_link::server::Speaker;
use snapless_trust::identity::{Identity, MachineId};
use snapless_wire::frame::FrameKind;
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
    /// Its name, for people.
    pub machine_name: Option<String>,
    /// Sends to its service.
    speaker: Speaker,
    /// The service takes Meeting frames.
    meets: AtomicBool,
    received: AtomicU64,
    /// The newest map.
    map: Mutex<Option<Arc<Map>>>,
    /// The newest report.
    told: Mutex<Option<Arc<Told>>>,
}

/// Why a volume was not called to a meeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotCalled {
    /// No connection serves it, or it has just ended.
    Away,
    /// Its service has not told that it takes Meeting frames.
    Older,
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
    pub fn enter(
        &self,
        volume: VolumeGuid,
        machine: Option<&Identity>,
        speaker: Speaker,
    ) -> Connection {
        let counts = Arc::new(Counts {
            machine: machine.map(|it| it.machine),
            machine_name: machine.map(|it| it.name.clone()),
            speaker,
            meets: AtomicBool::new(false),
            received: AtomicU64::new(0),
            map: Mutex::default(),
            told: Mutex::default(),
        });
        self.lock().entry(volume).or_default().push(Arc::clone(&counts));
        Connection { connected: self.clone(), volume, counts }
    }

    /// The newest connection of a volume.
    pub fn of(&self, volume: VolumeGuid) -> Option<Arc<Counts>> {
        self.lock().get(&volume)?.last().cloned()
    }

    /// Calls a volume to a meeting.
    ///
    /// # Errors
    /// Why it was not called.
    pub fn call(&self, volume: VolumeGuid, invitation: &Invitation) -> Result<(), NotCalled> {
        let counts = self.of(volume).ok_or(NotCalled::Away)?;
        // Relaxed: a flag alone.
        if !counts.meets.load(Ordering::Relaxed) {
            return Err(NotCalled::Older);
        }
        let sent = counts.speaker.send(FrameKind::Meeting, &invitation.to_bytes());
        sent.map_err(|_| NotCalled::Away)
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

    /// Takes a report: its names, and all of it if a console shows it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn tell(&self, payload: &[u8]) -> Result<(), String> {
        let report = SessionReport::read(payload)?;
        let SessionReport { name, group, is_paused, meets, .. } = &report;
        // Relaxed: see `call`.
        self.counts.meets.store(*meets && !is_paused, Ordering::Relaxed);
        let known = Known { name: name.clone(), group: group.clone(), is_paused: *is_paused };
        self.connected.known_volumes().insert(self.volume, known);
        if !self.connected.is_watched() {
            return Ok(());
        }
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
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use snapless_link::server::ServerLink;
    use snapless_trust::identity::Role;
    use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader};

    use super::*;

    /// Sends to a socket, which hears it.
    fn speaker() -> (Speaker, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, peer) = listener.accept().unwrap();
        (ServerLink::accept(near, peer).unwrap().speaker(), far)
    }

    #[test]
    fn a_volume_is_called_once_its_service_has_told_that_it_takes_part() {
        let connected = Connected::default();
        let volume = VolumeGuid([1; 16]);
        let invitation = Invitation { meeting: 7, group: "sql".to_owned() };
        let call = || connected.call(volume, &invitation);
        assert_eq!(call(), Err(NotCalled::Away));
        let (speaker, mut far) = speaker();
        let connection = connected.enter(volume, None, speaker);
        assert_eq!(call(), Err(NotCalled::Older));
        let tell = |is_paused| {
            let report = SessionReport { meets: true, is_paused, ..SessionReport::default() };
            connection.tell(&report.to_bytes().unwrap()).unwrap();
        };
        tell(false);
        assert_eq!(call(), Ok(()));
        let mut header = [0; FRAME_HEADER_LEN];
        far.read_exact(&mut header).unwrap();
        assert_eq!(FrameHeader::read(&header).unwrap().kind(), FrameKind::Meeting);
        tell(true);
        assert_eq!(call(), Err(NotCalled::Older));
        drop(connection);
        assert_eq!(call(), Err(NotCalled::Away));
    }

    #[test]
    fn a_volume_is_connected_as_long_as_a_connection_serves_it() {
        let connected = Connected::default();
        let volume = VolumeGuid([1; 16]);
        let (speaker, _far) = speaker();
        let machine = MachineId([3; 16]);
        let identity = Identity { machine, role: Role::Client, name: "web".to_owned() };
        let first = connected.enter(volume, Some(&identity), speaker.clone());
        let second = connected.enter(volume, Some(&identity), speaker);
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
        let (speaker, _far) = speaker();
        let connection = connected.enter(volume, None, speaker);
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
