//! Why a connection is not trusted, in words that say what to do.

use std::io::{self, ErrorKind};
use std::time::Duration;

use snapless_trust::TrustError;
use snapless_trust::rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a connection is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The other end sent something else than TLS.
    #[error(
        "the other end does not speak TLS: check the address, and that neither end is older than \
         the other or runs with --insecure"
    )]
    NotTls,
    /// The other end has no version of TLS that is taken.
    #[error("the other end does not speak TLS 1.3, and nothing older is taken: update it")]
    TooOld,
    /// The other end wants none of our protocols.
    #[error(
        "the other end speaks TLS but not Snapless' protocol: check the address, and bring service \
         and server to the same release"
    )]
    OtherProtocol,
    /// The handshake was not over in time.
    #[error("the handshake was not over within {} s", .0.as_secs_f32())]
    Slow(Duration),
    /// This end gave the handshake up.
    #[error("the handshake was given up at this end")]
    Cancelled,
    /// The other end has no certificate.
    #[error("the other end showed no certificate: the machine must enrol with `snapless enroll`")]
    NoCertificate,
    /// The other end's certificate is of another authority.
    #[error("the other end's certificate is of another authority than this server's")]
    OtherAuthority,
    /// The other end's certificate is out of its time.
    #[error(
        "the other end's certificate has expired or is not valid yet: check the clocks of both \
         machines; if they are right, the machine must enrol again"
    )]
    OutOfTime,
    /// The other end's certificate was revoked.
    #[error("the other end's certificate was revoked")]
    Revoked,
    /// The other end's certificate cannot be taken.
    #[error("the other end's certificate cannot be taken: {0}")]
    Certificate(CertificateError),
    /// The other end did not take our certificate.
    #[error("the other end refused this one: {0}")]
    RefusedByPeer(&'static str),
    /// The other end broke the rules of TLS, or bytes were changed on the way.
    #[error("the encrypted stream is damaged or was tampered with: {0}")]
    Broken(Error),
    /// The other end sent a message that is too long.
    #[error("the other end sent a message of TLS that is too long")]
    Endless,
    /// The connection ended without a goodbye: what was under way may be incomplete.
    #[error("the connection was cut")]
    Cut,
    /// The system's error.
    #[error("{0}")]
    Lost(io::Error),
    /// This end's settings.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::AlertReceived(alert) => of_alert(alert, error),
            Error::InvalidCertificate(why) => of_certificate(why),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::PeerIncompatible(
                PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::TooOld,
            Error::NoApplicationProtocol => Self::OtherProtocol,
            Error::InvalidMessage(
                snapless_trust::rustls::InvalidMessage::InvalidContentType
                | snapless_trust::rustls::InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            other => Self::Broken(other),
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Lost(error) => error,
            TlsError::Cut => Self::new(ErrorKind::UnexpectedEof, error),
            other => Self::new(ErrorKind::InvalidData, other),
        }
    }
}

fn of_certificate(why: CertificateError) -> TlsError {
    match why {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsError::OutOfTime,
        CertificateError::Revoked => TlsError::Revoked,
        // A certificate of an authority of the same name has a signature that does not fit.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            TlsError::OtherAuthority
        }
        other => TlsError::Certificate(other),
    }
}

fn of_alert(alert: AlertDescription, error: Error) -> TlsError {
    TlsError::RefusedByPeer(match alert {
        AlertDescription::CertificateRevoked => {
            "this machine's certificate was revoked; ask the server's administrator for a token, \
             then run `snapless enroll --force`"
        }
        AlertDescription::CertificateExpired => {
            "this machine's certificate has expired or is not valid yet; check the clocks of both \
             machines; if they are right, ask the server's administrator for a token, then run \
             `snapless enroll --force`"
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "this machine's certificate is of another authority; enrol it at this server with \
             `snapless enroll`"
        }
        AlertDescription::CertificateRequired => {
            "it asks for a certificate; enrol this machine with `snapless enroll`"
        }
        AlertDescription::NoApplicationProtocol => {
            return TlsError::OtherProtocol;
        }
        AlertDescription::ProtocolVersion => return TlsError::TooOld,
        AlertDescription::AccessDenied
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "this machine's certificate is of no use there; enrol it again with `snapless enroll \
             --force`"
        }
        AlertDescription::InternalError => "it has a fault of its own; its log says which",
        _ => return TlsError::Broken(error),
    })
}
