//! One client's connection: what has come and is not read yet, what goes out next.
//!
//! The rule: what a connection may have under way is bounded, in requests and in bytes; past that nothing more is
//! received from it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::error::Result;
use crate::memory::Buffer;
use crate::nbd::{Header, REQUEST_LEN, Violation};

/// Bytes received at a time.
const INBOX_LEN: usize = 256 << 10;
/// Requests under way at a time.
const REQUESTS_MAX: usize = 256;
/// Bytes of replies that wait to be sent.
const OUTBOX_MAX: usize = 64 << 20;

/// A connection.
// Each flag is of its own, in all combinations.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
pub struct Connection {
    /// Its socket.
    pub socket: Arc<OwnedFd>,
    /// Reads are answered in chunks.
    pub structured: bool,
    /// `None` while the ring has it.
    pub inbox: Option<Buffer>,
    start: usize,
    end: usize,
    /// A write whose payload is being received.
    pub filling: bool,
    /// Replies to send.
    pub outbox: Vec<u8>,
    /// The ring has replies.
    pub sending: bool,
    /// Requests under way.
    pub outstanding: usize,
    /// Nothing more is read from it, nothing more is answered.
    pub closed: bool,
}

/// What the inbox begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// A request.
    Request(Header),
    /// Not a whole one: receive more.
    Receive,
    /// Nothing, for now: too much is under way.
    Pause,
}

impl Connection {
    /// A connection on which nothing has come yet.
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

    /// Moves what has come of a payload to `target`; returns how much that is.
    pub fn take_payload(&mut self, target: &mut [u8]) -> usize {
        let Some(inbox) = &self.inbox else { return 0 };
        let len = target.len().min(self.end - self.start);
        target[..len].copy_from_slice(&inbox[self.start..self.start + len]);
        self.start += len;
        len
    }

    /// The inbox and the part of it to receive into.
    pub fn begin_receive(&mut self) -> Option<(Buffer, std::ops::Range<usize>)> {
        let mut inbox = self.inbox.take()?;
        inbox.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let range = self.end..inbox.len();
        Some((inbox, range))
    }

    /// Notes that `len` bytes have come into the inbox.
    pub fn received(&mut self, inbox: Buffer, len: usize) {
        self.end = (self.end + len).min(inbox.len());
        self.inbox = Some(inbox);
    }

    /// True if nothing of it is left anywhere.
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
    fn requests_come_out_whole_and_the_rest_waits() {
        let mut connection = connection(&[flush(), flush(), flush()[..5].to_vec()].concat());
        assert!(matches!(connection.next_request(), Ok(Next::Request(_))));
        assert!(matches!(connection.next_request(), Ok(Next::Request(_))));
        assert_eq!(connection.next_request(), Ok(Next::Receive));
        let (_, range) = connection.begin_receive().unwrap();
        assert_eq!(range, 5..INBOX_LEN);
        assert_eq!(connection.next_request(), Ok(Next::Pause), "the ring has the inbox");
    }

    #[test]
    fn a_client_with_too_much_under_way_is_not_read() {
        let mut connection = connection(&flush());
        connection.outstanding = REQUESTS_MAX;
        assert_eq!(connection.next_request(), Ok(Next::Pause));
        connection.outstanding = 0;
        assert!(matches!(connection.next_request(), Ok(Next::Request(_))));
    }

    #[test]
    fn what_is_no_request_is_a_violation() {
        assert_eq!(connection(&[1; REQUEST_LEN]).next_request(), Err(Violation));
    }
}
