//! A byte stream over TLS, as [`crate::stream::Stream`] asks for it.
//!
//! One TLS connection cannot be split in two, so that it stands under a lock, which is held while
//! bytes are encrypted or decrypted and never while a thread waits for the network. Encrypted bytes
//! are read outside of it, and written under a lock of their own, which keeps them in order:
//!
//! | lock | protects | held |
//! | --- | --- | --- |
//! | `outgoing` | the order of what is sent | while it is encrypted and sent |
//! | `incoming` | what was received and not decrypted yet | by the receiver |
//! | `connection` | the TLS connection | while bytes are encrypted or decrypted |
//!
//! `connection` is taken last. A receiver never waits for `outgoing`: a sender may hold it for as
//! long as the other end takes nothing, and the other end may be waiting for this receiver.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

use snapless_trust::rustls::Connection;

use crate::stream::{RECEIVE_STEP, Stream};

use super::error::TlsError;

/// The most bytes that are encrypted at a time.
const SEND_MAX: usize = 256 << 10;
/// Bytes received at a time.
const RECEIVE_LEN: usize = 128 << 10;
/// Bytes received at a time as long as the other end is not known.
const FIRST_RECEIVE_LEN: usize = 8 << 10;

/// A connected stream over TLS. The handshake is over.
#[derive(Debug)]
pub struct TlsStream {
    tcp: TcpStream,
    connection: Mutex<Connection>,
    outgoing: Mutex<Outgoing>,
    incoming: Mutex<Incoming>,
}

/// What is encrypted and not sent yet.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// Nothing more can be sent: the end was said, or a part of a TLS record may be under way.
    ended: bool,
}

/// What was received and not decrypted yet: `bytes[start..end]`.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl TlsStream {
    /// The stream of a connection whose handshake is over, and what came after it.
    pub(super) fn new(tcp: TcpStream, mut connection: Connection, mut incoming: Incoming) -> Self {
        incoming.bytes.resize(RECEIVE_LEN, 0);
        // `send` takes so much at a time that this cannot grow further.
        connection.set_buffer_limit(None);
        Self {
            tcp,
            connection: Mutex::new(connection),
            outgoing: Mutex::default(),
            incoming: Mutex::new(incoming),
        }
    }

    /// Sends what the connection has to say besides the payload, if no thread is sending. One that
    /// is sending does so with its next payload.
    fn flush(&self) {
        let Ok(mut outgoing) = self.outgoing.try_lock() else { return };
        let collected = outgoing.collect(&mut lock(&self.connection));
        // A failure shows in the next `send`.
        drop(collected.and_then(|()| outgoing.send(&self.tcp)));
    }
}

impl Stream for TlsStream {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(SEND_MAX)];
        let mut outgoing = lock(&self.outgoing);
        if outgoing.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        {
            let mut connection = lock(&self.connection);
            connection.writer().write_all(bytes)?;
            outgoing.collect(&mut connection)?;
        }
        outgoing.send(&self.tcp)?;
        Ok(bytes.len())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = lock(&self.incoming);
        loop {
            let (read, must_flush) = {
                let mut connection = lock(&self.connection);
                (incoming.decrypt(&mut connection, buffer), connection.wants_write())
            };
            if must_flush {
                self.flush();
            }
            if let Some(count) = read? {
                return Ok(count);
            }
            incoming.receive(&self.tcp)?;
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // Without the lock, a sender waits for the other end, which then learns of the end by the
        // cut.
        if how != Shutdown::Read
            && let Ok(mut outgoing) = self.outgoing.try_lock()
            && !outgoing.ended
        {
            let collected = {
                let mut connection = lock(&self.connection);
                connection.send_close_notify();
                outgoing.collect(&mut connection)
            };
            // Whoever ends both directions does not wait for the other end.
            if how == Shutdown::Both {
                self.tcp.set_write_timeout(Some(RECEIVE_STEP))?;
            }
            // If the goodbye cannot be sent, the other end learns of the end by the cut.
            drop(collected.and_then(|()| outgoing.send(&self.tcp)));
            outgoing.ended = true;
        }
        self.tcp.shutdown(how)
    }
}

impl Outgoing {
    /// Takes over what the connection has encrypted.
    fn collect(&mut self, connection: &mut Connection) -> io::Result<()> {
        while connection.wants_write() {
            connection.write_tls(&mut self.bytes)?;
        }
        Ok(())
    }

    /// Sends all of it. After an error nothing more can be sent.
    fn send(&mut self, mut tcp: &TcpStream) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let sent =
            if self.ended { Err(ErrorKind::BrokenPipe.into()) } else { tcp.write_all(&self.bytes) };
        self.bytes.clear();
        self.ended |= sent.is_err();
        sent
    }
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; FIRST_RECEIVE_LEN], start: 0, end: 0 }
    }

    /// What is there to decrypt.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Waits for more, at most for a step, when everything is decrypted.
    ///
    /// # Errors
    /// [`TlsError::Cut`] if the connection ended: an end is said first.
    pub(super) fn receive(&mut self, tcp: &TcpStream) -> io::Result<()> {
        (self.start, self.end) = (0, 0);
        match Stream::receive(tcp, &mut self.bytes)? {
            0 => Err(TlsError::Cut.into()),
            count => {
                self.end = count;
                Ok(())
            }
        }
    }

    /// Hands some of it to the connection; false if there is nothing.
    pub(super) fn feed(&mut self, connection: &mut Connection) -> Result<bool, TlsError> {
        let is_fed = self.hand_to(|rest| connection.read_tls(rest))?;
        if is_fed {
            connection.process_new_packets()?;
        }
        Ok(is_fed)
    }

    /// Lets `take` read some of it; false if there is nothing.
    pub(super) fn hand_to(
        &mut self,
        take: impl FnOnce(&mut dyn Read) -> io::Result<usize>,
    ) -> Result<bool, TlsError> {
        let mut rest = &self.bytes[self.start..self.end];
        if rest.is_empty() {
            return Ok(false);
        }
        self.start += take(&mut rest).map_err(TlsError::Lost)?;
        Ok(true)
    }

    /// Decrypts into `buffer`; `None` if more must be received first, 0 at the end.
    fn decrypt(
        &mut self,
        connection: &mut Connection,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        loop {
            match connection.reader().read(buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if !self.feed(connection)? {
                return Ok(None);
            }
        }
    }
}

/// A panic of another thread cannot leave what these locks protect half-changed in a way that TLS
/// does not notice.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use snapless_trust::config::Purpose;
    use snapless_trust::identity::Role;
    use snapless_trust::keystore::Applicant;
    use snapless_trust::server::ServerTrust;
    use snapless_trust::token::{Grant, LIFETIME_DEFAULT};

    use crate::frames::send_all;
    use crate::stream::is_transient;
    use crate::tls::handshake::{Patience, accept, connect};

    fn pair() -> (TlsStream, TlsStream) {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let trust = ServerTrust::create(&dir.path().join("trust"), now).unwrap();
        let grant = Grant { role: Role::Client, name: None, machine: None };
        let token = trust.make_token(&grant, LIFETIME_DEFAULT, now).unwrap();
        let applicant = Applicant::new(&token, "machine", "here:1").unwrap();
        let answer = trust.answer(&applicant.request, None, "here", now);
        let config = applicant.accept(answer).unwrap().config(Purpose::Link).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(RECEIVE_STEP)).unwrap();
        }
        let never = || false;
        let patience = || Patience { limit: Duration::from_secs(10), cancelled: &never };
        thread::scope(|scope| {
            let client = scope.spawn(|| connect(near, config, &patience()).unwrap());
            let server = accept(far, &trust, &patience()).unwrap();
            (client.join().unwrap(), server.stream)
        })
    }

    fn receive_all(stream: &TlsStream, mut buffer: &mut [u8]) {
        while !buffer.is_empty() {
            match stream.receive(buffer) {
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if is_transient(&error) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn keys_are_replaced_under_traffic_in_both_directions() {
        const ROUNDS: u8 = 50;
        let (near, far) = pair();
        let talk = |stream: &TlsStream, own: u8, other: u8| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        lock(&stream.connection).refresh_traffic_keys().unwrap();
                        send_all(stream, &vec![own ^ round; 50_000]).unwrap();
                    }
                });
                for round in 0..ROUNDS {
                    let mut buffer = vec![0; 50_000];
                    receive_all(stream, &mut buffer);
                    assert!(buffer.iter().all(|byte| *byte == other ^ round), "round {round}");
                }
            });
        };
        thread::scope(|scope| {
            scope.spawn(|| talk(&near, 0x40, 0x80));
            talk(&far, 0x80, 0x40);
        });
    }

    #[test]
    fn after_a_goodbye_nothing_more_is_sent() {
        let (near, far) = pair();
        near.shutdown(Shutdown::Write).unwrap();
        assert!(near.send(b"x").is_err());
        let mut buffer = [0; 8];
        assert_eq!(far.receive(&mut buffer).unwrap(), 0);
        assert_eq!(far.receive(&mut buffer).unwrap(), 0);
        send_all(&far, b"late").unwrap();
        receive_all(&near, &mut buffer[..4]);
        assert_eq!(&buffer[..4], b"late");
    }
}
