//! One client's connection: received bytes that are not parsed yet, and replies that are not sent
//! yet.
//!
//! Rule: the requests and bytes in progress are bounded; at the limit nothing more is received.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use snapless_nbd::{Header, REQUEST_LEN, Violation};

use crate::error::Result;
use crate::memory::Buffer;

/// Most bytes per receive.
const INBOX_LEN: usize = 256 << 10;
/// Most requests in progress.
const REQUESTS_MAX: usize = 256;
/// Most bytes of replies that are not sent yet.
const OUTBOX_MAX: usize = 64 << 20;

/// A connection.
// The flags are independent.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub socket: Arc<OwnedFd>,
    /// Reads are answered in chunks.
    pub structured: bool,
    /// Received bytes; `None` while the ring has it.
    pub inbox: Option<Buffer>,
    start: usize,
    end: usize,
    /// A write's payload is being received.
    pub filling: bool,
    /// Replies to send.
    pub outbox: Vec<u8>,
    /// The ring is sending replies.
    pub sending: bool,
    /// Requests in progress.
    pub outstanding: usize,
    /// Closed: nothing more is received or sent.
    pub closed: bool,
}

/// What to do with the inbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Handle this request.
    Request(Header),
    /// Receive more: the next request is incomplete.
    Receive,
    /// Wait: too much is in progress.
    Pause,
}

impl Connection {
    /// A new connection.
    pub fn new(socket: OwnedFd, structured: bool) -> Result<Self> {
        Ok(Self {
            socket: Arc::new(socket),
            structured,
            inbox: Some(Buffer::new(INBOX_LEN)?),
            start: 0,
            end: 0,
            filling: false,
            outbox: Vec::new(),
            sending: false,
            outstanding: 0,
            closed: false,
        })
    }

    /// The next request's header.
    pub fn next_request(&mut self) -> Result<Next, Violation> {
        if self.closed || self.filling {
            return Ok(Next::Pause);
        }
        let Some(inbox) = &self.inbox else { return Ok(Next::Pause) };
        if self.outstanding >= REQUESTS_MAX || self.outbox.len() >= OUTBOX_MAX {
            return Ok(Next::Pause);
        }
        let Some(bytes) = inbox[self.start..self.end].first_chunk::<REQUEST_LEN>() else {
            return Ok(Next::Receive);
        };
        let header = Header::read(bytes)?;
        self.start += REQUEST_LEN;
        Ok(Next::Request(header))
    }

    /// Moves received bytes of a payload to `target`; returns their number.
    pub fn take_payload(&mut self, target: &mut [u8]) -> usize {
        let Some(inbox) = &self.inbox else { return 0 };
        let len = target.len().min(self.end - self.start);
        target[..len].copy_from_slice(&inbox[self.start..self.start + len]);
        self.start += len;
        len
    }

    /// The inbox and its free range, to receive into.
    pub fn begin_receive(&mut self) -> Option<(Buffer, std::ops::Range<usize>)> {
        let mut inbox = self.inbox.take()?;
        inbox.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let range = self.end..inbox.len();
        Some((inbox, range))
    }

    /// Takes the inbox back with `len` more bytes.
    pub fn received(&mut self, inbox: Buffer, len: usize) {
        self.end = (self.end + len).min(inbox.len());
        self.inbox = Some(inbox);
    }

    /// True if it is closed and nothing of it is in progress.
    pub fn is_gone(&self) -> bool {
        let receiving = self.inbox.is_none() || self.filling;
        self.closed && !self.sending && !receiving && self.outstanding == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn connection(bytes: &[u8]) -> Connection {
        let (socket, _) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(socket.into(), false).unwrap();
        let (mut inbox, range) = connection.begin_receive().unwrap();
        inbox[range][..bytes.len()].copy_from_slice(bytes);
        connection.received(inbox, bytes.len());
        connection
    }

    fn flush() -> Vec<u8> {
        let mut bytes = vec![0; REQUEST_LEN];
        bytes[..8].copy_from_slice(&[0x25, 0x60, 0x95, 0x13, 0, 0, 0, 3]);
        bytes
    }

    #[test]
    fn requests_are_parsed_whole_and_the_rest_waits() {
        let mut connection = connection(&[flush(), flush(), flush()[..5].to_vec()].concat());
        assert!(matches!(connection.next_request(), Ok(Next::Request(_))));
        assert!(matches!(connection.next_request(), Ok(Next::Request(_))));
        assert_eq!(connection.next_request(), Ok(Next::Receive));
        let (_, range) = connection.begin_receive().unwrap();
        assert_eq!(range, 5..INBOX_LEN);
        assert_eq!(connection.next_request(), Ok(Next::Pause), "the ring has the inbox");
    }

    #[test]
    fn no_request_is_parsed_at_the_limit() {
        let mut connection = connection(&flush());
        connection.outstanding = REQUESTS_MAX;
        assert_eq!(connection.next_request(), Ok(Next::Pause));
        connection.outstanding = 0;
        assert!(matches!(connection.next_request(), Ok(Next::Request(_))));
    }
}
