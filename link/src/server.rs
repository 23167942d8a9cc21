//! The server's end of a link: receives records, acknowledges, says why it closes.
//!
//! Keep-alive finds a dead peer between frames, [`STALL_LIMIT`] within one.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use snapless_wire::frame::{FRAME_PAYLOAD_MAX, FrameHeader, FrameKind};

use crate::error::LinkError;
use crate::frames::{FrameReceiver, FrameSender, STALL_LIMIT, Wait};
use crate::stream::{Stream, TcpLimits, prepare_tcp};

/// How long a connection may take to say hello.
pub const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// The longest payload before the Hello: a connection that has said nothing takes no memory.
const HELLO_PAYLOAD_MAX: usize = 4 << 10;
/// How long a closing connection waits for the other end to take the last frame.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
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
    sender: FrameSender,
    receiver: FrameReceiver,
    peer: SocketAddr,
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
        prepare(&stream)?;
        Ok(Self::over(Arc::new(stream), peer))
    }

    /// A link over a connected stream.
    pub fn over(stream: Arc<dyn Stream>, peer: SocketAddr) -> Self {
        let sender = FrameSender::new(Arc::clone(&stream));
        Self { sender, receiver: FrameReceiver::new(stream, FRAME_PAYLOAD_MAX), peer }
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
        self.sender.send(kind, payload).map(|_| ())
    }

    /// Sends the reason, if the other end still listens, and closes.
    ///
    /// For a moment it receives and drops what the other end sent: unread data would make the
    /// system reset the connection, and the reason would be lost.
    pub fn refuse(mut self, why: &str) {
        if self.send(FrameKind::Error, why.as_bytes()).is_ok() && self.sender.finish().is_ok() {
            self.receiver.drain(LINGER_LIMIT);
        }
    }

    /// Sends the reason and closes without that wait.
    pub fn refuse_at_once(mut self, why: &str) {
        // If the other end does not listen, closing is all that is left.
        drop(self.send(FrameKind::Error, why.as_bytes()));
    }
}

/// Prepares an accepted socket.
pub(crate) fn prepare(stream: &TcpStream) -> Result<(), LinkError> {
    prepare_tcp(stream, &TCP).map_err(LinkError::Lost)
}
