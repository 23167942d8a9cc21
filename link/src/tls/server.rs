//! The server's end of a link over TLS.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use snapless_trust::config::Purpose;
use snapless_trust::identity::Certified;
use snapless_trust::server::ServerTrust;

use crate::error::LinkError;
use crate::server::{HELLO_LIMIT, ServerLink, prepare};

use super::enrol;
use super::handshake::{self, Patience, Secured};

/// What became of an accepted connection.
#[derive(Debug)]
pub enum Arrival {
    /// A machine wants to send records.
    Link {
        /// The link.
        link: ServerLink,
        /// The machine's certificate.
        holder: Certified,
    },
    /// A machine asked for a certificate; it was answered and the connection is over.
    Answered,
}

impl ServerLink {
    /// Takes an accepted connection through its handshake, which ends within [`HELLO_LIMIT`] or
    /// soon after `cancelled` is true. Answers a machine that asks for a certificate.
    ///
    /// # Errors
    /// [`LinkError::Untrusted`] says why the connection was refused; the other end was told.
    pub fn accept_tls(
        stream: TcpStream,
        peer: SocketAddr,
        trust: &ServerTrust,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Arrival, LinkError> {
        let socket = prepare(stream)?;
        let patience = Patience { limit: HELLO_LIMIT, cancelled };
        match handshake::accept(socket, trust, &patience)? {
            Secured { stream, purpose: Purpose::Link, holder: Some(holder) } => {
                Ok(Arrival::Link { link: Self::over(Arc::new(stream), peer), holder })
            }
            secured => enrol::answer(secured, peer, trust, cancelled).map(|()| Arrival::Answered),
        }
    }
}
