//! How the service reaches a server: over TLS with the machine's own identity, or without TLS on
//! the same machine, for tests.
//!
//! The identity is looked for anew for each connection, so that a renewed or a new one is used at
//! once.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use snapless_link::client::{Link, LinkLimits};
use snapless_link::{LinkError, TlsError, stream};
use snapless_trust::TrustError;
use snapless_trust::config::Purpose;
use snapless_trust::keystore::KeyStore;

/// How the service reaches a server.
#[derive(Clone, Debug)]
pub struct Connector {
    server: String,
    /// `None` without TLS.
    identity: Option<Place>,
}

/// Where the identity for a server is.
#[derive(Clone, Debug)]
struct Place {
    state_dir: PathBuf,
    /// It is the server that volumes go to unless they name another one.
    is_main: bool,
}

impl Connector {
    /// Over TLS to the server that volumes go to unless they name another one, with the identity
    /// in the state folder.
    pub fn tls(server: &str, state_dir: &Path) -> Self {
        Self::with_identity(server, state_dir, true)
    }

    /// Over TLS to another server, with the identity for it.
    pub fn other_tls(server: &str, state_dir: &Path) -> Self {
        Self::with_identity(server, state_dir, false)
    }

    fn with_identity(server: &str, state_dir: &Path, is_main: bool) -> Self {
        let identity = Place { state_dir: state_dir.to_owned(), is_main };
        Self { server: server.to_owned(), identity: Some(identity) }
    }

    /// Without TLS to `server`, which must be on this machine.
    pub fn insecure(server: &str) -> Self {
        Self { server: server.to_owned(), identity: None }
    }

    /// The server's address, `host:port`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// True if both reach the same server the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.server, self.identity.is_some()) == (&other.server, other.identity.is_some())
    }

    /// The machine's identity for the server; `None` without TLS.
    ///
    /// # Errors
    /// [`TrustError`]: it cannot be looked for.
    pub fn identity(&self) -> Result<Option<KeyStore>, TrustError> {
        let Some(Place { state_dir, is_main }) = &self.identity else { return Ok(None) };
        let find = if *is_main { KeyStore::for_main_server } else { KeyStore::for_other_server };
        find(state_dir, &self.server).map(Some)
    }

    /// Connects.
    ///
    /// # Errors
    /// [`LinkError::Cancelled`] soon after `cancelled` is true;
    /// [`LinkError::Untrusted`] if the machine has not enrolled or another program answers;
    /// [`LinkError::Connect`] if nothing does.
    pub fn connect(
        &self,
        limits: &LinkLimits,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Link, LinkError> {
        let Some(store) = self.identity().map_err(TlsError::from)? else {
            return Link::connect(&self.server, limits, cancelled);
        };
        let credentials = store.load().map_err(TlsError::from)?;
        let config = credentials.config(Purpose::Link).map_err(TlsError::from)?;
        Link::connect_tls(&self.server, limits, &config, cancelled)
    }
}

/// True if every address of `host:port` is this machine's loopback.
pub fn is_loopback(server: &str) -> bool {
    server.to_socket_addrs().is_ok_and(|addresses| {
        let addresses: Vec<_> = addresses.collect();
        !addresses.is_empty() && addresses.iter().all(|address| stream::is_loopback(address.ip()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_is_this_machine() {
        assert!(is_loopback("127.0.0.1:1") && is_loopback("[::1]:1"));
        assert!(!is_loopback("192.0.2.1:1") && !is_loopback("[::]:1") && !is_loopback("x"));
    }

    #[test]
    fn a_machine_that_has_not_enrolled_is_told_how_to_and_where() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |connector: &Connector| {
            connector.connect(&LinkLimits::default(), &|| false).unwrap_err().to_string()
        };
        let error = refused(&Connector::tls("127.0.0.1:1", dir.path()));
        assert!(error.contains("snapless enroll"), "{error}");
        let error = refused(&Connector::other_tls("127.0.0.1:1", dir.path()));
        assert!(error.contains("snapless enroll 127.0.0.1:1"), "{error}");
    }
}
