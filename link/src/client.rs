//! The service's end of a link: connects, says hello, sends frames, receives what the server says.
//! Or it asks one question in the place of the hello ([`crate::question`]), and fetches the content
//! of a point that was opened so ([`snapless_wire::fetch`]).
//!
//! A link comes in three parts, so that one thread sends, one receives, and a third may cut both
//! off.

use std::io;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use snapless_wire::compare::Compared;
use snapless_wire::frame::{
    Acknowledge, FRAME_HEADER_LEN, FRAME_PAYLOAD_MAX, FrameError, FrameKind, Hello, KeepAlive,
    Welcome,
};
use snapless_wire::verified::Verified;
use zerocopy::{FromBytes, IntoBytes};

use crate::error::LinkError;
use crate::frames::{FrameReceiver, FrameSender, Wait};
use crate::meeting::Invitation;
use crate::packing::unpack_as;
use crate::question::{Question, REPLY_MAX, Reply};
use crate::socket::{Socket, TcpLimits};
use crate::stream::{RECEIVE_STEP, Stream};

/// The longest payload that a server has reason to send: the text of an error.
const INCOMING_MAX: usize = 64 << 10;
/// A link on which nothing came for this time is probed.
const PROBE_AFTER: Duration = Duration::from_secs(20);
/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How long the parts of a conversation may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkLimits {
    /// Reaching one address of the server.
    pub connect: Duration,
    /// The server's answer to [`Hello`], or a keep-alive before it.
    pub welcome: Duration,
    /// A sign of life of the server while something is being sent: it takes or sends some bytes.
    pub send: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            welcome: Duration::from_secs(30),
            send: Duration::from_secs(30),
        }
    }
}

/// An open link, in its parts.
#[derive(Debug)]
pub struct Link {
    /// For the thread that sends.
    pub sender: FrameSender,
    /// For the thread that receives.
    pub receiver: MessageReceiver,
    /// For the thread that ends the conversation.
    pub closer: LinkCloser,
}

impl Link {
    /// Connects to `address`, which is `host:port`; every address of the host is tried.
    ///
    /// # Errors
    /// [`LinkError::Cancelled`] soon after `cancelled` is true, otherwise why no address of the
    /// host could be reached.
    pub fn connect(
        address: &str,
        limits: &LinkLimits,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, LinkError> {
        Ok(Self::over(Arc::new(reach(address, limits, cancelled)?)))
    }

    /// A link over a connected stream, to a server of the same release.
    pub fn over(stream: Arc<dyn Stream>) -> Self {
        let closed = Arc::new(AtomicBool::new(false));
        Self {
            sender: FrameSender::new(Arc::clone(&stream)),
            receiver: MessageReceiver {
                frames: FrameReceiver::new(Arc::clone(&stream), INCOMING_MAX),
                closed: Arc::clone(&closed),
                payload: Vec::new(),
            },
            closer: LinkCloser { stream, closed },
        }
    }

    /// Says hello and waits for the server's welcome, until `cancelled` is true. A server that
    /// sends keep-alives meanwhile has slow storage, and is waited for.
    pub fn greet(
        &mut self,
        hello: &Hello,
        limits: &LinkLimits,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Welcome, LinkError> {
        self.sender.send(FrameKind::Hello, hello.as_bytes())?;
        match self.receiver.receive_within(Some(limits.welcome), cancelled)? {
            Some(Message::Welcome(welcome)) => Ok(welcome),
            Some(Message::Refused(text)) => Err(LinkError::Refused(text)),
            Some(other) => Err(LinkError::OutOfPlace(other.kind())),
            None => Err(LinkError::Closed),
        }
    }

    /// Asks in the place of a hello, and waits for the reply as for a welcome. The link is of no
    /// further use, unless a point was opened.
    pub fn ask(
        &mut self,
        question: &Question,
        limits: &LinkLimits,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Reply, LinkError> {
        self.sender.send(FrameKind::Question, &question.to_bytes())?;
        self.receiver.frames.limit_payload(REPLY_MAX);
        match self.receiver.receive_within(Some(limits.welcome), cancelled)? {
            Some(Message::Reply(reply)) => Ok(reply),
            Some(Message::Refused(text)) => Err(LinkError::Refused(text)),
            Some(other) => Err(LinkError::OutOfPlace(other.kind())),
            None => Err(LinkError::Closed),
        }
    }
}

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// What is durable already.
    Welcome(Welcome),
    /// An epoch is durable.
    Acknowledge(Acknowledge),
    /// Where the server's stream gives what was read.
    Compared(Compared),
    /// What came of comparing the stream's checks with the copy.
    Verified(Verified),
    /// The volume is called to a meeting.
    Meeting(Invitation),
    /// The answer to a question.
    Reply(Reply),
    /// Why the server is about to close the link.
    Refused(String),
}

impl Message {
    fn read(kind: FrameKind, payload: &[u8]) -> Result<Self, LinkError> {
        let bad = |name| LinkError::Frame(FrameError::Payload(name));
        match kind {
            FrameKind::Welcome => {
                Welcome::read_from_bytes(payload).map(Self::Welcome).map_err(|_| bad("Welcome"))
            }
            FrameKind::Acknowledge => Acknowledge::read_from_bytes(payload)
                .map(Self::Acknowledge)
                .map_err(|_| bad("Acknowledge")),
            FrameKind::Compared => Ok(Self::Compared(Compared::read(payload)?)),
            FrameKind::Verified => Ok(Self::Verified(Verified::read(payload)?)),
            FrameKind::Meeting => {
                Invitation::read(payload).map(Self::Meeting).ok_or_else(|| bad("Meeting"))
            }
            FrameKind::Error => Ok(Self::Refused(String::from_utf8_lossy(payload).into_owned())),
            FrameKind::Reply => Reply::read(payload).map(Self::Reply).ok_or_else(|| bad("Reply")),
            FrameKind::Hello
            | FrameKind::Records
            | FrameKind::Watermark
            | FrameKind::KeepAlive
            | FrameKind::Compare
            | FrameKind::Question
            | FrameKind::Packed
            | FrameKind::Fetch
            | FrameKind::Fetched
            | FrameKind::Report => Err(LinkError::OutOfPlace(kind)),
        }
    }

    /// The frame that it came in.
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Welcome(_) => FrameKind::Welcome,
            Self::Acknowledge(_) => FrameKind::Acknowledge,
            Self::Compared(_) => FrameKind::Compared,
            Self::Verified(_) => FrameKind::Verified,
            Self::Meeting(_) => FrameKind::Meeting,
            Self::Reply(_) => FrameKind::Reply,
            Self::Refused(_) => FrameKind::Error,
        }
    }
}

/// Receives what the server says.
#[derive(Debug)]
pub struct MessageReceiver {
    frames: FrameReceiver,
    /// Set by the [`LinkCloser`]. It carries no data, so relaxed ordering is enough.
    closed: Arc<AtomicBool>,
    payload: Vec<u8>,
}

impl MessageReceiver {
    /// Waits for the next message; `None` if the server closed the link between two frames.
    pub fn receive(&mut self) -> Result<Option<Message>, LinkError> {
        self.receive_within(None, &|| false)
    }

    /// Waits for what was fetched as for a welcome; puts the payload of that frame into `payload`
    /// and returns the bytes that the link has carried. [`LinkError::Answered`] if the server can
    /// send no more of the point.
    pub fn fetched(
        &mut self,
        limits: &LinkLimits,
        cancelled: &dyn Fn() -> bool,
        payload: &mut Vec<u8>,
    ) -> Result<usize, LinkError> {
        self.frames.limit_payload(FRAME_PAYLOAD_MAX);
        let kind = self.next(Some(limits.welcome), cancelled)?.ok_or(LinkError::Closed)?;
        let carried = self.payload.len() + FRAME_HEADER_LEN;
        match kind {
            FrameKind::Fetched => std::mem::swap(payload, &mut self.payload),
            FrameKind::Packed => drop(unpack_as(FrameKind::Fetched, &self.payload, payload)?),
            kind => {
                return Err(match Message::read(kind, &self.payload)? {
                    Message::Reply(Reply::Refused(refused)) => LinkError::Answered(refused),
                    Message::Refused(text) => LinkError::Refused(text),
                    other => LinkError::OutOfPlace(other.kind()),
                });
            }
        }
        Ok(carried)
    }

    fn receive_within(
        &mut self,
        limit: Option<Duration>,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Option<Message>, LinkError> {
        match self.next(limit, given_up)? {
            Some(kind) => Message::read(kind, &self.payload).map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the next frame that says something; its payload is in `self.payload`.
    fn next(
        &mut self,
        limit: Option<Duration>,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Option<FrameKind>, LinkError> {
        let cancelled = || self.closed.load(Ordering::Relaxed) || given_up();
        let wait = Wait { first_byte: limit, cancelled: &cancelled };
        loop {
            match self.frames.receive(&wait, &mut self.payload) {
                // It has told the socket, and the wait begins anew.
                Ok(Some(frame)) if frame.kind() == FrameKind::KeepAlive => {
                    KeepAlive::read(&self.payload)?;
                }
                Ok(Some(frame)) => return Ok(Some(frame.kind())),
                // The end that this one has made says nothing of the server.
                Ok(None) | Err(LinkError::Lost(_)) if self.closed.load(Ordering::Relaxed) => {
                    return Err(LinkError::Cancelled);
                }
                Ok(None) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Cuts a link off from any thread.
#[derive(Debug)]
pub struct LinkCloser {
    stream: Arc<dyn Stream>,
    closed: Arc<AtomicBool>,
}

impl LinkCloser {
    /// Makes both halves fail soon, whatever they wait for.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        // Fails only if the link is gone already.
        let _gone = self.stream.shutdown(Shutdown::Both);
    }
}

/// Connects to one of the addresses of the host.
pub(crate) fn reach(
    address: &str,
    limits: &LinkLimits,
    cancelled: &dyn Fn() -> bool,
) -> Result<Socket, LinkError> {
    let failed = |source| LinkError::Connect { address: address.to_owned(), source };
    let tcp = TcpLimits {
        send: limits.send,
        probe_after: PROBE_AFTER,
        probe_interval: PROBE_INTERVAL,
        probes: None,
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in addresses(address, cancelled, failed)? {
        match Socket::connect(&candidate, limits.connect, &tcp, cancelled) {
            Ok(Some(socket)) => return Ok(socket),
            Ok(None) => return Err(LinkError::Cancelled),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// The addresses of `host:port`.
fn addresses(
    address: &str,
    cancelled: &dyn Fn() -> bool,
    failed: impl Fn(io::Error) -> LinkError,
) -> Result<Vec<SocketAddr>, LinkError> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let (sender, found) = mpsc::channel();
    let name = address.to_owned();
    // The look-up of a name cannot be interrupted. The thread of one that is given up ends when the
    // system answers.
    let finding = thread::Builder::new().name("look-up".to_owned()).spawn(move || {
        let _given_up = sender.send(name.to_socket_addrs().map(Vec::from_iter));
    });
    drop(finding.map_err(&failed)?);
    loop {
        match found.recv_timeout(RECEIVE_STEP) {
            Ok(found) => return found.map_err(failed),
            Err(RecvTimeoutError::Timeout) if cancelled() => return Err(LinkError::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(failed(io::Error::other("the look-up of the name has failed")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::{EpochId, Seq};
    use snapless_wire::frame::FrameHeader;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    fn pair() -> (Link, TcpStream) {
        pair_with(&LinkLimits::default())
    }

    fn pair_with(limits: &LinkLimits) -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let link = Link::connect(&address, limits, &|| false).unwrap();
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
        let payload: Vec<u8> = (0..=250).cycle().take((768 << 10) + 7).collect();
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
    fn frames_that_do_not_belong_are_refused() {
        for bytes in [
            frame(FrameKind::Records, b"x"),
            frame(FrameKind::Acknowledge, b"short"),
            frame(FrameKind::KeepAlive, b"x"),
            frame(FrameKind::Compared, b"x"),
            frame(FrameKind::Compare, &[]),
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
        assert!(matches!(waiter.join().unwrap(), Err(LinkError::Cancelled)));
    }

    #[test]
    fn a_server_that_takes_nothing_is_waited_for_as_long_as_it_sends_keep_alives() {
        let limit = Duration::from_secs(1);
        let (link, mut peer) = pair_with(&LinkLimits { send: limit, ..LinkLimits::default() });
        let Link { mut sender, mut receiver, closer, .. } = link;
        let payload = vec![7; 8 << 20];
        let alive = frame(FrameKind::KeepAlive, &[]);
        let (waits, given_up) = thread::scope(|scope| {
            scope.spawn(|| receiver.receive());
            // More than the system's buffers take.
            let sending = scope.spawn(|| {
                (0..4).try_for_each(|_| sender.send(FrameKind::Records, &payload).map(|_| ()))
            });
            for _ in 0..30 {
                peer.write_all(&alive).unwrap();
                thread::sleep(limit / 10);
            }
            let waits = !sending.is_finished();
            // Nothing more comes from the server.
            let given_up = sending.join();
            closer.close();
            (waits, given_up)
        });
        assert!(waits, "the link is there");
        let given_up = given_up.unwrap().unwrap_err().to_string();
        assert!(given_up.contains("took nothing and sent nothing"), "{given_up}");
    }

    #[test]
    fn a_server_that_takes_a_little_at_a_time_is_waited_for() {
        let limit = Duration::from_secs(1);
        let (mut link, mut peer) = pair_with(&LinkLimits { send: limit, ..LinkLimits::default() });
        let payload = vec![7; 4 << 20];
        let want = 3 * (payload.len() + FRAME_HEADER_LEN);
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                (0..3).try_for_each(|_| link.sender.send(FrameKind::Records, &payload).map(|_| ()))
            });
            let (mut got, mut buffer) = (0, vec![0; 512 << 10]);
            while got < want {
                got += peer.read(&mut buffer).unwrap();
                thread::sleep(limit / 20);
            }
            sending.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_welcome_is_waited_for_while_keep_alives_come() {
        let limit = Duration::from_secs(1);
        let limits = LinkLimits { welcome: limit, ..LinkLimits::default() };
        let (mut link, mut peer) = pair_with(&limits);
        let welcome = Welcome::new(EpochId::new(4), Seq::new(44));
        let server = thread::spawn(move || {
            for _ in 0..20 {
                peer.write_all(&frame(FrameKind::KeepAlive, &[])).unwrap();
                thread::sleep(limit / 10);
            }
            peer.write_all(&frame(FrameKind::Welcome, welcome.as_bytes())).unwrap();
            peer
        });
        let hello = Hello::read_from_bytes(&[0; size_of::<Hello>()]).unwrap();
        assert_eq!(link.greet(&hello, &limits, &|| false).unwrap(), welcome);
        drop(server.join().unwrap());
    }

    #[test]
    fn a_server_that_never_welcomes_is_given_up() {
        let (mut link, _peer) = pair();
        let limits = LinkLimits { welcome: Duration::from_millis(50), ..LinkLimits::default() };
        let hello = Hello::read_from_bytes(&[0; size_of::<Hello>()]).unwrap();
        let error = link.greet(&hello, &limits, &|| false).unwrap_err().to_string();
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
        let connected = Link::connect(&free, &LinkLimits::default(), &|| false);
        let error = connected.unwrap_err().to_string();
        assert!(error.contains(&free), "{error}");
    }

    /// A server that takes no connection, and those that fill its queue: the next one's begin is
    /// not answered.
    #[cfg(target_os = "linux")]
    fn silent() -> (SocketAddr, socket2::Socket, Vec<TcpStream>) {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let waiting = (0..16).map_while(connect).collect();
        (address, listener, waiting)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_connection_whose_begin_is_not_answered_ends_at_a_stop_and_leaves_no_thread() {
        use std::sync::atomic::AtomicUsize;
        let (address, _listener, _waiting) = silent();
        let threads = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            let names = tasks
                .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
            names.filter(|name| name.starts_with("connect")).count()
        };
        let asked = AtomicUsize::new(0);
        let stopped = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
        let reached = reach(&address.to_string(), &LinkLimits::default(), &stopped);
        assert!(matches!(reached, Err(LinkError::Cancelled)), "{reached:?}");
        assert_eq!(threads(), 0);
        let limits = LinkLimits { connect: Duration::from_millis(300), ..LinkLimits::default() };
        let reached = reach(&address.to_string(), &limits, &|| false);
        assert!(matches!(reached, Err(LinkError::Connect { .. })), "{reached:?}");
    }

    #[test]
    fn a_stop_is_heard_while_a_server_neither_answers_nor_welcomes() {
        let begun = Instant::now();
        let limits = LinkLimits::default();
        // An address of the documentation: nothing answers there, or nothing leads there.
        match Link::connect("192.0.2.1:4850", &limits, &|| true) {
            Err(LinkError::Cancelled | LinkError::Connect { .. }) => {}
            other => panic!("{other:?}"),
        }
        let (mut link, _peer) = pair();
        let hello = Hello::read_from_bytes(&[0; size_of::<Hello>()]).unwrap();
        let greeted = link.greet(&hello, &limits, &|| true);
        assert!(matches!(greeted, Err(LinkError::Cancelled)), "{greeted:?}");
        assert!(begun.elapsed() < limits.connect / 2);
    }
}
