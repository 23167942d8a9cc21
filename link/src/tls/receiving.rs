//! The receiving half of a TLS connection after its handshake: encrypted bytes in, payload out.

use std::ops::Range;
use std::sync::Mutex;

use snapless_trust::rustls::{AlertDescription, ContentType, Error, PeerMisbehaved};

use super::engine::Rest;
use super::keys::{KEY_UPDATE, KEY_UPDATE_REQUEST, KeySchedule};
use super::lock;
use super::records::{HEADER_LEN, Opened, Opener, RECORD_MAX, plaintext_len, record_len};

/// Bytes received at a time, at least.
const RECEIVE_LEN: usize = 128 << 10;
/// Records in a row that may carry no payload: more are taken for an attempt to keep this end busy.
const FRUITLESS_MAX: u32 = 32;

/// What was received, and how it is decrypted.
#[derive(Debug)]
pub(super) struct Receiver {
    opener: Opener,
    buffer: Vec<u8>,
    /// Where the buffer holds what is decrypted and not taken yet.
    plain: Range<usize>,
    /// Where the buffer holds what is not decrypted yet. It lies behind `plain`.
    sealed: Range<usize>,
    /// Records without payload since the last one that has some.
    fruitless: u32,
    /// The other end has asked for new keys of this one.
    asks_for_keys: bool,
    /// The other end has said that nothing more comes.
    has_ended: bool,
    /// Why nothing more can be received.
    failure: Option<Error>,
}

impl Receiver {
    /// Goes on where the handshake ended.
    pub(super) fn new(opener: Opener, rest: &Rest) -> Self {
        let mut buffer = [&*rest.payload, &*rest.received].concat();
        let (plain, sealed) = (0..rest.payload.len(), rest.payload.len()..buffer.len());
        buffer.resize(buffer.len() + RECORD_MAX + RECEIVE_LEN, 0);
        Self {
            opener,
            buffer,
            plain,
            sealed,
            fruitless: 0,
            asks_for_keys: false,
            has_ended: rest.has_ended,
            failure: None,
        }
    }

    /// Where to receive more. Before, [`Self::decrypt`] has found nothing more.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.plain.is_empty() {
            // The start of a record at most.
            self.buffer.copy_within(self.sealed.clone(), 0);
            self.sealed = 0..self.sealed.len();
            self.plain = 0..0;
        }
        &mut self.buffer[self.sealed.end..]
    }

    /// So many more bytes were received.
    pub(super) fn received(&mut self, len: usize) {
        self.sealed.end += len;
    }

    /// Decrypts to the start of `into`, the rest of which is overwritten with bytes of no meaning;
    /// returns how many bytes, 0 at the end, `None` if more must be received first.
    ///
    /// # Errors
    /// Nothing more can be received, and nothing more should be sent. It comes again every time.
    pub(super) fn decrypt(
        &mut self,
        into: &mut [u8],
        keys: &Mutex<Box<dyn KeySchedule>>,
    ) -> Result<Option<usize>, Error> {
        let mut count = self.take(into);
        while count < into.len() && !self.has_ended && self.failure.is_none() {
            match self.decrypt_one(&mut into[count..], keys) {
                Ok(Some(more)) => count += more,
                Ok(None) => break,
                // What came before it counts.
                Err(error) => self.failure = Some(error),
            }
        }
        match &self.failure {
            _ if count > 0 => Ok(Some(count)),
            Some(failure) => Err(failure.clone()),
            None => Ok(self.has_ended.then_some(0)),
        }
    }

    /// True once after the other end has asked for new keys of this one.
    pub(super) fn asks_for_keys(&mut self) -> bool {
        std::mem::take(&mut self.asks_for_keys)
    }

    /// One record; `None` if the rest of it must be received first.
    fn decrypt_one(
        &mut self,
        into: &mut [u8],
        keys: &Mutex<Box<dyn KeySchedule>>,
    ) -> Result<Option<usize>, Error> {
        let sealed = &mut self.buffer[self.sealed.clone()];
        let Some(len) = record_len(sealed)?.filter(|len| *len <= sealed.len()) else {
            return Ok(None);
        };
        let record = &mut sealed[..len];
        let fits = plaintext_len(len) <= into.len();
        let Opened { kind, len: payload_len } =
            if fits { self.opener.open_into(record, into)? } else { self.opener.open(record)? };
        self.plain = self.sealed.start + HEADER_LEN..self.sealed.start + HEADER_LEN + payload_len;
        self.sealed.start += len;
        if kind != ContentType::ApplicationData || payload_len == 0 {
            let message =
                if fits { &into[..payload_len] } else { &self.buffer[self.plain.clone()] };
            let message = message.to_vec();
            self.plain = 0..0;
            return self.heed(kind, &message, keys).map(|()| Some(0));
        }
        self.fruitless = 0;
        if fits {
            self.plain = 0..0;
            return Ok(Some(payload_len));
        }
        Ok(Some(self.take(into)))
    }

    /// What the other end says besides the payload.
    fn heed(
        &mut self,
        kind: ContentType,
        message: &[u8],
        keys: &Mutex<Box<dyn KeySchedule>>,
    ) -> Result<(), Error> {
        match (kind, message) {
            (ContentType::Alert, &[_, description]) => {
                match AlertDescription::from(description) {
                    AlertDescription::CloseNotify => self.has_ended = true,
                    // The other end gives up, and will say that it ends.
                    AlertDescription::UserCanceled => self.count_fruitless()?,
                    other => return Err(Error::AlertReceived(other)),
                }
                Ok(())
            }
            (ContentType::Handshake, message)
                if *message == KEY_UPDATE || *message == KEY_UPDATE_REQUEST =>
            {
                self.count_fruitless()?;
                self.opener = Opener::new(0, lock(keys).next_opening()?)?;
                self.asks_for_keys |= *message == KEY_UPDATE_REQUEST;
                Ok(())
            }
            (ContentType::ApplicationData, []) => self.count_fruitless(),
            (got_type, _) => {
                let expect_types = vec![ContentType::ApplicationData];
                Err(Error::InappropriateMessage { expect_types, got_type })
            }
        }
    }

    fn count_fruitless(&mut self) -> Result<(), Error> {
        self.fruitless += 1;
        let within = self.fruitless <= FRUITLESS_MAX;
        if within { Ok(()) } else { Err(PeerMisbehaved::TooManyEmptyFragments.into()) }
    }

    /// Takes what is decrypted already.
    fn take(&mut self, into: &mut [u8]) -> usize {
        let count = self.plain.len().min(into.len());
        let taken = self.plain.start..self.plain.start + count;
        into[..count].copy_from_slice(&self.buffer[taken]);
        self.plain.start += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::tls::ends::{End, ends};

    #[test]
    fn payload_comes_whole_in_pieces_of_any_length_into_buffers_of_any_length() {
        let [mut near, mut far] = ends();
        let payload: Vec<u8> = (0..=250).cycle().take(200_000).collect();
        for (piece, buffer_len) in [(1, 7), (5, 1), (16 << 10, 100_000), (60_000, 333)] {
            near.seal(&payload);
            let mut found = Vec::new();
            for piece in near.sent().chunks(piece) {
                found.extend_from_slice(&far.take(piece, buffer_len).unwrap());
            }
            assert!(found == payload, "pieces of {piece}, buffers of {buffer_len}");
        }
        assert!(far.take(&[], 8).unwrap().is_empty());
    }

    #[test]
    fn every_changed_byte_is_an_error_and_the_connection_stays_one() {
        for place in [0, 1, 3, 5, 20, 22] {
            for buffer_len in [1, 64] {
                let [mut near, mut far] = ends();
                near.seal(b"before");
                let before = near.sent();
                near.seal(b"some payload");
                let mut changed = near.sent();
                changed[place] ^= 0x10;
                near.seal(b"after");
                let bytes = [before, changed, near.sent()].concat();
                let mut found = Vec::new();
                let room = far.receiver.room();
                room[..bytes.len()].copy_from_slice(&bytes);
                far.receiver.received(bytes.len());
                let mut buffer = vec![0; buffer_len];
                let end = loop {
                    match far.receiver.decrypt(&mut buffer, &far.keys) {
                        Ok(Some(count)) => found.extend_from_slice(&buffer[..count]),
                        end => break end,
                    }
                };
                // A length that was made longer waits for the rest.
                assert!(matches!(end, Err(_) | Ok(None)), "byte {place}: {end:?}");
                assert_eq!(found, b"before", "byte {place}");
                if let Err(why) = end {
                    assert_eq!(far.take(&[], 8), Err(why.clone()));
                    far.sender.complain(&why).unwrap();
                    assert!(matches!(near.take(&far.sent(), 8), Err(Error::AlertReceived(_))));
                }
            }
        }
    }

    #[test]
    fn a_goodbye_is_an_end_and_what_follows_it_is_not_looked_at() {
        let [mut near, mut far] = ends();
        near.seal(b"last");
        near.sender.say_goodbye().unwrap();
        let sent = [near.sent(), vec![0; 100]].concat();
        assert_eq!(far.take(&sent, 8).unwrap(), b"last");
        assert_eq!(far.receiver.decrypt(&mut [0; 8], &far.keys), Ok(Some(0)));
    }

    #[test]
    fn what_does_not_belong_after_the_handshake_is_refused() {
        let messages: [(ContentType, &[u8]); 7] = [
            (ContentType::Handshake, b""),
            (ContentType::Handshake, &[24, 0, 0, 1, 2]),
            (ContentType::Handshake, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]),
            (ContentType::Handshake, &[1, 0, 0, 0]),
            (ContentType::ChangeCipherSpec, &[1]),
            (ContentType::Alert, &[1]),
            (ContentType::from(77), b"x"),
        ];
        for (kind, message) in messages {
            let [mut near, mut far] = ends();
            // An empty message has no record: its kind alone is one.
            let sealed = match message {
                [] => near.sealed(ContentType::from(0), &[u8::from(kind)]),
                message => near.sealed(kind, message),
            };
            let refused = far.take(&sealed, 64);
            assert!(
                matches!(refused, Err(Error::InappropriateMessage { got_type, .. }) if got_type == kind),
                "{kind:?} {message:?}: {refused:?}"
            );
        }
        let [mut near, mut far] = ends();
        let revoked = near.sealed(ContentType::Alert, &[2, 44]);
        assert_eq!(
            far.take(&revoked, 1),
            Err(Error::AlertReceived(AlertDescription::CertificateRevoked))
        );
    }

    /// Receives so many records of this kind; the payload that comes after them, or an error.
    fn after(count: u32, mut fruitless: impl FnMut(&mut End)) -> Result<Vec<u8>, Error> {
        let [mut near, mut far] = ends();
        let mut bytes = Vec::new();
        for _ in 0..count {
            fruitless(&mut near);
            bytes.extend_from_slice(&near.sent());
        }
        near.seal(b"x");
        bytes.extend_from_slice(&near.sent());
        far.take(&bytes, 8)
    }

    #[test]
    fn records_without_payload_are_taken_within_a_limit() {
        let update = |end: &mut End| end.sender.replace_key(&KEY_UPDATE, &end.keys).unwrap();
        let cancelled =
            |end: &mut End| end.sender.alert(1, AlertDescription::UserCanceled).unwrap();
        assert_eq!(after(FRUITLESS_MAX, update).unwrap(), b"x");
        assert!(after(FRUITLESS_MAX + 1, update).is_err());
        assert_eq!(after(FRUITLESS_MAX, cancelled).unwrap(), b"x");
        assert!(after(FRUITLESS_MAX + 1, cancelled).is_err());
    }

    #[test]
    fn a_request_for_new_keys_is_noticed_once() {
        let [mut near, mut far] = ends();
        near.sender.replace_key(&KEY_UPDATE_REQUEST, &near.keys).unwrap();
        near.seal(b"new");
        assert_eq!(far.take(&near.sent(), 1).unwrap(), b"new");
        assert!(far.receiver.asks_for_keys() && !far.receiver.asks_for_keys());
        near.sender.replace_key(&KEY_UPDATE, &near.keys).unwrap();
        near.seal(b"newer");
        assert_eq!(far.take(&near.sent(), 64).unwrap(), b"newer");
        assert!(!far.receiver.asks_for_keys());
    }
}
