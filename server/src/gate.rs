//! Admission: how many connections and sessions the server has at a time.
//!
//! A connection that has not said Hello yet is counted apart from the sessions, so that it can keep
//! none of them out. There are at most [`GREETINGS_PER_PEER`] of one peer and [`GREETINGS_MAX`] in
//! all: past that, the oldest of them ends in favour of the new one. A service says Hello at once
//! and is none of the oldest; a connection that only waits makes room.
//!
//! Sessions are counted by their identity, so that a service whose link broke is admitted while the
//! server still counts its earlier connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snapless_wire::id::{SessionId, VolumeGuid};

use crate::error::{Error, Result};

/// Sessions that a server serves at a time, unless it is told otherwise.
pub const SESSIONS_MAX: usize = 1024;
/// Connections of one peer that have not said Hello: an IPv4 address, or an IPv6 network of /64.
pub const GREETINGS_PER_PEER: usize = 32;
/// Connections of all peers that have not said Hello.
pub const GREETINGS_MAX: usize = 128;
/// More are refused, also while those that must end have not ended yet.
const GREETINGS_HARD_MAX: usize = 2 * GREETINGS_MAX;
/// Connections of one session: the one that serves it, and those that wait for it to leave.
const PER_SESSION_MAX: usize = 4;

/// The counts of a server.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sessions_max: usize,
    /// Protects all counts.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Oldest first.
    greetings: Vec<Waiting>,
    next: u64,
    sessions: HashMap<(VolumeGuid, SessionId), usize>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    peer: IpAddr,
    must_end: Arc<AtomicBool>,
}

/// The place of a connection that has not said Hello; dropping it gives it back.
#[derive(Debug)]
#[must_use]
pub struct Greeting {
    gate: Gate,
    number: u64,
    must_end: Arc<AtomicBool>,
}

/// The place of a session's connection; dropping it gives it back.
#[derive(Debug)]
#[must_use]
pub struct Seat {
    gate: Gate,
    key: (VolumeGuid, SessionId),
}

impl Gate {
    /// For a server of at most so many sessions.
    pub fn new(sessions_max: usize) -> Self {
        Self(Arc::new(Shared { sessions_max, counts: Mutex::default() }))
    }

    /// Takes a place for a new connection.
    ///
    /// # Errors
    /// [`Error::TooManyGreetings`] if connections come faster than others end.
    pub fn greet(&self, peer: IpAddr) -> Result<Greeting> {
        let peer = network(peer);
        let mut counts = self.lock();
        if counts.greetings.len() >= GREETINGS_HARD_MAX {
            return Err(Error::TooManyGreetings);
        }
        let alive = |it: &&Waiting| !it.must_end.load(Ordering::Relaxed);
        let of_peer = counts.greetings.iter().filter(alive).filter(|it| it.peer == peer).count();
        let in_all = counts.greetings.iter().filter(alive).count();
        let oldest = if of_peer >= GREETINGS_PER_PEER {
            counts.greetings.iter().filter(alive).find(|it| it.peer == peer)
        } else if in_all >= GREETINGS_MAX {
            counts.greetings.iter().find(alive)
        } else {
            None
        };
        if let Some(oldest) = oldest {
            // Relaxed: the flag carries no other data.
            oldest.must_end.store(true, Ordering::Relaxed);
        }
        let (number, must_end) = (counts.next, Arc::<AtomicBool>::default());
        counts.next += 1;
        counts.greetings.push(Waiting { number, peer, must_end: Arc::clone(&must_end) });
        Ok(Greeting { gate: self.clone(), number, must_end })
    }

    /// Connections that have not said Hello, and sessions.
    pub fn counts(&self) -> (usize, usize) {
        let counts = self.lock();
        (counts.greetings.len(), counts.sessions.len())
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Every change is one call: a panic leaves no half-made change.
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Greeting {
    /// True if the connection must make room for a newer one.
    pub fn must_end(&self) -> bool {
        self.must_end.load(Ordering::Relaxed)
    }

    /// True if others wait too: the connection must end without a wait of its own.
    pub fn is_crowded(&self) -> bool {
        self.gate.counts().0 >= GREETINGS_PER_PEER
    }

    /// The connection has said Hello: takes a place for its session.
    ///
    /// # Errors
    /// [`Error::Full`] if the server serves as many other sessions as it may;
    /// [`Error::SessionBusy`] if several connections of this session wait already.
    pub fn admit(self, volume: VolumeGuid, session: SessionId) -> Result<Seat> {
        let (gate, key) = (self.gate.clone(), (volume, session));
        let limit = gate.0.sessions_max;
        let mut counts = gate.lock();
        let (sessions, own) = (counts.sessions.len(), counts.sessions.get(&key).copied());
        match own {
            Some(PER_SESSION_MAX..) => return Err(Error::SessionBusy(session)),
            None if sessions >= limit => return Err(Error::Full(limit)),
            _ => _ = counts.sessions.insert(key, own.unwrap_or(0) + 1),
        }
        drop(counts);
        Ok(Seat { gate, key })
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.gate.lock().greetings.retain(|it| it.number != self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        if let Some(count) = counts.sessions.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.sessions.remove(&self.key);
            }
        }
    }
}

/// What counts as one peer: whoever has an IPv6 address has a whole network of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(peer) => IpAddr::V4(peer),
        IpAddr::V6(peer) => IpAddr::V6((u128::from(peer) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeGuid = VolumeGuid([1; 16]);

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn session(number: u8) -> SessionId {
        SessionId([number; 16])
    }

    #[test]
    fn a_connection_that_waits_makes_room_for_a_newer_one() {
        let gate = Gate::new(1);
        let idle: Vec<_> = (0..GREETINGS_PER_PEER).map(|_| gate.greet(peer(1)).unwrap()).collect();
        let other = gate.greet(peer(2)).unwrap();
        assert!(idle.iter().all(|it| !it.must_end()));
        let newer = gate.greet(peer(1)).unwrap();
        assert!(idle[0].must_end() && idle[1..].iter().all(|it| !it.must_end()));
        assert!(!newer.must_end() && !other.must_end());
        let _seat = newer.admit(VOLUME, session(1)).unwrap();
        drop(idle);
        assert_eq!(gate.counts(), (1, 1));
    }

    #[test]
    fn many_peers_share_one_limit_and_a_flood_is_refused() {
        let gate = Gate::new(1);
        let place = |number: usize| gate.greet(peer(u8::try_from(number % 256).unwrap()));
        let first: Vec<_> = (0..GREETINGS_MAX).map(|number| place(number).unwrap()).collect();
        let more: Vec<_> = (0..GREETINGS_MAX).map(|number| place(number).unwrap()).collect();
        assert!(first.iter().all(Greeting::must_end) && !more.iter().any(Greeting::must_end));
        assert!(matches!(place(0), Err(Error::TooManyGreetings)));
        drop(first);
        assert!(place(0).is_ok());
    }

    #[test]
    fn sessions_are_limited_and_one_that_comes_again_is_admitted() {
        let gate = Gate::new(2);
        let admit = |number| gate.greet(peer(1)).unwrap().admit(VOLUME, session(number));
        let seats = [admit(1).unwrap(), admit(2).unwrap()];
        let refused = admit(3).unwrap_err().to_string();
        assert!(refused.contains("2 sessions") && refused.contains("--sessions-max"), "{refused}");
        let again: Vec<_> = (1..PER_SESSION_MAX).map(|_| admit(1).unwrap()).collect();
        assert!(matches!(admit(1), Err(Error::SessionBusy(_))));
        assert_eq!(gate.counts(), (0, 2));
        drop((seats, again));
        assert_eq!(gate.counts(), (0, 0));
        assert!(admit(3).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_addresses_is_one_peer() {
        let [a, b, c] = ["2001:db8::1", "2001:db8::2:3", "2001:db8:0:1::1"];
        let of = |text: &str| network(text.parse().unwrap());
        assert!(of(a) == of(b) && of(a) != of(c));
        assert_eq!(of("::ffff:10.0.0.1"), peer(1));
    }
}
