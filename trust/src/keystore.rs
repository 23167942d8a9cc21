//! A machine's own identity: key, certificate, and the authority that it trusts, in one file.
//!
//! The file is replaced as a whole, so that key and certificate always belong together. The key is
//! made here and never leaves the machine; on Windows it is sealed, so that a copy of the file is
//! of no use elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use crate::authority::{fingerprint, new_key, request};
use crate::config::{Purpose, client_config, first_contact_config};
use crate::enrolment::{Answer, Request};
use crate::error::TrustError;
use crate::identity::Certified;
use crate::token::Token;
use crate::{files, hex, private};

/// The folder of the identity, in the service's state folder.
const FOLDER: &str = "identity";
const FILE: &str = "identity.json";

/// Where a machine's identity is stored.
#[derive(Clone, Debug)]
pub struct KeyStore {
    folder: PathBuf,
}

/// A machine's identity.
pub struct Credentials {
    /// What the certificate says.
    pub certified: Certified,
    /// The server that gave it, `host:port`.
    pub server: String,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

/// A machine that is about to enrol: it has a key and asks for a certificate.
pub struct Applicant {
    key: PrivatePkcs8KeyDer<'static>,
    fingerprint: [u8; 32],
    server: String,
    /// What it says to the server.
    pub request: Request,
    /// How it speaks to the server.
    pub config: Arc<ClientConfig>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    server: String,
    certificate: String,
    authority: String,
    sealed_key: String,
}

/// Without the key.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.certified.identity)
    }
}

/// Without the key.
impl std::fmt::Debug for Applicant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Applicant({})", self.server)
    }
}

impl KeyStore {
    /// The identity in a service's state folder.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(FOLDER) }
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The identity.
    ///
    /// # Errors
    /// [`TrustError::NotEnrolled`], or a file that cannot be read or opened by this machine.
    pub fn load(&self) -> Result<Credentials, TrustError> {
        self.find()?.ok_or_else(|| TrustError::NotEnrolled(self.folder.clone()))
    }

    /// The identity, if the machine has one.
    ///
    /// # Errors
    /// A file that cannot be read or opened by this machine.
    pub fn find(&self) -> Result<Option<Credentials>, TrustError> {
        let file = self.file();
        let Some(stored) = files::read_json::<Stored>(&file)? else { return Ok(None) };
        let bytes = |text: &str| {
            hex::decode_any(text).ok_or_else(|| TrustError::damaged(&file, "it is not hexadecimal"))
        };
        let certificate = CertificateDer::from(bytes(&stored.certificate)?);
        let key = private::unseal(&bytes(&stored.sealed_key)?)
            .map_err(TrustError::file("open the key in", &file))?;
        Ok(Some(Credentials {
            certified: Certified::read(&certificate)?,
            server: stored.server,
            certificate,
            authority: CertificateDer::from(bytes(&stored.authority)?),
            key: key.into(),
        }))
    }

    /// Stores an identity in place of the one before.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, credentials: &Credentials) -> Result<(), TrustError> {
        if !self.folder.is_dir() {
            files::create_folder(&self.folder)?;
        }
        let file = self.file();
        let sealed = private::seal(credentials.key.secret_pkcs8_der())
            .map_err(TrustError::file("seal the key for", &file))?;
        let stored = Stored {
            server: credentials.server.clone(),
            certificate: hex::encode(&credentials.certificate),
            authority: hex::encode(&credentials.authority),
            sealed_key: hex::encode(&sealed),
        };
        files::replace(&file, &files::to_json(&stored)?)
    }
}

impl Applicant {
    /// Makes a key for a machine of this name that enrols at `server`.
    ///
    /// # Errors
    /// A step of cryptography failed.
    pub fn new(token: &Token, name: &str, server: &str) -> Result<Self, TrustError> {
        let key = new_key()?;
        Ok(Self {
            request: Request::enrol(token.proof(), name, &request(&key)?),
            key,
            fingerprint: token.fingerprint,
            server: server.to_owned(),
            config: first_contact_config(token.fingerprint)?,
        })
    }

    /// Takes the server's answer.
    ///
    /// # Errors
    /// [`TrustError::Refused`] with the server's reason; [`TrustError::OtherAuthority`] or another
    /// if the certificate is not for this key, or not of the authority that the token names.
    pub fn accept(self, answer: Answer) -> Result<Credentials, TrustError> {
        let (certificate, authority) = answer.certificates()?;
        if fingerprint(&authority) != self.fingerprint {
            return Err(TrustError::OtherAuthority);
        }
        let server = self.server;
        Credentials::check(Credentials {
            certified: Certified::read(&certificate)?,
            server,
            certificate,
            authority,
            key: self.key,
        })
    }
}

impl Credentials {
    /// How this machine speaks to the server.
    ///
    /// # Errors
    /// Key and certificate do not belong together.
    pub fn config(&self, purpose: Purpose) -> Result<Arc<ClientConfig>, TrustError> {
        let chain = vec![self.certificate.clone()];
        client_config(purpose, &self.authority, chain, self.key.clone_key().into())
    }

    /// True if it is time to renew the certificate.
    pub fn is_renewal_due(&self, now: SystemTime) -> bool {
        now >= self.certified.validity.renew_at()
    }

    /// Asks for another certificate for the same key.
    ///
    /// # Errors
    /// A step of cryptography failed.
    pub fn renewal(&self) -> Result<Request, TrustError> {
        Ok(Request::renew(&request(&self.key)?))
    }

    /// Takes the server's answer to [`Self::renewal`].
    ///
    /// # Errors
    /// As [`Applicant::accept`]; the certificate must be for the same machine.
    pub fn renewed(&self, answer: Answer) -> Result<Self, TrustError> {
        let (certificate, authority) = answer.certificates()?;
        if authority != self.authority {
            return Err(TrustError::OtherAuthority);
        }
        let certified = Certified::read(&certificate)?;
        if certified.identity.machine != self.certified.identity.machine {
            return Err(TrustError::Certificate("it is for another machine".into()));
        }
        let key = self.key.clone_key();
        Self::check(Self { certified, server: self.server.clone(), certificate, authority, key })
    }

    /// Refuses a certificate that is not for the key.
    fn check(self) -> Result<Self, TrustError> {
        self.config(Purpose::Link).map(|_| self)
    }
}
