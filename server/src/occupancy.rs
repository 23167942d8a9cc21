//! Occupancy of sessions: one connection serves a session, and the newest wins.
//!
//! A service whose link broke reconnects before the server notices the break. If the old connection
//! kept the session, the session would be blocked until keep-alive gives up. Therefore the new
//! connection asks the old one to leave and waits for it, at most [`HANDOVER_LIMIT`]. The old one
//! leaves within a fraction of a second, unless its disk hangs; then the new one is refused, and
//! the service tries again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snapless_wire::id::{SessionId, VolumeGuid};

use crate::error::{Error, Result};
use crate::stop::StopFlag;

/// How long a new connection waits for the one before it.
pub const HANDOVER_LIMIT: Duration = Duration::from_secs(10);

/// Every session that is being served.
#[derive(Clone, Default, Debug)]
pub struct Occupancy(Arc<Shared>);

#[derive(Default, Debug)]
struct Shared {
    /// Protects the map from a session to the connection that serves it.
    sessions: Mutex<HashMap<(VolumeGuid, SessionId), Cancel>>,
    left: Condvar,
}

/// The right to serve a session; dropping it gives it back.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    shared: Arc<Shared>,
    key: (VolumeGuid, SessionId),
}

/// Requests to end a connection, from outside it.
#[derive(Clone, Debug)]
pub struct Cancel {
    replaced: Arc<AtomicBool>,
    stop: StopFlag,
}

impl Occupancy {
    /// Claims a session for the connection that `cancel` reaches.
    ///
    /// # Errors
    /// [`Error::SessionBusy`] if the connection before it does not leave; [`Error::Stopped`] or
    /// [`Error::Replaced`] if this one must end.
    pub fn claim(&self, volume: VolumeGuid, session: SessionId, cancel: &Cancel) -> Result<Claim> {
        let key = (volume, session);
        let begun = Instant::now();
        let mut sessions = self.0.lock();
        while let Some(occupant) = sessions.get(&key) {
            occupant.replace();
            cancel.check()?;
            let left = HANDOVER_LIMIT.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(Error::SessionBusy(session));
            }
            let step = left.min(Duration::from_millis(250));
            let waited = self.0.left.wait_timeout(sessions, step);
            sessions = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        sessions.insert(key, cancel.clone());
        Ok(Claim { shared: Arc::clone(&self.0), key })
    }
}

impl Occupancy {
    /// Claims a session that no connection serves; `None` if one does. A connection that comes
    /// meanwhile waits.
    pub fn claim_idle(&self, volume: VolumeGuid, session: SessionId) -> Option<Claim> {
        let key = (volume, session);
        let mut sessions = self.0.lock();
        if sessions.contains_key(&key) {
            return None;
        }
        sessions.insert(key, Cancel::new(StopFlag::default()));
        Some(Claim { shared: Arc::clone(&self.0), key })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<(VolumeGuid, SessionId), Cancel>> {
        // Every change of the map is one call: a panic leaves no half-made change.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.key);
        self.shared.left.notify_all();
    }
}

impl Cancel {
    /// For a connection that ends when `stop` is set or a newer connection replaces it.
    pub fn new(stop: StopFlag) -> Self {
        Self { replaced: Arc::default(), stop }
    }

    /// # Errors
    /// [`Error::Stopped`] or [`Error::Replaced`] if the connection must end.
    pub fn check(&self) -> Result<()> {
        if self.stop.is_set() {
            return Err(Error::Stopped);
        }
        // Relaxed: the flag carries no other data; the session is handed over under the lock.
        if self.replaced.load(Ordering::Relaxed) { Err(Error::Replaced) } else { Ok(()) }
    }

    /// The request to stop that the whole server shares.
    pub fn stop(&self) -> &StopFlag {
        &self.stop
    }

    fn replace(&self) {
        // Relaxed: see `check`.
        self.replaced.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeGuid = VolumeGuid([1; 16]);
    const SESSION: SessionId = SessionId([2; 16]);

    #[test]
    fn sessions_do_not_disturb_each_other_and_a_stop_ends_the_wait() {
        let occupancy = Occupancy::default();
        let stop = StopFlag::default();
        let first = Cancel::new(stop.clone());
        let _claim = occupancy.claim(VOLUME, SESSION, &first).unwrap();
        let other = occupancy.claim(VOLUME, SessionId([3; 16]), &Cancel::new(stop.clone()));
        assert!(other.is_ok() && first.check().is_ok());
        stop.set();
        let third = Cancel::new(stop);
        assert!(matches!(occupancy.claim(VOLUME, SESSION, &third), Err(Error::Stopped)));
    }
}
