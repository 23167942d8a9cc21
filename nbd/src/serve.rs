//! Serves one client, one request after the other, on the caller's thread.
//!
//! Rule: a connection holds the bytes of one request and of its reply, each at most
//! [`PAYLOAD_MAX`].

use std::io::{self, BufReader, ErrorKind, Read, Write};

use crate::handshake::{Access, Agreed, Export};
use crate::reply::{self, Allocation};
use crate::request::{Command, Errno, Header, PAYLOAD_MAX, REQUEST_LEN, Violation};
use crate::stream::Stream;

/// The most runs in one reply.
const RUNS_MAX: usize = 4096;

/// Bytes of requests that are read ahead: those that a client sends without waiting for replies.
const READ_AHEAD: usize = 4 << 10;

/// What an export shows. Extents are inside the export and whole sectors.
pub trait Disk: Sync {
    /// Fills the buffer with the content at an offset.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno>;

    /// Writes; asked only of an export of [`Access::Write`], as are the next two.
    fn write(&self, _offset: u64, _bytes: &[u8]) -> Result<(), Errno> {
        Err(Errno::NotPermitted)
    }

    /// Makes zeros; they may become a hole.
    fn zero(&self, _offset: u64, _len: u32) -> Result<(), Errno> {
        Err(Errno::NotPermitted)
    }

    /// Makes durable what was written.
    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }

    /// What is allocated of an extent: runs in order, from its begin on, at least one and at most
    /// `most`. They may end before the extent does, and not after it.
    fn allocation(&self, _offset: u64, len: u32, _most: usize) -> Vec<Allocation> {
        vec![Allocation { len, is_hole: false }]
    }
}

/// Serves a client after its handshake, until it leaves or the stream is shut down.
///
/// # Errors
/// [`ErrorKind::InvalidData`] if the client violates the protocol, or why the stream fails.
pub fn serve<S: Stream>(
    stream: &S,
    export: &Export,
    agreed: Agreed,
    disk: &impl Disk,
) -> io::Result<()>
where
    for<'a> &'a S: Read + Write,
{
    stream.send_at_once()?;
    let requests = BufReader::with_capacity(READ_AHEAD, stream);
    let (data, out) = (Vec::new(), Vec::new());
    let mut client = Client { stream, requests, export, agreed, disk, data, out };
    loop {
        match client.request() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if has_left(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

struct Client<'a, S, D> {
    stream: &'a S,
    requests: BufReader<&'a S>,
    export: &'a Export,
    agreed: Agreed,
    disk: &'a D,
    data: Vec<u8>,
    out: Vec<u8>,
}

impl<S, D: Disk> Client<'_, S, D>
where
    for<'s> &'s S: Read + Write,
{
    /// Answers one request; false if it was the last one.
    fn request(&mut self) -> io::Result<bool> {
        let mut bytes = [0; REQUEST_LEN];
        self.requests.read_exact(&mut bytes)?;
        let header = Header::read(&bytes).map_err(|Violation| {
            io::Error::new(ErrorKind::InvalidData, "the client sent what is not a request")
        })?;
        // Received whatever becomes of the request: the next one follows it.
        self.data.resize(header.payload_len as usize, 0);
        self.requests.read_exact(&mut self.data)?;
        self.out.clear();
        match header.check(self.export.length, self.export.sector) {
            Ok(Command::Disconnect) => return Ok(false),
            Ok(command) => self.answer(&header, command),
            Err(errno) => self.refuse(&header, errno),
        }
        let mut stream = self.stream;
        stream.write_all(&self.out)?;
        Ok(true)
    }

    fn answer(&mut self, header: &Header, command: Command) {
        let Header { offset, len, cookie, .. } = *header;
        let may_write = self.export.access == Access::Write;
        let done = match command {
            Command::Read => return self.read(header),
            Command::Allocation { one } if self.agreed.allocation => {
                let most = if one { 1 } else { RUNS_MAX };
                let runs = self.disk.allocation(offset, len, most);
                return reply::reply_allocation(&mut self.out, cookie, Ok(&runs));
            }
            Command::Allocation { .. } => Err(Errno::Invalid),
            Command::Flush => self.disk.flush(),
            Command::Disconnect => Ok(()),
            Command::Write | Command::Trim | Command::Zero { .. } if !may_write => {
                Err(Errno::NotPermitted)
            }
            Command::Write => self.disk.write(offset, &self.data),
            Command::Trim | Command::Zero { .. } => self.disk.zero(offset, len),
        };
        let done = if header.fua { done.and_then(|()| self.disk.flush()) } else { done };
        reply::reply(&mut self.out, cookie, done);
    }

    fn read(&mut self, header: &Header) {
        assert!(header.len <= PAYLOAD_MAX, "a longer read is refused when it is checked");
        self.data.resize(header.len as usize, 0);
        let read = self.disk.read(header.offset, &mut self.data).map(|()| &self.data[..]);
        let names = (header.cookie, header.offset);
        reply::reply_read(&mut self.out, self.agreed.structured, names, read);
    }

    fn refuse(&mut self, header: &Header, errno: Errno) {
        let Header { command, cookie, offset, .. } = *header;
        match command {
            Some(Command::Read) => {
                let structured = self.agreed.structured;
                reply::reply_read(&mut self.out, structured, (cookie, offset), Err(errno));
            }
            Some(Command::Allocation { .. }) if self.agreed.allocation => {
                reply::reply_allocation(&mut self.out, cookie, Err(errno));
            }
            _ => reply::reply(&mut self.out, cookie, Err(errno)),
        }
    }
}

/// True if the client closed the connection, or the stream was shut down.
fn has_left(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
    )
}
