//! A TCP connection as a [`Stream`], and how each end finds out that the other one is gone.
//!
//! A send fails only if the other end shows no sign of life for the limit: it has taken no byte,
//! and none came from it. An end that is slow sends keep-alives (docs/protocol.md#frames) and is
//! waited for as long as it takes; a limit on the send alone would turn its slowness into a
//! reconnect, which makes it slower.
//!
//! The socket is non-blocking, and waits are waits for readiness. A blocking call that times out
//! may have moved bytes, and leaves a socket of Windows in an undefined state.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockRef, TcpKeepalive, Type};

use crate::stream::{RECEIVE_STEP, Stream, is_transient};

/// How a TCP connection finds out that its other end is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpLimits {
    /// While something is being sent, the other end must take or send some bytes within this time.
    pub send: Duration,
    /// A silent connection is probed after this time.
    pub probe_after: Duration,
    /// Time between two probes.
    pub probe_interval: Duration,
    /// Unanswered probes after which the connection is given up; the system's own number if
    /// `None`.
    pub probes: Option<u32>,
}

/// A connected socket that carries a link.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    send_limit: Duration,
    made: Instant,
    /// When the last bytes came, in milliseconds after `made`.
    heard: AtomicU64,
}

impl Socket {
    /// Prepares a connected socket.
    pub fn new(tcp: TcpStream, limits: &TcpLimits) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        let probing =
            TcpKeepalive::new().with_time(limits.probe_after).with_interval(limits.probe_interval);
        SockRef::from(&tcp).set_tcp_keepalive(&probing)?;
        if let Some(probes) = limits.probes {
            // Windows knows the number of probes since 10 version 1703; its own, 10, does as well.
            let counted = probing.with_retries(probes);
            if let Err(error) = SockRef::from(&tcp).set_tcp_keepalive(&counted) {
                log::debug!("the system keeps its own number of keep-alive probes: {error}");
            }
        }
        let (send_limit, made) = (limits.send, Instant::now());
        Ok(Self { tcp, send_limit, made, heard: AtomicU64::new(0) })
    }

    /// Connects to one address within this time; `None` soon after `cancelled` is true. On the
    /// caller's thread, so that nothing of it is left then.
    pub(crate) fn connect(
        address: &SocketAddr,
        limit: Duration,
        limits: &TcpLimits,
        cancelled: &dyn Fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let begun = Instant::now();
        let protocol = Some(socket2::Protocol::TCP);
        let socket = socket2::Socket::new(Domain::for_address(*address), Type::STREAM, protocol)?;
        let mut connected = socket.connect_timeout(&(*address).into(), limit.min(RECEIVE_STEP));
        // Past its time the system goes on connecting.
        while connected.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut)
            && begun.elapsed() < limit
        {
            if cancelled() {
                return Ok(None);
            }
            connected = wait_connected(&socket, RECEIVE_STEP);
        }
        connected?;
        Self::new(socket.into(), limits).map(Some)
    }

    /// Sends all of it within this time, whether the other end lives or not.
    pub(crate) fn send_within(&self, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
        let begun = Instant::now();
        while !bytes.is_empty() {
            let sent = self.send_some(bytes, |_| limit.saturating_sub(begun.elapsed()))?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends some of it; `left` says of a time for which nothing was taken how long it may go on.
    fn send_some(&self, bytes: &[u8], left: impl Fn(Duration) -> Duration) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            match (&self.tcp).write(bytes) {
                Err(error) if is_transient(&error) => {}
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                sent => return sent,
            }
            let waited = begun.elapsed();
            let left = left(waited);
            if left.is_zero() {
                let text = format!(
                    "the other end took nothing and sent nothing for {} s",
                    waited.as_secs_f32()
                );
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            // A socket counts as ready only when much of its buffer is free: a slow end may have
            // taken some all the same.
            self.wait(PollFlags::OUT, left.min(RECEIVE_STEP))?;
        }
    }

    /// How long the other end has sent nothing.
    fn silence(&self) -> Duration {
        // Relaxed: a number alone.
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.made.elapsed().saturating_sub(heard)
    }

    /// Waits until the socket is ready, or for the time given.
    fn wait(&self, until: PollFlags, limit: Duration) -> io::Result<()> {
        poll_for(PollFd::new(&self.tcp, until), limit)
    }
}

fn poll_for(socket: PollFd<'_>, limit: Duration) -> io::Result<()> {
    let limit = Timespec::try_from(limit.max(Duration::from_millis(1)));
    let limit = limit.map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    match poll(&mut [socket], Some(&limit)) {
        Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a socket is connected, for so long; [`ErrorKind::TimedOut`] if it is not then.
fn wait_connected(socket: &socket2::Socket, limit: Duration) -> io::Result<()> {
    poll_for(PollFd::new(socket, PollFlags::OUT), limit)?;
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.peer_addr().map(|_| ()).map_err(|_| ErrorKind::TimedOut.into())
}

impl Stream for Socket {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send_some(bytes, |waited| self.send_limit.saturating_sub(waited.min(self.silence())))
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tcp = &self.tcp;
        let received = match tcp.read(buffer) {
            Err(error) if is_transient(&error) => {
                self.wait(PollFlags::IN, RECEIVE_STEP)?;
                tcp.read(buffer)
            }
            received => received,
        };
        if let Ok(1..) = received {
            let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
            // Relaxed: a number alone.
            self.heard.fetch_max(now, Ordering::Relaxed);
        }
        received
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.tcp.shutdown(how)
    }
}
