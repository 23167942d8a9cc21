//! The stream between service and server: whole frames over TCP. TLS will come in here and nowhere else.
//!
//! A read waits in short steps, so that a request to stop, or a newer connection of the same session, is
//! seen within a quarter of a second. A dead peer is found by TCP keep-alive between frames and by
//! [`STALL_LIMIT`] within one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use log::debug;
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use socket2::{SockRef, TcpKeepalive};

use crate::error::{Error, Result};
use crate::occupancy::Cancel;

/// How long one wait of a read lasts.
const STEP: Duration = Duration::from_millis(250);
/// How long a frame that has begun may bring no byte, and a write may not get rid of one.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How long a connection may take to say Hello.
pub const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// A silent connection is probed after this long, ...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// ... then at this distance, ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// ... and given up after so many probes without an answer: 30 s in all.
const KEEPALIVE_RETRIES: u32 = 3;
/// How long a closing connection waits for the other end to take the last frame.
const LINGER_LIMIT: Duration = Duration::from_secs(2);

/// One connection.
#[derive(Debug)]
pub struct Transport {
    stream: TcpStream,
    peer: SocketAddr,
    cancel: Cancel,
}

/// For how long a read may wait for a frame to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// The time for a Hello.
    Hello,
    /// For ever: a volume may be idle. Keep-alive finds a dead peer.
    Idle,
}

impl Transport {
    /// Takes an accepted connection.
    pub fn new(stream: TcpStream, peer: SocketAddr, cancel: Cancel) -> Result<Self> {
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
        let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL);
        stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| stream.set_read_timeout(Some(STEP)))
            .and_then(|()| stream.set_write_timeout(Some(STALL_LIMIT)))
            .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive))
            .map_err(Error::Network)?;
        // Windows knows the number of probes since 10 version 1703; its own, 10, does as well.
        let counted = keepalive.with_retries(KEEPALIVE_RETRIES);
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&counted) {
            debug!("{peer}: the system keeps its own number of keep-alive probes: {error}");
        }
        Ok(Self { stream, peer, cancel })
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Reads one frame; its payload, which passed the checksum, replaces what is in `payload`.
    ///
    /// # Errors
    /// [`Error::Closed`] if the other end closed between frames; otherwise what went wrong.
    pub fn read(&mut self, patience: Patience, payload: &mut Vec<u8>) -> Result<FrameHeader> {
        let mut bytes = [0; FRAME_HEADER_LEN];
        let (first, rest) = bytes.split_at_mut(1);
        self.fill(first, patience.limit(), Error::Closed)?;
        let broken = || Error::Network(ErrorKind::UnexpectedEof.into());
        self.fill(rest, Some(STALL_LIMIT), broken())?;
        let frame = FrameHeader::read(&bytes)?;
        payload.resize(frame.payload_len(), 0);
        self.fill(payload, Some(STALL_LIMIT), broken())?;
        frame.verify(payload)?;
        Ok(frame)
    }

    /// Sends one frame.
    pub fn write(&mut self, kind: FrameKind, payload: &[u8]) -> Result<()> {
        let header = FrameHeader::new(kind, payload)?.to_bytes();
        let frame = [header.as_slice(), payload].concat();
        self.stream.write_all(&frame).map_err(Error::Network)
    }

    /// Tells the other end why, as far as it still listens, and closes. What it sent and nobody read is
    /// read and dropped for a moment: a reset would take the last frame with it.
    pub fn refuse(mut self, why: &Error) {
        if self.write(FrameKind::Error, why.to_string().as_bytes()).is_err() {
            return;
        }
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let begun = Instant::now();
        let mut scrap = vec![0; 64 << 10];
        while begun.elapsed() < LINGER_LIMIT {
            match self.stream.read(&mut scrap) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(_) => return,
            }
        }
    }

    /// Tells the other end why and closes, without waiting for it to take that.
    pub fn refuse_at_once(mut self, why: &Error) {
        // If the other end does not listen, closing is all there is to do.
        drop(self.write(FrameKind::Error, why.to_string().as_bytes()));
    }

    /// Fills `bytes`; `at_end` is the error if the other end has closed.
    fn fill(&mut self, bytes: &mut [u8], limit: Option<Duration>, at_end: Error) -> Result<()> {
        let mut done = 0;
        let mut silent_since = Instant::now();
        while done < bytes.len() {
            self.cancel.check()?;
            match self.stream.read(&mut bytes[done..]) {
                Ok(0) => return Err(at_end),
                Ok(count) => {
                    done += count;
                    silent_since = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => match limit {
                    Some(limit) if silent_since.elapsed() >= limit => {
                        return Err(Error::Stalled(limit.as_secs()));
                    }
                    _ => {}
                },
                Err(error) => return Err(Error::Network(error)),
            }
        }
        Ok(())
    }
}

impl Patience {
    fn limit(self) -> Option<Duration> {
        match self {
            Self::Hello => Some(HELLO_LIMIT),
            Self::Idle => None,
        }
    }
}

/// A read timeout: one kind on Unix, the other on Windows.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
