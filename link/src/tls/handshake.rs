//! From a TCP connection to a [`TlsStream`], within a limit of time, whatever the other end does.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use snapless_trust::config::{Purpose, SERVER_NAME};
use snapless_trust::identity::Certified;
use snapless_trust::rustls::pki_types::ServerName;
use snapless_trust::rustls::server::{Accepted, AcceptedAlert, Acceptor};
use snapless_trust::rustls::{ClientConfig, ClientConnection, Connection};
use snapless_trust::server::ServerTrust;
use snapless_wire::frame::{FRAME_MAGIC, FrameHeader, FrameKind};

use crate::stream::{Stream, is_transient};

use super::error::TlsError;
use super::stream::{Incoming, TlsStream};

/// The first byte of every TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a refused connection is kept for the other end to take the reason.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// The most bytes that are taken meanwhile.
const LINGER_LEN: usize = 1 << 20;
/// For a service that sends frames without TLS.
const PLAIN: &str = "this server speaks TLS only: enrol the machine with `snapless enroll SERVER \
                     --token TOKEN`, and bring service and server to the same release";

/// What bounds a handshake.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// From its begin to its end.
    pub limit: Duration,
    /// Asked several times a second; true ends it.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// What a server has accepted.
#[derive(Debug)]
pub struct Secured {
    /// The stream.
    pub stream: TlsStream,
    /// What the other end wants.
    pub purpose: Purpose,
    /// The other end's certificate; none at enrolment.
    pub holder: Option<Certified>,
}

/// The service's end. The socket must be prepared ([`crate::stream::prepare_tcp`]).
///
/// The server may still refuse: it checks this end's certificate when this end's handshake is
/// already over. The first receive tells.
pub fn connect(
    tcp: TcpStream,
    config: Arc<ClientConfig>,
    patience: &Patience<'_>,
) -> Result<TlsStream, TlsError> {
    let name = ServerName::try_from(SERVER_NAME).map_err(|_| TlsError::OtherProtocol)?;
    let connection = ClientConnection::new(config, name)?;
    let mut handshake = Handshake::new(tcp, patience);
    let connection = handshake.finish(connection.into())?;
    Ok(TlsStream::new(handshake.tcp, connection, handshake.incoming))
}

/// The server's end. The socket must be prepared ([`crate::stream::prepare_tcp`]).
///
/// # Errors
/// Why the connection is refused; the other end was told, as far as TLS has words for it.
pub fn accept(
    tcp: TcpStream,
    trust: &ServerTrust,
    patience: &Patience<'_>,
) -> Result<Secured, TlsError> {
    let mut handshake = Handshake::new(tcp, patience);
    accept_with(&mut handshake, trust).inspect_err(|_| handshake.linger()).map(
        |(connection, purpose, holder)| {
            let stream = TlsStream::new(handshake.tcp, connection, handshake.incoming);
            Secured { stream, purpose, holder }
        },
    )
}

fn accept_with(
    handshake: &mut Handshake<'_>,
    trust: &ServerTrust,
) -> Result<(Connection, Purpose, Option<Certified>), TlsError> {
    let accepted = handshake.first_message()?;
    let purpose = accepted.client_hello().alpn().and_then(Purpose::offered);
    // A machine that offers none of our protocols gets the answer that TLS has for it.
    let config = trust.config(purpose.unwrap_or(Purpose::Link), SystemTime::now())?;
    let connection = accepted.into_connection(config).map_err(|it| refuse(&handshake.tcp, it))?;
    let connection = handshake.finish(connection.into())?;
    // TLS lets a machine go on that offers no protocol at all.
    let purpose = purpose.ok_or(TlsError::OtherProtocol)?;
    let chain = connection.peer_certificates().unwrap_or_default();
    let holder = chain.first().map(Certified::read).transpose()?;
    if holder.is_none() && purpose != Purpose::Enrol {
        return Err(TlsError::NoCertificate);
    }
    Ok((connection, purpose, holder))
}

/// A handshake under way.
struct Handshake<'a> {
    tcp: TcpStream,
    incoming: Incoming,
    begun: Instant,
    patience: &'a Patience<'a>,
}

impl<'a> Handshake<'a> {
    fn new(tcp: TcpStream, patience: &'a Patience<'a>) -> Self {
        Self { tcp, incoming: Incoming::new(), begun: Instant::now(), patience }
    }

    /// Waits for what a machine says first.
    fn first_message(&mut self) -> Result<Accepted, TlsError> {
        let mut acceptor = Acceptor::default();
        self.receive()?;
        if self.incoming.rest().first() != Some(&TLS_HANDSHAKE) {
            self.answer_plain();
            return Err(TlsError::NotTls);
        }
        loop {
            while self.incoming.hand_to(|rest| acceptor.read_tls(rest))? {
                if let Some(accepted) = acceptor.accept().map_err(|it| refuse(&self.tcp, it))? {
                    return Ok(accepted);
                }
            }
            self.receive()?;
        }
    }

    /// Goes on until both ends have their keys and this one has checked the other.
    fn finish(&mut self, mut connection: Connection) -> Result<Connection, TlsError> {
        let outcome = loop {
            self.flush(&mut connection)?;
            if !connection.is_handshaking() {
                return Ok(connection);
            }
            match self.incoming.feed(&mut connection) {
                Ok(true) => {}
                Ok(false) => self.receive()?,
                Err(error) => break error,
            }
        };
        // Tells the other end why; if it does not listen, the reason is of no use.
        drop(self.flush(&mut connection));
        Err(outcome)
    }

    /// Waits for bytes, within the limit.
    fn receive(&mut self) -> Result<(), TlsError> {
        loop {
            if (self.patience.cancelled)() {
                return Err(TlsError::Cancelled);
            }
            if self.begun.elapsed() >= self.patience.limit {
                return Err(TlsError::Slow(self.patience.limit));
            }
            match self.incoming.receive(&self.tcp) {
                Ok(()) => return Ok(()),
                Err(error) if is_transient(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(TlsError::Cut);
                }
                Err(error) => return Err(TlsError::Lost(error)),
            }
        }
    }

    fn flush(&mut self, connection: &mut Connection) -> Result<(), TlsError> {
        let mut bytes = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut bytes).map_err(TlsError::Lost)?;
        }
        self.tcp.write_all(&bytes).map_err(TlsError::Lost)
    }

    /// Tells a service that sends frames without TLS what to do; anything else gets no answer.
    fn answer_plain(&mut self) {
        let magic = FRAME_MAGIC.to_le_bytes();
        let first = self.incoming.rest();
        if first.iter().zip(&magic).any(|(is, want)| is != want) {
            return;
        }
        if let Ok(header) = FrameHeader::new(FrameKind::Error, PLAIN.as_bytes()) {
            let frame = [&header.to_bytes(), PLAIN.as_bytes()].concat();
            // If the other end does not listen, the reason is of no use.
            drop(self.tcp.write_all(&frame));
        }
    }

    /// Lets the other end take the reason: unread data would make the system reset the connection.
    fn linger(&self) {
        let (begun, mut taken) = (Instant::now(), 0);
        let mut scrap = [0; 4096];
        if self.tcp.shutdown(Shutdown::Write).is_err() {
            return;
        }
        while begun.elapsed() < LINGER_LIMIT && taken < LINGER_LEN && !(self.patience.cancelled)() {
            match Stream::receive(&self.tcp, &mut scrap) {
                Err(error) if is_transient(&error) => {}
                Ok(0) | Err(_) => return,
                Ok(count) => taken += count,
            }
        }
    }
}

/// Tells the other end why its first message was refused.
fn refuse(
    mut tcp: &TcpStream,
    (error, mut alert): (snapless_trust::rustls::Error, AcceptedAlert),
) -> TlsError {
    let mut bytes = Vec::new();
    // If the other end does not listen, the reason is of no use.
    drop(alert.write_all(&mut bytes).and_then(|()| tcp.write_all(&bytes)));
    error.into()
}
