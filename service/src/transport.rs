//! The link to the server: frames over TCP.
//!
//! This is the only module that knows how bytes travel; the pipeline knows frames. A link comes in three
//! parts, so that one thread sends, one receives, and a third may cut both off.
//!
//! Rule: a frame counts as sent only as a whole, and as received only if its checksum holds; after any
//! error the link is of no further use and is dropped.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use snapless_wire::frame::{
    Acknowledge, FRAME_HEADER_LEN, FrameError, FrameHeader, FrameKind, Hello, Welcome,
};
use socket2::{SockRef, TcpKeepalive};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes handed to the socket at a time. Each must be taken within [`LinkLimits::write`].
const CHUNK_LEN: usize = 256 << 10;
/// The longest payload that a server has reason to send: the text of an error.
const INCOMING_MAX: usize = 64 << 10;
/// How long a receiver waits before it looks whether it still should.
const PEEK_TIME: Duration = Duration::from_millis(200);
/// A link on which nothing came for this long is asked whether it still stands.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long the parts of a conversation may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkLimits {
    /// Reaching one address of the server.
    pub connect: Duration,
    /// The server's answer to [`Hello`].
    pub welcome: Duration,
    /// The server taking one chunk off our hands.
    pub write: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            welcome: Duration::from_secs(30),
            write: Duration::from_secs(30),
        }
    }
}

/// An open link, in its parts.
#[derive(Debug)]
pub struct Link {
    /// For the thread that sends.
    pub sender: FrameSender,
    /// For the thread that receives.
    pub receiver: FrameReceiver,
    /// For whoever ends the conversation.
    pub closer: LinkCloser,
}

impl Link {
    /// Connects to `address`, which is `host:port`; every address of the host is tried.
    pub fn connect(address: &str, limits: &LinkLimits) -> Result<Self, LinkError> {
        let failed = |source| LinkError::Connect { address: address.to_owned(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for candidate in address.to_socket_addrs().map_err(failed)? {
            match open(&candidate, limits) {
                Ok(stream) => return Self::over(stream).map_err(failed),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        let closed = Arc::new(AtomicBool::new(false));
        Ok(Self {
            sender: FrameSender { stream: stream.try_clone()?, head: Vec::new() },
            receiver: FrameReceiver {
                stream: stream.try_clone()?,
                closed: Arc::clone(&closed),
                limit: None,
            },
            closer: LinkCloser { stream, closed },
        })
    }

    /// Says hello and waits for the server's welcome.
    pub fn greet(&mut self, hello: &Hello, limits: &LinkLimits) -> Result<Welcome, LinkError> {
        self.sender.send(FrameKind::Hello, hello.as_bytes())?;
        self.receiver.limit = Some(Instant::now() + limits.welcome);
        let welcome = match self.receiver.receive()? {
            Some(Message::Welcome(welcome)) => welcome,
            Some(Message::Refused(text)) => return Err(LinkError::Refused(text)),
            Some(Message::Acknowledge(_)) => {
                return Err(LinkError::OutOfPlace(FrameKind::Acknowledge));
            }
            None => return Err(LinkError::Closed),
        };
        self.receiver.limit = None;
        Ok(welcome)
    }
}

/// The sending half.
#[derive(Debug)]
pub struct FrameSender {
    stream: TcpStream,
    /// A frame's header and the start of its payload, so that they leave together.
    head: Vec<u8>,
}

impl FrameSender {
    /// Sends one frame; returns its length with the header.
    pub fn send(&mut self, kind: FrameKind, payload: &[u8]) -> Result<usize, LinkError> {
        let header = FrameHeader::new(kind, payload).map_err(LinkError::Frame)?;
        let (start, rest) = payload.split_at(payload.len().min(CHUNK_LEN - FRAME_HEADER_LEN));
        self.head.clear();
        self.head.extend_from_slice(&header.to_bytes());
        self.head.extend_from_slice(start);
        self.stream.write_all(&self.head).map_err(LinkError::Lost)?;
        for chunk in rest.chunks(CHUNK_LEN) {
            self.stream.write_all(chunk).map_err(LinkError::Lost)?;
        }
        Ok(FRAME_HEADER_LEN + payload.len())
    }

    /// Says that nothing more will be sent.
    pub fn finish(self) -> Result<(), LinkError> {
        self.stream.shutdown(Shutdown::Write).map_err(LinkError::Lost)
    }
}

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// What is durable already.
    Welcome(Welcome),
    /// An epoch is durable.
    Acknowledge(Acknowledge),
    /// Why the server is about to close the link.
    Refused(String),
}

/// The receiving half.
///
/// It waits by peeking, a little at a time, and reads only what is there: a wait can be given up without losing
/// a byte, on every system.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: TcpStream,
    /// Set by the [`LinkCloser`]. It carries no data, so relaxed ordering is enough.
    closed: Arc<AtomicBool>,
    /// When to give up waiting.
    limit: Option<Instant>,
}

impl FrameReceiver {
    /// Waits for the next message; `None` if the server closed the link between two frames.
    pub fn receive(&mut self) -> Result<Option<Message>, LinkError> {
        let mut bytes = [0; FRAME_HEADER_LEN];
        if !self.fill_or_end(&mut bytes)? {
            return Ok(None);
        }
        let header = FrameHeader::read(&bytes).map_err(LinkError::Frame)?;
        if header.payload_len() > INCOMING_MAX {
            return Err(LinkError::Frame(FrameError::TooLong(header.payload_len() as u64)));
        }
        let mut payload = vec![0; header.payload_len()];
        self.read_exact(&mut payload).map_err(LinkError::Lost)?;
        header.verify(&payload).map_err(LinkError::Frame)?;
        parse(header.kind(), &payload).map(Some)
    }

    /// Fills `bytes`; false if the stream ended before the first of them.
    fn fill_or_end(&mut self, bytes: &mut [u8]) -> Result<bool, LinkError> {
        let (first, rest) = bytes.split_at_mut(1);
        if self.read(first).map_err(LinkError::Lost)? == 0 {
            return Ok(false);
        }
        self.read_exact(rest).map_err(LinkError::Lost)?;
        Ok(true)
    }

    /// Waits until there is something to read, or the end of the stream.
    fn wait(&self) -> io::Result<()> {
        loop {
            if self.closed.load(Ordering::Relaxed) {
                let why = "the link was closed at this end";
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why));
            }
            if self.limit.is_some_and(|limit| Instant::now() >= limit) {
                let why = "the server has not answered in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            match self.stream.peek(&mut [0]) {
                Err(error) if is_passing(&error) => {}
                peeked => return peeked.map(|_| ()),
            }
        }
    }
}

impl Read for FrameReceiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.stream.read(buffer)
    }
}

/// True if the wait ended for no reason of the link's: its short time is over, or a signal came.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// Cuts a link off from any thread.
#[derive(Debug)]
pub struct LinkCloser {
    stream: TcpStream,
    closed: Arc<AtomicBool>,
}

impl LinkCloser {
    /// Makes both halves fail soon, whatever they wait for.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        // Fails only if the link is gone already, which is what is wanted.
        let _gone = self.stream.shutdown(Shutdown::Both);
    }
}

/// Why a link is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The server cannot be reached.
    #[error("the server {address} cannot be reached: {source}; is snapless-server running there?")]
    Connect {
        /// Its address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The link broke.
    #[error("the link to the server was lost: {0}")]
    Lost(#[source] io::Error),
    /// The server closed the link without saying why.
    #[error("the server closed the link")]
    Closed,
    /// The server gave its reason to close the link.
    #[error("the server refused: {0}")]
    Refused(String),
    /// What came is no frame.
    #[error("the server sent what is no frame: {0}")]
    Frame(FrameError),
    /// The frame does not belong there.
    #[error("the server sent a frame out of place: {0:?}")]
    OutOfPlace(FrameKind),
}

fn open(address: &SocketAddr, limits: &LinkLimits) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, limits.connect)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(limits.write))?;
    stream.set_read_timeout(Some(PEEK_TIME))?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

fn parse(kind: FrameKind, payload: &[u8]) -> Result<Message, LinkError> {
    let unread = |name| LinkError::Frame(FrameError::Payload(name));
    match kind {
        FrameKind::Welcome => {
            Welcome::read_from_bytes(payload).map(Message::Welcome).map_err(|_| unread("Welcome"))
        }
        FrameKind::Acknowledge => Acknowledge::read_from_bytes(payload)
            .map(Message::Acknowledge)
            .map_err(|_| unread("Acknowledge")),
        FrameKind::Error => Ok(Message::Refused(String::from_utf8_lossy(payload).into_owned())),
        FrameKind::Hello | FrameKind::Records => Err(LinkError::OutOfPlace(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::{EpochId, Seq};
    use std::net::TcpListener;
    use std::thread;

    fn pair() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let link = Link::connect(&address, &LinkLimits::default()).unwrap();
        (link, listener.accept().unwrap().0)
    }

    fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
        let mut bytes = FrameHeader::new(kind, payload).unwrap().to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_long_frame_arrives_whole() {
        let (mut link, mut peer) = pair();
        let payload: Vec<u8> = (0..=250).cycle().take(3 * CHUNK_LEN + 7).collect();
        let want = frame(FrameKind::Records, &payload);
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).unwrap();
            bytes
        });
        assert_eq!(link.sender.send(FrameKind::Records, &payload).unwrap(), want.len());
        link.sender.finish().unwrap();
        assert!(reader.join().unwrap() == want);
    }

    #[test]
    fn messages_come_back_as_sent_and_the_end_is_seen() {
        let (mut link, mut peer) = pair();
        let ack = Acknowledge::new(EpochId::new(3), Seq::new(9));
        peer.write_all(&frame(FrameKind::Acknowledge, ack.as_bytes())).unwrap();
        peer.write_all(&frame(FrameKind::Error, "no space".as_bytes())).unwrap();
        drop(peer);
        assert_eq!(link.receiver.receive().unwrap(), Some(Message::Acknowledge(ack)));
        assert_eq!(link.receiver.receive().unwrap(), Some(Message::Refused("no space".into())));
        assert_eq!(link.receiver.receive().unwrap(), None);
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        for bytes in [
            frame(FrameKind::Records, b"x"),
            frame(FrameKind::Acknowledge, b"short"),
            frame(FrameKind::Error, &vec![b'x'; INCOMING_MAX + 1]),
            b"GET / HTTP/1.1\r\n".to_vec(),
            frame(FrameKind::Error, b"cut")[..17].to_vec(),
        ] {
            let (mut link, mut peer) = pair();
            peer.write_all(&bytes).unwrap();
            drop(peer);
            assert!(link.receiver.receive().is_err());
        }
    }

    #[test]
    fn closing_wakes_a_waiting_receiver() {
        let (link, _peer) = pair();
        let Link { mut receiver, closer, .. } = link;
        let waiter = thread::spawn(move || receiver.receive());
        thread::sleep(Duration::from_millis(50));
        closer.close();
        assert!(!matches!(waiter.join().unwrap(), Ok(Some(_))));
    }

    #[test]
    fn a_server_that_never_welcomes_is_given_up() {
        let (mut link, _peer) = pair();
        let limits = LinkLimits { welcome: Duration::from_millis(50), ..LinkLimits::default() };
        let hello = Hello::read_from_bytes(&[0; size_of::<Hello>()]).unwrap();
        let error = link.greet(&hello, &limits).unwrap_err().to_string();
        assert!(error.contains("in time"), "{error}");
    }

    #[test]
    fn a_frame_that_comes_in_pieces_is_put_together() {
        let (mut link, mut peer) = pair();
        let bytes = frame(FrameKind::Error, b"slow");
        let writer = thread::spawn(move || {
            for byte in bytes {
                peer.write_all(&[byte]).unwrap();
                thread::sleep(Duration::from_millis(15));
            }
            peer
        });
        assert_eq!(link.receiver.receive().unwrap(), Some(Message::Refused("slow".into())));
        drop(writer.join().unwrap());
        assert_eq!(link.receiver.receive().unwrap(), None);
    }

    #[test]
    fn an_unreachable_server_is_named() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = Link::connect(&free, &LinkLimits::default()).unwrap_err().to_string();
        assert!(error.contains(&free), "{error}");
    }
}
