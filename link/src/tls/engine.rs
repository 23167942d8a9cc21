//! A TLS connection without input and output: bytes in, bytes out. The same for both ends.
//!
//! It wraps the implementation's own state machine, which decrypts and encrypts in the buffers that
//! it is given, so that a first sync is not copied more often than it must. The state machine looks
//! at what was received in every step, those for sending included, and must always be shown all
//! that is not done with: so the buffer is here, beside it.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use snapless_trust::rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use snapless_trust::rustls::pki_types::{CertificateDer, ServerName};
use snapless_trust::rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use snapless_trust::rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use snapless_trust::rustls::{ClientConfig, Error, ServerConfig};

use super::error::TlsError;

/// The payload of a full TLS record.
const RECORD_LEN: usize = 16 << 10;
/// What a record adds to its payload: header, kind, tag.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;
/// Room for what is said besides the payload: a change of keys.
const MESSAGE_ROOM: usize = 256;
/// The most that may wait for the rest of a message, in bytes: the longest of a handshake.
const WAITING_MAX: usize = 64 << 10;
/// More than a TLS record: what may wait without being copied to another buffer.
const FRONT_LEN: usize = RECORD_LEN + (1 << 10);
/// Steps without progress after which an implementation is taken for stuck.
const STEPS_MAX: usize = 64;

/// Encrypted bytes that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Longer than what is used, so that it is not cleared again and again.
    bytes: Vec<u8>,
    len: usize,
}

impl Outgoing {
    /// What waits.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// All of it was sent, or will never be.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Room for so many more bytes.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.len + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.len..]
    }
}

/// A buffer for received bytes, with room in front for what was received before them, so that only
/// the start of a message that is not complete is copied.
#[derive(Debug)]
pub(super) struct Fresh {
    bytes: Vec<u8>,
    len: usize,
}

impl Fresh {
    /// For so many bytes at a time.
    pub(super) fn new(len: usize) -> Self {
        Self { bytes: vec![0; FRONT_LEN + len], len: 0 }
    }

    /// Where to receive more.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[FRONT_LEN + self.len..]
    }

    /// So many more bytes were received.
    pub(super) fn received(&mut self, len: usize) {
        self.len += len;
    }

    /// What was received.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[FRONT_LEN..FRONT_LEN + self.len]
    }
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Payload was decrypted; there may be more.
    Payload,
    /// The handshake needs more from the other end.
    Handshaking,
    /// The handshake is over, and there is nothing more to decrypt.
    Idle,
    /// The other end has said that nothing more comes.
    Ended,
}

/// A TLS connection.
pub(super) trait Engine: Debug + Send {
    /// Takes encrypted bytes that were received, and gives a buffer for the next ones.
    ///
    /// # Errors
    /// [`TlsError::Endless`] if too much waits for the rest of a message.
    fn feed(&mut self, fresh: &mut Fresh) -> Result<(), TlsError>;

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// The connection is of no further use; what the other end should be told waits to be sent.
    fn advance(&mut self) -> Result<Step, TlsError>;

    /// Decrypts into `buffer`; `None` if more must be received first, 0 at the end.
    ///
    /// # Errors
    /// As [`Self::advance`].
    fn decrypt(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TlsError>;

    /// Encrypts a payload. The handshake must be over.
    fn encrypt(&mut self, payload: &[u8]) -> Result<(), TlsError>;

    /// Says that nothing more will be sent.
    fn say_goodbye(&mut self) -> Result<(), TlsError>;

    /// What is encrypted and waits to be sent. It must be sent in this order.
    fn unsent(&mut self) -> &mut Outgoing;

    /// The certificate that the other end has shown.
    fn peer_certificate(&self) -> Option<CertificateDer<'static>>;

    /// Changes this end's keys, and asks the other end to do the same.
    #[cfg(test)]
    fn change_keys(&mut self);
}

/// The service's end.
pub(super) fn client(
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
) -> Result<Box<dyn Engine>, TlsError> {
    Ok(Box::new(Machine::new(UnbufferedClientConnection::new(config, server)?)))
}

/// The server's end.
pub(super) fn server(config: Arc<ServerConfig>) -> Result<Box<dyn Engine>, TlsError> {
    Ok(Box::new(Machine::new(UnbufferedServerConnection::new(config)?)))
}

/// What the two ends' connections have in common.
trait Connection: Send {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// True if the next step gives something to send.
    fn has_to_say(&self) -> bool;

    fn certificates(&self) -> Option<&[CertificateDer<'static>]>;
}

/// The two ends' types have the same methods, and no trait of the implementation's own.
macro_rules! connection {
    ($connection:ty, $data:ty) => {
        impl Connection for $connection {
            type Data = $data;

            fn process<'c, 'i>(
                &'c mut self,
                incoming: &'i mut [u8],
            ) -> UnbufferedStatus<'c, 'i, Self::Data> {
                self.process_tls_records(incoming)
            }

            fn has_to_say(&self) -> bool {
                self.wants_write()
            }

            fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
                self.peer_certificates()
            }
        }
    };
}

connection!(UnbufferedClientConnection, ClientConnectionData);
connection!(UnbufferedServerConnection, ServerConnectionData);

/// The state machine, and what it looks at.
struct Core<C> {
    connection: C,
    /// Received and not done with: `received[start..end]`.
    received: Vec<u8>,
    start: usize,
    end: usize,
    has_ended: bool,
    /// Why the connection is of no further use. It is not asked again then.
    failure: Option<Error>,
}

/// What is decrypted and not taken: `bytes[taken..]`.
#[derive(Default)]
struct Payload {
    bytes: Vec<u8>,
    taken: usize,
}

struct Machine<C> {
    core: Core<C>,
    payload: Payload,
    unsent: Outgoing,
}

/// Without keys and payload.
impl<C> Debug for Machine<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("has_ended", &self.core.has_ended).finish_non_exhaustive()
    }
}

impl<C: Connection> Core<C> {
    /// One state of the connection. `take` gets what was decrypted.
    fn step<'c>(
        &'c mut self,
        unsent: &mut Outgoing,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Next<'c, C::Data>, Failure> {
        if let Some(failure) = &self.failure {
            return Err(Failure::Again(failure.clone()));
        }
        let UnbufferedStatus { discard, state } =
            self.connection.process(&mut self.received[self.start..self.end]);
        self.start += discard;
        match state.map_err(Failure::New)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(Failure::New)?;
                    self.start += record.discard;
                    take(record.payload);
                }
                Ok(Next::Step(Step::Payload))
            }
            ConnectionState::EncodeTlsData(mut data) => {
                fitted(unsent, |room| data.encode(room).map_err(Fit::of_encode))?;
                Ok(Next::Again)
            }
            ConnectionState::TransmitTlsData(data) => {
                // The caller sends it before it waits for anything.
                data.done();
                Ok(Next::Again)
            }
            ConnectionState::WriteTraffic(traffic) => Ok(Next::Write(traffic)),
            ConnectionState::BlockedHandshake => Ok(Next::Step(Step::Handshaking)),
            ConnectionState::PeerClosed => {
                self.has_ended = true;
                Ok(Next::Again)
            }
            ConnectionState::Closed => {
                self.has_ended = true;
                Ok(Next::Step(Step::Ended))
            }
            // No early data is offered or taken.
            _ => Err(stuck().into()),
        }
    }

    /// Steps until there is something to do for the caller.
    fn advance(
        &mut self,
        unsent: &mut Outgoing,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Step, TlsError> {
        for _ in 0..STEPS_MAX {
            match self.step(unsent, take) {
                Ok(Next::Step(step)) => return Ok(step),
                Ok(Next::Write(_)) => {
                    return Ok(if self.has_ended { Step::Ended } else { Step::Idle });
                }
                Ok(Next::Again) => {}
                Err(failure) => return Err(self.fail(failure, unsent)),
            }
        }
        Err(stuck())
    }

    /// Notes a failure, and what the other end should be told.
    fn fail(&mut self, failure: Failure, unsent: &mut Outgoing) -> TlsError {
        match failure {
            Failure::New(error) => {
                self.failure = Some(error.clone());
                // Not asked further: it would look at the bad bytes again.
                while self.connection.has_to_say() {
                    let rest = &mut self.received[self.start..self.end];
                    let state = self.connection.process(rest).state;
                    let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { break };
                    // What cannot be said is left unsaid: the connection is over.
                    drop(fitted(unsent, |room| data.encode(room).map_err(Fit::of_encode)));
                }
                error.into()
            }
            Failure::Again(error) => error.into(),
            Failure::Other(error) => error,
        }
    }
}

impl Payload {
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.bytes[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
        count
    }
}

impl<C: Connection> Machine<C> {
    fn new(connection: C) -> Self {
        let core = Core {
            connection,
            received: Vec::new(),
            start: 0,
            end: 0,
            has_ended: false,
            failure: None,
        };
        Self { core, payload: Payload::default(), unsent: Outgoing::default() }
    }

    /// Calls `write` when the connection takes payload.
    fn writing(
        &mut self,
        write: impl FnOnce(WriteTraffic<'_, C::Data>, &mut Outgoing) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        let Self { core, payload, unsent } = self;
        for _ in 0..STEPS_MAX {
            // What is decrypted by the way is kept for the receiver.
            match core.step(unsent, &mut |more| payload.bytes.extend_from_slice(more)) {
                Ok(Next::Write(traffic)) => return write(traffic, unsent),
                Ok(Next::Again | Next::Step(Step::Payload)) => {}
                Ok(Next::Step(_)) => break,
                Err(failure) => return Err(core.fail(failure, unsent)),
            }
        }
        Err(TlsError::Lost(io::ErrorKind::BrokenPipe.into()))
    }
}

/// Why a step failed.
enum Failure {
    /// The connection says so for the first time, and may have something to say about it.
    New(Error),
    Again(Error),
    Other(TlsError),
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Other(error)
    }
}

/// A state of the connection.
enum Next<'c, Data> {
    /// It must be asked again.
    Again,
    /// It takes payload; there is nothing to decrypt.
    Write(WriteTraffic<'c, Data>),
    Step(Step),
}

impl<C: Connection> Engine for Machine<C> {
    fn feed(&mut self, fresh: &mut Fresh) -> Result<(), TlsError> {
        let core = &mut self.core;
        let waiting = core.end - core.start;
        if fresh.len == 0 {
            return Ok(());
        }
        if waiting > WAITING_MAX {
            return Err(TlsError::Endless);
        }
        if waiting <= FRONT_LEN && core.received.len() <= fresh.bytes.len() {
            let front = FRONT_LEN - waiting;
            fresh.bytes[front..FRONT_LEN].copy_from_slice(&core.received[core.start..core.end]);
            std::mem::swap(&mut core.received, &mut fresh.bytes);
            fresh.bytes.resize(core.received.len(), 0);
            (core.start, core.end) = (front, FRONT_LEN + fresh.len);
        } else {
            core.received.truncate(core.end);
            core.received.drain(..core.start);
            core.received.extend_from_slice(fresh.bytes());
            (core.start, core.end) = (0, core.received.len());
        }
        fresh.len = 0;
        Ok(())
    }

    fn advance(&mut self) -> Result<Step, TlsError> {
        let Self { core, payload, unsent } = self;
        core.advance(unsent, &mut |more| payload.bytes.extend_from_slice(more))
    }

    fn decrypt(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TlsError> {
        let Self { core, payload, unsent } = self;
        let mut count = payload.take(buffer);
        // Until the buffer is full or everything is decrypted.
        while count < buffer.len() {
            let step = core.advance(unsent, &mut |more| {
                let (fits, rest) = more.split_at(more.len().min(buffer.len() - count));
                buffer[count..count + fits.len()].copy_from_slice(fits);
                count += fits.len();
                payload.bytes.extend_from_slice(rest);
            });
            match step {
                Ok(Step::Payload) => {}
                Ok(Step::Ended) if count == 0 => return Ok(Some(0)),
                Ok(Step::Ended | Step::Idle | Step::Handshaking) => break,
                // What came before the error counts; the error comes again.
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok((count > 0).then_some(count))
    }

    fn encrypt(&mut self, payload: &[u8]) -> Result<(), TlsError> {
        let records = payload.len().div_ceil(RECORD_LEN);
        let len = payload.len() + records * RECORD_OVERHEAD + MESSAGE_ROOM;
        self.writing(|mut traffic, unsent| {
            unsent.room(len);
            fitted(unsent, |room| traffic.encrypt(payload, room).map_err(Fit::of_encrypt))
        })
    }

    fn say_goodbye(&mut self) -> Result<(), TlsError> {
        self.writing(|mut traffic, unsent| {
            fitted(unsent, |room| traffic.queue_close_notify(room).map_err(Fit::of_encrypt))
        })
    }

    fn unsent(&mut self) -> &mut Outgoing {
        &mut self.unsent
    }

    fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        self.core.connection.certificates()?.first().cloned()
    }

    #[cfg(test)]
    fn change_keys(&mut self) {
        self.writing(|traffic, _| Ok(traffic.refresh_traffic_keys()?)).unwrap();
    }
}

/// Why something was not written.
enum Fit {
    Grow(InsufficientSizeError),
    Fail(TlsError),
}

impl Fit {
    fn of_encode(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self::Grow(size),
            EncodeError::AlreadyEncoded => Self::Fail(stuck()),
        }
    }

    fn of_encrypt(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::Grow(size),
            EncryptError::EncryptExhausted => Self::Fail(stuck()),
        }
    }
}

/// Writes into `outgoing`, which grows if it is too short.
fn fitted(
    outgoing: &mut Outgoing,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Fit>,
) -> Result<(), TlsError> {
    let mut need = 0;
    // The second time, there is room.
    for _ in 0..2 {
        match write(outgoing.room(need)) {
            Ok(count) => {
                outgoing.len += count;
                return Ok(());
            }
            Err(Fit::Grow(size)) => need = size.required_size,
            Err(Fit::Fail(error)) => return Err(error),
        }
    }
    Err(stuck())
}

/// The implementation of TLS does not do what it says.
fn stuck() -> TlsError {
    TlsError::Lost(io::Error::other("the TLS connection is stuck, which is a bug: report it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    use snapless_trust::config::Purpose;
    use snapless_trust::identity::SERVER_NAME;

    use crate::tls::enrolled::enrolled;

    /// Both ends before their handshake.
    fn ends() -> [Box<dyn Engine>; 2] {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let (trust, config) = enrolled(dir.path(), now);
        let near = client(config, ServerName::try_from(SERVER_NAME).unwrap()).unwrap();
        // The trust's folder is looked at for revocations.
        let far = server(trust.config(Purpose::Link, now).unwrap()).unwrap();
        let [mut near, mut far] = [near, far];
        // Each end in turn, a few bytes at a time.
        let mut steps = [Step::Handshaking; 2];
        for _ in 0..10 {
            steps[0] = near.advance().unwrap();
            steps[1] = pass(&mut *near, &mut *far, 7, &mut |far| far.advance().unwrap())
                .unwrap_or(steps[1]);
            steps[0] = pass(&mut *far, &mut *near, 7, &mut |near| near.advance().unwrap())
                .unwrap_or(steps[0]);
        }
        assert_eq!(steps, [Step::Idle; 2]);
        [near, far]
    }

    /// Passes what waits, `piece` bytes at a time; returns what came of the last piece.
    fn pass<T>(
        from: &mut dyn Engine,
        to: &mut dyn Engine,
        piece: usize,
        then: &mut dyn FnMut(&mut dyn Engine) -> T,
    ) -> Option<T> {
        let bytes = from.unsent().bytes().to_vec();
        from.unsent().clear();
        let mut last = None;
        let mut fresh = Fresh::new(64 << 10);
        for piece in bytes.chunks(piece) {
            fresh.room()[..piece.len()].copy_from_slice(piece);
            fresh.received(piece.len());
            to.feed(&mut fresh).unwrap();
            last = Some(then(to));
        }
        last
    }

    #[test]
    fn payload_comes_whole_in_pieces_of_any_length_into_buffers_of_any_length() {
        let [mut near, mut far] = ends();
        let payload: Vec<u8> = (0..=250).cycle().take(200_000).collect();
        for (piece, buffer_len) in [(1, 7), (5, 1), (16 << 10, 100_000), (60_000, 333)] {
            near.encrypt(&payload).unwrap();
            let (mut found, mut buffer) = (Vec::new(), vec![0; buffer_len]);
            pass(&mut *near, &mut *far, piece, &mut |far| {
                while let Some(count) = far.decrypt(&mut buffer).unwrap() {
                    found.extend_from_slice(&buffer[..count]);
                }
            });
            assert!(found == payload, "pieces of {piece}, buffers of {buffer_len}");
        }
    }

    #[test]
    fn an_end_that_sends_while_half_a_message_is_there_loses_nothing() {
        let [mut near, mut far] = ends();
        near.change_keys();
        near.encrypt(b"after new keys").unwrap();
        let mut buffer = [0; 64];
        let mut found = Vec::new();
        pass(&mut *near, &mut *far, 1, &mut |far| {
            // Before this end has looked for payload, and after.
            far.encrypt(b"x").unwrap();
            while let Some(count) = far.decrypt(&mut buffer).unwrap() {
                found.extend_from_slice(&buffer[..count]);
            }
            far.encrypt(b"y").unwrap();
        });
        assert_eq!(found, b"after new keys");
        let mut back = Vec::new();
        pass(&mut *far, &mut *near, 50, &mut |near| {
            while let Some(count) = near.decrypt(&mut buffer).unwrap() {
                back.extend_from_slice(&buffer[..count]);
            }
        });
        assert!(!back.is_empty() && back.chunks(2).all(|pair| pair == b"xy"));
    }

    #[test]
    fn every_changed_byte_is_an_error_and_the_connection_stays_one() {
        for place in [0, 1, 3, 5, 20] {
            let [mut near, mut far] = ends();
            near.encrypt(b"some payload").unwrap();
            let mut bytes = near.unsent().bytes().to_vec();
            bytes[place] ^= 0x10;
            let mut fresh = Fresh::new(1024);
            fresh.room()[..bytes.len()].copy_from_slice(&bytes);
            fresh.received(bytes.len());
            far.feed(&mut fresh).unwrap();
            let mut buffer = [0; 64];
            // A length that was made longer waits for the rest.
            let first = far.decrypt(&mut buffer);
            assert!(matches!(first, Err(_) | Ok(None)), "byte {place}: {first:?}");
            if first.is_err() {
                assert!(far.decrypt(&mut buffer).is_err() && far.encrypt(b"x").is_err());
                assert!(!far.unsent().bytes().is_empty(), "the other end is told");
            }
        }
    }

    #[test]
    fn what_never_becomes_a_message_is_not_kept_without_end() {
        let [_, mut far] = ends();
        let mut fresh = Fresh::new(16 << 10);
        // Records of the kind `handshake` that are longer than any message.
        let refused = (0..1000).any(|_| {
            let room = fresh.room();
            room.fill(0);
            let len = room.len();
            fresh.received(len);
            far.feed(&mut fresh).is_err() || far.decrypt(&mut [0; 64]).is_err()
        });
        assert!(refused);
    }
}
