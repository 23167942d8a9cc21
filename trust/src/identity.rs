//! What a certificate says: which machine, in which role, under which name, from when to when.
//!
//! The identity is a URI in the certificate, `urn:snapless:<role>:<machine id>`. The name is for
//! people and decides nothing.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::error::TrustError;
use crate::{files, hex};

/// The name in the server's certificate, whatever its address.
pub const SERVER_NAME: &str = "snapless-server";
const URI_SCHEME: &str = "urn:snapless:";
/// The longest name of a machine, in bytes: the limit of a certificate's common name.
pub const NAME_MAX: usize = 64;

/// A machine: a random number that it keeps for as long as it is enrolled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineId(pub [u8; 16]);

impl MachineId {
    /// A new machine.
    ///
    /// # Errors
    /// [`TrustError::Cryptography`] if the system has no random numbers.
    pub fn random() -> Result<Self, TrustError> {
        files::random().map(Self)
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineId({self})")
    }
}

impl FromStr for MachineId {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        hex::decode(text).map(Self).ok_or_else(|| TrustError::NotAnId(text.to_owned()))
    }
}

/// What a machine may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Append to its own volumes, and nothing else.
    Client,
    /// Restore and forget.
    Operator,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Client, Self::Operator].into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| format!("{text} is no role: client or operator"))
    }
}

/// Who holds a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The machine.
    pub machine: MachineId,
    /// What it may do.
    pub role: Role,
    /// Its name, for people.
    pub name: String,
}

impl Identity {
    /// The URI in the certificate.
    pub(crate) fn uri(&self) -> String {
        format!("{URI_SCHEME}{}:{}", self.role, self.machine)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.name, self.role, self.machine)
    }
}

/// A certificate's number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// The number with these bytes, the highest first; leading zeros mean nothing.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        Self(bytes[start..].to_vec())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Serial {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let bytes = hex::decode_any(text).filter(|bytes| (1..=20).contains(&bytes.len()));
        bytes.map(|bytes| Self::new(&bytes)).ok_or_else(|| TrustError::NotAnId(text.to_owned()))
    }
}

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// From.
    pub from: SystemTime,
    /// To.
    pub to: SystemTime,
}

impl Validity {
    /// The instant from which on the certificate is renewed: two thirds of its time are over.
    pub fn renew_at(&self) -> SystemTime {
        let whole = self.to.duration_since(self.from).unwrap_or_default();
        self.from + whole / 3 * 2
    }
}

/// A certificate of a machine, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certified {
    /// Who holds it.
    pub identity: Identity,
    /// Its number.
    pub serial: Serial,
    /// When it is valid.
    pub validity: Validity,
}

impl Certified {
    /// Reads a machine's certificate. Whether it is genuine is not checked here.
    ///
    /// # Errors
    /// [`TrustError::Certificate`] if it is none, or has no identity.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, TrustError> {
        let parsed = parse(certificate)?;
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let alternatives = parsed.subject_alternative_name().ok().flatten();
        let mut identities = alternatives.iter().flat_map(|names| &names.value.general_names);
        let (role, machine) = match (identities.next(), identities.next()) {
            (Some(GeneralName::URI(uri)), None) => of_uri(uri),
            _ => None,
        }
        .ok_or_else(|| TrustError::Certificate("it names no Snapless machine".into()))?;
        Ok(Self {
            identity: Identity { machine, role, name: printable(name.unwrap_or_default()) },
            serial: Serial::new(parsed.raw_serial()),
            validity: validity_of(&parsed),
        })
    }
}

/// When any certificate is valid.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, TrustError> {
    parse(certificate).map(|parsed| validity_of(&parsed))
}

/// A machine's name as it may stand in a certificate, a log line and a table.
pub fn printable(name: &str) -> String {
    let mut text: String = name
        .trim()
        .chars()
        .map(|char| if char.is_alphanumeric() || " -_.@()".contains(char) { char } else { '_' })
        .collect();
    while text.len() > NAME_MAX {
        text.pop();
    }
    if text.is_empty() { "unnamed".into() } else { text }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TrustError> {
    let bad = || TrustError::Certificate("it is no X.509 certificate".into());
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
    if rest.is_empty() { Ok(parsed) } else { Err(bad()) }
}

fn of_uri(uri: &str) -> Option<(Role, MachineId)> {
    let (role, machine) = uri.strip_prefix(URI_SCHEME)?.split_once(':')?;
    Some((role.parse().ok()?, machine.parse().ok()?))
}

/// Until when a certificate of any authority is valid.
///
/// # Errors
/// It is no certificate.
pub fn expires(certificate: &CertificateDer<'_>) -> Result<SystemTime, TrustError> {
    validity(certificate).map(|validity| validity.to)
}

fn validity_of(parsed: &X509Certificate<'_>) -> Validity {
    let at = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        SystemTime::UNIX_EPOCH + since
    };
    let validity = parsed.validity();
    Validity { from: at(validity.not_before.timestamp()), to: at(validity.not_after.timestamp()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_s_id_is_32_hexadecimal_digits() {
        let id = MachineId([0xab; 16]);
        assert_eq!(id.to_string().parse::<MachineId>().unwrap(), id);
        for bad in ["", "ab", &"g".repeat(32), &"ab".repeat(17)] {
            assert!(bad.parse::<MachineId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_cannot_break_a_line_or_grow_without_bound() {
        assert_eq!(printable(" web\n1\u{1b}[31m \"x\" "), "web_1__31m _x_");
        assert_eq!(printable(""), "unnamed");
        assert!(printable(&"ä".repeat(1000)).len() <= NAME_MAX);
    }

    #[test]
    fn leading_zeros_of_a_number_mean_nothing() {
        assert_eq!(Serial::new(&[0, 0, 7]), "07".parse().unwrap());
        assert!("".parse::<Serial>().is_err() && "xy".parse::<Serial>().is_err());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bytes in [&b""[..], b"x", &[0x30, 0x82, 0xff, 0xff]] {
            assert!(Certified::read(&CertificateDer::from(bytes)).is_err());
        }
    }
}
