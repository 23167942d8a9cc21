//! The TLS settings of both ends: TLS 1.3 and nothing older, certificates of the server's own
//! authority and no other, no resumption (each connection proves itself anew).
//!
//! The first protocol that a machine offers (ALPN) says what it wants: to send records, to enrol,
//! or to renew its certificate. Only enrolment goes without a machine's certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme, version,
};

use crate::authority::{ServerIdentity, fingerprint};
use crate::error::TrustError;
use crate::identity::Certified;
use crate::revocation::Revocations;

/// The protocol of a link: frames of which both ends know all. An end of another release has
/// another one, and is refused in words.
pub const LINK: &[u8] = b"snapless/5";

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Frames between service and server.
    Link,
    /// A machine's first certificate.
    Enrol,
    /// A machine's next certificate.
    Renew,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Link, Self::Enrol, Self::Renew];

    /// The protocols' names in a handshake, the newest first. Both ends take the newest that they
    /// share.
    pub fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Link => &[LINK],
            Self::Enrol => &[b"snapless-enroll/1"],
            Self::Renew => &[b"snapless-renew/1"],
        }
    }

    /// The purpose of the protocols that a machine offers; `None` if it offers none of ours.
    pub fn offered<'a>(protocols: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let of = |name| Self::ALL.into_iter().find(|purpose| purpose.protocols().contains(&name));
        protocols.into_iter().find_map(of)
    }
}

/// The server's settings for connections of this purpose.
pub(crate) fn server_config(
    purpose: Purpose,
    identity: &ServerIdentity,
    authority: &CertificateDer<'static>,
    revocations: &Revocations,
) -> Result<Arc<ServerConfig>, TrustError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])?;
    let builder = if purpose == Purpose::Enrol {
        builder.with_no_client_auth()
    } else {
        let roots = Arc::new(roots(authority)?);
        let inner = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|why| TrustError::Certificate(why.to_string()))?;
        let revocations = revocations.clone();
        builder.with_client_cert_verifier(Arc::new(MachineVerifier { inner, revocations }))
    };
    let mut config = builder.with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = names(purpose);
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The settings of the console, for browsers: HTTP/1.1, without certificates of theirs.
pub(crate) fn console_config(identity: ServerIdentity) -> Result<Arc<ServerConfig>, TrustError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A machine's settings: only the server of this authority.
pub(crate) fn client_config(
    purpose: Purpose,
    authority: &CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = provider();
    let verifier = server_verifier(authority, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    Ok(Arc::new(for_purpose(config, purpose)))
}

/// The settings of a machine's first contact: only the server whose authority has this
/// fingerprint.
pub(crate) fn first_contact_config(fingerprint: [u8; 32]) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = provider();
    let verifier = Arc::new(PinnedAuthority { fingerprint, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(for_purpose(config, Purpose::Enrol)))
}

fn for_purpose(mut config: ClientConfig, purpose: Purpose) -> ClientConfig {
    config.alpn_protocols = names(purpose);
    config.resumption = Resumption::disabled();
    config
}

fn names(purpose: Purpose) -> Vec<Vec<u8>> {
    purpose.protocols().iter().map(|name| name.to_vec()).collect()
}

/// The cheapest suite first: a first sync encrypts a whole volume, and AES-128 is no weaker link
/// than the P-256 keys.
fn provider() -> Arc<CryptoProvider> {
    let cipher_suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

fn roots(authority: &CertificateDer<'static>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(roots)
}

fn server_verifier(
    authority: &CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let roots = Arc::new(roots(authority)?);
    WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|why| Error::General(why.to_string()))
}

/// Accepts certificates of the authority that name a machine and are not revoked.
#[derive(Debug)]
struct MachineVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    revocations: Revocations,
}

impl ClientCertVerifier for MachineVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(certificate, intermediates, now)?;
        let certified = Certified::read(certificate)
            .map_err(|_| Error::from(CertificateError::ApplicationVerificationFailure))?;
        if self.revocations.covers(&certified) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Accepts a server that shows an authority with this fingerprint and a certificate of it.
#[derive(Debug)]
struct PinnedAuthority {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|authority| fingerprint(authority) == self.fingerprint)
            .ok_or(Error::from(CertificateError::UnknownIssuer))?;
        let verifier =
            server_verifier(&authority.clone().into_owned(), Arc::clone(&self.provider))?;
        verifier.verify_server_cert(certificate, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_protocol_says_what_a_connection_is_for() {
        let offered = |names: &[&'static [u8]]| Purpose::offered(names.iter().copied());
        assert_eq!(offered(&[b"h2", b"snapless-renew/1", LINK]), Some(Purpose::Renew));
        assert_eq!(offered(&[LINK]), Some(Purpose::Link));
        assert_eq!(offered(&[b"snapless/9", LINK]), Some(Purpose::Link), "a newer end");
        assert_eq!(offered(&[b"snapless/3", b"snapless/2"]), None, "an older end");
        assert_eq!(offered(&[b"h2"]), None);
        assert_eq!(offered(&[]), None);
    }
}
