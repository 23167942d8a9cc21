//! A machine's own identity: key, certificate, and the authority that it trusts, in one file.
//!
//! The file is replaced as a whole, so that key and certificate always belong together. The key is
//! made here and never leaves the machine; on Windows it is sealed, so that a copy of the file is
//! of no use elsewhere.
//!
//! Each server has an authority of its own, so a machine has an identity for each. The one of its
//! first enrolment is `identity/identity.json`; that for a further server is in a folder beside it,
//! which the server's address names.

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
    /// The server that it is for; `None` for the one of the first enrolment.
    server: Option<String>,
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
    /// The identity in a service's state folder: that of the machine's first enrolment.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(FOLDER), server: None }
    }

    /// The identity for the server that volumes go to unless they name another one. The first
    /// enrolment counts under whatever address: a server may have got another one since.
    ///
    /// # Errors
    /// A folder cannot be looked at.
    pub fn for_main_server(state_dir: &Path, server: &str) -> Result<Self, TrustError> {
        let own = Self::own(state_dir, server);
        Ok(if own.exists()? { own } else { Self::new(state_dir) })
    }

    /// The identity for another server: its own, or that of the first enrolment if it was there.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn for_other_server(state_dir: &Path, server: &str) -> Result<Self, TrustError> {
        let (own, first) = (Self::own(state_dir, server), Self::new(state_dir));
        Ok(if !own.exists()? && first.is_of(server)? { first } else { own })
    }

    /// Where the identity goes that a machine gets at a server by a token; and the address of the
    /// server if the machine has one of it already, under that or another address. A damaged one
    /// may be of any.
    ///
    /// # Errors
    /// A folder cannot be looked at.
    pub fn for_enrolment(
        state_dir: &Path,
        server: &str,
        token: &Token,
    ) -> Result<(Self, Option<String>), TrustError> {
        let (own, first) = (Self::own(state_dir, server), Self::new(state_dir));
        if own.exists()? {
            return Ok((own, Some(server.to_owned())));
        }
        let stored = match files::read_json::<Stored>(&first.file()) {
            Ok(None) => return Ok((first, None)),
            Ok(Some(stored)) => stored,
            Err(_) => return Ok((first, Some(server.to_owned()))),
        };
        if stored.is_of(server) || stored.has_authority(&token.fingerprint) {
            return Ok((first, Some(stored.server)));
        }
        let mut further = first.further()?.into_iter();
        let same = further.find(|it| it.has_authority(&token.fingerprint));
        Ok((own, same.map(|it| it.server)))
    }

    /// The identities beside the first one; one that cannot be read is none.
    fn further(&self) -> Result<Vec<Stored>, TrustError> {
        let names = files::names(&self.folder)?;
        let files = names.iter().map(|name| self.folder.join(name).join(FILE));
        Ok(files.filter_map(|file| files::read_json(&file).ok().flatten()).collect())
    }

    /// The identity that only this server has given.
    fn own(state_dir: &Path, server: &str) -> Self {
        let folder = state_dir.join(FOLDER).join(folder_name(server));
        Self { folder, server: Some(server.to_owned()) }
    }

    /// True if there is something in its place.
    fn exists(&self) -> Result<bool, TrustError> {
        let file = self.file();
        file.try_exists().map_err(TrustError::file("look at", &file))
    }

    /// True if this server has given it.
    fn is_of(&self, server: &str) -> Result<bool, TrustError> {
        let stored = files::read_json::<Stored>(&self.file())?;
        Ok(stored.is_some_and(|it| it.is_of(server)))
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The identity.
    ///
    /// # Errors
    /// [`TrustError::NotEnrolled`], [`TrustError::NotEnrolledAt`], or a file that cannot be read or
    /// opened by this machine.
    pub fn load(&self) -> Result<Credentials, TrustError> {
        self.find()?.ok_or_else(|| match &self.server {
            None => TrustError::NotEnrolled(self.folder.clone()),
            Some(server) => TrustError::NotEnrolledAt(server.clone()),
        })
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
        let parent = self.folder.parent().filter(|_| self.server.is_some());
        for folder in parent.into_iter().chain([&*self.folder]) {
            if !folder.is_dir() {
                files::create_folder(folder)?;
            }
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

impl Stored {
    /// True if the server of this address has given it.
    fn is_of(&self, server: &str) -> bool {
        self.server.eq_ignore_ascii_case(server)
    }

    /// True if the server that gave it has this authority.
    fn has_authority(&self, wanted: &[u8; 32]) -> bool {
        let authority = hex::decode_any(&self.authority).map(CertificateDer::from);
        authority.is_some_and(|it| fingerprint(&it) == *wanted)
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

/// The folder of a server's identity: its address, with `%` and two digits for each character that
/// a file's name cannot have everywhere. `at-` keeps it from being a device's name (`aux`).
fn folder_name(server: &str) -> String {
    let mut name = String::from("at-");
    for byte in server.to_ascii_lowercase().bytes() {
        if byte.is_ascii_alphanumeric() || b"-.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.push_str(&hex::encode(&[byte]));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_a_folder_of_its_own_whose_name_is_one_everywhere() {
        let names = ["backup:4850", "BACKUP:4850", "[::1]:1", "a_b:1", "a%5fb:1", "../x:1"];
        let folders = names.map(folder_name);
        assert_eq!(folders[0], "at-backup%3a4850");
        assert_eq!(folders[0], folders[1], "a host's name has no case");
        assert_eq!(folders[2], "at-%5b%3a%3a1%5d%3a1");
        assert_eq!(folders[3..], ["at-a%5fb%3a1", "at-a%255fb%3a1", "at-..%2fx%3a1"]);
    }
}
