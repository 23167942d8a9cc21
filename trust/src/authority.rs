//! The server's own certificate authority: one key, of which every certificate on a link is issued.
//!
//! Files in its folder: `ca.key` and `ca.crt` (the authority), `server.pem` (the server's own
//! certificate and key, replaced before it expires). Machines trust `ca.crt` and nothing else, so
//! that the server may move to another address.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};

use crate::error::TrustError;
use crate::files;
use crate::identity::{Certified, Identity, SERVER_NAME, Validity, validity};

/// How long a machine's or a server's certificate is valid.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_hours(365 * 24);
/// How long the authority is valid.
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(30 * 365 * 24);
/// A certificate is valid from this time before it was issued: a machine's clock may be late.
const BACKDATED: Duration = Duration::from_hours(24);

const KEY_FILE: &str = "ca.key";
const CERTIFICATE_FILE: &str = "ca.crt";
const SERVER_FILE: &str = "server.pem";

/// The server's authority.
pub struct Authority {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// The server's own certificate, with its key.
#[derive(Debug)]
pub struct ServerIdentity {
    /// The certificate and the authority's.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// When the certificate is valid.
    pub validity: Validity,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.folder.display())
    }
}

impl Authority {
    /// Makes an authority in a folder that does not exist yet; `fill` makes what else belongs
    /// there. The folder appears with all of it or not at all.
    pub(crate) fn create(
        folder: &Path,
        now: SystemTime,
        fill: impl FnOnce(&Path) -> Result<(), TrustError>,
    ) -> Result<(), TrustError> {
        if folder.try_exists().map_err(TrustError::file("look for", folder))? {
            return Err(TrustError::AuthorityExists(folder.to_owned()));
        }
        let new = files::beside(folder)?;
        files::create_folder(&new)?;
        let made = make(&new, now).and_then(|()| fill(&new)).and_then(|()| {
            // Fails if another process has made one meanwhile: a folder with files is not replaced.
            fs::rename(&new, folder)
                .map_err(|error| match folder.try_exists() {
                    Ok(true) => TrustError::AuthorityExists(folder.to_owned()),
                    _ => TrustError::file("make", folder)(error),
                })
                .and_then(|()| files::sync_parent(folder))
        });
        if made.is_err() {
            // A left-over has no effect.
            drop(fs::remove_dir_all(&new));
        }
        made
    }

    /// Opens the authority in a folder.
    ///
    /// # Errors
    /// [`TrustError::NoAuthority`], or a file that is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self, TrustError> {
        let file = folder.join(CERTIFICATE_FILE);
        let Some(text) = files::read(&file)? else {
            return Err(TrustError::NoAuthority(folder.to_owned()));
        };
        let certificate = CertificateDer::from_pem_slice(&text)
            .map_err(|why| TrustError::damaged(&file, why))?
            .into_owned();
        let file = folder.join(KEY_FILE);
        let text =
            files::read_text(&file)?.ok_or_else(|| TrustError::damaged(&file, "it is missing"))?;
        let key = KeyPair::from_pem(&text).map_err(|why| TrustError::damaged(&file, why))?;
        if public_key(&certificate)? != key.subject_public_key_info() {
            return Err(TrustError::damaged(&file, "it is the key of another certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { folder: folder.to_owned(), certificate, issuer })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The SHA-256 of the authority's certificate, by which a machine recognises it.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// Issues a certificate for the key that signed a request. Nothing else of the request counts.
    ///
    /// # Errors
    /// [`TrustError::Refused`] for a request that is no such thing.
    pub fn issue(
        &self,
        identity: &Identity,
        request: &CertificateSigningRequestDer<'_>,
        now: SystemTime,
    ) -> Result<(CertificateDer<'static>, Certified), TrustError> {
        let validity = Validity { from: now - BACKDATED, to: now + CERTIFICATE_LIFETIME };
        self.issue_for(identity, request, validity)
    }

    /// [`Self::issue`] with another validity.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_for(
        &self,
        identity: &Identity,
        request: &CertificateSigningRequestDer<'_>,
        validity: Validity,
    ) -> Result<(CertificateDer<'static>, Certified), TrustError> {
        let refused = |why: &str| TrustError::Refused(format!("the certificate request {why}"));
        let parsed = CertificateSigningRequestParams::from_der(request)
            .map_err(|_| refused("is damaged, or not signed by its key"))?;
        if parsed.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(refused("has another key than ECDSA P-256"));
        }
        let mut params = leaf(&identity.name, validity, ExtendedKeyUsagePurpose::ClientAuth)?;
        let uri = identity.uri().try_into()?;
        params.subject_alt_names.push(SanType::URI(uri));
        let issued = params.signed_by(&parsed.public_key, &self.issuer)?;
        let certified = Certified::read(issued.der())?;
        Ok((issued.der().clone(), certified))
    }

    /// The server's own certificate; makes one if there is none, or if two thirds of its time are
    /// over.
    ///
    /// # Errors
    /// The file cannot be read or written. A damaged one is replaced.
    pub fn server_identity(&self, now: SystemTime) -> Result<ServerIdentity, TrustError> {
        let file = self.folder.join(SERVER_FILE);
        let found = files::read(&file)?.and_then(|text| self.read_server_identity(&text).ok());
        if let Some(found) = found.filter(|found| now < found.validity.renew_at()) {
            return Ok(found);
        }
        let name = SanType::DnsName(SERVER_NAME.try_into()?);
        let text = self.new_server_identity(vec![name], now)?;
        files::replace(&file, text.as_bytes())?;
        self.read_server_identity(text.as_bytes())
    }

    /// A new certificate for browsers, with its key, for these names and addresses. It is kept
    /// nowhere.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn console_identity(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<ServerIdentity, TrustError> {
        let names = names.iter().map(|name| {
            Ok(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            })
        });
        let names = names.collect::<Result<_, TrustError>>()?;
        self.read_server_identity(self.new_server_identity(names, now)?.as_bytes())
    }

    /// The text of a new certificate of the server for these names, and of its key.
    fn new_server_identity(
        &self,
        names: Vec<SanType>,
        now: SystemTime,
    ) -> Result<String, TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let validity = Validity { from: now - BACKDATED, to: now + CERTIFICATE_LIFETIME };
        let mut params = leaf(SERVER_NAME, validity, ExtendedKeyUsagePurpose::ServerAuth)?;
        params.subject_alt_names.extend(names);
        let issued = params.signed_by(&key, &self.issuer)?;
        Ok(format!("{}{}", issued.pem(), key.serialize_pem()))
    }

    fn read_server_identity(&self, text: &[u8]) -> Result<ServerIdentity, TrustError> {
        let bad = |why: rustls::pki_types::pem::Error| TrustError::Certificate(why.to_string());
        let certificate = CertificateDer::from_pem_slice(text).map_err(bad)?.into_owned();
        let key = PrivateKeyDer::from_pem_slice(text).map_err(bad)?;
        let validity = validity(&certificate)?;
        Ok(ServerIdentity { chain: vec![certificate, self.certificate.clone()], key, validity })
    }
}

/// The SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
    bytes
}

/// A key of a machine that is about to enrol.
pub(crate) fn new_key() -> Result<PrivatePkcs8KeyDer<'static>, TrustError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_der().into())
}

/// A request for a certificate of this key.
pub(crate) fn request(
    key: &PrivatePkcs8KeyDer<'_>,
) -> Result<CertificateSigningRequestDer<'static>, TrustError> {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(key, &PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key)?.der().clone())
}

/// Makes the authority's two files.
fn make(folder: &Path, now: SystemTime) -> Result<(), TrustError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    files::create(&folder.join(KEY_FILE), key.serialize_pem().as_bytes())?;
    let validity = Validity { from: now - BACKDATED, to: now + AUTHORITY_LIFETIME };
    let mut params = named("Snapless authority", validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    files::create(&folder.join(CERTIFICATE_FILE), certificate.pem().as_bytes())
}

fn leaf(
    name: &str,
    validity: Validity,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, TrustError> {
    let mut params = named(name, validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(name: &str, validity: Validity) -> Result<CertificateParams, TrustError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = validity.from.into();
    params.not_after = validity.to.into();
    let mut serial: [u8; 16] = files::random()?;
    // Positive, and of the same length for all.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, TrustError> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| TrustError::Certificate("it is no X.509 certificate".into()))?;
    Ok(parsed.public_key().raw.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{MachineId, Role};

    fn authority() -> (Authority, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("trust");
        Authority::create(&folder, SystemTime::now(), |_| Ok(())).unwrap();
        (Authority::open(&folder).unwrap(), dir)
    }

    fn identity() -> Identity {
        let machine = MachineId::random().unwrap();
        Identity { machine, role: Role::Client, name: "web ä".into() }
    }

    #[test]
    fn an_authority_is_made_once_and_found_again() {
        let (first, dir) = authority();
        let folder = dir.path().join("trust");
        let again = Authority::create(&folder, SystemTime::now(), |_| Ok(()));
        assert!(matches!(again, Err(TrustError::AuthorityExists(_))));
        assert_eq!(Authority::open(&folder).unwrap().fingerprint(), first.fingerprint());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn an_authority_that_cannot_be_filled_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("trust");
        let failed = Authority::create(&folder, SystemTime::now(), |_| Err(TrustError::Garbled));
        assert!(failed.is_err());
        assert!(matches!(Authority::open(&folder), Err(TrustError::NoAuthority(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_their_owner_s_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (authority, dir) = authority();
        authority.server_identity(SystemTime::now()).unwrap();
        let folder = dir.path().join("trust");
        for name in [KEY_FILE, SERVER_FILE] {
            let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
    }

    #[test]
    fn a_certificate_names_the_machine_and_only_the_key_of_the_request_counts() {
        let (authority, _dir) = authority();
        let key = new_key().unwrap();
        let now = SystemTime::now();
        let (first, certified) =
            authority.issue(&identity(), &request(&key).unwrap(), now).unwrap();
        assert_eq!(certified.identity.name, "web ä");
        assert!(certified.validity.from < now && now < certified.validity.renew_at());
        assert!(certified.validity.renew_at() < certified.validity.to);
        let (_, other) = authority.issue(&identity(), &request(&key).unwrap(), now).unwrap();
        assert_ne!(certified.serial, other.serial);
        assert_eq!(Certified::read(&first).unwrap(), certified);
    }

    #[test]
    fn a_console_s_certificate_has_its_names_and_addresses_and_is_kept_nowhere() {
        use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
        let (authority, dir) = authority();
        let count = || fs::read_dir(dir.path().join("trust")).unwrap().count();
        let before = count();
        let names = ["localhost", "127.0.0.1", "::1", "backup.example.com"].map(str::to_owned);
        let identity = authority.console_identity(&names, SystemTime::now()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&identity.chain[0]).unwrap();
        let alternatives = parsed.subject_alternative_name().unwrap().unwrap();
        let found: Vec<_> = alternatives.value.general_names.iter().collect();
        assert!(matches!(found[0], GeneralName::DNSName("localhost")));
        assert!(matches!(found[1], GeneralName::IPAddress([127, 0, 0, 1])));
        assert!(matches!(found[2], GeneralName::IPAddress(address) if address.len() == 16));
        assert_eq!((found.len(), count()), (4, before));
        let bad = ["ä b".to_owned()];
        assert!(authority.console_identity(&bad, SystemTime::now()).is_err());
    }

    #[test]
    fn a_request_with_a_damaged_signature_is_refused() {
        let (authority, _dir) = authority();
        let mut bytes = request(&new_key().unwrap()).unwrap().to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let damaged = CertificateSigningRequestDer::from(bytes);
        let error = authority.issue(&identity(), &damaged, SystemTime::now()).unwrap_err();
        assert!(matches!(error, TrustError::Refused(_)), "{error}");
    }

    #[test]
    fn the_server_s_certificate_is_kept_and_renewed_in_time() {
        let (authority, dir) = authority();
        let now = SystemTime::now();
        let first = authority.server_identity(now).unwrap();
        assert_eq!(authority.server_identity(now).unwrap().chain, first.chain);
        let late = now + CERTIFICATE_LIFETIME / 4 * 3;
        let second = authority.server_identity(late).unwrap();
        assert_ne!(second.chain, first.chain);
        fs::write(dir.path().join("trust").join(SERVER_FILE), "x").unwrap();
        assert_ne!(authority.server_identity(late).unwrap().chain, second.chain);
    }

    #[test]
    fn a_key_of_another_authority_is_noticed() {
        let ((_, dir), (_, other)) = (authority(), authority());
        let place = |dir: &tempfile::TempDir| dir.path().join("trust").join(KEY_FILE);
        fs::copy(place(&other), place(&dir)).unwrap();
        let error = Authority::open(&dir.path().join("trust")).unwrap_err().to_string();
        assert!(error.contains("another certificate"), "{error}");
    }
}
