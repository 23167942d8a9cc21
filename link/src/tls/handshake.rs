//! From a TCP connection to a [`TlsStream`], within a limit of time, whatever the other end does.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use snapless_trust::config::Purpose;
use snapless_trust::identity::{Certified, SERVER_NAME};
use snapless_trust::rustls::ClientConfig;
use snapless_trust::rustls::pki_types::ServerName;
use snapless_trust::rustls::server::Acceptor;
use snapless_trust::server::ServerTrust;
use snapless_wire::frame::{FRAME_MAGIC, FrameHeader, FrameKind};

use crate::frames::send_all;
use crate::socket::Socket;
use crate::stream::{Stream, is_transient};

use super::engine::{self, Engine, Established, Step};
use super::error::TlsError;
use super::stream::TlsStream;

/// The first byte of every TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;
/// Bytes received at a time, and the longest first message.
const RECEIVE_LEN: usize = 16 << 10;
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

/// The service's end.
///
/// The server may still refuse: it checks this end's certificate when this end's handshake is
/// already over. The first receive tells.
pub fn connect(
    tcp: Socket,
    config: Arc<ClientConfig>,
    patience: &Patience<'_>,
) -> Result<TlsStream, TlsError> {
    let name = ServerName::try_from(SERVER_NAME).map_err(|_| TlsError::OtherProtocol)?;
    let mut connection = engine::client(&config, name)?;
    let mut handshake = Handshake::new(tcp, patience);
    handshake.finish(&mut *connection)?;
    Ok(TlsStream::new(handshake.tcp, connection.establish()?))
}

/// The server's end.
///
/// # Errors
/// Why the connection is refused; the other end was told, as far as TLS has words for it.
pub fn accept(
    tcp: Socket,
    trust: &ServerTrust,
    patience: &Patience<'_>,
) -> Result<Secured, TlsError> {
    let mut handshake = Handshake::new(tcp, patience);
    let (established, purpose, holder) =
        accept_with(&mut handshake, trust).inspect_err(|_| handshake.linger())?;
    Ok(Secured { stream: TlsStream::new(handshake.tcp, established), purpose, holder })
}

/// A connection whose handshake is over.
type Accepted = (Established, Purpose, Option<Certified>);

fn accept_with(handshake: &mut Handshake<'_>, trust: &ServerTrust) -> Result<Accepted, TlsError> {
    let purpose = handshake.purpose()?;
    // A machine that offers none of our protocols gets the answer that TLS has for it.
    let config = trust.config(purpose.unwrap_or(Purpose::Link), SystemTime::now())?;
    let mut connection = engine::server(&config)?;
    handshake.finish(&mut *connection)?;
    // TLS lets a machine go on that offers no protocol at all.
    let purpose = purpose.ok_or(TlsError::OtherProtocol)?;
    let holder = connection.peer_certificate().map(|shown| Certified::read(&shown)).transpose()?;
    if holder.is_none() && purpose != Purpose::Enrol {
        return Err(TlsError::NoCertificate);
    }
    Ok((connection.establish()?, purpose, holder))
}

/// A handshake under way.
struct Handshake<'a> {
    tcp: Socket,
    /// Received and not given to the connection yet: the first `len` bytes.
    received: Vec<u8>,
    len: usize,
    begun: Instant,
    patience: &'a Patience<'a>,
}

impl<'a> Handshake<'a> {
    fn new(tcp: Socket, patience: &'a Patience<'a>) -> Self {
        Self { tcp, received: vec![0; RECEIVE_LEN], len: 0, begun: Instant::now(), patience }
    }

    /// Waits for what a machine says first, and looks what it wants.
    fn purpose(&mut self) -> Result<Option<Purpose>, TlsError> {
        let mut acceptor = Acceptor::default();
        self.receive()?;
        if self.received().first() != Some(&TLS_HANDSHAKE) {
            self.answer_plain();
            return Err(TlsError::NotTls);
        }
        let mut looked = 0;
        loop {
            let mut rest = &self.received()[looked..];
            while !rest.is_empty() {
                looked += acceptor.read_tls(&mut rest).map_err(TlsError::Lost)?;
                match acceptor.accept() {
                    Ok(Some(it)) => return Ok(it.client_hello().alpn().and_then(Purpose::offered)),
                    Ok(None) => {}
                    // The connection itself will say the same, and answer.
                    Err(_) => return Ok(None),
                }
            }
            self.receive()?;
        }
    }

    /// Goes on until both ends have their keys and this one has checked the other.
    fn finish(&mut self, connection: &mut dyn Engine) -> Result<(), TlsError> {
        loop {
            connection.feed(self.received())?;
            self.len = 0;
            let step = connection.advance();
            let sent = send_all(&self.tcp, connection.unsent().bytes()).map_err(TlsError::Lost);
            connection.unsent().clear();
            match step {
                Ok(Step::Handshaking) => sent.and_then(|()| self.receive())?,
                Ok(Step::Ended) => return Err(TlsError::Cut),
                Ok(Step::Over) => return sent,
                // The other end was told why, if it listens.
                Err(error) => return Err(error),
            }
        }
    }

    fn received(&self) -> &[u8] {
        &self.received[..self.len]
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
            let room = &mut self.received[self.len..];
            if room.is_empty() {
                return Err(TlsError::Endless);
            }
            match self.tcp.receive(room) {
                Ok(0) => return Err(TlsError::Cut),
                Ok(count) => {
                    self.len += count;
                    return Ok(());
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(TlsError::Lost(error)),
            }
        }
    }

    /// Tells a service that sends frames without TLS what to do; anything else gets no answer.
    fn answer_plain(&mut self) {
        let magic = FRAME_MAGIC.to_le_bytes();
        let first = self.received();
        if first.iter().zip(&magic).any(|(is, want)| is != want) {
            return;
        }
        if let Ok(header) = FrameHeader::new(FrameKind::Error, PLAIN.as_bytes()) {
            let frame = [&header.to_bytes(), PLAIN.as_bytes()].concat();
            // If the other end does not listen, the reason is of no use.
            drop(send_all(&self.tcp, &frame));
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
            match self.tcp.receive(&mut scrap) {
                Err(error) if is_transient(&error) => {}
                Ok(0) | Err(_) => return,
                Ok(count) => taken += count,
            }
        }
    }
}
