//! A byte stream over TLS, as [`crate::stream::Stream`] asks for it.
//!
//! The two directions have keys of their own and nothing else in common, so that each is under a
//! lock of its own:
//!
//! | lock | protects | held |
//! | --- | --- | --- |
//! | `outgoing` | the order of what is sent | while it is encrypted and sent |
//! | `incoming` | what was received | by the receiver |
//! | `keys` | what derives the next keys | while a key is replaced |
//! | `due` | what the receiver has found and the sender must say | for a moment |
//!
//! `keys` and `due` are taken last. A receiver never waits for `outgoing`: a sender may hold it for
//! as long as the other end takes nothing, and the other end may be waiting for this receiver.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::Mutex;

use snapless_trust::rustls::Error;

use crate::frames::send_all;
use crate::socket::Socket;
use crate::stream::{RECEIVE_STEP, Stream};

use super::engine::Established;
use super::error::TlsError;
use super::keys::{KEY_UPDATE, KeySchedule};
use super::lock;
use super::receiving::Receiver;
use super::sending::Sender;

/// The most bytes that are encrypted at a time.
const SEND_MAX: usize = 256 << 10;

/// A connected stream over TLS. The handshake is over.
#[derive(Debug)]
pub struct TlsStream {
    tcp: Socket,
    outgoing: Mutex<Sender>,
    incoming: Mutex<Receiver>,
    keys: Mutex<Box<dyn KeySchedule>>,
    due: Mutex<Due>,
    protocol: Option<Vec<u8>>,
}

/// What the receiver has found and the sender must say.
#[derive(Debug, Default)]
struct Due {
    /// The other end asks for a new key of this one.
    new_key: bool,
    /// Why nothing more can be received. Nothing but the reason is sent then.
    failure: Option<Error>,
}

impl TlsStream {
    /// The stream of a connection whose handshake is over.
    pub(super) fn new(tcp: Socket, established: Established) -> Self {
        let Established { sealer, opener, keys, rest, protocol } = established;
        Self {
            tcp,
            outgoing: Mutex::new(Sender::new(sealer)),
            incoming: Mutex::new(Receiver::new(opener, &rest)),
            keys: Mutex::new(keys),
            due: Mutex::default(),
            protocol,
        }
    }

    /// The protocol (ALPN) that both ends agreed on.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.protocol.as_deref()
    }

    /// Tells the other end why it is not understood, if no thread is sending. One that is sending
    /// does so in its next [`Stream::send`].
    fn complain(&self) {
        if let Ok(mut sender) = self.outgoing.try_lock() {
            // The receiver has the error.
            drop(self.settle(&mut sender));
        }
    }

    /// Says what is due before the next payload: a new key waits for that payload.
    ///
    /// # Errors
    /// Nothing more can be sent.
    fn settle(&self, sender: &mut Sender) -> io::Result<()> {
        let (new_key, failure) = {
            let mut due = lock(&self.due);
            (std::mem::take(&mut due.new_key), due.failure.clone())
        };
        if let Some(failure) = failure {
            if !sender.has_ended() {
                // If the other end cannot be told, it learns of the end by the cut.
                drop(sender.complain(&failure));
                drop(sender.send(|bytes| self.tcp.send_within(bytes, RECEIVE_STEP)));
                sender.end();
            }
            return Err(TlsError::from(failure).into());
        }
        if sender.has_ended() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if new_key {
            sender.replace_key(&KEY_UPDATE, &self.keys).map_err(TlsError::from)?;
        }
        Ok(())
    }
}

impl Stream for TlsStream {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(SEND_MAX)];
        let mut sender = lock(&self.outgoing);
        self.settle(&mut sender)?;
        sender.seal(bytes, &self.keys).map_err(TlsError::from)?;
        sender.send(|bytes| send_all(&self.tcp, bytes))?;
        Ok(bytes.len())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut receiver = lock(&self.incoming);
        loop {
            let decrypted = receiver.decrypt(buffer, &self.keys);
            if receiver.asks_for_keys() {
                lock(&self.due).new_key = true;
            }
            if let Err(failure) = &decrypted {
                lock(&self.due).failure = Some(failure.clone());
                self.complain();
            }
            if let Some(count) = decrypted.map_err(TlsError::from)? {
                return Ok(count);
            }
            match self.tcp.receive(receiver.room())? {
                0 => return Err(TlsError::Cut.into()),
                count => receiver.received(count),
            }
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // Without the lock, a sender waits for the other end, which then learns of the end by the
        // cut.
        if how != Shutdown::Read
            && let Ok(mut sender) = self.outgoing.try_lock()
            && !sender.has_ended()
        {
            // If there is no goodbye to say, the other end learns of the end by the cut.
            drop(sender.say_goodbye());
            // If the goodbye cannot be sent, the other end learns of the end by the cut. Whoever
            // ends both directions does not wait for the other end.
            drop(sender.send(|bytes| match how {
                Shutdown::Both => self.tcp.send_within(bytes, RECEIVE_STEP),
                _ => send_all(&self.tcp, bytes),
            }));
            sender.end();
        }
        self.tcp.shutdown(how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::keys::KEY_UPDATE_REQUEST;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::ops::DerefMut;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use snapless_trust::config::Purpose;
    use snapless_trust::identity::SERVER_NAME;
    use snapless_trust::rustls::pki_types::ServerName;
    use snapless_trust::rustls::{ClientConnection, ConnectionCommon, ServerConnection, SideData};

    use crate::server::prepare;
    use crate::stream::is_transient;
    use crate::tls::enrolled::enrolled;
    use crate::tls::handshake::{Patience, accept, connect};

    const PATIENCE: Patience<'_> =
        Patience { limit: Duration::from_secs(10), cancelled: &|| false };

    fn sockets() -> [TcpStream; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        [near, listener.accept().unwrap().0]
    }

    fn pair() -> (TlsStream, TlsStream) {
        let dir = tempfile::tempdir().unwrap();
        let (trust, config) = enrolled(dir.path(), SystemTime::now());
        let [near, far] = sockets().map(|tcp| prepare(tcp).unwrap());
        thread::scope(|scope| {
            let client = scope.spawn(|| connect(near, config, &PATIENCE).unwrap());
            let server = accept(far, &trust, &PATIENCE).unwrap();
            (client.join().unwrap(), server.stream)
        })
    }

    /// Sends what comes back to it, then ends; replaces its keys all the while.
    fn echo<Data: SideData>(
        mut connection: impl DerefMut<Target = ConnectionCommon<Data>>,
        mut tcp: TcpStream,
    ) {
        let mut buffer = vec![0; 10_000];
        loop {
            let mut stream = snapless_trust::rustls::Stream::new(&mut connection, &mut tcp);
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => stream.write_all(&buffer[..count]).unwrap(),
            }
            connection.refresh_traffic_keys().unwrap();
        }
        connection.send_close_notify();
        while connection.wants_write() {
            connection.write_tls(&mut tcp).unwrap();
        }
    }

    /// What the TLS implementation itself, at the other end, sends back.
    fn talk(stream: &TlsStream) {
        let payload: Vec<u8> = (0..=250).cycle().take(300_000).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for (index, piece) in payload.chunks(7777).enumerate() {
                    if index % 5 == 0 {
                        let mut sender = lock(&stream.outgoing);
                        sender.replace_key(&KEY_UPDATE_REQUEST, &stream.keys).unwrap();
                    }
                    send_all(stream, piece).unwrap();
                }
                stream.shutdown(Shutdown::Write).unwrap();
            });
            let mut found = vec![0; payload.len()];
            receive_all(stream, &mut found);
            assert!(found == payload);
            assert_eq!(stream.receive(&mut found).unwrap(), 0);
        });
    }

    #[test]
    fn a_machine_speaks_with_a_server_of_the_implementation_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (trust, config) = enrolled(dir.path(), SystemTime::now());
        let [near, far] = sockets();
        let server = trust.config(Purpose::Link, SystemTime::now()).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| echo(ServerConnection::new(server).unwrap(), far));
            talk(&connect(prepare(near).unwrap(), config, &PATIENCE).unwrap());
        });
    }

    #[test]
    fn a_server_speaks_with_a_machine_of_the_implementation_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (trust, config) = enrolled(dir.path(), SystemTime::now());
        let [near, far] = sockets();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| echo(ClientConnection::new(config, name).unwrap(), near));
            talk(&accept(prepare(far).unwrap(), &trust, &PATIENCE).unwrap().stream);
        });
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
                        let mut sender = lock(&stream.outgoing);
                        sender.replace_key(&KEY_UPDATE_REQUEST, &stream.keys).unwrap();
                        drop(sender);
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
