//! Counters of a pipeline, updated by its threads and read by the reporter.
//!
//! Rule: while the service runs a counter never decreases; a new connection does not reset it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::drained::Drained;
use crate::report::{Activity, REPORT_VERSION, Report};
use crate::verification::{Verification, unix_ms};
use snapless_types::{EpochId, Seq};
use snapless_wire::frame::Acknowledge;
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::verified::Verified;

/// One pipeline's counters.
///
/// Relaxed ordering is enough: no reader derives one counter from another.
#[derive(Debug)]
pub struct Counters {
    volume: VolumeGuid,
    server: String,
    begun: Instant,
    drained: AtomicU64,
    sent: AtomicU64,
    elided: AtomicU64,
    unchanged: AtomicU64,
    compressed: AtomicU64,
    frames: AtomicU64,
    connections: AtomicU64,
    older_driver_reported: AtomicBool,
    stream: Drained,
    facts: Mutex<Facts>,
}

/// State that changes together.
#[derive(Clone, Debug)]
struct Facts {
    activity: Activity,
    device: Option<String>,
    session: Option<SessionId>,
    /// The consistency group of the volume, by the configuration that is in force.
    group: Option<String>,
    last_error: Option<String>,
    acknowledged: Acknowledge,
    /// The last record that verifies the copy, of those that were drained.
    checked: Seq,
    verification: Option<Verification>,
}

impl Counters {
    /// All zero.
    pub fn new(volume: VolumeGuid, server: &str) -> Self {
        let acknowledged = Acknowledge::new(EpochId::new(0), Seq::new(0));
        Self {
            volume,
            server: server.to_owned(),
            begun: Instant::now(),
            drained: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            elided: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            compressed: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            older_driver_reported: AtomicBool::new(false),
            stream: Drained::default(),
            facts: Mutex::new(Facts {
                activity: Activity::Connecting,
                device: None,
                session: None,
                group: None,
                last_error: None,
                acknowledged,
                checked: Seq::new(0),
                verification: None,
            }),
        }
    }

    /// How long they have been counting.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Up to where the stream has been drained.
    pub fn stream(&self) -> &Drained {
        &self.stream
    }

    /// Counts bytes drained from the driver.
    pub fn drained(&self, bytes: usize) {
        self.drained.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts payload bytes of zeros, which are not sent.
    pub fn elided(&self, bytes: usize) {
        self.elided.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts payload bytes that the server has already, which are not sent.
    pub fn unchanged(&self, bytes: usize) {
        self.unchanged.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that compression has saved.
    pub fn compressed(&self, bytes: usize) {
        self.compressed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a frame of so many bytes.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the server welcomed the session and the pipeline streams.
    pub fn streaming(&self, device: &str, session: SessionId) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut facts = self.facts();
        if facts.session != Some(session) {
            facts.acknowledged = Acknowledge::new(EpochId::new(0), Seq::new(0));
            facts.checked = Seq::new(0);
            facts.verification = None;
        }
        facts.activity = Activity::Streaming;
        facts.device = Some(device.to_owned());
        facts.session = Some(session);
        facts.last_error = None;
    }

    /// Forgets what the server acknowledged: a session that is verified goes on behind less.
    pub fn forget_acknowledged(&self) {
        self.facts().acknowledged = Acknowledge::new(EpochId::new(0), Seq::new(0));
    }

    /// Notes an acknowledgement of the server.
    pub fn acknowledged(&self, acknowledge: Acknowledge) {
        self.facts().acknowledged = acknowledge;
    }

    /// The last epoch that the server acknowledged.
    pub fn last_acknowledged(&self) -> Acknowledge {
        self.facts().acknowledged
    }

    /// Notes a record that verifies the copy.
    pub fn checked(&self, seq: Seq) {
        self.facts().checked = seq;
    }

    /// Notes what the server says of the copy; returns it if it is trouble that is new.
    pub fn verified(&self, verified: &Verified) -> Option<String> {
        let now = Verification::of(verified);
        let mut facts = self.facts();
        let was_told = facts.verification.as_ref().is_some_and(|it| it.trouble().is_some());
        let trouble = now.trouble().filter(|_| !was_told);
        facts.verification = Some(now);
        trouble
    }

    /// Notes what the pipeline does now.
    pub fn set_activity(&self, activity: Activity) {
        self.facts().activity = activity;
    }

    /// Notes the volume's consistency group.
    pub fn set_group(&self, group: Option<String>) {
        self.facts().group = group;
    }

    /// The volume's consistency group.
    pub fn group(&self) -> Option<String> {
        self.facts().group.clone()
    }

    /// True at the first call: an older driver is reported once.
    pub fn report_older_driver(&self) -> bool {
        !self.older_driver_reported.swap(true, Ordering::Relaxed)
    }

    /// Notes a failed attempt; true if the error differs from the last one.
    pub fn failed(&self, error: &str) -> bool {
        let mut facts = self.facts();
        facts.activity = Activity::BackingOff;
        let new = facts.last_error.as_deref() != Some(error);
        facts.last_error = Some(error.to_owned());
        new
    }

    /// The report for `snapless status`.
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
            bytes_unchanged: self.unchanged.load(Ordering::Relaxed),
            bytes_compressed: self.compressed.load(Ordering::Relaxed),
            frames_sent: self.frames.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            acknowledged_epoch: facts.acknowledged.epoch().get(),
            acknowledged_seq: facts.acknowledged.seq().get(),
            checked_seq: facts.checked.get(),
            verification: facts.verification,
            latest_point_unix_ms: facts.acknowledged.latest().and_then(unix_ms),
            written_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // A panic while the lock is held leaves no half-made change.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_new_once_and_cleared_by_a_success() {
        let counters = Counters::new(VolumeGuid([1; 16]), "s:1");
        assert!(counters.failed("no route"));
        assert!(!counters.failed("no route"));
        assert!(counters.failed("refused"));
        assert_eq!(counters.report().activity, Activity::BackingOff);
        counters.streaming("x", SessionId([2; 16]));
        assert_eq!(counters.report().last_error, None);
    }

    #[test]
    fn a_copy_that_differs_is_trouble_once_in_a_verification() {
        let counters = Counters::new(VolumeGuid([1; 16]), "s:1");
        counters.streaming("x", SessionId([2; 16]));
        let verified = |differing| Verified { differing, ..Verified::default() };
        let told = [0, 512, 1024, 0, 512].map(|it| counters.verified(&verified(it)).is_some());
        assert_eq!(told, [false, true, false, false, true]);
        assert_eq!(counters.report().verification.unwrap().differing_bytes, 512);
        counters.streaming("x", SessionId([3; 16]));
        assert_eq!(counters.report().verification, None);
    }

    #[test]
    fn a_new_session_starts_with_nothing_acknowledged() {
        let counters = Counters::new(VolumeGuid([1; 16]), "s:1");
        counters.streaming("x", SessionId([2; 16]));
        counters.acknowledged(Acknowledge::new(EpochId::new(4), Seq::new(44)));
        counters.streaming("x", SessionId([2; 16]));
        assert_eq!(counters.last_acknowledged().epoch().get(), 4);
        counters.streaming("x", SessionId([3; 16]));
        assert_eq!(counters.last_acknowledged().epoch().get(), 0);
    }
}
