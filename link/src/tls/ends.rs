//! Both ends of a connection without a network, for this crate's own tests.

use std::sync::Mutex;
use std::time::SystemTime;

use snapless_trust::config::Purpose;
use snapless_trust::identity::SERVER_NAME;
use snapless_trust::rustls::pki_types::ServerName;
use snapless_trust::rustls::{ContentType, Error};
use tempfile::TempDir;

use super::buffers::Outgoing;
use super::engine::{self, Engine, Established};
use super::enrolled::enrolled;
use super::keys::KeySchedule;
use super::receiving::Receiver;
use super::sending::Sender;

/// One end after its handshake.
pub(super) struct End {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) keys: Mutex<Box<dyn KeySchedule>>,
}

impl From<Established> for End {
    fn from(established: Established) -> Self {
        let Established { sealer, opener, keys, rest, .. } = established;
        let receiver = Receiver::new(opener, &rest);
        Self { sender: Sender::new(sealer), receiver, keys: Mutex::new(keys) }
    }
}

impl End {
    pub(super) fn seal(&mut self, payload: &[u8]) {
        self.sender.seal(payload, &self.keys).unwrap();
    }

    /// What waits to be sent.
    pub(super) fn sent(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        let keep = |bytes: &[u8]| {
            sent.extend_from_slice(bytes);
            Ok(())
        };
        self.sender.send(keep).unwrap();
        sent
    }

    /// The records of a payload of this kind.
    pub(super) fn sealed(&mut self, kind: ContentType, payload: &[u8]) -> Vec<u8> {
        let mut outgoing = Outgoing::default();
        self.sender.sealer().seal(kind, payload, &mut outgoing).unwrap();
        outgoing.bytes().to_vec()
    }

    /// Receives these bytes and what they carry, `step` bytes at a time.
    pub(super) fn take(&mut self, mut bytes: &[u8], step: usize) -> Result<Vec<u8>, Error> {
        let (mut found, mut buffer) = (Vec::new(), vec![0; step]);
        loop {
            match self.receiver.decrypt(&mut buffer, &self.keys)? {
                Some(0) => return Ok(found),
                Some(count) => found.extend_from_slice(&buffer[..count]),
                None if bytes.is_empty() => return Ok(found),
                None => {
                    let room = self.receiver.room();
                    let count = room.len().min(bytes.len());
                    room[..count].copy_from_slice(&bytes[..count]);
                    self.receiver.received(count);
                    bytes = &bytes[count..];
                }
            }
        }
    }
}

/// A machine and its server before their handshake, and the server's folder, which is looked at for
/// revocations.
pub(super) fn engines() -> ([Box<dyn Engine>; 2], TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let (trust, config) = enrolled(dir.path(), now);
    let near = engine::client(&config, ServerName::try_from(SERVER_NAME).unwrap()).unwrap();
    let far = engine::server(&trust.config(Purpose::Link, now).unwrap()).unwrap();
    ([near, far], dir)
}

/// Takes what waits to be sent.
pub(super) fn unsent(engine: &mut dyn Engine) -> Vec<u8> {
    let bytes = engine.unsent().bytes().to_vec();
    engine.unsent().clear();
    bytes
}

/// Both ends after their handshake.
pub(super) fn ends() -> [End; 2] {
    let ([mut near, mut far], _folder) = engines();
    for _ in 0..10 {
        near.advance().unwrap();
        far.feed(&unsent(&mut *near)).unwrap();
        far.advance().unwrap();
        near.feed(&unsent(&mut *far)).unwrap();
    }
    [near, far].map(|end| End::from(end.establish().unwrap()))
}
