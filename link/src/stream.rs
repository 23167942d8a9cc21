//! The byte stream that a link runs over: TCP here, TLS over it in [`crate::tls`].
//!
//! One thread sends, one receives, and a third may end both; all three share the stream by
//! reference. An implementation that needs a lock or a thread of its own for that, as TLS does,
//! hides it behind the trait.

use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The longest wait of one [`Stream::receive`]. Within this time a receiver sees that it must stop.
pub const RECEIVE_STEP: Duration = Duration::from_millis(200);

/// A connected byte stream in both directions.
pub trait Stream: Debug + Send + Sync {
    /// Sends some of `bytes`; returns how many.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Receives some bytes; returns how many, 0 at the stream's end.
    ///
    /// # Errors
    /// One for which [`is_transient`] is true if nothing came within [`RECEIVE_STEP`]: no byte is
    /// lost, and the caller may try again. After any other error the stream is of no further use.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Ends one direction or both. What waits in [`Self::send`] or [`Self::receive`] returns soon.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self;
        stream.write(bytes)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // On Windows, a read that times out leaves the socket in an undefined state. A peek takes
        // nothing, and after it the read does not wait.
        self.peek(&mut [0])?;
        let mut stream = self;
        stream.read(buffer)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Self::shutdown(self, how)
    }
}

/// True if a wait ended for no fault of the stream: its time is over, or a signal came.
pub fn is_transient(error: &io::Error) -> bool {
    // Unix reports a timeout as the first kind, Windows as the second.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// True if only this machine reaches the address.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// How a TCP connection finds out that its other end is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpLimits {
    /// The other end must take some of what is sent within this time.
    pub send: Duration,
    /// A silent connection is probed after this time.
    pub probe_after: Duration,
    /// Time between two probes.
    pub probe_interval: Duration,
    /// Unanswered probes after which the connection is given up; the system's own number if
    /// `None`.
    pub probes: Option<u32>,
}

/// Prepares a connected socket to carry a link.
pub fn prepare_tcp(stream: &TcpStream, limits: &TcpLimits) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(RECEIVE_STEP))?;
    stream.set_write_timeout(Some(limits.send))?;
    let probing =
        TcpKeepalive::new().with_time(limits.probe_after).with_interval(limits.probe_interval);
    SockRef::from(stream).set_tcp_keepalive(&probing)?;
    if let Some(probes) = limits.probes {
        // Windows knows the number of probes since 10 version 1703; its own, 10, does as well.
        let counted = probing.with_retries(probes);
        if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&counted) {
            log::debug!("the system keeps its own number of keep-alive probes: {error}");
        }
    }
    Ok(())
}

/// Connects to one address and prepares the socket.
pub(crate) fn connect_tcp(
    address: &SocketAddr,
    limit: Duration,
    limits: &TcpLimits,
) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, limit)?;
    prepare_tcp(&stream, limits)?;
    Ok(stream)
}
