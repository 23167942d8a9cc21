//! What a machine and the server say to each other when the machine enrols or renews its
//! certificate: one request, one answer, each a JSON document with its length in front.
//!
//! The conversation runs over TLS. At enrolment the machine proves itself by a token, at renewal by
//! the certificate that it has.

use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::TrustError;
use crate::hex;
use crate::token::Proof;

/// The longest document, in bytes.
pub const DOCUMENT_MAX: usize = 16 << 10;
/// Bytes of a document's length, little-endian, in front of it.
pub const LENGTH_LEN: usize = 4;

/// What a machine asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// A first certificate.
    Enrol {
        /// The token.
        proof: Proof,
        /// The name that the machine gives itself.
        name: String,
        /// A PKCS #10 request, in hexadecimal.
        csr: String,
    },
    /// Another certificate for the same machine.
    Renew {
        /// A PKCS #10 request, in hexadecimal.
        csr: String,
    },
}

impl Request {
    /// Asks for a first certificate.
    pub(crate) fn enrol(proof: Proof, name: &str, csr: &CertificateSigningRequestDer<'_>) -> Self {
        Self::Enrol { proof, name: name.to_owned(), csr: hex::encode(csr) }
    }

    /// Asks for another certificate.
    pub(crate) fn renew(csr: &CertificateSigningRequestDer<'_>) -> Self {
        Self::Renew { csr: hex::encode(csr) }
    }
}

/// The server's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The certificate and the authority's, in hexadecimal.
    Granted {
        /// The machine's certificate.
        certificate: String,
        /// The authority's certificate.
        authority: String,
    },
    /// Why not, as text.
    Refused(String),
}

impl Answer {
    /// Grants a certificate.
    pub(crate) fn granted(
        certificate: &CertificateDer<'_>,
        authority: &CertificateDer<'_>,
    ) -> Self {
        Self::Granted { certificate: hex::encode(certificate), authority: hex::encode(authority) }
    }

    /// The machine's certificate and the authority's.
    ///
    /// # Errors
    /// [`TrustError::Refused`] with the server's reason, [`TrustError::Garbled`].
    pub(crate) fn certificates(
        self,
    ) -> Result<(CertificateDer<'static>, CertificateDer<'static>), TrustError> {
        match self {
            Self::Granted { certificate, authority } => {
                let read = |text: &str| {
                    hex::decode_any(text).map(CertificateDer::from).ok_or(TrustError::Garbled)
                };
                Ok((read(&certificate)?, read(&authority)?))
            }
            Self::Refused(why) => Err(TrustError::Refused(why)),
        }
    }
}

/// The request's bytes, without their length.
pub(crate) fn csr(text: &str) -> Result<CertificateSigningRequestDer<'static>, TrustError> {
    hex::decode_any(text).map(CertificateSigningRequestDer::from).ok_or(TrustError::Garbled)
}

/// A document with its length in front.
///
/// # Errors
/// [`TrustError::Garbled`] if it is too long.
pub fn encode<T: Serialize>(document: &T) -> Result<Vec<u8>, TrustError> {
    let text = serde_json::to_vec(document).map_err(|_| TrustError::Garbled)?;
    let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= DOCUMENT_MAX);
    let length = length.ok_or(TrustError::Garbled)?;
    Ok([&length.to_le_bytes(), text.as_slice()].concat())
}

/// The length of the document that follows these bytes.
///
/// # Errors
/// [`TrustError::Garbled`] past [`DOCUMENT_MAX`].
pub fn length(bytes: [u8; LENGTH_LEN]) -> Result<usize, TrustError> {
    let length = u32::from_le_bytes(bytes) as usize;
    if length <= DOCUMENT_MAX { Ok(length) } else { Err(TrustError::Garbled) }
}

/// Reads a document without its length.
///
/// # Errors
/// [`TrustError::Garbled`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TrustError> {
    serde_json::from_slice(bytes).map_err(|_| TrustError::Garbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_again_and_garbage_is_refused() {
        let bytes = encode(&Answer::Refused("why".into())).unwrap();
        let (head, rest) = bytes.split_first_chunk().unwrap();
        assert_eq!(length(*head).unwrap(), rest.len());
        let Answer::Refused(why) = decode(rest).unwrap() else { panic!("another answer") };
        assert_eq!(why, "why");
        assert!(decode::<Answer>(&rest[1..]).is_err() && decode::<Request>(rest).is_err());
        assert!(length([0xff; 4]).is_err());
        assert!(encode(&"x".repeat(DOCUMENT_MAX)).is_err());
    }
}
