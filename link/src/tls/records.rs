//! TLS 1.3 records (RFC 8446 section 5), once the handshake has agreed on keys.
//!
//! The TLS implementation copies each record twice when it sends and twice when it receives, which
//! costs a sender as much as the encryption and a receiver half of it (docs/performance.md). Here a
//! record is encrypted from the sender's memory to the socket's buffer, and decrypted from there to
//! the receiver's memory. The implementation still makes the handshake and derives every key
//! ([`super::keys`]), and the cryptographic library does the rest; this module lays out the bytes.
//!
//! ```text
//! record      = header ciphertext             header     = 23 3 3 length, also authenticated
//! plaintext   = payload kind zeros            ciphertext = AEAD(plaintext), 16 bytes longer
//! ```
//!
//! Rule: no nonce is used twice. A nonce is the number of the record, which only goes up while a
//! key is in use; the key is replaced before the suite's limit, and none is used past it.

use std::fmt::{self, Debug};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, TlsProtocolId, TlsRecordSealingKey,
    UnboundKey,
};
use snapless_trust::rustls::crypto::cipher::{self, Iv, make_tls13_aad};
use snapless_trust::rustls::{
    ConnectionTrafficSecrets, ContentType, Error, InvalidMessage, PeerMisbehaved,
};

use super::buffers::Outgoing;

/// Bytes of a record's header.
pub(super) const HEADER_LEN: usize = 5;
/// The longest payload, in bytes.
pub(super) const PAYLOAD_MAX: usize = 16 << 10;
/// The longest record, in bytes.
pub(super) const RECORD_MAX: usize = HEADER_LEN + PAYLOAD_MAX + 256;
const TAG_LEN: usize = 16;
/// Bytes of a payload's kind, which is encrypted with it.
const KIND_LEN: usize = 1;

/// Encrypts the records of one direction.
pub(super) struct Sealer {
    key: TlsRecordSealingKey,
    iv: Iv,
    /// The next record's number.
    number: u64,
    /// How many records the key may encrypt.
    records_max: u64,
}

impl Sealer {
    /// From the first record of these keys on.
    pub(super) fn new(secrets: ConnectionTrafficSecrets, records_max: u64) -> Result<Self, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            _ => return Err(other_suite()),
        };
        let key = TlsRecordSealingKey::new(algorithm, TlsProtocolId::TLS13, key.as_ref())
            .map_err(|_| Error::EncryptError)?;
        Ok(Self { key, iv, number: 0, records_max })
    }

    /// True if the key must be replaced before it encrypts a payload of this length. One record
    /// more, which says so, is still possible.
    pub(super) fn is_worn(&self, len: usize) -> bool {
        self.number + (len.div_ceil(PAYLOAD_MAX) as u64) >= self.records_max
    }

    /// The same with the next key.
    pub(super) fn with_key(&self, secrets: ConnectionTrafficSecrets) -> Result<Self, Error> {
        Self::new(secrets, self.records_max)
    }

    /// From now on no key encrypts more records than this.
    #[cfg(test)]
    pub(super) fn limit(&mut self, records_max: u64) {
        self.records_max = records_max;
    }

    /// Encrypts a payload as records of this kind, behind what waits in `outgoing`.
    pub(super) fn seal(
        &mut self,
        kind: ContentType,
        payload: &[u8],
        outgoing: &mut Outgoing,
    ) -> Result<(), Error> {
        payload.chunks(PAYLOAD_MAX).try_for_each(|payload| self.seal_one(kind, payload, outgoing))
    }

    fn seal_one(
        &mut self,
        kind: ContentType,
        payload: &[u8],
        outgoing: &mut Outgoing,
    ) -> Result<(), Error> {
        if self.number >= self.records_max {
            return Err(Error::EncryptError);
        }
        let sealed_len = payload.len() + KIND_LEN + TAG_LEN;
        let header = make_tls13_aad(sealed_len);
        let room = &mut outgoing.room(HEADER_LEN + sealed_len)[..HEADER_LEN + sealed_len];
        let (head, sealed) = room.split_at_mut(HEADER_LEN);
        let (ciphertext, kind_and_tag) = sealed.split_at_mut(payload.len());
        head.copy_from_slice(&header);
        let nonce = nonce(&self.iv, self.number);
        let kind = [u8::from(kind)];
        self.key
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(header),
                payload,
                ciphertext,
                &kind,
                kind_and_tag,
            )
            .map_err(|_| Error::EncryptError)?;
        self.number += 1;
        outgoing.wrote(HEADER_LEN + sealed_len);
        Ok(())
    }
}

/// Decrypts the records of one direction.
pub(super) struct Opener {
    key: LessSafeKey,
    iv: Iv,
    /// The next record's number.
    number: u64,
}

/// A decrypted record.
pub(super) struct Opened {
    pub(super) kind: ContentType,
    /// Bytes of its payload.
    pub(super) len: usize,
}

impl Opener {
    /// From the record of this number on.
    pub(super) fn new(number: u64, secrets: ConnectionTrafficSecrets) -> Result<Self, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            _ => return Err(other_suite()),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Error::DecryptError)?;
        Ok(Self { key: LessSafeKey::new(key), iv, number })
    }

    /// Decrypts a whole record in its place: its payload then begins after the header.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<Opened, Error> {
        let (header, sealed) = split(record)?;
        let nonce = nonce(&self.iv, self.number);
        let plaintext = self
            .key
            .open_in_place(nonce, Aad::from(header), sealed)
            .map_err(|_| Error::DecryptError)?;
        self.number += 1;
        unpadded(plaintext)
    }

    /// Decrypts a whole record to the start of `into`, which is at least [`plaintext_len`] long.
    /// After the payload, and after an error, `into` is overwritten with bytes of no meaning.
    pub(super) fn open_into(
        &mut self,
        record: &mut [u8],
        into: &mut [u8],
    ) -> Result<Opened, Error> {
        let (header, sealed) = split(record)?;
        let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG_LEN);
        let plaintext = into.get_mut(..ciphertext.len()).ok_or(Error::DecryptError)?;
        let nonce = nonce(&self.iv, self.number);
        self.key
            .open_separate_gather(nonce, Aad::from(header), ciphertext, tag, plaintext)
            .map_err(|_| Error::DecryptError)?;
        self.number += 1;
        unpadded(plaintext)
    }
}

/// The length of the record that these bytes begin with; `None` if more must be received to know.
///
/// # Errors
/// For what cannot be a record of encrypted bytes.
pub(super) fn record_len(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let [kind, major, _, high, low] = *header;
    match ContentType::from(kind) {
        ContentType::ApplicationData => {}
        ContentType::Unknown(_) => return Err(InvalidMessage::InvalidContentType.into()),
        got_type => {
            let expect_types = vec![ContentType::ApplicationData];
            return Err(Error::InappropriateMessage { expect_types, got_type });
        }
    }
    if major != 3 {
        return Err(InvalidMessage::UnknownProtocolVersion.into());
    }
    let len = HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
    if len > RECORD_MAX {
        return Err(InvalidMessage::MessageTooLarge.into());
    }
    Ok(Some(len))
}

/// Bytes of the plaintext of a record of this length: its payload, kind and padding.
pub(super) fn plaintext_len(record_len: usize) -> usize {
    record_len.saturating_sub(HEADER_LEN + TAG_LEN)
}

/// A record's header and what is encrypted; the latter is long enough for a tag.
fn split(record: &mut [u8]) -> Result<([u8; HEADER_LEN], &mut [u8]), Error> {
    let (header, sealed) =
        record.split_first_chunk_mut::<HEADER_LEN>().ok_or(Error::DecryptError)?;
    if sealed.len() < TAG_LEN { Err(Error::DecryptError) } else { Ok((*header, sealed)) }
}

/// What a plaintext is: the last byte that is not 0 is its kind.
fn unpadded(plaintext: &[u8]) -> Result<Opened, Error> {
    if plaintext.len() > PAYLOAD_MAX + KIND_LEN {
        return Err(Error::PeerSentOversizedRecord);
    }
    let len = plaintext.iter().rposition(|byte| *byte != 0);
    let len = len.ok_or(PeerMisbehaved::IllegalTlsInnerPlaintext)?;
    Ok(Opened { kind: ContentType::from(plaintext[len]), len })
}

fn nonce(iv: &Iv, number: u64) -> Nonce {
    Nonce::assume_unique_for_key(cipher::Nonce::new(iv, number).0)
}

/// The settings of both ends offer AES-GCM alone.
fn other_suite() -> Error {
    Error::General("the handshake agreed on a cipher suite that was not offered".into())
}

/// Without keys.
impl Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Without keys.
impl Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use snapless_trust::rustls::crypto::cipher::AeadKey;

    fn secrets() -> ConnectionTrafficSecrets {
        ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from([7; 32]), iv: Iv::from([9; 12]) }
    }

    fn pair() -> (Sealer, Opener) {
        (Sealer::new(secrets(), 100).unwrap(), Opener::new(0, secrets()).unwrap())
    }

    fn record(sealer: &mut Sealer, kind: ContentType, payload: &[u8]) -> Vec<u8> {
        let mut outgoing = Outgoing::default();
        sealer.seal_one(kind, payload, &mut outgoing).unwrap();
        assert_eq!(record_len(outgoing.bytes()).unwrap(), Some(outgoing.bytes().len()));
        outgoing.bytes().to_vec()
    }

    #[test]
    fn a_record_opens_in_its_place_and_elsewhere() {
        let (mut sealer, mut opener) = pair();
        for (index, len) in [0, 1, 15, 16, 17, 1000, PAYLOAD_MAX].into_iter().enumerate() {
            let payload: Vec<u8> = (1..=250).cycle().take(len).collect();
            let mut bytes = record(&mut sealer, ContentType::ApplicationData, &payload);
            assert_eq!(plaintext_len(bytes.len()), len + KIND_LEN);
            let mut into = vec![0xff; len + KIND_LEN + 3];
            let found = if index % 2 == 0 {
                opener.open_into(&mut bytes, &mut into)
            } else {
                let found = opener.open(&mut bytes);
                into[..len].copy_from_slice(&bytes[HEADER_LEN..HEADER_LEN + len]);
                found
            };
            let found = found.unwrap();
            assert_eq!((found.kind, found.len), (ContentType::ApplicationData, len));
            assert!(into[..len] == payload && into[len + KIND_LEN..] == [0xff; 3]);
        }
    }

    #[test]
    fn a_record_opens_once_and_in_its_turn() {
        let (mut sealer, mut opener) = pair();
        let [first, second] =
            [b"a", b"b"].map(|payload| record(&mut sealer, ContentType::ApplicationData, payload));
        assert!(opener.open(&mut second.clone()).is_err());
        assert!(opener.open(&mut first.clone()).is_ok());
        assert!(opener.open(&mut first.clone()).is_err());
        assert!(opener.open_into(&mut second.clone(), &mut [0; 8]).is_ok());
    }

    #[test]
    fn padding_is_taken_off() {
        let (mut sealer, mut opener) = pair();
        // The kind is the last byte that is not 0, wherever it stands.
        let mut padded = record(&mut sealer, ContentType::from(0), b"text\x17\0\0\0");
        let found = opener.open(&mut padded).unwrap();
        assert_eq!((found.kind, found.len), (ContentType::ApplicationData, 4));
        let mut zeros = record(&mut sealer, ContentType::from(0), &[0; 8]);
        assert_eq!(
            opener.open_into(&mut zeros, &mut [0; 9]).err(),
            Some(PeerMisbehaved::IllegalTlsInnerPlaintext.into())
        );
    }

    #[test]
    fn what_is_no_record_is_refused_by_its_header() {
        assert_eq!(record_len(&[23, 3, 3, 1]), Ok(None));
        assert_eq!(record_len(&[23, 3, 3, 0x41, 0]), Ok(Some(RECORD_MAX)));
        for header in [[23, 3, 3, 0x41, 1], [22, 3, 3, 0, 9], [99, 3, 3, 0, 9], [23, 2, 3, 0, 9]] {
            assert!(record_len(&header).is_err(), "{header:?}");
        }
        let (_, mut opener) = pair();
        for len in 0..HEADER_LEN + TAG_LEN {
            assert!(opener.open(&mut vec![23; len]).is_err());
            assert!(opener.open_into(&mut vec![23; len], &mut [0; 64]).is_err());
        }
    }

    #[test]
    fn a_payload_past_the_limit_is_refused() {
        let (mut sealer, mut opener) = pair();
        let mut long = record(&mut sealer, ContentType::ApplicationData, &vec![1; PAYLOAD_MAX + 1]);
        assert_eq!(opener.open(&mut long).err(), Some(Error::PeerSentOversizedRecord));
    }

    #[test]
    fn a_key_encrypts_no_more_records_than_it_may() {
        let mut sealer = Sealer::new(secrets(), 3).unwrap();
        assert!(!sealer.is_worn(2 * PAYLOAD_MAX) && sealer.is_worn(2 * PAYLOAD_MAX + 1));
        let mut outgoing = Outgoing::default();
        let kind = ContentType::ApplicationData;
        sealer.seal(kind, &vec![1; 3 * PAYLOAD_MAX], &mut outgoing).unwrap();
        let len = outgoing.bytes().len();
        assert!(sealer.seal(kind, b"x", &mut outgoing).is_err());
        assert_eq!(outgoing.bytes().len(), len);
    }
}
