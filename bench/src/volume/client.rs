//! Requests, from the socket to the reply.
//!
//! Rule: a request is checked before anything else, and answered once, after the engine knows that
//! it is complete.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use snapless_nbd::{Command, Errno, Header, Violation, reply};

use super::state::{Loop, Request, Tag};
use crate::connection::{Connection, Next};
use crate::error::Result;
use crate::memory::{Buffer, Memory};
use crate::ring::{Target, Verb};

/// `FALLOC_FL_KEEP_SIZE` with `FALLOC_FL_PUNCH_HOLE` or `FALLOC_FL_ZERO_RANGE`, of
/// `linux/falloc.h`.
const PUNCH_HOLE: i32 = 1 | 2;
const ZERO_RANGE: i32 = 1 | 0x10;

impl<const ENGINE: bool> Loop<ENGINE> {
    pub(super) fn connect(&mut self, stream: UnixStream, structured: bool) -> Result<()> {
        if self.stopping {
            return Ok(());
        }
        let key = self.connections.insert(Connection::new(stream.into(), structured)?);
        Self::count(&self.shared.statistics.connections, 1);
        self.read_requests(key)
    }

    pub(super) fn close_all(&mut self) {
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.close(key);
        }
    }

    pub(super) fn received(
        &mut self,
        key: usize,
        inbox: Buffer,
        result: &io::Result<usize>,
    ) -> Result<()> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        match result {
            Ok(len) if *len > 0 => {
                connection.received(inbox, *len);
                self.read_requests(key)
            }
            // The client has gone.
            _ => {
                connection.received(inbox, 0);
                self.close(key);
                Ok(())
            }
        }
    }

    pub(super) fn received_payload(
        &mut self,
        (key, request): (usize, usize),
        buffer: Buffer,
        range: Range<usize>,
        result: &io::Result<usize>,
    ) -> Result<()> {
        let got = match result {
            Ok(got) if *got > 0 => range.start + got,
            _ => {
                self.drop_request(request, buffer);
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.filling = false;
                }
                self.close(key);
                return Ok(());
            }
        };
        if got < range.end {
            self.receive_payload(key, request, buffer, got..range.end);
            return Ok(());
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.filling = false;
        }
        if let Some(request) = self.requests.get_mut(request) {
            request.buffer = Some(buffer);
        }
        self.arrived(request);
        self.read_requests(key)
    }

    /// Begins the requests in a connection's inbox, then receives more.
    fn read_requests(&mut self, key: usize) -> Result<()> {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            match connection.next_request() {
                Ok(Next::Request(header)) => self.begin_request(key, header)?,
                Ok(Next::Pause) => {
                    // It may have been closed while data was being received.
                    self.forget_if_gone(key);
                    return Ok(());
                }
                Ok(Next::Receive) => {
                    let target = Target::Socket(connection.socket.clone());
                    if let Some((inbox, range)) = connection.begin_receive() {
                        let memory = Memory::Buffer(inbox);
                        self.ring.begin(target, &Verb::Receive, memory, range, Tag::Inbox(key));
                    }
                    return Ok(());
                }
                Err(Violation) => {
                    self.close(key);
                    return Ok(());
                }
            }
        }
    }

    fn begin_request(&mut self, key: usize, header: Header) -> Result<()> {
        let disk = &self.shared.disk;
        let checked = header.check(disk.length(), disk.sector());
        let command = match checked {
            Ok(Command::Disconnect) => {
                self.close(key);
                return Ok(());
            }
            // No client has agreed on it.
            Ok(Command::Allocation { .. }) => {
                self.refuse(key, &header, Errno::Invalid);
                return Ok(());
            }
            Ok(command) => command,
            Err(errno) if header.payload_len == 0 => {
                self.refuse(key, &header, errno);
                return Ok(());
            }
            // The payload must be received first; `arrived` refuses the request.
            Err(_) => Command::Write,
        };
        let needed = header.len as usize;
        let buffer = match command {
            Command::Read | Command::Write => Some(self.pool.take(needed)?),
            _ => None,
        };
        let request = Request {
            connection: key,
            command,
            header,
            buffer,
            protection: None,
            ticket: None,
            syncing: false,
        };
        let entry = self.requests.vacant_entry();
        let request_key = entry.key();
        let request = entry.insert(request);
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        connection.outstanding += 1;
        if command == Command::Write
            && let Some(mut buffer) = request.buffer.take()
        {
            let got = connection.take_payload(&mut buffer[..needed]);
            if got < needed {
                connection.filling = true;
                self.receive_payload(key, request_key, buffer, got..needed);
                return Ok(());
            }
            request.buffer = Some(buffer);
        }
        self.arrived(request_key);
        Ok(())
    }

    fn receive_payload(&mut self, key: usize, request: usize, buffer: Buffer, rest: Range<usize>) {
        let Some(connection) = self.connections.get(key) else { return };
        let target = Target::Socket(connection.socket.clone());
        let memory = Memory::Buffer(buffer);
        self.ring.begin(target, &Verb::ReceiveAll, memory, rest, Tag::Payload(key, request));
    }

    /// Handles a request that has been received completely.
    fn arrived(&mut self, key: usize) {
        let Some(request) = self.requests.get(key) else { return };
        let disk = &self.shared.disk;
        if let Err(errno) = request.header.check(disk.length(), disk.sector()) {
            return self.answer(key, Err(errno));
        }
        if ENGINE && request.is_write() {
            return self.filter(key);
        }
        self.issue(key);
    }

    /// Issues a request to the disk.
    pub(super) fn issue(&mut self, key: usize) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let memory = request.buffer.take().map_or(Memory::None, Memory::Buffer);
        self.issue_from(key, memory);
    }

    /// Issues a request to the disk, whose data are in `memory`.
    pub(super) fn issue_from(&mut self, key: usize, memory: Memory) {
        let Some(request) = self.requests.get(key) else { return };
        let (offset, len) = (request.header.offset, u64::from(request.header.len));
        let has_data = !matches!(memory, Memory::None);
        let range = 0..if has_data { request.header.len as usize } else { 0 };
        let verb = match request.command {
            Command::Read => Verb::Read(offset),
            Command::Write => Verb::Write(offset, request.header.fua),
            Command::Trim | Command::Zero { hole: true } => Verb::Allocate(PUNCH_HOLE, offset, len),
            Command::Zero { hole: false } => Verb::Allocate(ZERO_RANGE, offset, len),
            Command::Flush | Command::Disconnect | Command::Allocation { .. } => Verb::Sync,
        };
        let target = Target::File(self.shared.disk.file());
        self.ring.begin(target, &verb, memory, range, Tag::Request(key));
    }

    pub(super) fn request_done(
        &mut self,
        key: usize,
        memory: Memory,
        range: Range<usize>,
        result: io::Result<usize>,
    ) -> Result<()> {
        let Some(request) = self.requests.get_mut(key) else { return Ok(()) };
        let target = Target::File(self.shared.disk.file());
        match result {
            // A short read or write: issue the rest.
            Ok(moved) if moved > 0 && moved < range.len() => {
                let rest = range.start + moved..range.end;
                let offset = request.header.offset + rest.start as u64;
                let verb = match request.command {
                    Command::Read => Verb::Read(offset),
                    _ => Verb::Write(offset, request.header.fua),
                };
                self.ring.begin(target, &verb, memory, rest, Tag::Request(key));
                return Ok(());
            }
            Ok(_)
                if request.header.fua
                    && !request.syncing
                    && !matches!(request.command, Command::Read | Command::Write) =>
            {
                request.syncing = true;
                self.ring.begin(target, &Verb::Sync, memory, range, Tag::Request(key));
                return Ok(());
            }
            _ => {}
        }
        if let Memory::Buffer(buffer) = memory {
            request.buffer = Some(buffer);
        }
        let result = match result {
            // Zero bytes: the file has become shorter.
            Ok(0) if !range.is_empty() => Err(Errno::Io),
            Ok(_) => Ok(()),
            Err(error) => Err(errno_of(&error)),
        };
        if ENGINE {
            self.completed(key, result.is_ok());
        }
        let connection = self.requests[key].connection;
        self.answer(key, result);
        self.read_requests(connection)
    }

    fn answer(&mut self, key: usize, result: Result<(), Errno>) {
        let Some(request) = self.requests.try_remove(key) else { return };
        self.count_request(&request, result.is_ok());
        if let Some(connection) = self.connections.get_mut(request.connection) {
            connection.outstanding -= 1;
            if !connection.closed {
                let Header { cookie, offset, .. } = request.header;
                let out = &mut connection.outbox;
                if request.command == Command::Read {
                    let data = request.buffer.as_ref().map_or(&[][..], |it| &it[..request.len()]);
                    let data = result.map(|()| data);
                    reply::reply_read(out, connection.structured, (cookie, offset), data);
                } else {
                    reply::reply(out, cookie, result);
                }
                self.replied.push(request.connection);
            }
            self.forget_if_gone(request.connection);
        }
        if let Some(buffer) = request.buffer {
            self.pool.give_back(buffer);
        }
    }

    fn refuse(&mut self, key: usize, header: &Header, errno: Errno) {
        Self::count(&self.shared.statistics.errors, 1);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let out = &mut connection.outbox;
        if header.command == Some(Command::Read) {
            let names = (header.cookie, header.offset);
            reply::reply_read(out, connection.structured, names, Err(errno));
        } else {
            reply::reply(out, header.cookie, Err(errno));
        }
        self.replied.push(key);
    }

    fn drop_request(&mut self, key: usize, buffer: Buffer) {
        self.pool.give_back(buffer);
        if let Some(request) = self.requests.try_remove(key)
            && let Some(connection) = self.connections.get_mut(request.connection)
        {
            connection.outstanding -= 1;
        }
    }

    /// Sends the replies that have accumulated.
    pub(super) fn send_replies(&mut self) {
        let mut replied = std::mem::take(&mut self.replied);
        for key in replied.drain(..) {
            self.send(key);
        }
        self.replied = replied;
    }

    fn send(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.sending || connection.outbox.is_empty() {
            return;
        }
        connection.sending = true;
        let bytes = std::mem::take(&mut connection.outbox);
        let range = 0..bytes.len();
        let target = Target::Socket(connection.socket.clone());
        self.ring.begin(target, &Verb::Send, Memory::Bytes(bytes), range, Tag::Sent(key));
    }

    pub(super) fn sent(
        &mut self,
        key: usize,
        mut bytes: Vec<u8>,
        range: Range<usize>,
        result: &io::Result<usize>,
    ) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match result {
            Ok(sent) if *sent > 0 && *sent < range.len() => {
                let target = Target::Socket(connection.socket.clone());
                let rest = range.start + sent..range.end;
                self.ring.begin(target, &Verb::Send, Memory::Bytes(bytes), rest, Tag::Sent(key));
                return;
            }
            Ok(sent) if *sent > 0 => {}
            _ => {
                connection.sending = false;
                return self.close(key);
            }
        }
        connection.sending = false;
        if connection.outbox.is_empty() {
            // The memory is used again.
            bytes.clear();
            connection.outbox = bytes;
        } else {
            self.replied.push(key);
        }
        self.forget_if_gone(key);
    }

    /// Closes a connection; its requests in progress are completed but not answered.
    fn close(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.closed {
            connection.closed = true;
            connection.outbox.clear();
            // Ends a receive or send in progress. The socket may be shut down already.
            let _ = rustix::net::shutdown(connection.socket.as_fd(), rustix::net::Shutdown::Both);
        }
        self.forget_if_gone(key);
    }

    fn forget_if_gone(&mut self, key: usize) {
        if self.connections.get(key).is_some_and(Connection::is_gone) {
            self.connections.remove(key);
            let connections = &self.shared.statistics.connections;
            connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn count_request(&self, request: &Request, succeeded: bool) {
        let it = &self.shared.statistics;
        let len = u64::from(request.header.len);
        match request.command {
            _ if !succeeded => Self::count(&it.errors, 1),
            Command::Read => {
                Self::count(&it.reads, 1);
                Self::count(&it.read_bytes, len);
            }
            Command::Flush | Command::Disconnect | Command::Allocation { .. } => {
                Self::count(&it.flushes, 1);
            }
            Command::Write | Command::Trim | Command::Zero { .. } => {
                Self::count(&it.writes, 1);
                Self::count(&it.write_bytes, len);
            }
        }
    }
}

fn errno_of(error: &io::Error) -> Errno {
    match error.raw_os_error() {
        Some(12) => Errno::NoMemory,
        Some(22) => Errno::Invalid,
        Some(28) => Errno::NoSpace,
        Some(95) => Errno::NotSupported,
        _ => Errno::Io,
    }
}
