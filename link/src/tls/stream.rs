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

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::frames::send_all;
use crate::socket::Socket;
use crate::stream::{RECEIVE_STEP, Stream};

use super::engine::{Engine, Fresh, Outgoing};
use super::error::TlsError;

/// The most bytes that are encrypted at a time.
const SEND_MAX: usize = 256 << 10;
/// Bytes received at a time.
const RECEIVE_LEN: usize = 128 << 10;

/// A connected stream over TLS. The handshake is over.
#[derive(Debug)]
pub struct TlsStream {
    tcp: Socket,
    connection: Mutex<Box<dyn Engine>>,
    outgoing: Mutex<Sender>,
    incoming: Mutex<Fresh>,
}

/// What is being sent.
#[derive(Debug, Default)]
struct Sender {
    waiting: Outgoing,
    /// Nothing more can be sent: the end was said, or a part of a TLS record may be under way.
    ended: bool,
}

impl TlsStream {
    /// The stream of a connection whose handshake is over.
    pub(super) fn new(tcp: Socket, connection: Box<dyn Engine>) -> Self {
        Self {
            tcp,
            connection: Mutex::new(connection),
            outgoing: Mutex::default(),
            incoming: Mutex::new(Fresh::new(RECEIVE_LEN)),
        }
    }

    /// Sends what the connection has to say besides the payload, if no thread is sending. One that
    /// is sending does so with its next payload.
    fn flush(&self) {
        if let Ok(mut sender) = self.outgoing.try_lock() {
            sender.take(&mut **lock(&self.connection));
            // A failure shows in the next `send`.
            drop(sender.send(|bytes| send_all(&self.tcp, bytes)));
        }
    }
}

impl Stream for TlsStream {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(SEND_MAX)];
        let mut sender = lock(&self.outgoing);
        if sender.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let encrypted = {
            let mut connection = lock(&self.connection);
            let encrypted = connection.encrypt(bytes);
            sender.take(&mut **connection);
            encrypted
        };
        sender.send(|bytes| send_all(&self.tcp, bytes))?;
        encrypted?;
        Ok(bytes.len())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = lock(&self.incoming);
        loop {
            let (received, has_more_to_say) = {
                let mut connection = lock(&self.connection);
                let fed = connection.feed(&mut incoming);
                let received = fed.and_then(|()| connection.decrypt(buffer));
                (received, !connection.unsent().bytes().is_empty())
            };
            if has_more_to_say {
                self.flush();
            }
            if let Some(count) = received? {
                return Ok(count);
            }
            match self.tcp.receive(incoming.room())? {
                0 => return Err(TlsError::Cut.into()),
                count => incoming.received(count),
            }
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // Without the lock, a sender waits for the other end, which then learns of the end by the
        // cut.
        if how != Shutdown::Read
            && let Ok(mut sender) = self.outgoing.try_lock()
            && !sender.ended
        {
            {
                let mut connection = lock(&self.connection);
                // If there is no goodbye to say, the other end learns of the end by the cut.
                drop(connection.say_goodbye());
                sender.take(&mut **connection);
            }
            // If the goodbye cannot be sent, the other end learns of the end by the cut. Whoever
            // ends both directions does not wait for the other end.
            drop(sender.send(|bytes| match how {
                Shutdown::Both => self.tcp.send_within(bytes, RECEIVE_STEP),
                _ => send_all(&self.tcp, bytes),
            }));
            sender.ended = true;
        }
        self.tcp.shutdown(how)
    }
}

impl Sender {
    /// Takes over what the connection has encrypted.
    fn take(&mut self, connection: &mut dyn Engine) {
        debug_assert!(self.waiting.bytes().is_empty());
        std::mem::swap(connection.unsent(), &mut self.waiting);
    }

    /// Sends what waits. After an error nothing more can be sent.
    fn send(&mut self, send_all: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let sent = if self.ended {
            Err(ErrorKind::BrokenPipe.into())
        } else {
            send_all(self.waiting.bytes())
        };
        self.waiting.clear();
        self.ended |= sent.is_err();
        sent
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
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::{Duration, SystemTime};

    use crate::server::prepare;
    use crate::stream::is_transient;
    use crate::tls::enrolled::enrolled;
    use crate::tls::handshake::{Patience, accept, connect};

    fn pair() -> (TlsStream, TlsStream) {
        let dir = tempfile::tempdir().unwrap();
        let (trust, config) = enrolled(dir.path(), SystemTime::now());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        let [near, far] = [near, far].map(|tcp| prepare(tcp).unwrap());
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
                        lock(&stream.connection).change_keys();
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
