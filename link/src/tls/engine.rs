//! The handshake of a TLS connection without input and output: bytes in, bytes out. The same for
//! both ends.
//!
//! It wraps the TLS implementation's own state machine, which must always be shown all that was
//! received and that it is not done with: so the buffer is here, beside it. When the handshake is
//! over, the connection is taken apart into its two directions ([`Established`]).

use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;

use snapless_trust::rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use snapless_trust::rustls::kernel::KernelConnection;
use snapless_trust::rustls::pki_types::{CertificateDer, ServerName};
use snapless_trust::rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use snapless_trust::rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus,
};
use snapless_trust::rustls::{
    ClientConfig, Error, ExtractedSecrets, ServerConfig, SupportedCipherSuite,
};

use super::buffers::Outgoing;
use super::error::TlsError;
use super::keys::KeySchedule;
use super::records::{Opener, Sealer};

/// The most that may wait for the rest of a message, in bytes: the longest of a handshake.
const WAITING_MAX: usize = 64 << 10;
/// Steps without progress after which an implementation is taken for stuck.
const STEPS_MAX: usize = 64;

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The handshake needs more from the other end.
    Handshaking,
    /// The handshake is over.
    Over,
    /// The other end has said that nothing more comes, before it sent any payload.
    Ended,
}

/// A handshake under way.
pub(super) trait Engine: Debug + Send {
    /// Takes encrypted bytes that were received.
    ///
    /// # Errors
    /// [`TlsError::Endless`] if too much waits for the rest of a message.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError>;

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// The connection is of no further use; what the other end should be told waits to be sent.
    fn advance(&mut self) -> Result<Step, TlsError>;

    /// What waits to be sent. It must be sent in this order.
    fn unsent(&mut self) -> &mut Outgoing;

    /// The certificate that the other end has shown.
    fn peer_certificate(&self) -> Option<CertificateDer<'static>>;

    /// Takes the connection apart. The handshake must be over, and everything sent.
    fn establish(self: Box<Self>) -> Result<Established, TlsError>;
}

/// A connection whose handshake is over.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) keys: Box<dyn KeySchedule>,
    pub(super) rest: Rest,
    /// The protocol (ALPN) that both ends agreed on.
    pub(super) protocol: Option<Vec<u8>>,
}

/// What came together with the end of the handshake.
#[derive(Default)]
pub(super) struct Rest {
    /// Decrypted already.
    pub(super) payload: Vec<u8>,
    /// Not decrypted yet.
    pub(super) received: Vec<u8>,
    /// The other end has said that nothing more comes.
    pub(super) has_ended: bool,
}

/// The service's end.
pub(super) fn client(
    config: &ClientConfig,
    server: ServerName<'static>,
) -> Result<Box<dyn Engine>, TlsError> {
    let mut config = config.clone();
    config.enable_secret_extraction = true;
    Ok(Box::new(Machine::new(UnbufferedClientConnection::new(Arc::new(config), server)?)))
}

/// The server's end.
pub(super) fn server(config: &ServerConfig) -> Result<Box<dyn Engine>, TlsError> {
    let mut config = config.clone();
    config.enable_secret_extraction = true;
    Ok(Box::new(Machine::new(UnbufferedServerConnection::new(Arc::new(config))?)))
}

/// What the two ends' connections have in common.
trait Connection: Send {
    type Data: Send + 'static;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// True if the next step gives something to send.
    fn has_to_say(&self) -> bool;

    fn certificates(&self) -> Option<&[CertificateDer<'static>]>;

    fn alpn(&self) -> Option<&[u8]>;

    fn suite(&self) -> Option<SupportedCipherSuite>;

    fn take_apart(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error>;
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

            fn alpn(&self) -> Option<&[u8]> {
                self.alpn_protocol()
            }

            fn suite(&self) -> Option<SupportedCipherSuite> {
                self.negotiated_cipher_suite()
            }

            fn take_apart(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
                self.dangerous_into_kernel_connection()
            }
        }
    };
}

connection!(UnbufferedClientConnection, ClientConnectionData);
connection!(UnbufferedServerConnection, ServerConnectionData);

struct Machine<C> {
    connection: C,
    /// Received and not done with: from `done` on.
    received: Vec<u8>,
    done: usize,
    payload: Vec<u8>,
    has_ended: bool,
    unsent: Outgoing,
    /// Why the connection is of no further use. It is not asked again then.
    failure: Option<Error>,
}

impl<C: Connection> Machine<C> {
    fn new(connection: C) -> Self {
        Self {
            connection,
            received: Vec::new(),
            done: 0,
            payload: Vec::new(),
            has_ended: false,
            unsent: Outgoing::default(),
            failure: None,
        }
    }

    /// One state of the connection; `None` if it must be asked again.
    fn step(&mut self) -> Result<Option<Step>, Failure> {
        if let Some(failure) = &self.failure {
            return Err(Failure::Again(failure.clone()));
        }
        let UnbufferedStatus { discard, state } =
            self.connection.process(&mut self.received[self.done..]);
        self.done += discard;
        match state.map_err(Failure::New)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(Failure::New)?;
                    self.done += record.discard;
                    self.payload.extend_from_slice(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, &mut self.unsent)?,
            // The caller sends it before it waits for anything.
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::WriteTraffic(_) | ConnectionState::Closed => {
                let is_empty = self.has_ended && self.payload.is_empty();
                return Ok(Some(if is_empty { Step::Ended } else { Step::Over }));
            }
            ConnectionState::BlockedHandshake => return Ok(Some(Step::Handshaking)),
            ConnectionState::PeerClosed => self.has_ended = true,
            // No early data is offered or taken.
            _ => return Err(stuck().into()),
        }
        Ok(None)
    }

    /// Notes a failure, and what the other end should be told.
    fn fail(&mut self, failure: Failure) -> TlsError {
        match failure {
            Failure::New(error) => {
                self.failure = Some(error.clone());
                // Not asked further: it would look at the bad bytes again.
                while self.connection.has_to_say() {
                    let state = self.connection.process(&mut self.received[self.done..]).state;
                    let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { break };
                    // What cannot be said is left unsaid: the connection is over.
                    drop(encode(&mut data, &mut self.unsent));
                }
                error.into()
            }
            Failure::Again(error) => error.into(),
            Failure::Other(error) => error,
        }
    }
}

impl<C: Connection> Engine for Machine<C> {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.received.drain(..self.done);
        self.done = 0;
        if self.received.len() > WAITING_MAX {
            return Err(TlsError::Endless);
        }
        self.received.extend_from_slice(bytes);
        Ok(())
    }

    fn advance(&mut self) -> Result<Step, TlsError> {
        for _ in 0..STEPS_MAX {
            match self.step() {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {}
                Err(failure) => return Err(self.fail(failure)),
            }
        }
        Err(stuck())
    }

    fn unsent(&mut self) -> &mut Outgoing {
        &mut self.unsent
    }

    fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        self.connection.certificates()?.first().cloned()
    }

    fn establish(mut self: Box<Self>) -> Result<Established, TlsError> {
        let suite = self.connection.suite().and_then(|suite| suite.tls13());
        let records_max = suite.ok_or_else(stuck)?.common.confidentiality_limit;
        let protocol = self.connection.alpn().map(<[u8]>::to_vec);
        let (ExtractedSecrets { tx, rx }, keys) = self.connection.take_apart()?;
        let (0, tx) = tx else {
            // Only the first record of a key can be the first of a sealer.
            return Err(stuck());
        };
        Ok(Established {
            sealer: Sealer::new(tx, records_max)?,
            opener: Opener::new(rx.0, rx.1)?,
            keys: Box::new(keys),
            rest: Rest {
                payload: self.payload,
                received: self.received.split_off(self.done),
                has_ended: self.has_ended,
            },
            protocol,
        })
    }
}

/// Without keys and payload.
impl<C> Debug for Machine<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

/// Without payload.
impl Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("has_ended", &self.has_ended).finish_non_exhaustive()
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

/// Writes to `unsent`, which grows if it is too short.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, unsent: &mut Outgoing) -> Result<(), TlsError> {
    let mut need = 0;
    // The second time, there is room.
    for _ in 0..2 {
        match data.encode(unsent.room(need)) {
            Ok(len) => {
                unsent.wrote(len);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => need = size.required_size,
            Err(EncodeError::AlreadyEncoded) => break,
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

    use crate::tls::ends::{End, engines, unsent};

    /// Passes what waits, `piece` bytes at a time; returns the last step.
    fn pass(from: &mut dyn Engine, to: &mut dyn Engine, piece: usize) -> Step {
        let mut step = Step::Handshaking;
        for piece in unsent(from).chunks(piece) {
            to.feed(piece).unwrap();
            step = to.advance().unwrap();
        }
        step
    }

    #[test]
    fn a_handshake_passes_in_pieces_of_any_length() {
        for piece in [1, 7, 1000, 16 << 10] {
            let ([mut near, mut far], _folder) = engines();
            assert_eq!(near.advance().unwrap(), Step::Handshaking);
            assert_eq!(pass(&mut *near, &mut *far, piece), Step::Handshaking);
            assert_eq!(pass(&mut *far, &mut *near, piece), Step::Over);
            assert_eq!(pass(&mut *near, &mut *far, piece), Step::Over);
            assert!(far.peer_certificate().is_some());
        }
    }

    #[test]
    fn what_comes_together_with_the_end_of_the_handshake_is_not_lost() {
        let payload: Vec<u8> = (0..=250).cycle().take(40_000).collect();
        // Nothing more, a part of a header, of a record, whole records, all.
        for extra in [0, 1, 5, 300, 16 << 10, 33_000, usize::MAX] {
            for ends in [false, true] {
                let ([mut near, mut far], _folder) = engines();
                near.advance().unwrap();
                pass(&mut *near, &mut *far, usize::MAX);
                pass(&mut *far, &mut *near, usize::MAX);
                let finish = unsent(&mut *near);
                let mut near = End::from(near.establish().unwrap());
                near.seal(&payload);
                if ends {
                    near.sender.say_goodbye().unwrap();
                }
                let sent = near.sent();
                let (with, after) = sent.split_at(extra.min(sent.len()));
                far.feed(&[&finish, with].concat()).unwrap();
                assert_eq!(far.advance().unwrap(), Step::Over);
                let mut far = End::from(far.establish().unwrap());
                assert!(far.take(after, 1000).unwrap() == payload, "{extra} bytes");
                let end = far.receiver.decrypt(&mut [0; 8], &far.keys).unwrap();
                assert_eq!(end, ends.then_some(0), "{extra} bytes");
            }
        }
    }

    #[test]
    fn an_end_that_ends_before_it_sends_anything_is_noticed() {
        let ([mut near, mut far], _folder) = engines();
        near.advance().unwrap();
        pass(&mut *near, &mut *far, usize::MAX);
        pass(&mut *far, &mut *near, usize::MAX);
        let finish = unsent(&mut *near);
        let mut near = End::from(near.establish().unwrap());
        near.sender.say_goodbye().unwrap();
        far.feed(&[finish, near.sent()].concat()).unwrap();
        assert_eq!(far.advance().unwrap(), Step::Ended);
    }

    #[test]
    fn what_never_becomes_a_message_is_not_kept_without_end() {
        let ([_, mut far], _folder) = engines();
        // The start of a handshake's message that is longer than any, in records of their own.
        let mut record = vec![0; 5 + (1 << 14)];
        record[..9].copy_from_slice(&[22, 3, 3, 1 << 6, 0, 1, 0xff, 0xff, 0xff]);
        let refused = (0..1000).any(|_| far.feed(&record).is_err() || far.advance().is_err());
        assert!(refused);
    }
}
