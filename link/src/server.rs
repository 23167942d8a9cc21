//! The server's end of a link: receives records, acknowledges, says why it closes.
//!
//! TCP's keep-alive finds a dead peer between frames, [`STALL_LIMIT`] within one.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use snapless_wire::frame::{FRAME_PAYLOAD_MAX, FrameHeader, FrameKind};

use crate::error::LinkError;
use crate::frames::{FrameReceiver, FrameSender, STALL_LIMIT, Wait};
use crate::socket::{Socket, TcpLimits};
use crate::stream::{RECEIVE_STEP, Stream};

/// How long a connection may take to say hello.
pub const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// The longest payload before the Hello: a connection that has said nothing takes no memory.
const HELLO_PAYLOAD_MAX: usize = 4 << 10;
/// How long a closing connection waits for the other end to take the last frame.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
/// Pause before a last word is tried again while another thread sends.
const LOCK_STEP: Duration = Duration::from_millis(1);
/// A silent connection is given up 30 s after its last byte.
const TCP: TcpLimits = TcpLimits {
    send: STALL_LIMIT,
    probe_after: Duration::from_secs(15),
    probe_interval: Duration::from_secs(5),
    probes: Some(3),
};

/// One accepted connection.
#[derive(Debug)]
pub struct ServerLink {
    stream: Arc<dyn Stream>,
    speaker: Speaker,
    receiver: FrameReceiver,
    peer: SocketAddr,
}

/// Sends on a connection, from any thread.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// Protects the order of the frames' bytes.
    sender: Arc<Mutex<FrameSender>>,
}

/// How long a receiver waits for a frame to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// [`HELLO_LIMIT`], for a short frame.
    Hello,
    /// For ever: a volume may be idle.
    Idle,
}

impl ServerLink {
    /// Takes an accepted connection.
    pub fn accept(stream: TcpStream, peer: SocketAddr) -> Result<Self, LinkError> {
        Ok(Self::over(Arc::new(prepare(stream)?), peer))
    }

    /// A link over a connected stream.
    pub fn over(stream: Arc<dyn Stream>, peer: SocketAddr) -> Self {
        let sender = FrameSender::new(Arc::clone(&stream));
        let speaker = Speaker { sender: Arc::new(Mutex::new(sender)) };
        let receiver = FrameReceiver::new(Arc::clone(&stream), FRAME_PAYLOAD_MAX);
        Self { stream, speaker, receiver, peer }
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Receives one frame; its payload, which passed the checksum, replaces what is in `payload`.
    ///
    /// # Errors
    /// [`LinkError::Closed`] if the other end closed between frames, [`LinkError::Cancelled`] soon
    /// after `cancelled` is true, otherwise what went wrong.
    pub fn receive(
        &mut self,
        patience: Patience,
        cancelled: &dyn Fn() -> bool,
        payload: &mut Vec<u8>,
    ) -> Result<FrameHeader, LinkError> {
        let (first_byte, payload_max) = match patience {
            Patience::Hello => (Some(HELLO_LIMIT), HELLO_PAYLOAD_MAX),
            Patience::Idle => (None, FRAME_PAYLOAD_MAX),
        };
        self.receiver.limit_payload(payload_max);
        self.receiver.receive(&Wait { first_byte, cancelled }, payload)?.ok_or(LinkError::Closed)
    }

    /// Sends one frame.
    pub fn send(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), LinkError> {
        self.speaker.send(kind, payload)
    }

    /// For another thread that sends on this connection. After [`Self::close`] it cannot any more.
    pub fn speaker(&self) -> Speaker {
        self.speaker.clone()
    }

    /// Sends the reason, if the other end still listens, and closes.
    ///
    /// For a moment it receives and drops what the other end sent: unread data would make the
    /// system reset the connection, and the reason would be lost.
    pub fn refuse(self, why: &str) {
        if self.speaker.say_last(why).is_ok() {
            self.receiver.drain(LINGER_LIMIT);
        }
        self.close();
    }

    /// Sends the reason and closes without that wait.
    pub fn refuse_at_once(self, why: &str) {
        // If the other end does not listen, closing is all that is left.
        drop(self.speaker.say_last(why));
        self.close();
    }

    /// Closes the connection, also for its [`Speaker`]s.
    pub fn close(self) {
        // Fails only if the connection is gone already.
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

impl Speaker {
    /// Sends one frame.
    pub fn send(&self, kind: FrameKind, payload: &[u8]) -> Result<(), LinkError> {
        // After a panic in the middle of a frame the other end notices the bad frame.
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(kind, payload).map(|_| ())
    }

    /// Shows the other end that this one lives. Does nothing if another thread is sending.
    pub fn keep_alive(&self) -> Result<(), LinkError> {
        match self.sender.try_lock() {
            Ok(mut sender) => sender.send(FrameKind::KeepAlive, &[]).map(|_| ()),
            Err(TryLockError::Poisoned(_)) => Err(LinkError::Closed),
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    /// Sends the reason for which the connection ends, and nothing after it.
    fn say_last(&self, why: &str) -> Result<(), LinkError> {
        let begun = Instant::now();
        let mut sender = loop {
            match self.sender.try_lock() {
                Ok(sender) => break sender,
                Err(TryLockError::WouldBlock) if begun.elapsed() < RECEIVE_STEP => {
                    thread::sleep(LOCK_STEP);
                }
                // The other end takes nothing of what another thread sends.
                Err(_) => return Err(LinkError::Closed),
            }
        };
        sender.send(FrameKind::Error, why.as_bytes())?;
        sender.finish()
    }
}

/// Prepares an accepted socket.
pub(crate) fn prepare(stream: TcpStream) -> Result<Socket, LinkError> {
    Socket::new(stream, &TCP).map_err(LinkError::Lost)
}
