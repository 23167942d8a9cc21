//! How the service reaches the server: over TLS with the machine's own identity, or without TLS on
//! the same machine, for tests.
//!
//! The identity is read anew for each connection, so that a renewed or a new one is used at once.

use std::net::ToSocketAddrs;
use std::path::Path;

use snapless_link::client::{Link, LinkLimits};
use snapless_link::{LinkError, TlsError, stream};
use snapless_trust::config::Purpose;
use snapless_trust::keystore::KeyStore;

/// How the service reaches the server.
#[derive(Clone, Debug)]
pub struct Connector {
    server: String,
    /// `None` without TLS.
    identity: Option<KeyStore>,
}

impl Connector {
    /// Over TLS to `server`, with the identity in the state folder.
    pub fn tls(server: &str, state_dir: &Path) -> Self {
        Self { server: server.to_owned(), identity: Some(KeyStore::new(state_dir)) }
    }

    /// Without TLS to `server`, which must be on this machine.
    pub fn insecure(server: &str) -> Self {
        Self { server: server.to_owned(), identity: None }
    }

    /// The server's address, `host:port`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The machine's identity; `None` without TLS.
    pub fn identity(&self) -> Option<&KeyStore> {
        self.identity.as_ref()
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
        let Some(store) = &self.identity else {
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
    fn a_machine_that_has_not_enrolled_is_told_how_to() {
        let dir = tempfile::tempdir().unwrap();
        let connector = Connector::tls("127.0.0.1:1", dir.path());
        let error = connector.connect(&LinkLimits::default(), &|| false).unwrap_err();
        assert!(error.to_string().contains("snapless enroll"), "{error}");
    }
}
