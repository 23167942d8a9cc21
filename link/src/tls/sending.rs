//! The sending half of a TLS connection after its handshake: payload in, encrypted bytes out.

use std::io::{self, ErrorKind};
use std::sync::Mutex;

use snapless_trust::rustls::{AlertDescription, ContentType, Error, InvalidMessage};

use super::buffers::Outgoing;
use super::keys::{KEY_UPDATE, KeySchedule};
use super::lock;
use super::records::Sealer;

/// The first byte of an alert that is none: a goodbye.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// What is being sent.
#[derive(Debug)]
pub(super) struct Sender {
    sealer: Sealer,
    waiting: Outgoing,
    /// Nothing more can be sent: the end was said, or a part of a record may be under way.
    has_ended: bool,
}

impl Sender {
    /// Goes on where the handshake ended.
    pub(super) fn new(sealer: Sealer) -> Self {
        Self { sealer, waiting: Outgoing::default(), has_ended: false }
    }

    /// True if nothing more can be sent.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Nothing more will be sent.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Encrypts a payload, with a new key if the old one is worn.
    pub(super) fn seal(
        &mut self,
        payload: &[u8],
        keys: &Mutex<Box<dyn KeySchedule>>,
    ) -> Result<(), Error> {
        if self.sealer.is_worn(payload.len()) {
            self.replace_key(&KEY_UPDATE, keys)?;
        }
        let sealed = self.sealer.seal(ContentType::ApplicationData, payload, &mut self.waiting);
        sealed.inspect_err(|_| self.has_ended = true)
    }

    /// Replaces this end's key, and tells the other end by this message.
    pub(super) fn replace_key(
        &mut self,
        message: &[u8],
        keys: &Mutex<Box<dyn KeySchedule>>,
    ) -> Result<(), Error> {
        let mut replace = || {
            self.sealer.seal(ContentType::Handshake, message, &mut self.waiting)?;
            self.sealer = self.sealer.with_key(lock(keys).next_sealing()?)?;
            Ok(())
        };
        replace().inspect_err(|_| self.has_ended = true)
    }

    /// Says that nothing more will be sent.
    pub(super) fn say_goodbye(&mut self) -> Result<(), Error> {
        self.alert(WARNING, AlertDescription::CloseNotify)
    }

    /// Tells the other end why it is not understood.
    pub(super) fn complain(&mut self, failure: &Error) -> Result<(), Error> {
        let description = match failure {
            // It knows.
            Error::AlertReceived(_) => return Ok(()),
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord
            | Error::InvalidMessage(InvalidMessage::MessageTooLarge) => {
                AlertDescription::RecordOverflow
            }
            _ => AlertDescription::UnexpectedMessage,
        };
        self.alert(FATAL, description)
    }

    /// Sends what waits. After an error nothing more can be sent.
    pub(super) fn send(
        &mut self,
        send_all: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let sent = if self.has_ended {
            Err(ErrorKind::BrokenPipe.into())
        } else {
            send_all(self.waiting.bytes())
        };
        self.waiting.clear();
        self.has_ended |= sent.is_err();
        sent
    }

    /// For tests.
    #[cfg(test)]
    pub(super) fn sealer(&mut self) -> &mut Sealer {
        &mut self.sealer
    }

    pub(super) fn alert(&mut self, level: u8, description: AlertDescription) -> Result<(), Error> {
        let message = [level, u8::from(description)];
        self.sealer.seal(ContentType::Alert, &message, &mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use crate::tls::ends::ends;
    use crate::tls::records::PAYLOAD_MAX;

    #[test]
    fn a_worn_key_is_replaced_in_time() {
        let [mut near, mut far] = ends();
        near.sender.sealer().limit(10);
        for round in 0..50_u8 {
            let payload = vec![round; (1 + usize::from(round) % 8) * PAYLOAD_MAX - 3];
            near.seal(&payload);
            assert!(far.take(&near.sent(), 100_000).unwrap() == payload, "round {round}");
            assert!(!far.receiver.asks_for_keys());
        }
        // More than a key may encrypt at all.
        assert!(near.sender.seal(&vec![0; 11 * PAYLOAD_MAX], &near.keys).is_err());
        assert!(near.sender.has_ended() && near.sender.send(|_| Ok(())).is_err());
    }
}
