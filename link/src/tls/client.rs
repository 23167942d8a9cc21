//! The service's end of a link over TLS.

use std::sync::Arc;
use std::time::Duration;

use snapless_trust::rustls::ClientConfig;

use crate::client::{Link, LinkLimits, reach};
use crate::error::LinkError;
use crate::socket::Socket;

use super::handshake::{self, Patience};
use super::stream::TlsStream;

/// How long a handshake may take.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

impl Link {
    /// Connects to `address`, which is `host:port`, over TLS; every address of the host is tried.
    ///
    /// # Errors
    /// [`LinkError::Connect`], or [`LinkError::Untrusted`] if another program answers there. If the
    /// server refuses this machine, the first receive says so.
    pub fn connect_tls(
        address: &str,
        limits: &LinkLimits,
        config: &Arc<ClientConfig>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, LinkError> {
        let tcp = reach(address, limits, cancelled)?;
        Self::secure(tcp, config, cancelled)
    }

    /// A link over TLS on a connected socket.
    ///
    /// # Errors
    /// As [`Self::connect_tls`].
    pub fn secure(
        tcp: Socket,
        config: &Arc<ClientConfig>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, LinkError> {
        Ok(Self::over(Arc::new(secure(tcp, config, cancelled)?)))
    }
}

pub(super) fn secure(
    tcp: Socket,
    config: &Arc<ClientConfig>,
    cancelled: &dyn Fn() -> bool,
) -> Result<TlsStream, LinkError> {
    let patience = Patience { limit: HANDSHAKE_LIMIT, cancelled };
    Ok(handshake::connect(tcp, Arc::clone(config), &patience)?)
}
