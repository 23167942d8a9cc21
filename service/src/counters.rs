//! What a pipeline has done so far, counted where it happens and read by the reporter.
//!
//! Rule: counters never fall while the service runs; they are not reset by a new connection.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use snapless_driver_client::report::{Activity, REPORT_VERSION, Report};
use snapless_wire::frame::Acknowledge;
use snapless_wire::id::{EpochId, Seq, SessionId, VolumeGuid};

/// One pipeline's counters. Each is independent of the others, so relaxed ordering is enough.
#[derive(Debug)]
pub struct Counters {
    volume: VolumeGuid,
    server: String,
    drained: AtomicU64,
    sent: AtomicU64,
    elided: AtomicU64,
    frames: AtomicU64,
    connections: AtomicU64,
    told_older: AtomicBool,
    facts: Mutex<Facts>,
}

/// What changes together.
#[derive(Clone, Debug)]
struct Facts {
    activity: Activity,
    device: Option<String>,
    session: Option<SessionId>,
    last_error: Option<String>,
    acknowledged: Acknowledge,
}

impl Counters {
    /// Counters of a pipeline that has done nothing yet.
    pub fn new(volume: VolumeGuid, server: &str) -> Self {
        let acknowledged = Acknowledge { epoch: EpochId::new(0), seq: Seq::new(0) };
        Self {
            volume,
            server: server.to_owned(),
            drained: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            elided: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            told_older: AtomicBool::new(false),
            facts: Mutex::new(Facts {
                activity: Activity::Connecting,
                device: None,
                session: None,
                last_error: None,
                acknowledged,
            }),
        }
    }

    /// The driver handed over this many bytes.
    pub fn drained(&self, bytes: usize) {
        self.drained.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// This many payload bytes did not need to travel.
    pub fn elided(&self, bytes: usize) {
        self.elided.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A frame of this many bytes was sent.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// The pipeline serves this session of this device, over a link that the server welcomed.
    pub fn streaming(&self, device: &str, session: SessionId) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut facts = self.facts();
        if facts.session != Some(session) {
            facts.acknowledged = Acknowledge { epoch: EpochId::new(0), seq: Seq::new(0) };
        }
        facts.activity = Activity::Streaming;
        facts.device = Some(device.to_owned());
        facts.session = Some(session);
        facts.last_error = None;
    }

    /// The server acknowledged an epoch.
    pub fn acknowledged(&self, acknowledge: Acknowledge) {
        self.facts().acknowledged = acknowledge;
    }

    /// The last epoch that the server acknowledged.
    pub fn last_acknowledged(&self) -> Acknowledge {
        self.facts().acknowledged
    }

    /// The pipeline does something else now.
    pub fn turn(&self, activity: Activity) {
        self.facts().activity = activity;
    }

    /// True the first time: the driver is of an older release.
    pub fn first_time_older(&self) -> bool {
        !self.told_older.swap(true, Ordering::Relaxed)
    }

    /// An attempt failed and the next one is waited for. True if the reason is a new one.
    pub fn failed(&self, error: &str) -> bool {
        let mut facts = self.facts();
        facts.activity = Activity::BackingOff;
        let new = facts.last_error.as_deref() != Some(error);
        facts.last_error = Some(error.to_owned());
        new
    }

    /// The counters as the command line reads them.
    pub fn report(&self) -> Report {
        let facts = self.facts().clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Report {
            version: REPORT_VERSION,
            volume: self.volume.to_string(),
            device: facts.device,
            session: facts.session.map(|session| session.to_string()),
            server: self.server.clone(),
            activity: facts.activity,
            last_error: facts.last_error,
            bytes_drained: self.drained.load(Ordering::Relaxed),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            bytes_elided: self.elided.load(Ordering::Relaxed),
            frames_sent: self.frames.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            acknowledged_epoch: facts.acknowledged.epoch.get(),
            acknowledged_seq: facts.acknowledged.seq.get(),
            written_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // Every change is whole before the lock is given back.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_counted() {
        let counters = Counters::new(VolumeGuid([1; 16]), "s:1");
        counters.streaming(r"\Device\X", SessionId([2; 16]));
        counters.drained(100);
        counters.elided(30);
        counters.sent(40);
        counters.sent(50);
        counters.acknowledged(Acknowledge { epoch: EpochId::new(4), seq: Seq::new(44) });
        let report = counters.report();
        assert_eq!(report.activity, Activity::Streaming);
        assert_eq!((report.bytes_drained, report.bytes_elided), (100, 30));
        assert_eq!((report.bytes_sent, report.frames_sent, report.connections), (90, 2, 1));
        assert_eq!((report.acknowledged_epoch, report.acknowledged_seq), (4, 44));
    }

    #[test]
    fn an_error_is_new_once_and_forgotten_by_success() {
        let counters = Counters::new(VolumeGuid([1; 16]), "s:1");
        assert!(counters.failed("no route"));
        assert!(!counters.failed("no route"));
        assert!(counters.failed("refused"));
        assert_eq!(counters.report().activity, Activity::BackingOff);
        counters.streaming("x", SessionId([2; 16]));
        assert_eq!(counters.report().last_error, None);
    }

    #[test]
    fn another_session_has_nothing_acknowledged() {
        let counters = Counters::new(VolumeGuid([1; 16]), "s:1");
        counters.streaming("x", SessionId([2; 16]));
        counters.acknowledged(Acknowledge { epoch: EpochId::new(4), seq: Seq::new(44) });
        counters.streaming("x", SessionId([2; 16]));
        assert_eq!(counters.last_acknowledged().epoch.get(), 4);
        counters.streaming("x", SessionId([3; 16]));
        assert_eq!(counters.last_acknowledged().epoch.get(), 0);
    }
}
