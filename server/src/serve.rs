//! The listening server: accepts connections, each on a thread of its own, up to the limits of
//! [`crate::gate`].
//!
//! A session's connection takes two threads, a third if its service compares, the memory of its
//! [`crate::backlog`], and its block sets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, Scope};
use std::time::Duration;

use log::{info, warn};

use crate::connected::Connected;
use crate::connection;
use crate::error::{Error, Result};
use crate::floor::{Floor, MinFree};
use crate::format::segment::SEGMENT_LIMIT_BYTES;
use crate::gate::{Gate, SESSIONS_MAX};
use crate::host::{Host, KEEP_ALIVE_INTERVAL};
use crate::indexer::Indexer;
use crate::meetings::{self, Meetings};
use crate::occupancy::{Cancel, Occupancy};
use crate::openings::Openings;
use crate::repository::WritableRepository;
use crate::retention::folds::Folds;
use crate::retention::keeper::{InServer, Keeper};
use crate::security::Security;
use crate::stop::StopFlag;

/// [`Limits::map_bytes`]. A million writes of 4 KiB, 17 minutes at 1,000 a second: so many records
/// lie at most between a point and the map before it, while that map is no longer than this.
const MAP_BYTES: u64 = 4 << 30;
/// [`Limits::retention_every`].
const RETENTION_INTERVAL: Duration = Duration::from_mins(15);
/// Pause after the system failed to accept a connection (out of handles).
const ACCEPT_REST: Duration = Duration::from_millis(200);
/// Limit of the stopper's own connection.
const WAKE_LIMIT: Duration = Duration::from_secs(1);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    host: Host,
    gate: Gate,
    keeper: Keeper,
    stop: StopFlag,
}

/// What a server may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Sessions at a time.
    pub sessions: usize,
    /// Bytes past which a segment does not grow.
    pub segment_bytes: u64,
    /// A map of a volume is kept after so many bytes of its stream, or as many as the last map has
    /// if that is more.
    pub map_bytes: u64,
    /// Time between two signs of life for a service that waits for storage.
    pub keep_alive: Duration,
    /// Time between two looks whether sessions are to be folded.
    pub retention_every: Duration,
    /// How much space stays free.
    pub min_free: MinFree,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: SESSIONS_MAX,
            segment_bytes: SEGMENT_LIMIT_BYTES,
            map_bytes: MAP_BYTES,
            keep_alive: KEEP_ALIVE_INTERVAL,
            retention_every: RETENTION_INTERVAL,
            min_free: MinFree::default(),
        }
    }
}

/// Stops a server from another thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: StopFlag,
    wake: SocketAddr,
}

impl Server {
    /// Opens the repository for writing and listens, without TLS.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::Locked`], [`Error::InsecureAddress`], or what is wrong with the
    /// repository.
    pub fn bind(address: SocketAddr, repository: &Path) -> Result<Self> {
        Self::bind_with(address, repository, Limits::default())
    }

    /// [`Self::bind`] with other limits.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_with(address: SocketAddr, root: &Path, limits: Limits) -> Result<Self> {
        Self::bind_secured(address, root, limits, Security::insecure(address)?)
    }

    /// [`Self::bind_with`] for those who may speak.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_secured(
        address: SocketAddr,
        root: &Path,
        limits: Limits,
        security: Security,
    ) -> Result<Self> {
        Self::bind_to(address, WritableRepository::open(root)?, limits, security)
    }

    /// [`Self::bind_secured`] for a repository that is open for writing.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn bind_to(
        address: SocketAddr,
        repository: WritableRepository,
        limits: Limits,
        security: Security,
    ) -> Result<Self> {
        let repository = Arc::new(repository);
        let failed = |source| Error::Listen { address: address.to_string(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let occupancy = Occupancy::default();
        let Limits {
            sessions, segment_bytes: segment_limit, map_bytes, keep_alive, min_free, ..
        } = limits;
        let floor = Floor::new(repository.repository().store().clone(), min_free);
        floor.publish();
        let indexer = Indexer::new(map_bytes, floor.clone());
        let host = Host {
            repository,
            connected: Connected::default(),
            meetings: Meetings::new(meetings::Limits::default()),
            occupancy,
            segment_limit,
            keep_alive,
            security,
            floor,
            indexer,
            openings: Openings::default(),
            restores: Openings::default(),
        };
        let gate = Gate::new(sessions);
        let keeper = Keeper::new(limits.retention_every);
        Ok(Self { listener, address, host, gate, keeper, stop: StopFlag::default() })
    }

    /// The address that it listens on; if port 0 was asked for, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the console sees of it.
    #[cfg(feature = "console")]
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// A handle that stops the server.
    pub fn stopper(&self) -> Stopper {
        Stopper { stop: self.stop.clone(), wake: reachable(self.address) }
    }

    /// Serves until stopped; returns when the last connection has ended.
    pub fn run(self) {
        thread::scope(|scope| {
            let indexing = thread::Builder::new().name("indexer".to_owned());
            let indexer = || self.host.indexer.run(&self.stop);
            if let Err(error) = indexing.spawn_scoped(scope, indexer) {
                warn!("no index is made: cannot start a thread: {error}");
            }
            let retaining = thread::Builder::new().name("retention".to_owned());
            if let Err(error) = retaining.spawn_scoped(scope, || self.retain()) {
                warn!("nothing is folded: cannot start a thread: {error}");
            }
            let mut connections = Vec::new();
            while !self.stop.is_set() {
                let accepted = self.listener.accept();
                if self.stop.is_set() {
                    break;
                }
                connections
                    .retain(|thread: &thread::ScopedJoinHandle<'_, ()>| !thread.is_finished());
                match accepted {
                    Ok((stream, peer)) => {
                        connections.extend(self.begin(scope, stream, peer));
                    }
                    Err(error) => {
                        warn!("cannot accept a connection: {error}");
                        thread::sleep(ACCEPT_REST);
                    }
                }
            }
            self.host.indexer.close();
            self.keeper.close();
            info!("stopping: {} connection(s) to close", connections.len());
        });
    }

    /// Does what the retention policy says.
    fn retain(&self) {
        let Host { repository, indexer, occupancy, .. } = &self.host;
        let others = InServer { indexer, occupancy };
        self.keeper.run(repository.repository(), &Folds, &others, &self.stop);
    }

    /// Starts a connection's thread, or refuses the connection.
    fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<thread::ScopedJoinHandle<'scope, ()>> {
        let cancel = Cancel::new(self.stop.clone());
        let greeting = match self.gate.greet(peer.ip()) {
            Ok(greeting) => greeting,
            Err(error) => {
                warn!("{peer}: refused: {error}");
                self.host.security.turn_away(stream, peer, &error.to_string());
                return None;
            }
        };
        let named = thread::Builder::new().name(format!("connection {peer}"));
        let host = &self.host;
        match named.spawn_scoped(scope, move || {
            connection::serve(host, (stream, peer), greeting, &cancel);
        }) {
            Ok(handle) => Some(handle),
            Err(error) => {
                warn!("{peer}: refused: cannot start a thread: {error}");
                None
            }
        }
    }
}

impl Stopper {
    /// Asks the server to stop; it does within a fraction of a second.
    pub fn stop(&self) {
        self.stop.set();
        // Wakes the accepting thread, which then sees the flag. If the connection fails, the thread
        // is awake already.
        drop(TcpStream::connect_timeout(&self.wake, WAKE_LIMIT));
    }
}

/// An address at which a listener can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stopper_reaches_a_server_that_listens_everywhere() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:7"), "127.0.0.1:7");
        assert_eq!(reach("[::]:7"), "[::1]:7");
        assert_eq!(reach("10.0.0.1:7"), "10.0.0.1:7");
    }
}
